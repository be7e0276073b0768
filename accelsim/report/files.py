"""Results as files: the suffix names the format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from accelsim.errors import AccelsimError
from accelsim.files import write_atomically

SUFFIXES = (".html", ".json", ".csv")


def check_suffix(path: str | Path) -> str:
    """The suffix of a result's file; AccelsimError that names the known ones where it is another."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise AccelsimError(f"cannot save as {str(path)!r}: the name must end in .html, .json or .csv")
    return suffix


def save_as(path: str | Path, writers: Mapping[str, Callable[[], str]]) -> Path:
    """Write with the writer of the suffix, whole or not at all; missing parent folders are made."""
    path = Path(path)
    text = writers[check_suffix(path)]()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AccelsimError(f"cannot write {path}: {error.strerror or error}") from error
    write_atomically(path, text)
    return path
