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


def readme(folder: Path) -> dict[str, Any]:
    """A network of the reader's own, files of other tools, two runs, and integers of their own."""
    import accelsim as acs
    from accelsim.frontend.digits import load_digits_data

    module = "from accelsim.frontend.digits import trained\n\n\ndef build():\n    return trained('resnet')\n"
    (folder / "mymodule.py").write_text(module)
    data = load_digits_data()
    np.savez(folder / "images.npz", inputs=data.test_images[:128], labels=data.test_labels[:128])
    tflite_file(folder)
    graph = acs.from_tflite(folder / "model.tflite")
    graph.save(folder / "saved-graph.acsim")
    sys.path.insert(0, str(TESTS / "importers"))
    try:
        from onnx_networks import quantized
    finally:
        sys.path.pop(0)
    made = quantized(folder, "QDQ", "QUInt8", "QInt8", True)
    made.rename(folder / "model.onnx")
    x = np.random.default_rng(1).normal(size=(4, 8, 8, 3)).astype(np.float32)
    got = np.arange(-8, 8)
    run = acs.simulate(graph, x, "edge-16x16", keep="all")
    return {"run_a": run, "run_b": run, "got": got, "golden": got.copy()}


#: page, from the root of the repository -> writes files into the folder, returns names
SETUPS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "docs/how-to/replay.md": tflite_file,
    "README.md": readme,
}
