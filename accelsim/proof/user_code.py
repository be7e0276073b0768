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
#: calls of a function that takes one accumulator at a time
_MOST_CALLS = 2**24


@dataclass(frozen=True)
class PythonRequantizer:
    """A function from an int64 array of accumulators to an array of output codes of the same shape.

    A function that takes one integer and returns one is called accumulator by accumulator, for at most 2**24 of
    them. accumulators: the range it is defined for.
    """

    function: Callable[[Any], Any]
    accumulators: tuple[int, int] = _INT32

    def codes(self, acc: np.ndarray) -> np.ndarray:
        if self._one_at_a_time:
            values = [self._call(v) for v in acc.tolist()]
            wrong = next((v for v in values if not isinstance(v, (int, np.integer))), None)
            if wrong is not None:
                raise AccelsimError(f"{self._name} must return integers, got {wrong!r}")
            return np.array(values, np.int64)
        result = np.asarray(self._call(acc))
        if result.shape != acc.shape or result.dtype.kind not in "iu":
            raise AccelsimError(
                f"{self._name} must return integers of shape {acc.shape}, got {result.dtype} of {result.shape}"
            )
        return result.astype(np.int64)

    def _call(self, acc: Any) -> Any:
        try:
            return self.function(acc)
        except Exception as error:
            first = acc if np.ndim(acc) == 0 else f"an array from {acc[0]} to {acc[-1]}"
            raise AccelsimError(f"{self._name} raised {type(error).__name__} for {first}: {error}") from error

    def check(self, domain: tuple[int, int]) -> None:
        """AccelsimError where the domain is too large for a function that takes one accumulator at a time."""
        if self._one_at_a_time and domain[1] - domain[0] >= _MOST_CALLS:
            raise AccelsimError(
                f"{self._name} takes one accumulator at a time: give an accumulator_range of at most 2**24 values, or "
                "write it for int64 arrays (np.where, np.clip instead of if, min, max)"
            )

    @cached_property
    def _one_at_a_time(self) -> bool:
        """Whether an array is refused where an integer is taken: a function with branches."""
        low, high = self.accumulators
        try:
            self.function(np.unique(np.clip(np.arange(-2, 3), low, high)))
        except Exception:
            self._call(min(max(0, low), high))  # refused where integers fail, too
            return True
        return False

    def accumulator_range(self) -> tuple[int, int]:
        return self.accumulators

    @property
    def _name(self) -> str:
        return getattr(self.function, "__name__", "function")

    def describe(self) -> dict[str, Any]:
        return {"kind": "python", "name": self._name}


class _Compiled:
    """What C and Verilog have in common: a library with accelsim_run(accumulators, count, codes)."""

    accumulators: tuple[int, int]
    _library: Any

    def codes(self, acc: np.ndarray) -> np.ndarray:
        given = np.ascontiguousarray(acc, np.int64)
        out = np.empty(acc.shape, np.int64)
        if acc.size:
            self._library.accelsim_run(given.ctypes.data, acc.size, out.ctypes.data)
        return out

    def accumulator_range(self) -> tuple[int, int]:
        return self.accumulators

    @property
    def _wide(self) -> bool:
        """Whether accumulators need more than 32 bits."""
        return self.accumulators[0] < _INT32[0] or self.accumulators[1] > _INT32[1]


@dataclass(frozen=True)
class CRequantizer(_Compiled):
    """A C function `int32_t name(int32_t accumulator)`, compiled with the system's compiler.

    source: path of a C file, or C text. name: of the function. accumulators: the range it is defined for; where
    that needs more than 32 bits, the function takes int64_t. flags: of the compiler. Where the code's behaviour is
    undefined, the comparison shows what this compiler made of it.
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
        kind = "int64_t" if self._wide else "int32_t"
        driver = f"""
#include <stdint.h>
{_text(self.source)}
void accelsim_run(const int64_t *acc, int64_t count, int64_t *out) {{
  for (int64_t i = 0; i < count; ++i) out[i] = (int64_t){self.name}(({kind})acc[i]);
}}
"""
        with tempfile.TemporaryDirectory() as folder:
            source, library = Path(folder) / "requantizer.c", Path(folder) / "requantizer.so"
            source.write_text(driver, encoding="utf-8")
            command = [compiler, *self.flags, "-shared", "-fPIC", "-o", str(library), str(source)]
            _run(command, f"{self.name} does not compile")
            return _loaded(library)

    def describe(self) -> dict[str, Any]:
        return {"kind": "c", "name": self.name}


@dataclass(frozen=True)
class VerilogRequantizer(_Compiled):
    """A combinational module with a signed accumulator as input and one output, run under Verilator.

    source: path of a (System)Verilog file, or its text. module: its name; ports: names of input and output.
    input_bits: width of the accumulator port, at most 64. signed: whether the output is a signed number.
    output_bits: its width, at most 32. accumulators: the range that is compared.
    """

    source: Path | str
    module: str
    ports: tuple[str, str] = ("acc", "code")
    output_bits: int = 8
    signed: bool = True
    accumulators: tuple[int, int] = _INT32
    flags: tuple[str, ...] = field(default=("-Wno-fatal",))
    input_bits: int = 32

    def __post_init__(self) -> None:
        top = 2 ** (self.input_bits - 1)
        low, high = (max(self.accumulators[0], -top), min(self.accumulators[1], top - 1))
        object.__setattr__(self, "accumulators", (low, high))

    @cached_property
    def _library(self) -> ctypes.CDLL:
        verilator = shutil.which("verilator")
        if verilator is None:
            raise AccelsimError("comparing Verilog needs verilator, which was not found")
        shift = 64 - self.output_bits
        value = f"(int64_t)((uint64_t)top->{self.ports[1]} << {shift})"
        value = f"({value} >> {shift})" if self.signed else f"(int64_t)top->{self.ports[1]}"
        mask = f"{2**self.input_bits - 1:#x}ull"
        driver = f"""
#include <cstdint>
#include "Vrequantizer.h"
extern "C" void accelsim_run(const int64_t *acc, int64_t count, int64_t *out) {{
  VerilatedContext context;
  Vrequantizer *top = new Vrequantizer(&context);
  for (int64_t i = 0; i < count; ++i) {{
    top->{self.ports[0]} = (uint64_t)acc[i] & {mask};
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
            return _loaded(next(build.glob("*.so")))

    def describe(self) -> dict[str, Any]:
        return {"kind": "verilog", "name": self.module}


def user_requantizer(
    text: str, *, qmin: int, qmax: int
) -> PythonRequantizer | CRequantizer | VerilogRequantizer | None:
    """The user's own code as the command line names it, or None where it names none.

    python:FILE:FUNCTION, c:FILE:FUNCTION, verilog:FILE:MODULE or verilog:FILE:MODULE:INPUT,OUTPUT (default acc,code;
    the output has the width and sign that qmin and qmax need). AccelsimError where the file or name is missing.
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in ("python", "c", "verilog"):
        return None
    path, _, name = rest.partition(":")
    if not path or not name:
        raise AccelsimError(f"{text!r}: write {kind}:FILE:{'MODULE' if kind == 'verilog' else 'FUNCTION'}")
    if not Path(path).is_file():
        raise AccelsimError(f"cannot read {path}: no such file")
    if kind == "c":
        return CRequantizer(Path(path), name)
    if kind == "python":
        return PythonRequantizer(_function(Path(path), name))
    module, _, ports = name.partition(":")
    names = tuple(ports.split(",")) if ports else ("acc", "code")
    if len(names) != 2:
        raise AccelsimError(f"{text!r}: write the ports as INPUT,OUTPUT")
    bits = max(qmax.bit_length() + (qmin < 0), (-qmin - 1).bit_length() + 1 if qmin < 0 else 1)
    return VerilogRequantizer(Path(path), module, ports=names, output_bits=bits, signed=qmin < 0)


def _function(path: Path, name: str) -> Callable[[Any], Any]:
    scope: dict[str, Any] = {"__name__": path.stem}
    try:
        exec(
            compile(path.read_text(encoding="utf-8"), str(path), "exec"), scope
        )  # the user's own file, as python runs it
    except Exception as error:
        raise AccelsimError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    if not callable(scope.get(name)):
        raise AccelsimError(f"{path} defines no function {name!r}")
    return scope[name]


def _loaded(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.accelsim_run.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]
    library.accelsim_run.restype = None
    return library


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
