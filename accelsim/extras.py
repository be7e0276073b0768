"""Optional parts: what they are for, and the command that installs each."""

from __future__ import annotations

import functools
import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from accelsim.errors import AccelsimError

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True)
class Part:
    """A package or program that accelsim can use but does not need.

    module: import name of a package ("" for a program). extra: the extra of pyproject.toml that brings it ("" where
    the user installs it by its own name). program: name on the PATH.
    """

    name: str
    purpose: str
    module: str = ""
    extra: str = ""
    program: str = ""

    @property
    def present(self) -> bool:
        if self.program:
            return shutil.which(self.program) is not None
        return importlib.util.find_spec(self.module) is not None

    @property
    def command(self) -> str:
        """What installs it."""
        if self.program:
            return f"install {self.program} with the system's package manager"
        return f"pip install 'accelsim[{self.extra}]'" if self.extra else f"pip install {self.name}"


PARTS = (
    Part("torch", "quantize and lower torch networks", "torch", "torch"),
    Part("scikit-learn", "the demo's digits", "sklearn", "demo"),
    Part("bitwuzla", "prove two integer schemes equal for all multipliers", "bitwuzla", "proof"),
    Part("cocotb", "run the generated cocotb test", "cocotb", "rtl"),
    Part("tflite", "read .tflite files", "tflite", "tflite"),
    Part("onnx", "read and write .onnx files", "onnx", "onnx"),
    Part("onnxruntime", "compare with ONNX Runtime", "onnxruntime"),
    Part("ai-edge-litert", "compare with LiteRT", "ai_edge_litert"),
    Part("dask", "sweeps on a dask cluster", "distributed", "dask"),
    Part("ray", "sweeps on a ray cluster", "ray", "ray"),
    Part("optuna", "propose designs to explore", "optuna", "explore"),
    Part("mkdocs-material", "build the documentation", "material", "docs"),
    Part("C compiler", "requantizers written in C", program="cc"),
    Part("Icarus Verilog", "simulate generated RTL", program="iverilog"),
    Part("Verilator", "simulate generated RTL, and Verilog sides of a proof", program="verilator"),
)


def installing(module: str) -> str | None:
    """The command that installs the optional package a module belongs to; None where it is not one of PARTS."""
    found = [part for part in PARTS if part.module and part.module == module.split(".")[0]]
    return found[0].command if found else None


def needs_parts(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Where an optional part that the function imports is missing, its error says what installs it."""

    @functools.wraps(function)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except ModuleNotFoundError as error:
            command = installing(error.name or "")
            if command is None:
                raise
            raise AccelsimError(f"{function.__name__} needs {error.name}: {command}") from error

    return called
