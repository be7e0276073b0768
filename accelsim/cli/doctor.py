"""accelsim doctor: what this installation has, and what it would need for more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accelsim.cli import _options as options

if TYPE_CHECKING:
    from rich.console import Group

EXAMPLE = "accelsim doctor"
PANEL = "Look up"


def doctor(as_json: options.Json = False) -> None:
    """Show versions, the kernels' instruction set, cache folders, and optional parts with what installs them."""
    from accelsim.cli._output import show

    found = _findings()
    show(_tables(found), as_json, lambda: found)


def _findings() -> dict[str, Any]:
    import os
    import platform

    from accelsim_kernels import _jit, _threads, simd

    from accelsim.cachedir import cache_dir
    from accelsim.extras import PARTS
    from accelsim.versions import versions

    kernels = _jit.cache_folder()
    files = [path for path in kernels.glob("*") if path.is_file()] if kernels and kernels.is_dir() else []
    return {
        "versions": {**versions(), "platform": platform.platform()},
        "kernels": {
            "instruction_set": simd.current(),
            "available": list(simd.available()),
            "threads": _threads.count(),
            "set_by_environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith("ACCELSIM_")},
        },
        "folders": {
            "cache": str(cache_dir()),
            "compiled_kernels": str(kernels) if kernels else None,
            "compiled_kernels_kept": len(files),
            "compiled_kernels_bytes": sum(path.stat().st_size for path in files),
            "writable": _writable(kernels),
        },
        "parts": [
            {"name": part.name, "present": part.present, "for": part.purpose, "command": part.command} for part in PARTS
        ],
    }


def _writable(folder: Any) -> bool:
    """Whether the folder, or the nearest one above it that exists, takes new files."""
    import os

    while folder is not None and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder is not None and os.access(folder, os.W_OK)


def _tables(found: dict[str, Any]) -> Group:
    from rich.console import Group
    from rich.markup import escape

    from accelsim.report.text import open_table

    kernels, folders = found["kernels"], found["folders"]
    about = open_table("accelsim", "")
    for package, version in found["versions"].items():
        about.add_row(package, version)
    others = [isa for isa in kernels["available"] if isa != kernels["instruction_set"]]
    about.add_row("instruction set", f"{kernels['instruction_set']} (this CPU also has {', '.join(others) or 'none'})")
    about.add_row("threads", str(kernels["threads"]))
    for name, value in kernels["set_by_environment"].items():
        about.add_row(name, value)
    about.add_row("cache folder", folders["cache"])
    kept = f"{folders['compiled_kernels_kept']} kept, {folders['compiled_kernels_bytes'] / 1e6:.1f} MB"
    note = "" if folders["writable"] else "; not writable: kernels are compiled anew in every process"
    about.add_row("compiled kernels", f"{folders['compiled_kernels']} ({kept}{note})")

    parts = open_table("optional part", "", "what it is for")
    for part in found["parts"]:
        parts.add_row(part["name"], "present" if part["present"] else "missing", part["for"])
        if not part["present"]:
            parts.add_row("", "", f"→ {escape(part['command'])}", style="bold")
    return Group(about, "", parts)
