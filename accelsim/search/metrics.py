"""What determines a metric, for the keys of stored results."""

from __future__ import annotations

import builtins
import dis
import pickle
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any

from accelsim.errors import AccelsimError
from accelsim.evaluation import Metric
from accelsim.store import digest


class Portable:
    """A metric that is pickled by value: workers do not know by name what a script or a notebook defines."""

    def __init__(self, function: Callable[..., float]) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> float:
        return self.function(*arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        import cloudpickle

        return _unpacked, (cloudpickle.dumps(self.function),)


def _unpacked(data: bytes) -> Portable:
    return Portable(pickle.loads(data))


def portable(metric: Metric) -> Metric:
    return Portable(metric) if callable(metric) else metric


def metric_identity(metric: Metric) -> list[Any]:
    """Its name; or a function's code, defaults, the values it closes over, and the globals that it reads.

    Functions of the metric's own module are followed in turn; of another module's, code and name count. Raises
    AccelsimError for a metric that is no plain function, or depends on a value that a key cannot hold.
    """
    if isinstance(metric, str):
        return [metric]
    if not isinstance(metric, FunctionType):
        raise AccelsimError("with a results file, metric must be 'top1' or a plain function: its code is in the key")
    return _function(metric, metric.__module__, [])


def _function(function: FunctionType, module: str, above: list[FunctionType]) -> list[Any]:
    if function in above:
        return ["calls", above.index(function)]
    known = [*above, function]
    code = function.__code__
    values: dict[str, Any] = {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        values[f"closes over {name!r}"] = cell.cell_contents
    if function.__module__ == module:
        for name in sorted(_globals_of(code)):
            if name in function.__globals__ or not hasattr(builtins, name):
                values[f"reads {name!r}"] = function.__globals__.get(name)
    values["has default values"] = [list(function.__defaults__ or ()), function.__kwdefaults__ or {}]
    found: list[Any] = [function.__module__, function.__qualname__, _code(code)]
    for how, value in values.items():
        try:
            held = _held(value, module, known)
            digest(held)
        except TypeError as error:
            raise AccelsimError(
                f"metric {known[0].__name__!r}: {function.__name__} {how}, which the key of a results file cannot hold "
                f"({error}): pass it as numbers, strings or arrays, or leave the results file out"
            ) from error
        found.append([how, held])
    return found


def _held(value: Any, module: str, known: list[FunctionType]) -> Any:
    if isinstance(value, FunctionType):
        return _function(value, module, known)
    if isinstance(value, ModuleType):
        return ["module", value.__name__, str(getattr(value, "__version__", ""))]
    if isinstance(value, (list, tuple)):
        return [_held(item, module, known) for item in value]
    if isinstance(value, dict):
        return {key: _held(item, module, known) for key, item in value.items()}
    if callable(value) and hasattr(value, "__qualname__"):  # built-in functions and classes
        return ["named", str(value.__module__), value.__qualname__]
    return value


def _code(code: CodeType) -> list[Any]:
    """The same in every process: code within code shows its address as text, a set its members in some order."""
    constants = [
        _code(c) if isinstance(c, CodeType) else sorted(map(repr, c)) if isinstance(c, frozenset) else repr(c)
        for c in code.co_consts
    ]
    return [code.co_code.hex(), constants, list(code.co_names)]


def _globals_of(code: CodeType) -> set[str]:
    found = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return found.union(*(_globals_of(c) for c in code.co_consts if isinstance(c, CodeType)))
