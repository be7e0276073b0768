"""accelsim certify: can any accumulator overflow?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from accelsim.cli import _options as options

EXAMPLE = "accelsim certify graph.safetensors --spec edge-16x16"
PANEL = "Verify arithmetic"


def certify(
    graph: Annotated[Path, typer.Argument(help="A saved graph, or a .tflite or .onnx file.")],
    spec: options.Spec = "edge-16x16",
    data: options.Data = None,
    witness: Annotated[
        str | None, typer.Option(help="Write an input of this layer that reaches its highest accumulator.")
    ] = None,
    low: Annotated[bool, typer.Option("--low", help="The lowest one instead.")] = False,
    out: Annotated[Path, typer.Option(help="Where the witness goes, .npz: x, index, accumulator, reached.")] = Path(
        "witness.npz"
    ),
    as_json: options.Json = False,
) -> None:
    """Bound every accumulator over all inputs, from weights and grids alone; exit with 1 where one can overflow."""
    import io

    import numpy as np

    import accelsim as acs
    from accelsim.cli._models import load_graph, read_arrays
    from accelsim.cli._output import say, show
    from accelsim.files import write_atomically

    inputs = None if data is None else read_arrays(data)["inputs"]
    found = acs.certify(load_graph(graph), spec, data=inputs)
    if witness is not None:
        seen = found.witness(witness, end="low" if low else "high")
        buffer = io.BytesIO()
        np.savez(buffer, x=seen.x, index=seen.index, accumulator=seen.accumulator, reached=seen.reached)
        write_atomically(out, buffer.getvalue())
        say(f"wrote {out}: element {seen.index} of layer {witness} reaches {seen.reached}")
    show(str(found), as_json, found.to_dict)
    raise typer.Exit(0 if found else 1)
