"""accelsim prove: are two requantizers equal?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from accelsim.cli import _options as options

EXAMPLE = "accelsim prove tflite-double tosa-single --multiplier 1518500250 --shift -7"
PANEL = "Verify arithmetic"


def prove(
    a: Annotated[
        str | None,
        typer.Argument(
            help="A scheme's name (with options: shift:half_even), or your own code: python:FILE:NAME, c:FILE:NAME, "
            "verilog:FILE:MODULE."
        ),
    ] = None,
    b: Annotated[str | None, typer.Argument(help="The other one.")] = None,
    scale: Annotated[float | None, typer.Option(help="A real scale, decomposed by each scheme's own rule.")] = None,
    multiplier: Annotated[int | None, typer.Option(help="The integer multiplier. (default: every one)")] = None,
    shift: Annotated[int | None, typer.Option(help="TFLite's: positive is left. (default: every one)")] = None,
    zero_point: Annotated[int, typer.Option(help="Added after rounding.")] = 0,
    qmin: Annotated[int, typer.Option(help="Lowest output code.")] = -128,
    qmax: Annotated[int, typer.Option(help="Highest output code.")] = 127,
    accumulators: Annotated[
        tuple[int, int] | None, typer.Option(help="Lowest and highest. (default: every 32-bit one that both allow)")
    ] = None,
    method: Annotated[str, typer.Option(help="auto, exhaustive, thresholds or smt.")] = "auto",
    certificate: Annotated[Path | None, typer.Option(help="Write the certificate, JSON, here.")] = None,
    recheck: Annotated[Path | None, typer.Option(help="Verify this certificate instead.")] = None,
    as_json: options.Json = False,
) -> None:
    """Compare two requantizers for every accumulator; exit with 1 where they differ."""
    import accelsim as acs
    from accelsim.cli._output import say, show
    from accelsim.proof.user_code import user_requantizer

    if recheck is not None:
        found = acs.recheck(recheck)
        verdict = "confirmed" if found else "not confirmed:\n  " + "\n  ".join(found.problems)
        verdict += "".join(f"\n  note: {note}" for note in found.notes)
        show(f"{recheck}: {verdict}", as_json, lambda: asdict(found))
        raise typer.Exit(0 if found else 1)
    if a is None or b is None:
        raise acs.AccelsimError("name two schemes, or give --recheck CERTIFICATE")
    sides = [user_requantizer(side, qmin=qmin, qmax=qmax) or side for side in (a, b)]
    proof = acs.prove(
        *sides, scale=scale, multiplier=multiplier, shift=shift, zero_point=zero_point, qmin=qmin, qmax=qmax,
        accumulator_range=accumulators, method=method,
    )  # fmt: skip
    if certificate is not None:
        proof.save(certificate)
        say(f"wrote {certificate}")
    show(str(proof), as_json, lambda: asdict(proof))
    raise typer.Exit(0 if proof else 1)
