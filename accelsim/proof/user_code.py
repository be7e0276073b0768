"""Requantizers of the user's own: a Python function, a C function, a Verilog module.

Nothing is known of them, so they are compared accumulator by accumulator.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError

_INT32 = (-(2**31), 2**31 - 1)


@dataclass(frozen=True)
class PythonRequantizer:
    """A function from an int64 array of accumulators to an array of output codes of the same shape.

    accumulators: the range it is defined for.
    """

    function: Callable[[np.ndarray], Any]
    accumulators: tuple[int, int] = _INT32

    def codes(self, acc: np.ndarray) -> np.ndarray:
        result = np.asarray(self.function(acc))
        if result.shape != acc.shape or result.dtype.kind not in "iu":
            raise AccelsimError(
                f"{self._name} must return integers of shape {acc.shape}, got {result.dtype} of {result.shape}"
            )
        return result.astype(np.int64)

    def accumulator_range(self) -> tuple[int, int]:
        return self.accumulators

    @property
    def _name(self) -> str:
        return getattr(self.function, "__name__", "function")

    def describe(self) -> dict[str, Any]:
        return {"kind": "python", "name": self._name}


@dataclass(frozen=True)
class CRequantizer:
    """A C function `int32_t name(int32_t accumulator)`, compiled with the system's compiler.

    source: path of a C file, or C text. name: of the function. flags: further compiler flags. Undefined
    behaviour that the compiler can see at run time aborts the build's sanitizer-free code silently: the
    comparison shows what this compiler made of it.
    """

    source: Path | str
    name: str
    accumulators: tuple[int, int] = _INT32
    flags: tuple[str, ...] = ("-O2",)

    @cached_property
    def _library(self) -> ctypes.CDLL:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise AccelsimError("comparing C code needs a C compiler: none called cc or gcc was found")
        text = _text(self.source)
        driver = f"""
#include <stdint.h>
{text}
void accelsim_run(int64_t first, int64_t count, int64_t *out) {{
  for (int64_t i = 0; i < count; ++i) out[i] = (int64_t){self.name}((int32_t)(first + i));
}}
"""
        with tempfile.TemporaryDirectory() as folder:
            source, library = Path(folder) / "requantizer.c", Path(folder) / "requantizer.so"
            source.write_text(driver, encoding="utf-8")
            command = [compiler, *self.flags, "-shared", "-fPIC", "-o", str(library), str(source)]
            _run(command, f"{self.name} does not compile")
            loaded = ctypes.CDLL(str(library))
        loaded.accelsim_run.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
        loaded.accelsim_run.restype = None
        return loaded

    def codes(self, acc: np.ndarray) -> np.ndarray:
        if acc.size and (np.diff(acc) != 1).any():
            return np.array([self.codes(acc[i : i + 1])[0] for i in range(acc.size)], np.int64)
        out = np.empty(acc.shape, np.int64)
        if acc.size:
            self._library.accelsim_run(int(acc[0]), acc.size, out.ctypes.data)
        return out

    def accumulator_range(self) -> tuple[int, int]:
        return self.accumulators

    def describe(self) -> dict[str, Any]:
        return {"kind": "c", "name": self.name}


@dataclass(frozen=True)
class VerilogRequantizer:
    """A combinational module with a signed 32-bit input and one output, run under Verilator.

    source: path of a (System)Verilog file, or its text. module: its name; ports: names of input and output.
    signed: whether the output is a signed number. output_bits: its width.
    """

    source: Path | str
    module: str
    ports: tuple[str, str] = ("acc", "code")
    output_bits: int = 8
    signed: bool = True
    accumulators: tuple[int, int] = _INT32
    flags: tuple[str, ...] = field(default=("-Wno-fatal",))

    @cached_property
    def _library(self) -> ctypes.CDLL:
        verilator = shutil.which("verilator")
        if verilator is None:
            raise AccelsimError("comparing Verilog needs verilator, which was not found")
        shift = 64 - self.output_bits
        value = f"(int64_t)((uint64_t)top->{self.ports[1]} << {shift})"
        value = f"({value} >> {shift})" if self.signed else f"(int64_t)top->{self.ports[1]}"
        driver = f"""
#include <cstdint>
#include "Vrequantizer.h"
extern "C" void accelsim_run(int64_t first, int64_t count, int64_t *out) {{
  VerilatedContext context;
  Vrequantizer *top = new Vrequantizer(&context);
  for (int64_t i = 0; i < count; ++i) {{
    top->{self.ports[0]} = (uint32_t)(first + i);
    top->eval();
    out[i] = {value};
  }}
  delete top;
}}
"""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "design.sv").write_text(_text(self.source), encoding="utf-8")
            (folder / "driver.cpp").write_text(driver, encoding="utf-8")
            build = folder / "build"
            command = [
                verilator, "--cc", "--build", "--lib-create", "requantizer", "-O3", "-CFLAGS", "-O2 -fPIC",
                "--prefix", "Vrequantizer", "--top-module", self.module, "--Mdir", str(build), *self.flags,
                str(folder / "design.sv"), str(folder / "driver.cpp"),
            ]  # fmt: skip
            _run(command, f"module {self.module} does not build")
            loaded = ctypes.CDLL(str(next(build.glob("*.so"))))
        loaded.accelsim_run.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
        loaded.accelsim_run.restype = None
        return loaded

    codes = CRequantizer.codes

    def accumulator_range(self) -> tuple[int, int]:
        return self.accumulators

    def describe(self) -> dict[str, Any]:
        return {"kind": "verilog", "name": self.module}


def _text(source: Path | str) -> str:
    """The text itself, or that of the file."""
    if isinstance(source, str) and "\n" in source:
        return source
    try:
        return Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise AccelsimError(f"cannot read {source}: {error.strerror}") from None


def _run(command: list[str], problem: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AccelsimError(f"{problem}:\n{(done.stderr or done.stdout).strip()}")
