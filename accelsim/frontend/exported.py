"""Reading a `torch.export.save` file (.pt2) without running anything that is in it.

Such a file is a zip archive: the graph as JSON, weights as raw bytes, and pickles for the example inputs and
for whatever is not a plain tensor. `torch.export.load` unpickles those, evaluates the JSON's size expressions
and resolves any function that it names. So only what cannot run is handed on: a rebuilt archive that holds
plain tensors and a graph of known operators. What needs more is refused.
"""

from __future__ import annotations

import ast
import io
import json
import logging
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from accelsim.errors import AccelsimError
from accelsim.frontend.operators.quantized import register

_MODEL = "models/model.json"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_EXAMPLES = "data/sample_inputs/model.pt"  # a pickle; nobody needs it to run the network
_PLAIN = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)"
    r"|data/weights/weight_\d+|data/constants/tensor_\d+"
)
_IGNORED = re.compile(r"extra/.*|\.data/.*|\.format_version|\.storage_alignment")

_TARGET = re.compile(
    r"torch\.ops\.aten\.[A-Za-z]\w*\.[A-Za-z]\w*|_operator\.(\w+)|torch\.sym_[a-z]+"
    r"|torch\.ops\.quantized_decomposed\.(?:de)?quantize_per_(?:tensor|channel)\.[a-z]\w*"
)
_ARITHMETIC = re.compile("add|sub|mul|truediv|floordiv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem")
_CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")
_EXPRESSION = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.Name, ast.Constant),
    *(ast.keyword, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context),
)
_FUNCTION = re.compile(r"[A-Z]\w*|floor|ceiling")
_SYMBOL = re.compile(r"[A-Za-z]\w*")

# what reading a damaged archive or JSON of the wrong shape raises
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ValueError,
)


def load_exported(path: str | Path) -> torch.export.ExportedProgram:
    """The exported program in a .pt2 file, loaded without unpickling, eval or foreign code.

    Raises AccelsimError naming the file where it is missing, damaged, needs pickle, or calls anything but
    torch's own (aten) operators.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            rebuilt = _rebuild(archive)
    except FileNotFoundError:
        raise AccelsimError(f"no such file: {path}") from None
    except _Refused as reason:
        raise AccelsimError(f"{path} is refused: {reason}") from None
    except _DAMAGE as error:
        raise AccelsimError(
            f"{path} is truncated, corrupt or not from torch.export: {str(error) or type(error).__name__}"
        ) from error
    if b"quantized_decomposed" in rebuilt.getvalue():
        register()
    quiet = logging.getLogger("torch.export")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        return torch.export.load(rebuilt)
    except Exception as error:  # torch raises whatever its parser trips over
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise AccelsimError(
            f"{path} could not be read by torch {torch.__version__}: {first}; export it again with this torch"
        ) from error
    finally:
        quiet.setLevel(level)


class _Refused(Exception):
    """Why a file is not loaded."""


def _rebuild(archive: zipfile.ZipFile) -> io.BytesIO:
    """A copy of the archive with checked JSON, plain tensors, and an empty record of example inputs."""
    records: dict[str, str] = {}
    for name in archive.namelist():
        _root, _, record = name.partition("/")
        if record in records:
            raise _Refused(f"it holds {record!r} twice")
        if record:
            records[record] = name
    if _MODEL not in records:
        raise _Refused("it holds no exported program: truncated, or of an older format (export it again)")
    copied: dict[str, bytes] = {}
    for record, name in records.items():
        if record == _MODEL:
            copied[record] = _checked_graph(json.loads(archive.read(name)))
        elif record in _CONFIGS:
            copied[record] = archive.read(name)
            _check_payloads(record, json.loads(copied[record]))
        elif record == _EXAMPLES:
            copied[record] = b""
        elif _PLAIN.fullmatch(record):
            copied[record] = archive.read(name)
        elif not _IGNORED.fullmatch(record):
            raise _Refused(f"its record {record!r} needs pickle or native code; export plain tensors only")
    rebuilt = io.BytesIO()
    with zipfile.ZipFile(rebuilt, "w", zipfile.ZIP_STORED) as target:
        for record, content in copied.items():
            target.writestr(f"model/{record}", content)
    rebuilt.seek(0)
    return rebuilt


def _check_payloads(record: str, config: dict[str, Any]) -> None:
    for name, payload in config["config"].items():
        if payload.get("use_pickle") is not False or not _PLAIN.fullmatch(
            f"{record.rpartition('/')[0]}/{payload['path_name']}"
        ):
            raise _Refused(f"tensor {name!r} is stored as a pickle; export plain tensors only")


def _checked_graph(model: dict[str, Any]) -> bytes:
    """The graph's JSON, after checking every string in it that torch would resolve or evaluate."""
    model["guards_code"] = []  # Python source that torch would execute; our own checks of shapes stand in
    for key, value in _walk(model):
        if key == "target" and isinstance(value, str):
            found = _TARGET.fullmatch(value)
            if not found or (found[1] and not _ARITHMETIC.fullmatch(found[1])):
                raise _Refused(f"it calls {value!r}, which is not one of torch's own (aten) operators or quantizers")
        elif key == "expr_str":
            _check_expression(value)
        elif key in ("in_spec", "out_spec"):
            _check_containers(value)
        elif key in ("as_custom_obj", "as_operator") and value:
            raise _Refused("it holds a custom object or a function, which needs pickle")
    return json.dumps(model).encode()


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every (key, value) of nested mappings."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield from item.items()
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _check_expression(text: Any) -> None:
    """Sizes are made of symbols, numbers, operators and calls by name; of no attributes and no subscripts."""
    try:
        nodes = list(ast.walk(ast.parse(str(text), mode="eval")))
        plain = all(isinstance(node, _EXPRESSION) and _harmless(node) for node in nodes)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        plain = False
    if not plain:
        raise _Refused(f"its size {str(text)[:60]!r} is not an arithmetic expression")


def _harmless(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and bool(_FUNCTION.fullmatch(node.func.id))
    if isinstance(node, ast.Name):
        return bool(_SYMBOL.fullmatch(node.id))
    if isinstance(node, ast.Constant) and not isinstance(node.value, (int, float)):
        return isinstance(node.value, str) and bool(_SYMBOL.fullmatch(node.value))
    return True


def _check_containers(text: Any) -> None:
    for key, value in _walk(json.loads(text)[1] if text else {}):
        if key == "type" and value not in _CONTAINERS:
            raise _Refused(f"its inputs or outputs are packed in a {value!r}; use tensors, tuples, lists or dicts")


def input_shape(program: torch.export.ExportedProgram) -> tuple[int, ...]:
    """Shape of the program's only input without the batch, its first dimension."""
    names = program.graph_signature.user_inputs
    shapes = [tuple(node.meta["val"].shape) for node in program.graph.nodes if node.name in names]
    if len(shapes) != 1 or not all(isinstance(size, int) for size in shapes[0][1:]):
        raise AccelsimError(f"one input of fixed shape (but for its batch) is needed, this network has {shapes}")
    return shapes[0][1:]
