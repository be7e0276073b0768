"""What a reader of a page is assumed to have: files in the folder, names in Python."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parents[1]


def tflite_file(folder: Path) -> dict[str, Any]:
    """model.tflite and x.npz."""
    sys.path.insert(0, str(TESTS / "importers"))
    try:
        from small_files import network
    finally:
        sys.path.pop(0)
    (folder / "model.tflite").write_bytes(network())
    np.savez(folder / "x.npz", image=np.random.default_rng(0).normal(size=(20, 8, 8, 3)).astype(np.float32))
    return {}


#: page, from the root of the repository -> writes files into the folder, returns names
SETUPS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "docs/how-to/replay.md": tflite_file,
}
