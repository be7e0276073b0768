"""Runs of a generated bench under Icarus and Verilator: SystemVerilog, with the C model through DPI, cocotb."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from accelsim.errors import AccelsimError
from accelsim.proof.testbench import STAGES

SIMULATORS = ("icarus", "verilator")
#: the SystemVerilog bench; the same with the C model beside the design through DPI; the cocotb test
BENCHES = ("systemverilog", "dpi", "cocotb")


@dataclass(frozen=True)
class BenchResult:
    """What a simulation said. mismatches: stage -> how many outputs; first: the first line that complains.

    With the C model (bench "dpi") there is one stage more, "model": outputs whose code is not the model's.
    """

    simulator: str
    passed: bool
    outputs: int
    mismatches: dict[str, int]
    first: str
    log: str

    def __bool__(self) -> bool:
        return self.passed


def run_bench(folder: Path | str, simulator: str = "icarus", *, bench: str = "systemverilog") -> BenchResult:
    """Simulate design.sv against the vectors of a folder that write_bench() made, with one of BENCHES.

    The files may have been changed since: this is how a design of one's own is tested. AccelsimError where the
    simulator, the bench or cocotb is unknown or missing, or the design does not compile; and for bench "dpi" under
    Icarus, which has no DPI.
    """
    folder = Path(folder)
    for kind, value, known in (("simulator", simulator, SIMULATORS), ("bench", bench, BENCHES)):
        if value not in known:
            raise AccelsimError(f"unknown {kind} {value!r}; known: {', '.join(known)}")
    program = "iverilog" if simulator == "icarus" else "verilator"
    if shutil.which(program) is None:
        raise AccelsimError(f"{simulator} is not installed: no program {program}")
    extra = {"systemverilog": "bench.sv", "dpi": "model.c", "cocotb": "run_cocotb.py"}[bench]
    for name in ("design.sv", "bench.sv", "manifest.json", extra):
        if not (folder / name).is_file():
            raise AccelsimError(f"{folder} holds no {name}: write it with `accelsim rtl write`")
    if bench == "cocotb":
        return _result(simulator, _cocotb(folder, simulator))
    if bench == "dpi" and simulator == "icarus":
        raise AccelsimError("Icarus Verilog has no DPI: compare with the C model under verilator")
    if simulator == "icarus":
        _run([program, "-g2012", "-o", "bench.vvp", "bench.sv", "design.sv"], folder, "the design does not compile")
        log = _run(["vvp", "-n", "bench.vvp"], folder, "the simulation failed")
    else:
        made = "obj_dpi" if bench == "dpi" else "obj"
        command = [program, "--binary", "--timing", "-Wno-fatal", "-O3", "--Mdir", made, "-CFLAGS", "-O1",
                   "--top-module", "bench", "-o", "bench", "bench.sv", "design.sv"]  # fmt: skip
        command += ["+define+ACCELSIM_DPI", "model.c"] if bench == "dpi" else []
        _run(command, folder, "the design does not compile")
        log = _run([str((folder / made / "bench").resolve())], folder, "the simulation failed")
    return _result(simulator, log, with_model=bench == "dpi")


def _cocotb(folder: Path, simulator: str) -> str:
    if importlib.util.find_spec("cocotb_tools") is None:
        raise AccelsimError("cocotb 2.0 or later is not installed: pip install 'accelsim[rtl]'")
    # the runner exits with 1 for a failed test, too: the RESULT line tells a difference from a broken run
    log = _run([sys.executable, "run_cocotb.py", simulator], folder, "the cocotb run failed", good=(0, 1))
    if "is not a member of ‘VerilatedVpi’" in log or "in 'VerilatedVpi'" in log:  # g++, clang++
        raise AccelsimError("this Verilator is older than the installed cocotb asks for: update it, or use icarus")
    return log


def _result(simulator: str, log: str, *, with_model: bool = False) -> BenchResult:
    numbers = re.search(r"^RESULT outputs (\d+) " + " ".join(rf"{s} (\d+)" for s in STAGES), log, re.MULTILINE)
    model = re.search(r"^MODEL (\d+)", log, re.MULTILINE)
    if numbers is None or (with_model and model is None):
        raise AccelsimError(f"{simulator} printed no result:\n{log.strip()[-4000:]}")
    outputs, *bad = (int(n) for n in numbers.groups())
    mismatches = dict(zip(STAGES, bad, strict=True))
    if model is not None:
        mismatches["model"] = int(model.group(1))
    found = re.search(r"^FIRST output (\d+) stage (\d+)", log, re.MULTILINE)
    first = "" if found is None else f"output {found.group(1)}, stage {STAGES[int(found.group(2))]}"
    return BenchResult(simulator, not any(mismatches.values()), outputs, mismatches, first, log)


def _run(command: list[str], folder: Path, problem: str, *, good: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode not in good:
        raise AccelsimError(f"{problem}:\n{(done.stderr + done.stdout).strip()[:4000]}")
    return done.stdout if done.returncode == 0 else done.stdout + done.stderr
