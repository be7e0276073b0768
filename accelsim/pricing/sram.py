"""SRAM energy, leakage and area by size, word width, node and cell: CACTI runs, interpolated.

In logarithms: a low-order surface plus a Gaussian-process residual through the runs (kriging). Kernel lengths
were chosen by leave-one-out error over the 49 runs, whose largest values are below (tests check them).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np

from accelsim.errors import AccelsimError

#: largest leave-one-out error of each quantity over all runs, the ends of the table included
LEAVE_ONE_OUT = {"read_pj": 0.25, "write_pj": 0.21, "leakage_mw": 0.10, "area_mm2": 0.21}
#: the table's ends: beyond them `sram` continues by the rules in its docstring
SMALLEST_BYTES, LARGEST_BYTES, NARROWEST_BITS, WIDEST_BITS = 512, 2**20, 8, 128
#: kernel: (gaussian?, lengths in octaves of size, word, node and in cell, nugget)
_KERNELS = {
    "read_pj": (True, (5, 6, 2, 1), 3e-4),
    "write_pj": (False, (2.5, 1.5, 2, 2), 1e-4),
    "leakage_mw": (True, (2.5, 6, 1, 2), 1e-4),
    "area_mm2": (True, (4, 2, 2, 2), 1e-4),
}


@dataclass(frozen=True)
class Sram:
    """One instance: energy of a word access, leakage of the whole, area."""

    read_pj: float
    write_pj: float
    leakage_mw: float
    area_mm2: float


def _features(points: np.ndarray) -> np.ndarray:
    size, word, node, hp = points.T
    size, word = size - 14, word - 6
    return np.stack([np.ones_like(size), size, word, node, hp, size * word, word**2, size**2], axis=1)


def _kernel(quantity: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    gaussian, lengths, _ = _KERNELS[quantity]
    squared = (((a[:, None, :] - b[None]) / np.array(lengths)) ** 2).sum(axis=-1)
    return np.exp(-squared / 2) if gaussian else np.exp(-np.sqrt(squared))


@lru_cache(maxsize=1)
def runs() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(points: log2 bytes, log2 bits, log2 node/45 nm, 1 for hp cells; quantities) of the CACTI runs."""
    file = resources.files("accelsim") / "data" / "technology" / "sram_cacti.csv"
    lines = (line for line in file.read_text("utf-8").splitlines() if not line.startswith("#"))
    rows = list(csv.DictReader(lines))
    points = np.array(
        [
            [
                np.log2(float(r["size_bytes"])),
                np.log2(float(r["word_bits"])),
                np.log2(float(r["node_um"]) / 0.045),
                r["cell"] == "itrs-hp",
            ]
            for r in rows
        ],
        dtype=float,
    )
    return points, {q: np.array([float(r[q]) for r in rows]) for q in _KERNELS}


def _weights(quantity: str, points: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(surface, residual weights, inverse projected covariance) of the fit through the runs."""
    logs, shape = np.log(values), _features(points)
    inverse = np.linalg.inv(_kernel(quantity, points, points) + _KERNELS[quantity][2] * np.eye(len(points)))
    projected = inverse @ shape
    surface = np.linalg.solve(shape.T @ projected, projected.T @ logs)
    precision = inverse - projected @ np.linalg.solve(shape.T @ projected, projected.T)
    return surface, inverse @ (logs - shape @ surface), precision


@lru_cache(maxsize=8)
def _fitted(quantity: str) -> tuple[np.ndarray, np.ndarray]:
    points, values = runs()
    return _weights(quantity, points, values[quantity])[:2]


def leave_one_out(quantity: str) -> np.ndarray:
    """Relative error of each run predicted from all the others."""
    points, values = runs()
    precision = _weights(quantity, points, values[quantity])[2]
    return np.expm1(np.abs(precision @ np.log(values[quantity])) / np.diag(precision))


def _inside(quantity: str, size_bytes: float, word_bits: float, node_nm: float, cell: str) -> float:
    point = np.array([[np.log2(size_bytes), np.log2(word_bits), np.log2(node_nm / 45), cell == "itrs-hp"]], float)
    surface, weights = _fitted(quantity)
    value = _features(point) @ surface + _kernel(quantity, point, runs()[0]) @ weights
    return float(np.exp(value[0]))


@lru_cache(maxsize=65536)
def sram(size_bytes: int, word_bits: int, banks: int = 1, node_nm: float = 45, cell: str = "itrs-lstp") -> Sram:
    """An SRAM of so many bytes in banks of equal size; nodes 32 to 65 nm.

    Outside the table (512 B to 1 MiB, 8 to 128 bits): a wider word is several arrays side by side, a narrower
    one costs as 8 bits; access energy continues as size^0.5 above and size^0.3 below, leakage and area in
    proportion.
    """
    if cell not in ("itrs-lstp", "itrs-hp"):
        raise AccelsimError(f"unknown SRAM cell {cell!r}; known: itrs-lstp, itrs-hp")
    if not 32 <= node_nm <= 65:
        raise AccelsimError(f"SRAM tables span 32 to 65 nm, not {node_nm} nm; scale a technology from a base")
    slices = -(-word_bits // WIDEST_BITS)
    width = max(NARROWEST_BITS, word_bits / slices)
    size = size_bytes / banks / slices
    known = min(max(size, SMALLEST_BYTES), LARGEST_BYTES)
    beyond = size / known
    access = beyond**0.5 if beyond > 1 else beyond**0.3
    values = {q: _inside(q, known, width, node_nm, cell) for q in _KERNELS}
    return Sram(
        values["read_pj"] * slices * access,
        values["write_pj"] * slices * access,
        values["leakage_mw"] * slices * banks * beyond,
        values["area_mm2"] * slices * banks * beyond,
    )
