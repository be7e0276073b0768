"""Random MAC-array problems, and the one comparison of fast and reference that all tests of the room use."""

from __future__ import annotations

from typing import Any

import accelsim_kernels as fast
import numpy as np
from accelsim_kernels import reference
from hypothesis import strategies as st

DTYPES = ("int8", "uint8", "int16", "uint16")


def operand(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Values of a dtype: uniform with a good share of both ends and zero."""
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max + 1, shape)
    extreme = rng.choice([info.min, info.max, 0], shape)
    return np.where(rng.random(shape) < 0.3, extreme, values).astype(dtype)


def same(name: str, *args: Any, **keywords: Any) -> Any:
    """Call `name` of both backends; results, events, dtypes and errors must be equal. Returns the fast result."""
    outcomes = []
    for backend in (fast, reference):
        try:
            outcome = getattr(backend, name)(*args, **keywords)
        except OverflowError as error:
            outcome = str(error)
        outcomes.append(outcome if isinstance(outcome, tuple) else (outcome,))
    got, expected = outcomes
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        if isinstance(theirs, str):
            assert mine == theirs
        else:
            assert mine.dtype == theirs.dtype, (mine.dtype, theirs.dtype)
            np.testing.assert_array_equal(mine, theirs, err_msg=f"{name} {keywords}")
    return outcomes[0] if len(got) > 1 else got[0]


@st.composite
def accumulators(draw: st.DrawFn) -> dict[str, Any]:
    """Keywords of any accumulator."""
    chosen: dict[str, Any] = {
        "order": draw(st.sampled_from(["serial", "tree:2", "tree:3", "tree:8"])),
        "bias_at": draw(st.sampled_from(["preload", "after"])),
        "zero_point_at": draw(st.sampled_from(["operand", "folded"])),
        "return_events": draw(st.booleans()),
    }
    mode = st.sampled_from(["wrap", "saturate", "saturate", "raise"])
    if draw(st.booleans()):
        chosen |= {
            "accumulator_bits": draw(st.sampled_from([1, 8, 12, 15, 16, 17, 20, 24, 31, 32, 33, 48, 63, 64])),
            "overflow": draw(mode),
        }
    else:
        inner = draw(st.integers(1, 9))
        levels = [(draw(st.sampled_from([10, 16, 18, 20])), draw(mode), inner)]
        if draw(st.booleans()):
            levels.append((draw(st.sampled_from([16, 20, 24])), draw(mode), inner * draw(st.integers(1, 4))))
        levels.append((draw(st.sampled_from([16, 20, 32, 40])), draw(mode), None))
        chosen["levels"] = levels
    return chosen


def zero_points(draw: st.DrawFn, rng: np.random.Generator, dtype: str, channels: int | None) -> Any:
    """0, a corner, a scalar or, where `channels` is given, one value per channel."""
    info = np.iinfo(dtype)
    kind = draw(st.sampled_from(["zero", "low", "high", "any", "channels"]))
    if kind == "channels" and channels is not None:
        return rng.integers(info.min, info.max + 1, channels)
    return {"zero": 0, "low": info.min, "high": info.max}.get(kind, int(rng.integers(info.min, info.max + 1)))


def biases(draw: st.DrawFn, rng: np.random.Generator, channels: int) -> np.ndarray | None:
    """No bias, or one of a size at which narrow accumulators start near or beyond their limits."""
    bits = draw(st.sampled_from([0, 8, 15, 16, 20, 31, 40, 63]))
    top = min(1 << bits, (1 << 63) - 1)
    return None if bits == 0 else rng.integers(-(1 << bits), top, channels, endpoint=True)


@st.composite
def geometries(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], dict]:
    """Shapes of x and w with the keywords of conv2d that fit them; grouped, depthwise, dilated, lopsided padding."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    depthwise = draw(st.booleans())
    group_channels = 1 if depthwise else draw(st.integers(1, 5))
    groups = draw(st.integers(1, 20)) if depthwise else groups
    out_channels = groups * draw(st.integers(1, 3))
    filters = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    padding = tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(2))
    sizes = []
    for f, d, p in zip(filters, dilation, padding, strict=True):
        least = max(1, d * (f - 1) + 1 - sum(p))
        sizes.append(draw(st.integers(least, least + 5)))
    return (
        (draw(st.integers(0, 2)), *sizes, groups * group_channels),
        (out_channels, *filters, group_channels),
        {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups},
    )
