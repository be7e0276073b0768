"""What pages show of the program itself: `<!-- table: name -->` is replaced when the site is built."""

from __future__ import annotations

import re
from collections.abc import Callable

import typer

MARK = re.compile(r"<!-- table: (\w+) -->")


def on_page_markdown(markdown: str, **about: object) -> str:
    return MARK.sub(lambda match: TABLES[match[1]](markdown), markdown)


def verbs(page: str) -> str:
    """Every verb with its arguments and options, as `--help` has them."""
    from accelsim.cli import PANELS, build

    group = typer.main.get_command(build())
    parts = []
    for panel in PANELS:
        parts.append(f"## {panel}")
        for name, command in group.commands.items():  # type: ignore[attr-defined]  # a group, as it has verbs
            if command.rich_help_panel == panel:
                parts.append(_verb(name, command))
    return "\n\n".join(parts)


def _verb(name: str, command: object) -> str:
    rows = []
    for parameter in command.params:  # type: ignore[attr-defined]
        if parameter.name == "help":
            continue
        words = (
            ", ".join(f"`{word}`" for word in parameter.opts if word.startswith("-")) or f"`{parameter.name.upper()}`"
        )
        default = parameter.default
        shown = "" if default in (None, False, ()) or parameter.required else f" Default: `{default}`."
        rows.append(f"| {words} | {_cell(getattr(parameter, 'help', '') or '')}{shown} |")
    about, epilog = command.help.strip(), command.epilog  # type: ignore[attr-defined]
    example = re.sub(r"\[/?bold\]|^Example: ", "", epilog)
    table = "\n".join(["| | |", "|---|---|", *rows])
    return f"### accelsim {name}\n\n{_text(about)}\n\nExample: `{example}`\n\n{table}"


def schemes(page: str) -> str:
    from accelsim_kernels.names import SCHEMES

    rows = [
        f"| `{name}` | {scheme.equation} | {_cell(scheme.summary)} | {_cell(scheme.source)} |"
        for name, scheme in SCHEMES.items()
    ]
    return "\n".join(["| scheme | equation | what it computes | source |", "|---|---|---|---|", *rows])


def profiles(page: str) -> str:
    import accelsim as acs

    rows = []
    for name in acs.list_profiles():
        profile = acs.load_profile(name)
        widths = profile.bits
        bits = f"{widths[0]} to {widths[-1]}" if len(widths) > 4 else ", ".join(map(str, widths))
        convolution, linear = (profile.operators[kind].scheme for kind in ("conv2d", "linear"))
        rows.append(
            f"| `{name}` | {_cell(profile.runtime)}, {_cell(profile.version)} | `{convolution}` | `{linear}` | {bits} |"
        )
    head = ["| profile | rounding of | convolutions | linear | bits |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


def presets(page: str) -> str:
    import accelsim as acs

    rows = [f"| `{name}` | {_cell(acs.load_spec(name).description)} |" for name in acs.list_presets()]
    return "\n".join(["| preset | accelerator |", "|---|---|", *rows])


def other_names(page: str) -> str:
    """References to the public names of accelsim that the page does not have."""
    import accelsim as acs

    return _other(page, {name: f"{module}.{name}" for name, module in acs._PUBLIC.items()})


def other_kernels(page: str) -> str:
    """References to the public kernels that the page does not have."""
    import accelsim_kernels as kernels

    return _other(page, {name: f"{kernels.__name__}.{home}.{name}" for name, home in kernels._HOMES.items()})


def _other(page: str, homes: dict[str, str]) -> str:
    missing = [path for path in homes.values() if f"::: {path}\n" not in page]
    return "\n\n".join(["## More", *(f"::: {path}" for path in missing)]) if missing else ""


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")


def _text(text: str) -> str:
    return re.sub(r"([*<\[_])", r"\\\1", " ".join(text.split()))


TABLES: dict[str, Callable[[str], str]] = {
    "verbs": verbs, "schemes": schemes, "profiles": profiles, "presets": presets,
    "other_names": other_names, "other_kernels": other_kernels,
}  # fmt: skip
