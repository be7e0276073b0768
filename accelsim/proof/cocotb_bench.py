"""The cocotb test that stands beside the SystemVerilog bench: same vectors, same taps, same RESULT line."""

from __future__ import annotations

#: written as they are: widths and sizes come from the manifest, so one text serves every design
_TEST = '''\
"""cocotb test of accelsim_array: drives the golden vectors beside this file and compares every tap."""

import json
from pathlib import Path

import cocotb
from cocotb.triggers import Timer

HERE = Path(__file__).resolve().parent
MANIFEST = json.loads((HERE / "manifest.json").read_text())


def words(name):
    return [int(word, 16) for word in (HERE / f"{name}.mem").read_text().split()]


async def cycle(dut):
    await Timer(1, "ns")
    dut.clk.value = 1
    await Timer(1, "ns")
    dut.clk.value = 0


@cocotb.test()
async def every_tap_agrees(dut):
    m = MANIFEST
    steps, rows, cols = m["depth"] // m["lanes"], m["rows"], m["cols"]
    xs, ws, biases = words("x"), words("w"), words("bias")
    # stage -> (port, its bits a column, expected words)
    taps = {
        "accumulator": (dut.acc, m["acc_bits"], words("acc")),
        "overflow": (dut.overflow, 1, words("overflow")),
        "product": (dut.product, 64, words("product")),
        "rounded": (dut.rounded, 64, words("rounded")),
        "clamped": (dut.code, m["code_bits"], words("code")),
    }
    for _, _, expected in taps.values():
        assert len(expected) == m["outputs"] == m["tiles"] * rows * cols, "vectors and manifest disagree"
    bad = dict.fromkeys(taps, 0)
    for port in (dut.clk, dut.step, dut.flush, dut.row, dut.x, dut.w):
        port.value = 0
    for tile in range(m["tiles"]):
        dut.bias.value, dut.load.value, dut.step.value = biases[tile], 1, 0
        await cycle(dut)
        dut.load.value, dut.step.value = 0, 1
        for k in range(tile * steps, (tile + 1) * steps):
            dut.x.value, dut.w.value = xs[k], ws[k]
            await cycle(dut)
        dut.step.value, dut.flush.value = 0, 1
        await cycle(dut)
        dut.flush.value = 0
        for row in range(rows):
            dut.row.value = row
            await Timer(1, "ns")
            first = (tile * rows + row) * cols
            for number, (stage, (port, bits, expected)) in enumerate(taps.items()):
                # compared as text, column 0 last: an X or Z in the design is then a difference, too
                seen = str(port.value)
                wanted = "".join(f"{v:0{bits}b}" for v in reversed(expected[first : first + cols]))
                if seen == wanted:
                    continue
                for column in range(cols):
                    end = (cols - column) * bits
                    if seen[end - bits : end] != wanted[end - bits : end]:
                        if not any(bad.values()):
                            print(f"FIRST output {first + column} stage {number}", flush=True)
                        bad[stage] += 1
    counts = " ".join(f"{stage} {n}" for stage, n in bad.items())
    print(f"RESULT outputs {m['outputs']} {counts}", flush=True)
    assert not any(bad.values()), counts
'''

_RUNNER = '''\
"""Build design.sv and run cocotb_test.py on it: python run_cocotb.py [icarus|verilator] (needs cocotb >= 2.0)."""

import sys
from pathlib import Path

from cocotb_tools.runner import get_results, get_runner

HERE = Path(__file__).resolve().parent


def main():
    simulator = sys.argv[1] if len(sys.argv) > 1 else "icarus"
    flags = ["-g2012"] if simulator == "icarus" else ["-Wno-fatal"] if simulator == "verilator" else []
    runner = get_runner(simulator)
    build = HERE / f"cocotb_{simulator}"
    runner.build(sources=[HERE / "design.sv"], hdl_toplevel="accelsim_array", build_dir=build, build_args=flags,
                 timescale=("1ns", "1ps"), always=True)
    found = runner.test(hdl_toplevel="accelsim_array", test_module="cocotb_test", build_dir=build, test_dir=HERE,
                        results_xml=str(build / "results.xml"), timescale=("1ns", "1ps"))
    tests, failures = get_results(found)
    return 0 if tests and not failures else 1


if __name__ == "__main__":
    sys.exit(main())
'''


def cocotb_files() -> dict[str, str]:
    """Name -> text of the test and of its runner; they read the manifest and the vectors of their own folder."""
    return {"cocotb_test.py": _TEST, "run_cocotb.py": _RUNNER}
