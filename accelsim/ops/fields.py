"""Whether the fields of an operator hold what their annotations say; files can claim anything."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError


def check_fields(value: Any, what: str) -> None:
    """Raises AccelsimError naming the first field of a dataclass whose value has another type than declared."""
    for name, annotation in _annotations(type(value)).items():  # type: ignore[arg-type]  # a type can be hashed
        found = getattr(value, name)
        if not _fits(found, annotation):
            expected = getattr(annotation, "__name__", str(annotation))
            raise AccelsimError(f"{what}: field {name!r} must be {expected}, not {found!r:.60}")


@cache
def _annotations(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _fits(value: Any, annotation: Any) -> bool:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, choice) for choice in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return all(_fits(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    if origin is not None:
        return isinstance(value, origin)
    if annotation in (int, float):
        return isinstance(value, annotation) and not isinstance(value, bool)
    if annotation is np.ndarray or annotation is Mapping or isinstance(annotation, type):
        return isinstance(value, annotation)
    return True
