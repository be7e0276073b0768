"""accelsim: a bit-accurate fixed-point accelerator simulator.

Exact integer outputs of a quantized network, beside the modeled energy, latency, area and data movement of the
accelerator that would compute them. The names below are the public face; each is imported when it is first used,
so that `import accelsim` loads neither torch nor Numba.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "AccelsimError": "accelsim.errors",
    "QuantParams": "accelsim.quant",
    "QTensor": "accelsim.quant",
    "quantize": "accelsim.quant",
    "dequantize": "accelsim.quant",
    "choose_params": "accelsim.quant",
    "Requantizer": "accelsim.requant",
    "load_profile": "accelsim.profiles",
    "list_profiles": "accelsim.profiles",
    "AcceleratorSpec": "accelsim.hardware",
    "load_spec": "accelsim.hardware",
    "list_presets": "accelsim.hardware",
    "IntegerGraph": "accelsim.graph",
    "load": "accelsim.graph",
    "QuantConfig": "accelsim.frontend.config",
    "from_torch": "accelsim.frontend.api",
    "from_onnx": "accelsim.importers.onnx",
    "prepare_qat": "accelsim.frontend.training.prepare",
    "from_tflite": "accelsim.importers.tflite",
    "replay": "accelsim.importers.replay",
    "Replayer": "accelsim.importers.replayer",
    "Run": "accelsim.simulator",
    "simulate": "accelsim.simulator",
    "Report": "accelsim.report",
    "cost": "accelsim.evaluation",
    "evaluate": "accelsim.evaluation",
    "cost_many": "accelsim.pricing",
    "scalesim_compat": "accelsim.dataflow",
    "save_trace": "accelsim.pricing.trace",
    "sweep": "accelsim.search.grid",
    "search_bits": "accelsim.search.mixed",
    "explore": "accelsim.search.exploration",
    "debug": "accelsim.frontend.debugging.walk",
    "decompose_multiplier": "accelsim.multiplier",
    "smallest_multiplier": "accelsim.multiplier",
    "prove": "accelsim.proof.equivalence",
    "recheck": "accelsim.proof.certificates",
    "CRequantizer": "accelsim.proof.user_code",
    "VerilogRequantizer": "accelsim.proof.user_code",
    "certify": "accelsim.proof.ranges",
    "explain": "accelsim.proof.explanation",
    "diff": "accelsim.proof.difference",
    "assert_bit_exact": "accelsim.proof.assertion",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from accelsim.dataflow import scalesim_compat
    from accelsim.errors import AccelsimError
    from accelsim.evaluation import cost
    from accelsim.frontend.api import from_torch
    from accelsim.frontend.config import QuantConfig
    from accelsim.frontend.debugging.walk import debug
    from accelsim.frontend.training.prepare import prepare_qat
    from accelsim.graph import IntegerGraph, load
    from accelsim.hardware import AcceleratorSpec, list_presets, load_spec
    from accelsim.importers.onnx import from_onnx
    from accelsim.importers.replay import replay
    from accelsim.importers.replayer import Replayer
    from accelsim.importers.tflite import from_tflite
    from accelsim.multiplier import decompose_multiplier, smallest_multiplier
    from accelsim.pricing import cost_many
    from accelsim.pricing.trace import save_trace
    from accelsim.profiles import list_profiles, load_profile
    from accelsim.proof.assertion import assert_bit_exact
    from accelsim.proof.certificates import recheck
    from accelsim.proof.difference import diff
    from accelsim.proof.equivalence import prove
    from accelsim.proof.explanation import explain
    from accelsim.proof.ranges import certify
    from accelsim.proof.user_code import CRequantizer, VerilogRequantizer
    from accelsim.quant import QTensor, QuantParams, choose_params, dequantize, quantize
    from accelsim.report import Report
    from accelsim.requant import Requantizer
    from accelsim.search.exploration import explore
    from accelsim.search.grid import sweep
    from accelsim.search.mixed import search_bits
    from accelsim.simulator import Run, simulate


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'accelsim' has no attribute {name!r}")
    module = _PUBLIC[name]
    try:
        value = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ModuleNotFoundError(
            f"accelsim.{name} needs torch: pip install 'accelsim[torch]'", name="torch"
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_PUBLIC))
