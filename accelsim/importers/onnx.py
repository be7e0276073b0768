"""from_onnx(path) → IntegerGraph: quantized .onnx files, QDQ and QOperator form, under ONNX Runtime's arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from accelsim.errors import AccelsimError
from accelsim.extras import needs_parts
from accelsim.graph import IntegerGraph
from accelsim.importers import onnx_functions, onnx_integer, onnx_mac, onnx_movement, onnx_pairs  # noqa: F401
from accelsim.importers.onnx_build import build
from accelsim.importers.onnx_file import OnnxFile, read_onnx
from accelsim.importers.onnx_lowering import Lowering
from accelsim.importers.onnx_values import FLOAT_KERNELS, INTEGER_KERNELS, Codes
from accelsim.profiles import load_profile

#: key of a file's metadata that names the profile it was written for
PROFILE_KEY = "accelsim_profile"
#: names of runtimes that stand for a numeric profile
RUNTIMES = {"onnxruntime-disable-all": FLOAT_KERNELS, "onnxruntime-basic": FLOAT_KERNELS,
            "onnxruntime-extended": INTEGER_KERNELS, "onnxruntime-all": INTEGER_KERNELS}  # fmt: skip


@dataclass(frozen=True)
class LoweredOnnx:
    """A file, its graph, and what belongs together: operator of the graph → index of the file's node; codes → tensor
    of the file (the codes, or the real values they stand for) to what the lowering knows of it.
    """

    file: OnnxFile
    graph: IntegerGraph
    sources: Mapping[str, int]
    codes: Mapping[str, Codes]


@needs_parts
def from_onnx(path: str | Path, profile: str | None = None) -> IntegerGraph:
    """The integer network of a quantized .onnx file.

    Operators and tensors keep their names; codes that stand for a real input or output of the file carry its name.
    Images enter and leave as (C, H, W) like in the file and are (H, W, C) in between. Any number of samples can be
    simulated.
    profile: whose rounding to follow, a name of accelsim.list_profiles(). "onnxruntime": integer kernels, as ONNX
        Runtime runs a QDQ file from ORT_ENABLE_EXTENDED on, and a QOperator file at every level.
        "onnxruntime-float": between quantizers in float32, as it runs a QDQ file at ORT_DISABLE_ALL and
        ORT_ENABLE_BASIC. By default the profile that the file names (metadata accelsim_profile), else
        "onnxruntime-float" for QDQ files, which say just that, and "onnxruntime" for QOperator files.
    Raises AccelsimError where the file is missing, corrupt or absurd, or listing all that it needs and is not there.
    """
    return lower_onnx(read_onnx(path), profile).graph


def lower_onnx(file: OnnxFile, profile: str | None = None) -> LoweredOnnx:
    """As from_onnx(), of a file that is read already, with what belongs to which node and tensor of the file."""
    name = profile or file.metadata.get(PROFILE_KEY) or default_profile(file)
    lowering = Lowering(file, load_profile(RUNTIMES.get(name, name)))
    graph = build(lowering)
    codes = {name: value for name, value in lowering.values.items() if isinstance(value, Codes)}
    return LoweredOnnx(file, graph, lowering.sources, codes)


def default_profile(file: OnnxFile) -> str:
    """FLOAT_KERNELS where float operators stand between quantizers, else INTEGER_KERNELS."""
    integer = {name for node in file.nodes if node.kind.startswith(("QLinear", "QGemm")) for name in node.outputs}
    dequantized = [n for n in file.nodes if n.kind == "DequantizeLinear" and n.inputs[0] not in file.constants]
    if not file.nodes:
        raise AccelsimError(f"{file.path} holds no operators")
    return INTEGER_KERNELS if integer and len(dequantized) <= len(file.outputs) else FLOAT_KERNELS
