"""Finished points in a plain file: one JSON object a line, keyed by a hash of everything that determines it."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError


def digest(*parts: Any) -> str:
    """A hash of strings, numbers, arrays, mappings and sequences of them; independent of the process."""
    state = hashlib.sha256()

    def feed(value: Any) -> None:
        if isinstance(value, Mapping):
            state.update(b"{")
            for key in sorted(value, key=str):
                feed(str(key))
                feed(value[key])
            state.update(b"}")
        elif isinstance(value, (list, tuple)):
            state.update(b"[")
            for item in value:
                feed(item)
            state.update(b"]")
        elif isinstance(value, np.ndarray):
            state.update(f"<{value.dtype.str}{value.shape}>".encode())
            state.update(np.ascontiguousarray(value).tobytes())
        elif value is None or isinstance(value, (str, int, float, bool)):
            state.update(f"({type(value).__name__}:{value!r})".encode())
        else:
            raise TypeError(f"cannot hash a {type(value).__name__}")

    feed(parts)
    return state.hexdigest()[:32]


class ResultFile:
    """Results already there are read once; each new one is appended and flushed at once.

    A line that is corrupt or half written is reported and its point computed again. path None: nothing is kept.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = None if path is None else Path(path)
        self.found: dict[str, dict[str, Any]] = {}
        if self.path is None or not self.path.exists():
            return
        try:
            lines = self.path.read_bytes().split(b"\n")
        except OSError as error:
            raise AccelsimError(f"cannot read results file {self.path}: {error.strerror}") from error
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                self.found[entry["key"]] = dict(entry["result"])
            except (ValueError, KeyError, TypeError):
                warnings.warn(
                    f"{self.path}, line {number}: not a finished result; its point is computed again",
                    stacklevel=3,
                )

    def get(self, key: str) -> dict[str, Any] | None:
        return self.found.get(key)

    def put(self, key: str, result: dict[str, Any]) -> None:
        self.found[key] = result
        if self.path is None:
            return
        line = json.dumps({"key": key, "result": result}) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab") as file:
                # a killed writer may have left half a line: never glue a good one to it
                start = b"\n" if file.tell() and not _ends_with_newline(self.path) else b""
                file.write(start + line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise AccelsimError(f"cannot write results file {self.path}: {error.strerror}") from error


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
