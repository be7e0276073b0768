"""Small quantized .onnx files, one form each: a node (or a few) between quantizers, and what it is fed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

_TYPES = {np.dtype("u1"): TensorProto.UINT8, np.dtype("i1"): TensorProto.INT8, np.dtype("u2"): TensorProto.UINT16,
          np.dtype("i2"): TensorProto.INT16, np.dtype("i4"): TensorProto.INT32}  # fmt: skip


@dataclass
class Form:
    """A file under construction. activations: type of the codes between nodes."""

    seed: int = 0
    activations: str = "u1"
    samples: int | str = "N"
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def node(self, kind: str, inputs: list[str], outputs: str | list[str] | None = None, **attributes: Any) -> str:
        outputs = [outputs] if isinstance(outputs, str) else outputs or [f"{kind.lower()}_{len(self.nodes)}"]
        domain = attributes.pop("domain", "")
        self.nodes.append(
            helper.make_node(kind, inputs, outputs, name=f"n{len(self.nodes)}", domain=domain, **attributes)
        )
        return outputs[0]

    def constant(self, value: Any, name: str = "") -> str:
        name = name or f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def grid(self, scale: float, zero: int | None = None) -> list[str]:
        dtype = np.dtype(self.activations)
        middle = 0 if dtype.kind == "i" else 1 << (8 * dtype.itemsize - 1)
        zero = middle + 3 if zero is None else zero
        return [self.constant(np.float32(scale)), self.constant(np.array(zero, dtype))]

    def step(self, scale: float) -> float:
        """A scale for 8-bit codes, finer where codes are wider."""
        return scale if np.dtype(self.activations).itemsize == 1 else scale / 256

    def input(self, shape: tuple[int, ...], name: str = "x", scale: float = 0.03) -> str:
        """A real input of the file, through a quantizer."""
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [self.samples, *shape]))
        return self.quantized(name, self.step(scale))

    def quantized(self, real: str, scale: float = 0.05) -> str:
        """Through a pair of quantizers."""
        grid = self.grid(scale)
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [real, *grid]), *grid])

    def weights(self, shape: tuple[int, ...], dtype: str = "i1", axis: int | None = 0, zero: bool = False) -> str:
        info = np.iinfo(dtype)
        values = self.rng.integers(max(info.min + 1, -32767), info.max + 1, shape).astype(dtype)
        count = shape[axis] if axis is not None else 1
        spread = 1.0 if info.bits == 8 else 1 / 256
        scale = (self.rng.uniform(0.002, 0.01, count) * spread).astype(np.float32)
        zeros = self.rng.integers(-5, 6, count).astype(dtype) if zero else np.zeros(count, dtype)
        how = {} if axis is None else {"axis": axis}
        if axis is None:
            scale, zeros = scale[0], zeros[0]
        return self.node("DequantizeLinear", [self.constant(values), self.constant(scale), self.constant(zeros)], **how)

    def build(self, output: str, opset: int = 21) -> bytes:
        """The file; its output is quantized once more."""
        grid = self.grid(self.step(0.05))
        codes = self.node("QuantizeLinear", [output, *grid], "y_codes")
        self.node("DequantizeLinear", [codes, *grid], "y")
        value = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "form", self.inputs, [value], self.constants)
        domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=domains, ir_version=10).SerializeToString()


Make = Callable[[Form], str]
#: name → what writes the nodes; opset where it is not 21
FORMS: dict[str, Make] = {}


def form(function: Make) -> Make:
    FORMS[function.__name__] = function
    return function


def _conv(**attributes: Any) -> Make:
    return lambda f: f.node("Conv", [f.input((4, 9, 8)), f.weights((6, 4, 3, 2))], **attributes)


for _name, _attributes in {
    "conv_same_upper": {"auto_pad": "SAME_UPPER", "strides": [2, 3]},
    "conv_same_lower": {"auto_pad": "SAME_LOWER", "strides": [2, 1]},
    "conv_valid": {"auto_pad": "VALID"},
    "conv_dilated": {"dilations": [2, 3], "pads": [0, 1, 3, 2]},
}.items():
    FORMS[_name] = _conv(**_attributes)


@form
def conv_groups(f: Form) -> str:
    return f.node("Conv", [f.input((6, 9, 8)), f.weights((9, 2, 3, 3))], group=3, pads=[1, 1, 1, 1])


@form
def depthwise_twice(f: Form) -> str:
    return f.node("Conv", [f.input((5, 9, 8)), f.weights((10, 1, 3, 3))], group=5, strides=[2, 2])


@form
def conv_weight_zero_points(f: Form) -> str:
    return f.node("Conv", [f.input((4, 9, 8)), f.weights((6, 4, 3, 3), zero=True)])


@form
def conv_per_tensor_uint8_weights(f: Form) -> str:
    return f.node("Conv", [f.input((4, 9, 8)), f.weights((6, 4, 3, 3), "u1", None)])


@form
def conv_one_row(f: Form) -> str:
    return f.node("Conv", [f.input((3, 1, 12)), f.weights((6, 3, 1, 5))])


@form
def conv_real_bias(f: Form) -> str:
    bias = f.constant(f.rng.normal(0, 0.3, 6).astype(np.float32))
    return f.node("Conv", [f.input((4, 9, 8)), f.weights((6, 4, 3, 3)), bias])


@form
def conv_clip(f: Form) -> str:
    y = f.node("Conv", [f.input((4, 9, 8)), f.weights((6, 4, 3, 3))])
    return f.node("Clip", [y, f.constant(np.float32(-0.4)), f.constant(np.float32(1.7))])


@form
def conv_clip_without_lower(f: Form) -> str:
    y = f.node("Conv", [f.input((4, 9, 8)), f.weights((6, 4, 3, 3))])
    return f.node("Clip", [y, "", f.constant(np.float32(0.6))])


@form
def gemm_plain_weights(f: Form) -> str:
    return f.node("Gemm", [f.input((40,)), f.weights((40, 7), axis=1)])


@form
def matmul_weights(f: Form) -> str:
    return f.node("MatMul", [f.input((3, 40)), f.weights((40, 7), axis=1)])


@form
def matmul_activations(f: Form) -> str:
    return f.node("MatMul", [f.input((2, 5, 30)), f.input((2, 30, 4), "z")])


@form
def matmul_broadcast(f: Form) -> str:
    return f.node("MatMul", [f.input((3, 5, 30)), f.weights((1, 3, 30, 6), axis=None)])


@form
def resize_nearest(f: Form) -> str:
    scales = f.constant(np.array([1, 1, 2, 3], np.float32))
    return f.node("Resize", [f.input((3, 5, 4)), "", scales], mode="nearest",
                  coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip


@form
def resize_half_pixel(f: Form) -> str:
    f.samples = 1
    return f.node("Resize", [f.input((3, 5, 4)), "", "", f.ints(1, 3, 10, 12)], mode="nearest")


@form
def resize_uneven(f: Form) -> str:
    f.samples = 1
    return f.node("Resize", [f.input((3, 5, 4)), "", "", f.ints(1, 3, 7, 9)], mode="nearest",
                  coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip


@form
def resize_smaller(f: Form) -> str:
    f.samples = 1
    return f.node("Resize", [f.input((3, 9, 8)), "", "", f.ints(1, 3, 4, 3)], mode="nearest",
                  coordinate_transformation_mode="half_pixel", nearest_mode="round_prefer_ceil")  # fmt: skip


@form
def resize_ties(f: Form) -> str:
    """Half the size: every place lies midway between two pixels."""
    x, half = f.input((3, 8, 6)), f.constant(np.array([1, 1, 0.5, 0.5], np.float32))
    ways = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    return f.node("Concat", [f.node("Resize", [x, "", half], nearest_mode=way) for way in ways], axis=1)


@form
def resize_align_corners(f: Form) -> str:
    f.samples = 1
    return f.node("Resize", [f.input((3, 5, 4)), "", "", f.ints(1, 3, 8, 11)], mode="nearest",
                  coordinate_transformation_mode="align_corners", nearest_mode="ceil")  # fmt: skip


@form
def split_equal(f: Form) -> str:
    f.node("Split", [f.input((6, 5, 4))], ["s1", "s2", "s3"], axis=1, num_outputs=3)
    return f.node("Concat", [f.quantized("s3"), f.quantized("s1")], axis=2)


@form
def split_sizes(f: Form) -> str:
    f.node("Split", [f.input((6, 5, 4)), f.ints(1, 3)], ["s1", "s2"], axis=-1)
    return f.quantized("s2")


@form
def split_uneven(f: Form) -> str:
    f.node("Split", [f.input((5, 4))], ["s1", "s2", "s3"], axis=1, num_outputs=3)
    return f.node("Concat", [f.quantized("s3"), f.quantized("s2")], axis=1)


@form
def gather_places(f: Form) -> str:
    return f.node("Gather", [f.input((6, 5, 4)), f.ints(3, 0, -1)], axis=1)


@form
def gather_one(f: Form) -> str:
    return f.node("Gather", [f.input((6, 5, 4)), f.constant(np.array(-2, np.int64))], axis=2)


@form
def slice_back(f: Form) -> str:
    places = [f.ints(-1, 1), f.ints(-100, 100), f.ints(2, 1), f.ints(-2, 2)]
    return f.node("Slice", [f.input((6, 5, 4)), *places])


@form
def pads(f: Form) -> str:
    around = f.constant(np.float32(0.31))
    return f.node("Pad", [f.input((3, 5, 4)), f.ints(0, 0, 1, 2, 0, 0, 0, 3), around])


@form
def pad_reflect(f: Form) -> str:
    return f.node("Pad", [f.input((3, 5, 4)), f.ints(0, 0, 1, 2, 0, 0, 0, 3)], mode="reflect")


@form
def pad_edge_of_axes(f: Form) -> str:
    return f.node("Pad", [f.input((3, 5, 4)), f.ints(1, 2), "", f.ints(2)], mode="edge")


@form
def max_pool_ceil(f: Form) -> str:
    return f.node("MaxPool", [f.input((3, 7, 8))], kernel_shape=[3, 2], strides=[2, 3], ceil_mode=1)


@form
def max_pool_same(f: Form) -> str:
    return f.node("MaxPool", [f.input((3, 7, 8))], kernel_shape=[3, 2], strides=[2, 3], auto_pad="SAME_LOWER")


@form
def average_pool_counted(f: Form) -> str:
    how = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}
    return f.node("AveragePool", [f.input((3, 7, 8))], count_include_pad=1, **how)


@form
def average_pool_valid(f: Form) -> str:
    return f.node("AveragePool", [f.input((3, 7, 8))], kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])


@form
def mean_of_images(f: Form) -> str:
    return f.node("ReduceMean", [f.input((3, 7, 8)), f.ints(2, 3)], keepdims=0)


@form
def mean_of_channels(f: Form) -> str:
    return f.node("ReduceMean", [f.input((5, 7, 8)), f.ints(-3)])


@form
def add_constant(f: Form) -> str:
    return f.node("Add", [f.input((4, 5, 6)), f.weights((4, 1, 1), axis=None)])


@form
def mul_of_ranks(f: Form) -> str:
    return f.node("Mul", [f.weights((6,), axis=None), f.input((4, 5, 6))])


@form
def sub_clipped(f: Form) -> str:
    y = f.node("Sub", [f.input((4, 5, 6)), f.input((4, 1, 6), "z")])
    return f.node("Relu", [y])


@form
def extrema(f: Form) -> str:
    y = f.quantized(f.node("Max", [f.input((4, 5, 6)), f.input((4, 5, 6), "z", 0.02)]), f.step(0.05))
    return f.node("Min", [y, f.weights((4, 5, 6), axis=None)])


@form
def shape_arithmetic(f: Form) -> str:
    """Reshape to a shape computed from the input's, as exporters write flatten."""
    x = f.input((3, 5, 4))
    rows = f.node("Gather", [f.node("Shape", [x]), f.constant(np.array(0, np.int64))], axis=0)
    target = f.node("Concat", [f.node("Unsqueeze", [rows, f.ints(0)]), f.ints(-1)], axis=0)
    return f.node("Gemm", [f.node("Reshape", [x, target]), f.weights((7, 60))], transB=1)


@form
def transposes(f: Form) -> str:
    x = f.node("Transpose", [f.input((3, 5, 4))], perm=[0, 2, 3, 1])
    y = f.node("Relu", [f.node("Add", [x, f.weights((3,), axis=None)])])
    return f.node("Transpose", [f.quantized(y, f.step(0.05))], perm=[0, 3, 2, 1])


@form
def squeezed(f: Form) -> str:
    x = f.node("Squeeze", [f.input((1, 5, 4)), f.ints(1)])
    return f.node("Unsqueeze", [x, f.ints(2, -1)])


@form
def depth_to_space(f: Form) -> str:
    x = f.node("DepthToSpace", [f.input((12, 3, 2))], blocksize=2, mode="CRD")
    return f.node("SpaceToDepth", [f.node("DepthToSpace", [x], blocksize=1)], blocksize=2)


@form
def functions(f: Form) -> str:
    y = f.input((3, 5, 4))
    kinds = ("Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "HardSwish", "Elu", "Softplus", "Abs", "Neg", "Gelu", "Erf")
    parts = [f.quantized(f.node(kind, [y]), f.step(0.02)) for kind in kinds]
    return f.node("Concat", parts, axis=1)


@form
def functions_of_several_nodes(f: Form) -> str:
    """x * Sigmoid(x), and x * (1 + Erf(x / sqrt 2)) / 2, without quantizers inside."""
    x = f.input((3, 5, 4))
    silu = f.quantized(f.node("Mul", [x, f.node("Sigmoid", [x])]), f.step(0.02))
    number = lambda value: f.constant(np.float32(value))  # noqa: E731
    erf = f.node("Erf", [f.node("Div", [x, number(2**0.5)])])
    gelu = f.node("Mul", [f.node("Mul", [x, f.node("Add", [erf, number(1)])]), number(0.5)])
    clipped = f.node("Mul", [f.node("Clip", [f.node("Add", [x, number(3)]), number(0), number(6)]), x])
    return f.node("Concat", [silu, f.quantized(gelu, f.step(0.02)), f.quantized(clipped, f.step(0.03))], axis=1)


@form
def softmax_rows(f: Form) -> str:
    return f.node("Softmax", [f.input((5, 12))], axis=-1)


@form
def softmax_channels(f: Form) -> str:
    return f.node("Softmax", [f.input((12, 3, 4))], axis=1)


@form
def concat_grids(f: Form) -> str:
    return f.node("Concat", [f.input((4, 5, 6)), f.input((2, 5, 6), "z", 0.02), f.input((3, 5, 6), "v", 0.05)], axis=1)


@form
def moves_of_functions(f: Form) -> str:
    """What a function gives is moved before any quantizer: turned, then bounded, then flattened."""
    x = f.node("HardSigmoid", [f.input((4, 3, 5))])
    y = f.node("Tanh", [f.node("Transpose", [x], perm=[0, 2, 3, 1])])
    return f.node("Flatten", [f.node("LeakyRelu", [y], alpha=0.2)])


@form
def pad_of_a_function(f: Form) -> str:
    """The zeros around it are real ones, not what the function makes of them."""
    x = f.node("HardSigmoid", [f.input((4, 3, 5))])
    return f.node("Pad", [x, f.ints(0, 0, 1, 0, 0, 0, 2, 1), f.constant(np.float32(0.2))])


@form
def maxima_of_a_function(f: Form) -> str:
    x = f.node("MaxPool", [f.node("Neg", [f.input((4, 5, 6))])], kernel_shape=[2, 3], pads=[0, 1, 1, 0])
    return f.node("Relu", [x])


@form
def channels_last_resize(f: Form) -> str:
    """As ONNX Runtime turns it at its last level, and as files from other frameworks have it."""
    x = f.input((3, 4, 5))
    return f.node("Resize", [x, "", f.constant(np.array([1, 2, 3, 1], np.float32))], mode="nearest",
                  coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip


@form
def average_of_a_function(f: Form) -> str:
    """The float node's average of what no quantizer has seen: the last layers of MobileNetV3."""
    y = f.node("HardSwish", [f.input((4, 5, 7), scale=0.06)])
    return f.node("Flatten", [f.node("GlobalAveragePool", [y])])


@form
def average_of_a_moved_function(f: Form) -> str:
    y = f.node("Transpose", [f.node("HardSigmoid", [f.input((4, 5, 7))])], perm=[0, 1, 3, 2])
    return f.node("AveragePool", [y], kernel_shape=[2, 3], pads=[1, 0, 0, 1], strides=[2, 1])
