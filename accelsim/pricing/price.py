"""price: loop nests × accelerator → CostReport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelsim.hardware import AcceleratorSpec
from accelsim.pricing.costs import CostReport
from accelsim.shapes import Nest


def price(layers: Sequence[tuple[str, str, Nest]], spec: AcceleratorSpec | str | Path, *,
          activity: Mapping[str, Any] | None = None) -> CostReport:
    """Cost of one inference of the batch in the nests.

    layers: (name, operator kind, nest) in the order of execution; nest None: neither computes nor moves.
    spec: a spec, a preset's name or a YAML path.
    """
    raise NotImplementedError
