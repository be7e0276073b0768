"""accelsim certify: can any accumulator overflow?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from accelsim.cli import _options as options

EXAMPLE = "accelsim certify graph.safetensors --spec edge-16x16"
PANEL = "Verify arithmetic"


def certify(
    graph: Annotated[Path, typer.Argument(help="A saved graph.")],
    spec: options.Spec = "edge-16x16",
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Bound every accumulator over all inputs, from weights and grids alone; exit with 1 where one can overflow."""
    import accelsim as acs
    from accelsim.cli._models import read_arrays
    from accelsim.cli._output import show

    inputs = None if data is None else read_arrays(data)["inputs"]
    found = acs.certify(acs.load(graph), spec, data=inputs)
    show(str(found), as_json, found.to_dict)
    raise typer.Exit(0 if found else 1)
