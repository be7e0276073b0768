"""Matrix products in batches (E27): all at once where no accumulator can overflow, else one matmul() for each pair.

Small matrices are the rule (attention: one pair for each head of each sample), so that a call for each pair would cost
more than its products. Where the worst case of the dtypes fits every level (A6), the order of the additions does not
matter: the products are float64 sums below 2^53, hence exact, by the batched product of the linear algebra library.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from accelsim_kernels import arguments, domain
from accelsim_kernels.arguments import Accumulator
from accelsim_kernels.mac_array import matmul
from accelsim_kernels.mac_route import no_events
from accelsim_kernels.requantization import requantize as apply_scheme

_EXACT_FLOAT32, _EXACT_FLOAT64 = 1 << 24, 1 << 53
_AT_ONCE = 1 << 22  # elements of the result that are computed at once


def batch_matmul(
    a: Any,
    b: Any,
    *,
    a_zero_point: int = 0,
    b_zero_point: Any = 0,
    return_events: bool = False,
    requantize: Any = None,
    **keywords: Any,
) -> Any:
    """a (…, M, K) times b (…, K, N), the leading dimensions broadcast: matmul() of each pair.

    keywords and results: those of matmul().
    """
    a, b = domain.codes("a", a), domain.codes("b", b)
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(f"batch_matmul takes (…, M, K) and (…, K, N), got {a.shape} and {b.shape}")
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if 0 in lead:
        raise ValueError(f"batch_matmul has no matrices to multiply: {a.shape} and {b.shape}")
    how = _accumulator(keywords)
    if how is not None and np.ndim(b_zero_point) == 0 and a.shape[-1] == b.shape[-2] > 0:
        bound = _bound(a, b, int(a_zero_point), int(b_zero_point), how)
        if bound < _EXACT_FLOAT64 and all(bound <= level.maximum for level in how.levels):
            sums = _products(a, b, int(a_zero_point), int(b_zero_point), lead, bound, how.result_dtype)
            values = sums if requantize is None else apply_scheme(sums, **arguments.requantization(requantize))
            return (values, no_events(values.shape)) if return_events else values
    a, b = np.broadcast_to(a, (*lead, *a.shape[-2:])), np.broadcast_to(b, (*lead, *b.shape[-2:]))
    keywords |= {"a_zero_point": a_zero_point, "b_zero_point": b_zero_point, "requantize": requantize}
    parts = [
        matmul(np.ascontiguousarray(a[i]), np.ascontiguousarray(b[i]), return_events=return_events, **keywords)
        for i in np.ndindex(*lead)
    ]
    if not return_events:
        return _stacked(parts, lead)
    return tuple(_stacked(found, lead) for found in zip(*parts, strict=True))


def _stacked(parts: Any, lead: tuple[int, ...]) -> np.ndarray:
    return np.stack(parts).reshape(*lead, *parts[0].shape)


def _accumulator(keywords: dict[str, Any]) -> Accumulator | None:
    """The accumulator of matmul()'s keywords, checked; None where there is a bias."""
    defaults = {"accumulator_bits": 32, "overflow": "wrap", "order": "serial", "bias_at": "preload"}
    given = {**defaults, "zero_point_at": "operand", "levels": None, **keywords}
    if given.pop("bias", None) is not None:
        return None
    return arguments.accumulator(**given)


def _bound(a: np.ndarray, b: np.ndarray, za: int, zb: int, how: Accumulator) -> int:
    """What no running sum can exceed in size, whatever the codes and the order."""
    ends = [(int(np.iinfo(x.dtype).min), int(np.iinfo(x.dtype).max)) for x in (a, b)]
    raw = [max(-low, high) for low, high in ends]
    centred = [max(high - z, z - low) for (low, high), z in zip(ends, (za, zb), strict=True)]
    depth = a.shape[-1]
    if how.zero_point_at == "operand":
        return depth * centred[0] * centred[1]
    return depth * (raw[0] * raw[1] + abs(za) * raw[1] + abs(zb) * raw[0] + abs(za * zb))


def _products(
    a: np.ndarray, b: np.ndarray, za: int, zb: int, lead: tuple[int, ...], bound: int, dtype: np.dtype
) -> np.ndarray:
    real = np.float32 if bound < _EXACT_FLOAT32 else np.float64
    left, right = a.astype(real) - real(za), b.astype(real) - real(zb)
    result = np.empty((*lead, a.shape[-2], b.shape[-1]), dtype)
    rows = max(_AT_ONCE // max(result[:1].size, 1), 1) if lead else 1
    for start in range(0, lead[0] if lead else 1, rows):
        part = (slice(start, start + rows),) if lead else ()
        result[part] = _cut(left, part, len(lead)) @ _cut(right, part, len(lead))
    return result


def _cut(x: np.ndarray, part: tuple[slice, ...], rank: int) -> np.ndarray:
    """x[part] along the first of `rank` leading dimensions; operands that have it once, or not, stay whole."""
    return x[part] if part and x.ndim == rank + 2 and x.shape[0] > 1 else x
