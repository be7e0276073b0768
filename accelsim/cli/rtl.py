"""accelsim rtl: SystemVerilog of an array with its requantizer, and its test against golden vectors."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from accelsim.cli import _options as options

EXAMPLE = "accelsim rtl test build --simulator icarus"
PANEL = "Verify arithmetic"


def rtl(
    action: Annotated[str, typer.Argument(help="write a design with its bench, or test one against its vectors.")],
    folder: Annotated[Path, typer.Argument(help="Where design.sv, bench.sv and the vectors are.")],
    scheme: Annotated[str, typer.Option(help="Of the requantizer (write).")] = "tflite-double",
    scale: Annotated[float, typer.Option(help="Its real scale (write).")] = 0.0055,
    zero_point: Annotated[int, typer.Option(help="Of the output (write).")] = 0,
    size: Annotated[str, typer.Option(help="Rows x columns of the array (write).")] = "4x4",
    bits: Annotated[int, typer.Option(help="Of operands and output, 2 to 16 (write).")] = 8,
    accumulator_bits: Annotated[int, typer.Option(help="8 to 48 (write).")] = 32,
    overflow: Annotated[str, typer.Option(help="wrap or saturate (write).")] = "wrap",
    lanes: Annotated[int, typer.Option(help="Products that an element adds at a time: its adder tree (write).")] = 1,
    outputs: Annotated[int, typer.Option(help="How many outputs to check (write).")] = 4096,
    spec: Annotated[str | None, typer.Option(help="Take size, widths, tree and accumulators from it (write).")] = None,
    simulator: Annotated[str, typer.Option(help="icarus or verilator (test).")] = "icarus",
    bench: Annotated[
        str, typer.Option(help="systemverilog, dpi (with the C model; verilator) or cocotb (test).")
    ] = "systemverilog",
    as_json: options.Json = False,
) -> None:
    """Write a design and a self-checking bench, or simulate one; exit with 1 where design and vectors differ."""
    from accelsim.cli._output import show
    from accelsim.errors import AccelsimError
    from accelsim.proof.simulation import run_bench
    from accelsim.proof.testbench import array_vectors, write_bench

    if action == "write":
        design = _design(scheme, scale, zero_point, size, bits, accumulator_bits, overflow, spec, lanes)
        if outputs < 1:
            raise AccelsimError(f"--outputs {outputs}: give at least one output to check")
        made = array_vectors(design, outputs=outputs)
        write_bench(design, made, folder)
        summary = {"folder": str(folder), "outputs": made.outputs, "overflowed": int(made.overflow.sum())}
        size = f"{design.rows}x{design.cols}"
        show(f"wrote a {size} array and {made.outputs} outputs to {folder}", as_json, lambda: summary)
    elif action == "test":
        found = run_bench(folder, simulator, bench=bench)
        bad = ", ".join(f"{stage} {n}" for stage, n in found.mismatches.items() if n)
        verdict = "agrees with" if found else f"differs from ({bad}; first: {found.first})"
        how = f"{found.outputs} outputs under {simulator} ({bench})"
        show(f"the design {verdict} {how}", as_json, lambda: asdict(found))
        raise typer.Exit(0 if found else 1)
    else:
        raise AccelsimError(f"unknown action {action!r}; known: write, test")


def _design(
    scheme: str, scale: float, zero_point: int, size: str, bits: int, accumulator_bits: int, overflow: str,
    spec: str | None, lanes: int,
):  # fmt: skip
    from accelsim.errors import AccelsimError
    from accelsim.proof.rtl import ArrayDesign, design_of
    from accelsim.requant import Requantizer

    def requantizer(code_bits: int) -> Requantizer:
        top = 2 ** (code_bits - 1)
        return Requantizer.from_scale(scheme, scale, zero_point=zero_point, qmin=-top, qmax=top - 1, **how)

    how = {"nearest": True} if scheme in ("shift", "ap-fixed") else {}
    if spec is not None:
        from accelsim.hardware import load_spec

        chosen = load_spec(spec)
        return design_of(chosen, requantizer(chosen.array.activation_bits))
    rows, x, cols = size.partition("x")
    if not (x and rows.isdecimal() and cols.isdecimal()):
        raise AccelsimError(f"--size {size!r}: write rows x columns, e.g. 4x4")
    if overflow not in ("wrap", "saturate"):
        raise AccelsimError(f"--overflow {overflow!r} is neither wrap nor saturate")
    return ArrayDesign(
        int(rows), int(cols), bits, bits, accumulator_bits, overflow == "saturate", requantizer(bits), lanes=lanes
    )
