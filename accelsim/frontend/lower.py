"""Float graph + quantizers → IntegerGraph, operator by operator under a numeric profile."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.frontend.calibrate import quantize_bias
from accelsim.frontend.float_graph import Bound, FloatGraph, FloatNode, Ref
from accelsim.frontend.groups import sum_scale
from accelsim.graph import IntegerGraph
from accelsim.ops.base import Op, TensorInfo
from accelsim.ops.concat import Concat
from accelsim.ops.constant import Constant
from accelsim.ops.parameters import add_parameters, mean_scale_parameters, shift_between
from accelsim.ops.shape import Reshape, Transpose
from accelsim.profiles import NumericProfile, OperatorNumerics
from accelsim.quant import AccumulatorParams, QTensor, QuantParams
from accelsim.requant import Requantizer

_TO_NHWC, _TO_NCHW = (1, 2, 0), (2, 0, 1)


class Lowering:
    """The integer graph under construction, and what operators need to know to add themselves.

    Tensors of rank 4 (with the batch) are NHWC in the integer graph where they are images; what comes from a
    change of shape or from attention is as in torch ("plain"), as all other tensors are. Where the two orders meet,
    explicit transposes stand in the graph.
    """

    def __init__(
        self,
        graph: FloatGraph,
        activations: Mapping[str, QuantParams],
        weights: Mapping[str, QTensor],
        profile: NumericProfile,
    ) -> None:
        self.graph = graph
        self.activations = activations
        self.weights = weights
        self.profile = profile
        self.ops: list[Op] = []
        self.tensors: dict[str, TensorInfo] = {}
        self._name_of: dict[str, str] = {}  # float tensor → integer tensor
        self._plain: set[str] = set()  # integer tensors of rank 4 in torch's order
        self._constants: dict[str, Constant] = {}

    def build(self, name: str, notes: tuple[str, ...]) -> IntegerGraph:
        self.begin()
        for node in self.graph.nodes:
            self.step(node)
        return self.finish(name, notes)

    # `build` in three parts, for those who must see a layer's codes before they know the next layer's weights

    def begin(self) -> None:
        for ref in self.graph.inputs:
            self.tensors[ref.name] = TensorInfo(ref.shape, self.activations[ref.name])
            self._name_of[ref.name] = ref.name
            if len(ref.shape) == 3:
                self._name_of[ref.name] = self._transposed(ref.name, _TO_NHWC, "nhwc")

    def step(self, node: FloatNode) -> str:
        """Append the operators of one node; returns the integer tensor that holds its output."""
        try:
            node.operator.lower(node, self)
        except AccelsimError as error:
            raise AccelsimError(f"layer {node.layer!r} under profile {self.profile.name!r}: {error}") from error
        return self._name_of[node.name]

    def finish(self, name: str, notes: tuple[str, ...]) -> IntegerGraph:
        outputs = []
        for tensor in self.graph.outputs:
            outputs.append(self._in_order(self._name_of[tensor], plain=True))
        return IntegerGraph(
            ops=tuple(self.ops),
            inputs=tuple(ref.name for ref in self.graph.inputs),
            outputs=tuple(outputs),
            tensors=self.tensors,
            profile=self.profile.name,
            name=name,
            notes=notes,
        )

    # what operators ask

    def names(self, node: FloatNode, *, plain: bool = False, broadcast: bool = False) -> dict[str, Any]:
        """name, inputs and output of the node's operator.

        Inputs of rank 4 are NHWC; plain: in torch's order; broadcast: as the largest of them is, where the operator
        takes any order as long as its operands agree.
        """
        found = [self._name_of[ref.name] for ref in node.inputs]
        if broadcast:
            moving = [name for name in found if name not in self._constants]
            plain = any(self.is_plain(name) for name in moving) or len(node.shape) != 3
        inputs = [self._in_order(name, plain) for name in found]
        if broadcast and not plain and len(node.shape) == 3:
            inputs = [self._spatial_operand(name) for name in inputs]
        return {"name": node.name, "inputs": tuple(inputs), "output": node.name}

    def is_plain(self, name: str) -> bool:
        """Whether an integer tensor of rank 4 is in torch's order."""
        return name in self._plain

    def params(self, tensor: Ref | FloatNode) -> QuantParams:
        return self.activations[tensor.name]

    def weight(self, node: FloatNode) -> QTensor:
        return self.weights[node.name]

    def bias(self, node: FloatNode) -> np.ndarray | None:
        return quantize_bias(node, self.params(node.inputs[0]).scale, self.weight(node))

    def mac_requantizer(self, node: FloatNode, operator: str) -> Requantizer | None:
        """Accumulators at scale s_x * s_w to the output's grid; None where the accumulators leave as they are."""
        if node.name not in self.activations:
            return None
        x = self.params(node.inputs[0])
        numerics = self.profile.operator(operator).for_activations(x.bits)
        return self.requantizer(node, numerics, (x.scale, sum_scale(self.weight(node).params), self.params(node).scale))

    def requantize_numerics(self, node: FloatNode) -> dict[str, Any]:
        x, y = self.params(node.inputs[0]), self.params(node)
        numerics = self.profile.operator("requantize")
        return {
            "x_zero_point": x.zero_point,
            "requantizer": self.requantizer(node, numerics, (x.scale, 1.0, y.scale)),
        }

    def add_numerics(self, node: FloatNode) -> dict[str, Any]:
        a, b, y = (self.params(t) for t in (*node.inputs, node))
        return {
            "a_zero_point": a.zero_point,
            "b_zero_point": b.zero_point,
            "zero_point": y.zero_point,
            **self.clamp_codes(node),
            "arithmetic": self.profile.operator("add").arithmetic,
            "params": add_parameters(self.profile.operator("add"), a, b, y),
        }

    def average_pool_numerics(self, node: FloatNode) -> dict[str, Any]:
        x = self.params(node.inputs[0])
        numerics = self.profile.operator("average_pool2d")
        params: dict[str, Any] = dict(numerics.options)
        if numerics.arithmetic == "float32":
            params.update(input_scale=x.scale, scale=x.scale)
        elif numerics.arithmetic == "exact":
            params["shift"] = 0  # one grid in and out
        return {
            "zero_point": x.zero_point,
            "qmin": x.qmin,
            "qmax": x.qmax,
            "arithmetic": numerics.arithmetic,
            "params": params,
        }

    def mean_numerics(self, node: FloatNode) -> dict[str, Any]:
        x, y = self.params(node.inputs[0]), self.params(node)
        numerics = self.profile.operator("mean")
        clamp = self.clamp_codes(node)
        requantizer, params = None, {}
        if numerics.arithmetic == "requantize":
            count = math.prod(node.inputs[0].shape[axis] for axis in node.attributes.get("axes", (1, 2)))
            scaling = mean_scale_parameters(numerics, x, y, count)
            requantizer = Requantizer(numerics.rescaling, scaling, y.zero_point, **clamp)
        else:
            params = {"shift": shift_between(x, y), **numerics.options}
        return {
            "x_zero_point": x.zero_point,
            "zero_point": y.zero_point,
            **clamp,
            "arithmetic": numerics.arithmetic,
            "requantizer": requantizer,
            "params": params,
        }

    def add(self, node: FloatNode, op: Op, *, plain: bool = False) -> None:
        """Append an operator whose output is the node's tensor.

        The output is in torch's order where an input of rank 4 is, or where `plain` says so.
        """
        self._append(op, self._output_params(node))
        self._name_of[node.name] = op.output
        if len(node.shape) == 3 and (plain or any(name in self._plain for name in op.inputs)):
            self._plain.add(op.output)

    def between(self, node: FloatNode, op: Op, *, params: QuantParams | None = None) -> str:
        """Append an operator whose output another operator of the node reads; on the grid of the node's input."""
        self._append(op, params or self.params(node.inputs[0]))
        return op.output

    def reshape(self, node: FloatNode) -> None:
        """A reshape in torch's order: a transpose before it unless height and width are 1."""
        source = self._name_of[node.inputs[0].name]
        shape = self.tensors[source].shape
        if len(shape) == 3 and source not in self._plain and shape[:2] != (1, 1):
            source = self._in_order(source, plain=True, name=f"{node.name}.nchw")
        target = node.shape
        image = len(target) == 3 and target[1:] == (1, 1)
        stored = (*target[1:], target[0]) if image else target
        self._append(Reshape(node.name, (source,), node.name, shape=stored), self.tensors[source].params)
        self._name_of[node.name] = node.name
        if len(target) == 3 and not image:
            self._plain.add(node.name)

    def linear(self, node: FloatNode, op: Op) -> None:
        """A layer over torch's last axis: an image is brought to torch's order."""
        source = self._in_order(op.inputs[0], plain=True, name=f"{node.name}.nchw")
        self.add(node, replace(op, inputs=(source,)), plain=True)

    def permute(self, node: FloatNode, order: tuple[int, ...]) -> None:
        """A permutation in torch's order, expressed in the order the tensor is stored in."""
        source = self._name_of[node.inputs[0].name]
        if order == tuple(range(len(order))):  # only the batch moved, or nothing
            self._name_of[node.name] = source
            return
        if len(order) == 3 and source not in self._plain:  # stored (H, W, C) = torch axes (1, 2, 0)
            stored = _TO_NHWC
            order = tuple(stored.index(order[axis]) for axis in stored)
        self._append(Transpose(node.name, (source,), node.name, order=order), self.tensors[source].params)
        self._name_of[node.name] = node.name
        if source in self._plain:
            self._plain.add(node.name)

    def concat(self, node: FloatNode) -> None:
        axis = node.attributes["axis"] - 1
        names = self.names(node, broadcast=True)
        if len(node.shape) == 3 and names["inputs"][0] not in self._plain:
            axis = _TO_NHWC.index(axis)
        zero_points = tuple(self.params(ref).zero_point for ref in node.inputs)
        same_grid = (None,) * len(node.inputs)
        self.add(node, Concat(**names, axis=axis, zero_points=zero_points, requantizers=same_grid))

    # how they are built

    def _append(self, op: Op, params: QuantParams | AccumulatorParams) -> None:
        shape = op.output_shape([self.tensors[name].shape for name in op.inputs])
        self.ops.append(op)
        if isinstance(op, Constant):
            self._constants[op.output] = op
        self.tensors[op.output] = TensorInfo(tuple(shape), params)

    def _output_params(self, node: FloatNode) -> QuantParams | AccumulatorParams:
        if node.name in self.activations:
            return self.activations[node.name]
        scale = self.params(node.inputs[0]).scale * np.asarray(sum_scale(self.weight(node).params))
        return AccumulatorParams(scale, len(node.shape) if scale.ndim else None)  # channels come last

    def _in_order(self, source: str, plain: bool, name: str | None = None) -> str:
        """The tensor in torch's order (plain) or NHWC; rank 4 alone knows two. name: of the transpose."""
        if len(self.tensors[source].shape) != 3 or plain == (source in self._plain):
            return source
        moved = self._transposed(source, _TO_NCHW if plain else _TO_NHWC, name or ("nchw" if plain else "nhwc"),
                                 whole_name=name is not None)  # fmt: skip
        if plain:
            self._plain.add(moved)
        return moved

    def _spatial_operand(self, source: str) -> str:
        """An operand of lower rank as it is broadcast against NHWC: torch aligns (W), (H, W) with the end of NCHW."""
        shape = self.tensors[source].shape
        if len(shape) == 3 or not shape or math.prod(shape) == 1:
            return source
        name = f"{source}.nhwc"
        if name not in self.tensors:
            wide = (*(1,) * (2 - len(shape)), *shape, 1)
            self._append(Reshape(name, (source,), name, shape=wide), self.tensors[source].params)
        return name

    def _transposed(self, source: str, order: tuple[int, ...], suffix: str, whole_name: bool = False) -> str:
        name = suffix if whole_name else f"{source}.{suffix}"
        if name not in self.tensors:
            params = self.tensors[source].params
            if isinstance(params, AccumulatorParams) and params.axis is not None:
                place = (params.axis - 1) % len(order)  # of the channels, without the batch
                params = AccumulatorParams(params.scale, order.index(place) + 1)
            constant = self._constants.get(source)
            if constant is None:
                self._append(Transpose(name, (source,), name, order=order), params)
            else:
                values = np.ascontiguousarray(constant.values.transpose(order))
                self._append(Constant(name, (), name, values), params)
        return name

    def requantizer(self, node: FloatNode, numerics: OperatorNumerics, scales: tuple) -> Requantizer:
        """What brings a product of (input scale, weight scale) to the node's grid and clamp."""
        y = self.params(node)
        requantizer = Requantizer.from_scale(
            numerics.rescaling,
            scales,
            zero_point=y.zero_point,
            **self.clamp_codes(node),
            product=numerics.product,
        )
        if not numerics.options:
            return requantizer
        return replace(requantizer, params={**requantizer.params, **numerics.options})

    def clamp_codes(self, node: FloatNode) -> dict[str, Any]:
        """The fused activation as codes: zero_point + round(limit / scale), ties away (TFLite kernel_util.cc).

        Integers, or int64 arrays where the activation has bounds per channel.
        """
        y = self.params(node)

        def code(bound: Bound, default: int) -> Any:
            if bound is None:
                return default
            codes = y.zero_point + _round_away(np.asarray(bound, np.float32) / np.float32(y.scale))
            codes = np.clip(codes, y.qmin, y.qmax)
            return codes if isinstance(bound, tuple) else int(codes)

        lower, upper = node.clamp
        return {"qmin": code(lower, y.qmin), "qmax": code(upper, y.qmax)}


def _round_away(value: np.ndarray) -> np.ndarray:
    real = value.astype(np.float64)
    return np.copysign(np.floor(np.abs(real) + 0.5), real).clip(-(2.0**62), 2.0**62).astype(np.int64)
