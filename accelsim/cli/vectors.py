"""accelsim vectors: golden vectors of a requantizer, and the score of vectors that you bring."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from accelsim.cli import _options as options

EXAMPLE = "accelsim vectors tflite-double --scale 0.0055 --zero-point 3 --out vectors"
PANEL = "Verify arithmetic"


def vectors(
    scheme: Annotated[str | None, typer.Argument(help="A scheme's name, with options: shift:half_even.")] = None,
    scale: Annotated[float | None, typer.Option(help="A real scale, decomposed by the scheme's own rule.")] = None,
    multiplier: Annotated[int | None, typer.Option(help="The integer multiplier.")] = None,
    shift: Annotated[int | None, typer.Option(help="TFLite's: positive is left.")] = None,
    zero_point: Annotated[int, typer.Option(help="Added after rounding.")] = 0,
    qmin: Annotated[int, typer.Option(help="Lowest output code.")] = -128,
    qmax: Annotated[int, typer.Option(help="Highest output code.")] = 127,
    layer: Annotated[
        str | None,
        typer.Option(help="Instead: GRAPH:LAYER of a saved graph: every channel's requantizer, and the layer."),
    ] = None,
    spec: options.Spec = "edge-16x16",
    count: Annotated[int, typer.Option(help="About how many vectors.")] = 10000,
    seed: Annotated[int, typer.Option(help="Of the random part.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write .npz, .mem, .h and .json into this folder.")] = None,
    score: Annotated[Path | None, typer.Option(help="Score this .npz or .csv (accumulator, code) instead.")] = None,
    as_json: options.Json = False,
) -> None:
    """Write golden vectors with coverage and mutation score, or score yours; exit with 1 where codes are wrong."""
    from accelsim.cli._output import say, show
    from accelsim.errors import AccelsimError
    from accelsim.graph import load
    from accelsim.proof.golden import golden_vectors
    from accelsim.proof.layer_vectors import layer_vectors, write_layer_vectors
    from accelsim.proof.layers import channel_requantizers, named_requantizer
    from accelsim.proof.mutants import mutation_score
    from accelsim.proof.vector_files import read_vectors, write_vectors

    given = None
    if layer is not None:
        given = channel_requantizers(layer)
    elif scheme is not None:
        limits = {"zero_point": zero_point, "qmin": qmin, "qmax": qmax}
        given = (named_requantizer(scheme, scale=scale, multiplier=multiplier, shift=shift, **limits),)
    if score is not None:
        made = read_vectors(score, given)
        found = mutation_score(made)
    elif given is None:
        raise AccelsimError("name a scheme, or give --layer GRAPH:LAYER, or --score FILE")
    else:
        made = golden_vectors(given, count=count, seed=seed)
        found = mutation_score(made) if out is None else write_vectors(made, out)
        if out is not None:
            say(f"wrote {len(made)} vectors to {out}")
        if out is not None and layer is not None:
            path, _, name = layer.rpartition(":")
            write_layer_vectors(layer_vectors(load(path), name, spec, seed=seed), out)
            say(f"wrote inputs, accumulators and codes of layer {name} to {out}")
    coverage = made.coverage()
    table = "\n".join(f"  {n:8} {name}" for name, n in coverage.items())
    show(
        f"{found}\ncoverage of {len(made)} vectors:\n{table}",
        as_json,
        lambda: {"vectors": len(made), "score": found.score, "killed": found.killed, "survived": found.survived,
                 "equivalent": list(found.equivalent), "wrong": found.wrong, "coverage": coverage},
    )  # fmt: skip
    raise typer.Exit(1 if found.wrong else 0)
