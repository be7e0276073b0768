"""What pages show of the program itself, put in when the site is built.

`<!-- table: name -->` is replaced by a table of TABLES; `<!-- names: a b c -->` by references to public names of the
library that the page names with `<!-- library: name -->`; `<!-- table: other_names -->` by those that the page lacks.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable

import typer

MARK = re.compile(r"<!-- table: (\w+) -->")
NAMES = re.compile(r"<!-- names: ([\w ]+) -->")
LIBRARY = re.compile(r"<!-- library: (\w+) -->\n")


def on_page_markdown(markdown: str, **about: object) -> str:
    page = MARK.sub(lambda match: TABLES[match[1]](markdown), markdown)
    homes = homes_of(page)
    page = NAMES.sub(lambda match: "\n\n".join(f"::: {homes[name]}" for name in match[1].split()), page)
    return LIBRARY.sub("", page)


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
    table = "\n".join(["| option | what it says |", "|---|---|", *rows])
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


def homes_of(page: str) -> dict[str, str]:
    """Public name -> full path, of the library that a page is about."""
    about = LIBRARY.search(page)
    if about is None:
        return {}
    library = importlib.import_module(about[1])
    if hasattr(library, "_HOMES"):  # modules are relative there
        return {name: f"{about[1]}.{home}.{name}" for name, home in library._HOMES.items()}
    return {name: f"{module}.{name}" for name, module in library._PUBLIC.items()}


def other_names(page: str) -> str:
    named = {name for match in NAMES.finditer(page) for name in match[1].split()}
    missing = [name for name in homes_of(page) if name not in named]
    return f"## More\n\n<!-- names: {' '.join(missing)} -->" if missing else ""


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")


def _text(text: str) -> str:
    return re.sub(r"([*<\[_])", r"\\\1", " ".join(text.split()))


TABLES: dict[str, Callable[[str], str]] = {
    "verbs": verbs, "schemes": schemes, "profiles": profiles, "presets": presets,
    "other_names": other_names,
}  # fmt: skip
