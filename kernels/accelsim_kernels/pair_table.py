"""Operators on two arrays of 8-bit codes by a table of every pair: exact whatever the arithmetic, made once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from accelsim_kernels._jit import address, kernel
from accelsim_kernels._threads import run

#: fewer elements than this are computed directly: a table has 65536 entries
LEAST = 4096
_KEPT = 64  # tables of at most 128 KiB

Operator = Callable[..., np.ndarray]


def by_table(operator: Operator, a: np.ndarray, b: np.ndarray, keywords: dict[str, Any]) -> np.ndarray | None:
    """operator(a, b, **keywords) by look-up; None where a table does not serve.

    It does for 8-bit a and b of one shape, keywords of numbers and words, results of at most 16 bits, and where the
    operator is defined for every pair of codes.
    """
    if a.shape != b.shape or a.size < LEAST or max(a.itemsize, b.itemsize) > 1:
        return None
    try:
        table = _table(operator, a.dtype, b.dtype, _named(keywords))
    except TypeError:  # parameters per channel, which cannot be a key
        return None
    if table is None:
        return None
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    out = np.empty(a.shape, table.dtype)
    given = np.array([address(a), address(b), address(table), address(out), a.size], np.int64)
    run(kernel("pair_table_loop", "look_up", table.dtype.name), lambda workers: (given, [a, b, out]), a.size)
    return out


def _named(keywords: dict[str, Any]) -> tuple:
    return tuple((name, _named(value) if isinstance(value, dict) else value) for name, value in keywords.items())


def _keywords(named: tuple) -> dict[str, Any]:
    return {name: _keywords(value) if isinstance(value, tuple) else value for name, value in named}


@functools.lru_cache(_KEPT)
def _table(operator: Operator, a_dtype: np.dtype, b_dtype: np.dtype, named: tuple) -> np.ndarray | None:
    """The result for each pair of bytes, at 256 * a + b as unsigned numbers."""
    codes = np.arange(256, dtype=np.uint8)
    try:
        table = operator(np.repeat(codes, 256).view(a_dtype), np.tile(codes, 256).view(b_dtype), **_keywords(named))
    except ValueError:  # not defined for some pair; the arrays at hand may hold none such
        return None
    return table if table.itemsize <= 2 else None
