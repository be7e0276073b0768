"""Networks for other tools: quantized .onnx files, parameters as JSON and safetensors, C headers."""

from __future__ import annotations

from accelsim.export.headers import to_c_header
from accelsim.export.onnx_writer import to_onnx
from accelsim.export.parameters import load_parameters, save_parameters

__all__ = ["load_parameters", "save_parameters", "to_c_header", "to_onnx"]
