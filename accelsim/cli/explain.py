"""accelsim explain: every step of one output element."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from accelsim.cli import _options as options

EXAMPLE = "accelsim explain graph.safetensors conv1 5,7,2 --data test.npz --sample 0"
PANEL = "Verify arithmetic"


def explain(
    graph: Annotated[Path, typer.Argument(help="A saved graph, or a .tflite or .onnx file.")],
    tensor: Annotated[str, typer.Argument(help="A tensor's name, or its layer's.")],
    index: Annotated[str, typer.Argument(help="Where in it, without the sample: row,column,channel.")],
    data: options.Data = None,
    sample: Annotated[int, typer.Option(help="Which of the inputs.")] = 0,
    spec: options.Spec = "edge-16x16",
    as_json: options.Json = False,
) -> None:
    """Show the products, partial sums, rounding and clamp of one output element."""
    import accelsim as acs
    from accelsim.cli._models import load_graph, read_arrays
    from accelsim.cli._output import show

    if data is None:
        raise acs.AccelsimError("--data is needed: an .npz file with the array inputs")
    inputs = read_arrays(data)["inputs"]
    if not 0 <= sample < len(inputs):
        raise acs.AccelsimError(f"--sample {sample}: {data} has samples 0 to {len(inputs) - 1}")
    try:
        place = tuple(int(part) for part in index.split(","))
    except ValueError:
        raise acs.AccelsimError(f"index {index!r}: give whole numbers with commas between, e.g. 5,7,2") from None
    run = acs.simulate(load_graph(graph), inputs[sample : sample + 1], spec, keep="all")
    found = acs.explain(run, tensor, (0, *place))
    show(str(found), as_json, lambda: asdict(found))
