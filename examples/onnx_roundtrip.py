"""A quantized .onnx file: read, replayed beside ONNX Runtime, priced, and handed on with its costs."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import accelsim as acs

rng = np.random.default_rng(0)
images = rng.normal(0, 1, (32, 3, 16, 16)).astype(np.float32)

# a small float network: convolution, ReLU, mean over height and width, fully connected
shapes = {"conv.w": (16, 3, 3, 3), "conv.b": (16,), "fc.w": (10, 16), "fc.b": (10,)}
weights = [numpy_helper.from_array(rng.normal(0, 0.3, size).astype(np.float32), name) for name, size in shapes.items()]
nodes = [
    helper.make_node("Conv", ["x", "conv.w", "conv.b"], ["conv"], "conv", pads=[1, 1, 1, 1]),
    helper.make_node("Relu", ["conv"], ["relu"], "relu"),
    helper.make_node("GlobalAveragePool", ["relu"], ["mean"], "mean"),
    helper.make_node("Flatten", ["mean"], ["flat"], "flat"),
    helper.make_node("Gemm", ["flat", "fc.w", "fc.b"], ["y"], "fc", transB=1),
]
x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 16, 16])
y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])
network = helper.make_graph(nodes, "small", [x], [y], weights)
onnx.save(helper.make_model(network, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), "float.onnx")


class Calibration(CalibrationDataReader):
    """Images for the quantizer's ranges, eight at a time."""

    batches = iter(np.split(images, 4))

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(({"x": batch} for batch in self.batches), None)


quantize_static("float.onnx", "model.onnx", Calibration(), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)  # fmt: skip

# ONNX Runtime's levels of optimisation differ from one another; each is matched in every element
for level in ("onnxruntime-disable-all", "onnxruntime-extended"):
    print(acs.replay("model.onnx", images, level), "\n")

graph = acs.from_onnx("model.onnx", profile="onnxruntime")
report = acs.cost(graph, "edge-16x16")
print(report, "\n")

graph.to_onnx("costs.onnx", report)  # its nodes carry bits, cycles and energy
same = np.array_equal(acs.simulate(graph, images).output, acs.simulate(acs.from_onnx("costs.onnx"), images).output)
print(f"written and read back: {'the same codes' if same else 'other codes'}")
