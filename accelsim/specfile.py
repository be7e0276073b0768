"""YAML files of accelerators and technologies: found, extended, checked; errors name file, field and line."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from accelsim.errors import AccelsimError

M = TypeVar("M", bound=BaseModel)
Lines = dict[tuple[str | int, ...], int]


class SpecModel(BaseModel):
    """Frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def list_data(folder: str) -> list[str]:
    """Names of the YAML files in accelsim/data/<folder>."""
    root = resources.files("accelsim") / "data" / folder
    return sorted(p.name.removesuffix(".yaml") for p in root.iterdir() if p.name.endswith(".yaml"))


def _locate(name_or_path: str | Path, folder: str) -> tuple[str, str]:
    """(text, where) of a file given by path or by name."""
    text = str(name_or_path)
    known = list_data(folder)
    if text in known:
        file = resources.files("accelsim") / "data" / folder / f"{text}.yaml"
        return file.read_text("utf-8"), file.name
    path = Path(text)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        try:
            return path.read_text("utf-8"), text
        except (OSError, UnicodeDecodeError) as error:
            raise AccelsimError(f"cannot read {text}: {error}") from None
    close = difflib.get_close_matches(text, known, 3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    raise AccelsimError(
        f"unknown {folder.removesuffix('s')} {text!r}{hint} Known: {', '.join(known)}; or give the path of a .yaml file"
    )


def _node_lines(node: yaml.Node, path: tuple[str | int, ...], lines: Lines, where: str) -> None:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, key.value)
            if inner in lines:
                raise AccelsimError(f"{where}, line {key.start_mark.line + 1}: {key.value!r} is given twice")
            _node_lines(value, inner, lines, where)
            lines[inner] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _node_lines(value, (*path, index), lines, where)


def read_spec_file(name_or_path: str | Path, folder: str, _seen: tuple[str, ...] = ()) -> tuple[dict, str, Lines]:
    """(data, where, line of each field) of a file, with the file that it `extends` merged below it."""
    text, where = _locate(name_or_path, folder)
    if where in _seen:
        raise AccelsimError(f"{where}: extends itself ({' → '.join((*_seen, where))})")
    lines: Lines = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _node_lines(node, (), lines, where)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise AccelsimError(f"{where}{line}: not valid YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(data, dict):
        raise AccelsimError(f"{where}: expected a mapping of fields, found {type(data).__name__}")
    if "extends" in data:
        parent = data.pop("extends")
        base_path = Path(where).parent / str(parent)
        base = base_path if str(parent).endswith((".yaml", ".yml")) and Path(where).is_file() else parent
        data = _overlay(read_spec_file(base, folder, (*_seen, where))[0], data)
    return data, where, lines


def _overlay(base: Any, top: Any) -> Any:
    """Mappings merge key by key; lists of named things merge by name; anything else is replaced."""
    if isinstance(base, dict) and isinstance(top, dict):
        # levels of accumulators, and bits and overflow of a single one, stand for each other
        given = ("bits", "overflow") if "levels" in top else ("levels",) if "bits" in top else ()
        base = {key: value for key, value in base.items() if key not in given}
        return {**base, **{k: _overlay(base[k], v) if k in base else v for k, v in top.items()}}
    named = all(
        isinstance(side, list) and side and all(isinstance(e, dict) and "name" in e for e in side)
        for side in (base, top)
    )
    if named:
        changed = {e["name"]: e for e in top}
        kept = [_overlay(e, changed.pop(e["name"])) if e["name"] in changed else e for e in base]
        return kept + list(changed.values())
    return top


def merged(data: Any, path: list[str], value: Any, where: str) -> Any:
    """A copy of `data` with the element at `path` set to `value`; list elements by name or index."""
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(data, (list, tuple)):
        for index, element in enumerate(data):
            if str(index) == head or (isinstance(element, dict) and element.get("name") == head):
                return [*data[:index], merged(element, rest, value, where), *data[index + 1 :]]
        raise AccelsimError(f"{where}: no element {head!r}")
    if head in ("bits", "overflow") and "levels" in data:  # the shorthand of a single accumulator
        if len(data["levels"]) > 1:
            raise AccelsimError(f"{where}: there are several accumulator levels; set levels.0.{head}")
        return {**data, "levels": merged(data["levels"], ["0", head, *rest], value, where)}
    return {**data, head: merged(data.get(head, {}), rest, value, where)}


def validated(model: type[M], data: Any, where: str, lines: Lines | None = None) -> M:
    """`data` as a `model`; AccelsimError lists every wrong field with its line where the file is known."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = []
        for item in error.errors():
            place = tuple(p for p in item["loc"])
            line = (
                next((f"line {lines[place[:n]]}, " for n in range(len(place), 0, -1) if place[:n] in lines), "")
                if lines
                else ""
            )
            field = ".".join(str(p) for p in place) or "the whole"
            message = item["msg"].removeprefix("Value error, ")
            if item["type"] == "extra_forbidden":
                message = "unknown field"
            problems.append(
                f"{where}: {line}{field}: {message}"
                + (f" (got {item['input']!r})" if not isinstance(item["input"], dict) else "")
            )
        raise AccelsimError("\n".join(problems)) from None
