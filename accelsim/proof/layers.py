"""Requantizers as the command line names them: by scheme and numbers, or as a layer of a saved graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.graph import load
from accelsim.proof.sides import make_side
from accelsim.requant import Requantizer


def named_requantizer(
    scheme: str, *, scale: Any, multiplier: int | None, shift: int | None, zero_point: int, qmin: int, qmax: int
) -> Requantizer:
    """As prove() reads its arguments: a scale decomposed by the scheme's rule, or multiplier and shift."""
    side = make_side(
        scheme, scale=scale, multiplier=multiplier, shift=shift, params=None, zero_point=zero_point, qmin=qmin,
        qmax=qmax,
    )  # fmt: skip
    fields = side.describe()
    limits = {k: fields.pop(k) for k in ("zero_point", "qmin", "qmax")}
    params = {k: v for k, v in fields.items() if k not in ("kind", "scheme", "definition")}
    return Requantizer(fields["scheme"], params, **limits)


def channel_requantizers(place: str) -> tuple[Requantizer, ...]:
    """GRAPH:LAYER -> one per-tensor requantizer per output channel of that layer of a saved graph."""
    path, colon, name = place.rpartition(":")
    if not colon:
        raise AccelsimError(f"{place!r}: write GRAPH:LAYER, a saved graph's path and the layer's name")
    requantizer = getattr(load(path).op(name), "requantizer", None)
    if requantizer is None:
        raise AccelsimError(f"layer {name!r} of {path} has no requantizer")
    return per_channel(requantizer)


def per_channel(requantizer: Requantizer) -> tuple[Requantizer, ...]:
    """One per-tensor requantizer per output channel; itself alone where its parameters are scalars."""
    count = requantizer.channels
    if count is None:
        return (requantizer,)

    def at(value: Any, c: int) -> Any:
        array = np.asarray(value)
        if isinstance(value, str) or array.ndim == 0 or len(array) != count:
            return value
        return array[c].item() if array.ndim == 1 else array[c]

    return tuple(
        Requantizer(
            requantizer.scheme,
            {k: at(v, c) for k, v in requantizer.params.items()},
            *(at(getattr(requantizer, k), c) for k in ("zero_point", "qmin", "qmax")),
        )
        for c in range(count)
    )
