"""Both published scaling tables side by side: a range, where one number would hide that they disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelsim.errors import AccelsimError
from accelsim.hardware import AcceleratorSpec, load_spec, load_technology, rescaled
from accelsim.pricing.choose import Layers
from accelsim.pricing.costs import CostReport
from accelsim.pricing.network import price


def price_both_scalings(layers: Layers, spec: AcceleratorSpec | str | Path, **options: Any) -> dict[str, CostReport]:
    """{"stillmaker": report, "tpuv4i": report} of a spec whose technology is scaled from another node.

    options: those of `price`. Tilings are chosen with each table's own energies. Constants that the
    technology gives itself stay. Raises AccelsimError where the technology has no base to scale from.
    """
    spec = load_spec(spec)
    if spec.technology.base is None:
        raise AccelsimError(f"technology {spec.technology.name!r} is not scaled: it has constants of its own node")
    base = load_technology(spec.technology.base)
    own = {
        name: constant
        for name, constant in spec.technology.constants.items()
        if name not in base.constants or not constant.source.startswith(base.constants[name].source)
    }
    bare = spec.technology.model_copy(update={"constants": own})
    return {
        table: price(layers, spec.model_copy(update={"technology": rescaled(bare, table)}), **options)
        for table in ("stillmaker", "tpuv4i")
    }
