"""Finished points in a plain file: one JSON object a line, keyed by a hash of everything that determines it."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

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
    """Results already there are read once; each new one is appended and flushed at once, under a lock.

    Several processes may write to one file: a line is written whole, and another's half line is never continued. A
    line that is corrupt or half written (each carries a checksum) is reported and its point computed again. path
    None: nothing is kept.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = None if path is None else Path(path)
        self.found: dict[str, dict[str, Any]] = {}
        if self.path is None or not self.path.exists():
            return
        try:
            with open(self.path, "rb") as file, _locked(file, exclusive=False):
                lines = file.read().split(b"\n")
        except OSError as error:
            raise AccelsimError(f"cannot read results file {self.path}: {error.strerror}") from error
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                if entry["crc"] != _checksum(entry["key"], entry["result"]):
                    raise ValueError("checksum")
                self.found[entry["key"]] = dict(entry["result"])
            except (ValueError, KeyError, TypeError):
                warnings.warn(
                    f"{self.path}, line {number}: not a finished result; its point is computed again",
                    stacklevel=3,
                )

    def get(self, key: str) -> dict[str, Any] | None:
        return self.found.get(key)

    def put(self, key: str, result: dict[str, Any]) -> None:
        self.put_many({key: result})

    def put_many(self, results: Mapping[str, dict[str, Any]]) -> None:
        """Several at once: one write."""
        self.found.update(results)
        if self.path is None or not results:
            return
        entries = ({"key": k, "result": r, "crc": _checksum(k, r)} for k, r in results.items())
        lines = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab+", buffering=0) as file, _locked(file, exclusive=True):
                # a killed writer may have left half a line: never glue a good one to it
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - 1))
                start = b"\n" if file.read(1) not in (b"", b"\n") else b""
                left = start + lines
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
        except OSError as error:
            raise AccelsimError(f"cannot write results file {self.path}: {error.strerror}") from error


def _checksum(key: str, result: Any) -> int:
    return zlib.crc32(json.dumps([key, result]).encode())


@contextmanager
def _locked(file: IO[bytes], exclusive: bool) -> Iterator[None]:
    """Other processes wait; where the system has no such locks, appending alone keeps lines apart."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
