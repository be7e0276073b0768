"""Gate-level switching of a MAC: synthesised with yosys, evaluated gate by gate over whole streams."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path

import numpy as np

YOSYS = shutil.which("yosys")
SUM_BITS = 32
_GATES = {
    "$_AND_": lambda a, b: a & b,
    "$_OR_": lambda a, b: a | b,
    "$_XOR_": lambda a, b: a ^ b,
    "$_NAND_": lambda a, b: ~(a & b),
    "$_NOR_": lambda a, b: ~(a | b),
    "$_XNOR_": lambda a, b: ~(a ^ b),
    "$_ANDNOT_": lambda a, b: a & ~b,
    "$_ORNOT_": lambda a, b: a | ~b,
}


@cache
def netlist(weight_bits: int, activation_bits: int, folder: Path) -> dict:
    """sum + a·w of signed operands in two-input gates."""
    source, target = (
        folder / f"mac{weight_bits}x{activation_bits}.v",
        folder / f"mac{weight_bits}x{activation_bits}.json",
    )
    source.write_text(
        f"module mac(input signed [{activation_bits - 1}:0] a, input signed [{weight_bits - 1}:0] w,\n"
        f"  input signed [{SUM_BITS - 1}:0] s, output signed [{SUM_BITS - 1}:0] y);\n"
        "  assign y = s + a * w;\nendmodule\n"
    )
    script = f"read_verilog {source}; synth -flatten -top mac; abc -g gates; opt_clean; write_json {target}"
    subprocess.run([str(YOSYS), "-q", "-p", script], check=True, timeout=120)
    return json.loads(target.read_text())["modules"]["mac"]


def toggles_of(module: dict, a: np.ndarray, w: np.ndarray, s: np.ndarray) -> tuple[float, np.ndarray]:
    """(toggles per cycle weighted by 1 + fan-out, the outputs) of streams of the same length; zero delay."""
    wires: dict = {"0": np.zeros(len(a), bool), "1": np.ones(len(a), bool)}
    for name, values in (("a", a), ("w", w), ("s", s)):
        for place, wire in enumerate(module["ports"][name]["bits"]):
            wires[wire] = (values.astype(np.int64) >> place & 1).astype(bool)
    fanout: dict = {}
    waiting = list(module["cells"].values())
    for cell in waiting:
        for port, (wire,) in cell["connections"].items():
            if port != "Y":
                fanout[wire] = fanout.get(wire, 0) + 1
    total = 0.0
    while waiting:
        left = []
        for cell in waiting:
            ends = {port: wire for port, (wire,) in cell["connections"].items()}
            out = ends.pop("Y")
            if not all(wire in wires for wire in ends.values()):
                left.append(cell)
                continue
            value = ~wires[ends["A"]] if cell["type"] == "$_NOT_" else None
            if value is None:
                value = _GATES[cell["type"]](wires[ends["A"]], wires[ends["B"]])
            wires[out] = value
            total += (1 + fanout.get(out, 0)) * np.count_nonzero(value[1:] != value[:-1])
        assert len(left) < len(waiting), "a loop of gates"
        waiting = left
    bits = [wires[wire].astype(np.int64) << place for place, wire in enumerate(module["ports"]["y"]["bits"])]
    return total / (len(a) - 1), sum(bits)


def streams(weight_bits: int, activation_bits: int, cycles: int, seed: int = 0) -> dict[str, tuple[np.ndarray, ...]]:
    """name → (a, w, s): operands and the sum that comes in. "os": s is the element's own running sum, restarted every
    64 products; "ws": w stands still for 64 cycles, and s are the sums that 16 rows above send down.
    """
    rng = np.random.default_rng(seed)

    def fit(values: np.ndarray, bits: int) -> np.ndarray:
        return np.clip(np.round(values), -(1 << bits - 1), (1 << bits - 1) - 1).astype(np.int64)

    def operand(kind: str, size: tuple[int, ...], bits: int) -> np.ndarray:
        top = 1 << bits - 1
        if kind == "uniform":
            return rng.integers(-top, top, size)
        drawn = fit(rng.laplace(0, top / 6, size), bits)
        if kind == "laplace":
            return drawn
        if kind == "relu":
            return np.minimum(np.abs(drawn), top - 1) * (rng.random(size) < 0.5)
        if kind == "sparse":
            return np.minimum(np.abs(drawn), top - 1) * (rng.random(size) < 0.2)
        return fit(np.cumsum(rng.normal(0, top / 12, size), axis=-1) % (2 * top) - top, bits)  # a walk: smooth inputs

    found = {}
    for kind in ("uniform", "laplace", "relu", "sparse", "walk"):
        a, w = operand(kind, (cycles,), activation_bits), operand("laplace", (cycles,), weight_bits)
        w = operand("uniform", (cycles,), weight_bits) if kind == "uniform" else w
        products = (a * w).reshape(-1, 64)
        found[f"os {kind}"] = a, w, (np.cumsum(products, axis=1) - products).reshape(-1)
        rows = operand(kind, (17, cycles), activation_bits)
        held = operand("laplace", (17, cycles // 64), weight_bits).repeat(64, axis=1)
        found[f"ws {kind}"] = rows[16], held[16], (rows[:16] * held[:16]).sum(axis=0)
    return found
