"""The search over tilings: which tiles and loop order a layer should run with on a spec, by modeled cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from accelsim.dataflow.problem import problems_of
from accelsim.dataflow.tiles import ORDERS, Tiles, whole
from accelsim.errors import AccelsimError
from accelsim.hardware import AcceleratorSpec
from accelsim.pricing import CostReport, price
from accelsim.pricing.choose import best_tiles, sized_spec
from accelsim.shapes import LoopNest, Nest

Layers = Sequence[tuple[str, str, Nest]]
#: tile shapes tried per layer; a layer with up to ten times as many tilings is searched exhaustively
SEARCH_BUDGET = 6000


def search(
    layers: Layers,
    spec: AcceleratorSpec | str | Path,
    *,
    objective: str = "energy",
    budget: int = SEARCH_BUDGET,
) -> CostReport:
    """The report of the best tiling found for every MAC layer.

    objective: "energy", "latency" or "edp" (their product). budget: tile shapes tried per layer; layers with
    up to ten times as many tilings are searched exhaustively, so the result is the optimum there. Each
    layer's choice is in `LayerCost.tiling`. Raises AccelsimError that names a layer that does not fit on
    chip.
    """
    spec = sized_spec(layers, spec)
    return price(layers, spec, tiles=best_tiles(layers, spec, objective, budget) if _macs(layers) else None)


def price_tiled(
    layers: Layers, spec: AcceleratorSpec | str | Path, tilings: Mapping[str, Mapping[str, int | str]]
) -> CostReport:
    """The report at tilings given by the user: {layer name: {"tb": …, "ty": …, "tx": …, "tc": …, "tn": …,
    "order": "mnk"}}; what is left out is not split.

    tb: images; ty, tx: output rows and columns; tc, tn: input channels and filters of a group; order: loops
    over pixels (m), filters (n) and channels (k), outermost first. Raises AccelsimError that names the layer
    for unknown layers or fields, sizes out of range and tiles that do not fit the buffers.
    """
    return price(layers, spec, tiles=given_tiles(layers, tilings))


def given_tiles(
    layers: Layers, tilings: Mapping[str, Mapping[str, int | str]], others: Tiles | None = None
) -> Tiles | None:
    """One row of tiles per MAC layer: the user's, and for layers that are not named those of `others` (None: not
    split). Raises as `price_tiled`.
    """
    macs = _macs(layers)
    unknown = set(tilings) - {name for name, _ in macs}
    if unknown:
        raise AccelsimError(f"tilings name layers that do not multiply: {sorted(unknown)}")
    if not macs:
        return None
    tiles = whole(problems_of([nest for _, nest in macs]))
    fields = ("tb", "ty", "tx", "tc", "tn", "order")
    kept = np.array([name not in tilings for name, _ in macs])
    columns = {
        field: getattr(tiles, field).copy()
        if others is None
        else np.where(kept, getattr(others, field), getattr(tiles, field))
        for field in fields
    }
    for row, (name, _) in enumerate(macs):
        for field, value in tilings.get(name, {}).items():
            if field == "order" and value in ORDERS:
                value = ORDERS.index(str(value))
            elif field not in columns or field == "order" or not 1 <= int(value) <= columns[field][row]:
                raise AccelsimError(
                    f"layer {name!r}: tiling {field}={value!r} is unknown or out of range; sizes: "
                    f"{ {f: int(c[row]) for f, c in columns.items() if f != 'order'} }, orders: {ORDERS}"
                )
            columns[field][row] = value
    return Tiles(**{field: np.asarray(column) for field, column in columns.items()})


def _macs(layers: Layers) -> list[tuple[str, LoopNest]]:
    return [(name, nest) for name, _, nest in layers if isinstance(nest, LoopNest)]
