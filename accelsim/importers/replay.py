"""replay(model, x, against): a file run bit for bit beside its runtime, operator by operator."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.extras import needs_parts
from accelsim.importers import litert
from accelsim.importers.replay_report import Replay
from accelsim.importers.replayer import Replayer

#: files that stay open for the next call
_KEPT = 4


@needs_parts
def replay(
    model: str | Path,
    x: Any,
    against: str | Path | Mapping[str, np.ndarray] | None = None,
    *,
    profile: str | None = None,
    detect: bool = False,
    spec: Any = None,
) -> Replay:
    """Run a .tflite or .onnx file bit for bit and compare every tensor that the other side can show.

    x: the inputs, batch first: an array, a tuple, a mapping by tensor name, or an .npz file; reals are quantized.
    against: "litert" (its default delegate XNNPACK), "litert-ruy", "litert-ref", stored outputs (an .npz file, with
        ":name" behind it the array of that name; or a mapping by tensor name), or None. For .onnx files "onnxruntime"
        and, by level of optimisation, onnxruntime-disable-all, -basic, -extended, -all.
    profile: whose rounding to follow; by default that of `against`, with detect the first that explains everything,
        else what from_tflite takes.
    detect: find for every operator the profiles that give what was seen, from inputs and outputs alone.
    spec: an accelerator whose accumulators are emulated; by default the runtime's own (32 bits that wrap, 64 for
        16-bit activations).
    The last few files stay read and prepared for further calls; Replayer does so for a .tflite file under a name of
    its own.
    Raises AccelsimError for files and inputs that do not fit, ModuleNotFoundError where the runtime is missing.
    """
    if detect and against is None:
        raise AccelsimError("detect needs something to compare with: say against=…")
    opener, runtimes = _kind(Path(model))
    runtime = against if isinstance(against, str) and against in runtimes else None
    replayer = _opened(Path(model), opener, runtime, profile, spec)
    return replayer(x, None if runtime is not None else against, detect=detect)


def _kind(model: Path) -> tuple[Any, Mapping[str, str]]:
    """(what opens such a file, the runtimes that it can be compared with)."""
    if model.suffix == ".onnx":
        from accelsim.importers import onnx_runtime
        from accelsim.importers.onnx_replay import OnnxReplayer

        return OnnxReplayer, onnx_runtime.LEVELS
    return Replayer, litert.RESOLVERS


def _opened(model: Path, opener: Any, runtime: str | None, profile: str | None, spec: Any) -> Any:
    """A replayer of the file as it is now."""
    try:
        state = model.stat()
    except OSError:
        return opener(model, runtime, profile=profile, spec=spec)  # says what is wrong
    if not isinstance(spec, str | None):
        return opener(model, runtime, profile=profile, spec=spec)
    key = (opener, str(model), state.st_mtime_ns, state.st_size, state.st_ino, runtime, profile, spec)
    found = _kept(*key)
    if not found.is_current():
        _kept.cache_clear()
        found = _kept(*key)
    return found


@lru_cache(maxsize=_KEPT)
def _kept(opener: Any, model: str, *state: Any) -> Any:
    runtime, profile, spec = state[3:]
    return opener(model, runtime, profile=profile, spec=spec)
