"""Tables of what comes along: accelerators and numeric profiles."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table

from accelsim.hardware import AcceleratorSpec
from accelsim.profiles import NumericProfile
from accelsim.report.text import open_table
from accelsim.report.units import memory_size, si


def presets_table(specs: list[AcceleratorSpec]) -> Table:
    table = open_table("name")
    table.add_column("accelerator")
    for spec in specs:
        array = f"{spec.array.rows}×{spec.array.cols} {spec.array.dataflow.replace('_', ' ')}, {spec.array.pe}"
        memories = [f"{m.name} {memory_size(m.size_bytes)}" if m.size_bytes else m.name for m in spec.memories]
        table.add_row(spec.name, f"{array}, {si(spec.clock_hz, 'Hz')}; {', '.join(memories)}")
        table.add_row("", spec.description, style="dim")
    return table


def profiles_table(profiles: list[NumericProfile]) -> Table:
    table = open_table("name")
    table.add_column("rounding of")
    for profile in profiles:
        used = [profile.operators.get(operator) for operator in ("conv2d", "linear")]
        schemes = [numerics.scheme for numerics in used if numerics and numerics.scheme]
        table.add_row(profile.name, f"{profile.runtime}, {profile.version}")
        detail = f"convolution {schemes[0]}, linear {schemes[-1]}; " if schemes else ""
        table.add_row("", f"{detail}operands of {', '.join(map(str, profile.bits))} bits", style="dim")
    return table


def profile_detail(profile: NumericProfile) -> Group:
    table = open_table("operator", "scheme", "product of scales", "arithmetic", "options")
    for operator, n in profile.operators.items():
        choices = ", ".join(f"{key}={value}" for key, value in n.options.items())
        table.add_row(operator, n.scheme or "", n.product if n.scheme else "", n.arithmetic or "", choices)
    widths = ", ".join(map(str, profile.bits))
    head = f"{profile.name}: {profile.runtime}, {profile.version}; operands of {widths} bits"
    notes = [profile.notes] if profile.notes else []
    return Group(head, f"source: {profile.source}", *notes, "", table)


def profile_fields(profile: NumericProfile) -> dict[str, Any]:
    """The profile as plain JSON values."""
    fields = ("name", "runtime", "version", "source", "power_of_two", "notes")
    operators = {
        operator: {
            "scheme": n.scheme,
            "product": n.product,
            "arithmetic": n.arithmetic,
            "options": dict(n.options),
        }
        for operator, n in profile.operators.items()
    }
    return {
        **{key: getattr(profile, key) for key in fields},
        "bits": list(profile.bits),
        "operators": operators,
    }
