"""accelsim diff: where two networks, or a network and tensors from elsewhere, first differ."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from accelsim.cli import _options as options

EXAMPLE = "accelsim diff graph.safetensors other.safetensors --data test.npz"
PANEL = "Verify arithmetic"


def diff(
    a: Annotated[Path, typer.Argument(help="A saved graph.")],
    b: Annotated[Path, typer.Argument(help="Another saved graph, or an .npz file of tensors by name.")],
    data: options.Data = None,
    samples: Annotated[int, typer.Option(help="How many inputs to run.")] = 64,
    spec: options.Spec = "edge-16x16",
    spec_b: Annotated[str | None, typer.Option(help="The accelerator of b. (default: that of a)")] = None,
    as_json: options.Json = False,
) -> None:
    """Name the first layer, element and arithmetic stage that differ, and guess why; exit with 1 on a difference."""
    import accelsim as acs
    from accelsim.cli._models import load_graph, read_arrays
    from accelsim.cli._output import show

    if data is None:
        raise acs.AccelsimError("--data is needed: an .npz file with the array inputs")
    inputs = read_arrays(data)["inputs"][:samples]
    ours = acs.simulate(load_graph(Path(a)), inputs, spec, keep="all")
    theirs: Any
    if b.suffix == ".npz":
        theirs = _tensors(b)
    else:
        theirs = acs.simulate(load_graph(Path(b)), inputs, spec_b or spec, keep="all")
    found = acs.diff(ours, theirs)
    show(str(found), as_json, lambda: asdict(found))
    raise typer.Exit(1 if found else 0)


def _tensors(path: Path) -> dict:
    """Every array of an .npz file."""
    import numpy as np

    from accelsim.errors import AccelsimError

    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise AccelsimError(f"{path} is not an .npz file of plain arrays ({error})") from error
