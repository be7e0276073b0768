"""Operators on two arrays of 8-bit codes by a table of every pair: exact whatever the arithmetic, made once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

#: fewer elements than this are computed directly: a table has 65536 entries
LEAST = 4096
_KEPT = 64  # tables of at most 128 KiB

Operator = Callable[..., np.ndarray]


def table_of(operator: Operator, a_dtype: np.dtype, b_dtype: np.dtype, keywords: dict[str, Any]) -> np.ndarray | None:
    """operator's result for each pair of bytes, at 256 * a + b as unsigned numbers; None where a table does not serve.

    It does for keywords of numbers and words, results of at most 16 bits, and where the operator is defined for every
    pair of codes.
    """
    try:
        return _table(operator, a_dtype, b_dtype, _named(keywords))
    except TypeError:  # parameters per channel, which cannot be a key
        return None


def _named(keywords: dict[str, Any]) -> tuple:
    return tuple((name, _named(value) if isinstance(value, dict) else value) for name, value in keywords.items())


def _keywords(named: tuple) -> dict[str, Any]:
    return {name: _keywords(value) if isinstance(value, tuple) else value for name, value in named}


@functools.lru_cache(_KEPT)
def _table(operator: Operator, a_dtype: np.dtype, b_dtype: np.dtype, named: tuple) -> np.ndarray | None:
    codes = np.arange(256, dtype=np.uint8)
    try:
        table = operator(np.repeat(codes, 256).view(a_dtype), np.tile(codes, 256).view(b_dtype), **_keywords(named))
    except ValueError:  # not defined for some pair; the arrays at hand may hold none such
        return None
    return table if table.itemsize <= 2 else None
