"""Attention: products of two activations, softmax with a mask, and what torch calls scaled dot-product attention."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from accelsim.frontend.batch_place import axis_of, followed, place_of, rank_of
from accelsim.frontend.float_graph import FloatNode, Ref
from accelsim.frontend.operators.arithmetic import Add
from accelsim.frontend.operators.constant import Constant
from accelsim.frontend.operators.functions import numerics_of
from accelsim.frontend.operators.mac import Linear
from accelsim.frontend.operators.product import WIDE_SCHEME, largest
from accelsim.frontend.registry import Captured, Reject, lowers, parameter, tensor
from accelsim.ops.arithmetic import Requantize as IntegerRequantize
from accelsim.ops.batch_matmul import BatchMatMul
from accelsim.ops.function_parameters import softmax_parameters
from accelsim.ops.softmax import MaskedSoftmax as IntegerMaskedSoftmax
from accelsim.ops.softmax import Softmax as IntegerSoftmax
from accelsim.profiles import NumericProfile
from accelsim.quant import QuantParams

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering

aten = torch.ops.aten

#: what is added to a score to mask it is at most this; real biases are far above
MASKED = -1e4


@lowers(aten.matmul.default, aten.bmm.default)
class MatMul:
    """Products of matrices of two activations, leading dimensions broadcast; with a parameter it is a linear layer.

    attributes: transpose, whether the second operand is stored as (…, N, K); gain, a number the product is times.
    """

    anywhere = fuses_clamp = True

    @staticmethod
    def capture(arguments: dict[str, Any], value: Any) -> Captured:
        a, b = (arguments.get(name) for name in (("self", "other") if "other" in arguments else ("self", "mat2")))
        a = tensor(a, "the first operand")
        if isinstance(b, torch.Tensor):
            return linear(a, b, None, value)
        b = tensor(b, "the second operand")
        if place_of(a) != place_of(b) or place_of(a).dimension + 3 > min(rank_of(a), rank_of(b)):
            raise Reject("it multiplies matrices along the batch")
        lead = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        if rank_of(a) != rank_of(b):
            raise Reject(f"operands of {rank_of(a)} and {rank_of(b)} dimensions")
        shape = (*lead, a.shape[-2], b.shape[-1])
        return Captured((a, b), {"transpose": False, "gain": 1.0}, shape=shape, place=place_of(a))

    @staticmethod
    def execute(node: FloatNode, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a @ (b.mT if node.attributes["transpose"] else b) * node.attributes["gain"]

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        a, b, y = (to.params(t) for t in (*node.inputs, node))
        # runtimes without an operator of its own multiply two activations as they do weights
        numerics = numerics_of(to.profile, "batch_matmul") or to.profile.operator("linear")
        numerics = numerics.for_activations(max(a.bits, b.bits))
        scales = (a.scale * node.attributes["gain"], b.scale, y.scale)
        requantizer = to.requantizer(node, numerics, scales)
        if largest(a) * largest(b) * node.inputs[0].shape[-1] > requantizer.bound().accumulator_range()[1].min():
            # two operands of 16 bits: their runtimes sum in 64
            requantizer = to.requantizer(node, replace(numerics, scheme=WIDE_SCHEME), scales)
        to.add(
            node,
            BatchMatMul(
                **to.names(node, plain=True),
                a_zero_point=a.zero_point,
                b_zero_point=b.zero_point,
                transpose_a=False,
                transpose_b=node.attributes["transpose"],
                requantizer=requantizer,
            ),
        )


def linear(x: Ref, weight: torch.Tensor, bias: torch.Tensor | None, value: Any) -> Captured:
    """x @ weight + bias with parameters (C, K), (K,) as a fully connected layer."""
    if weight.ndim != 2 or (place_of(x).dimension == rank_of(x) - 1):
        raise Reject(f"a product with a parameter of shape {tuple(weight.shape)}")
    parameters = {"weight": parameter(weight, "the weight").t().contiguous()}
    if bias is not None:
        parameters["bias"] = parameter(bias, "the bias")
        if bias.shape != weight.shape[1:]:
            raise Reject(f"a bias of shape {tuple(bias.shape)}")
    return Captured((x,), {}, parameters, operator=Linear, shape=followed(x, value), place=place_of(x))


@lowers(aten.mm.default, aten.addmm.default)
class MatrixProduct:
    """A fully connected layer whose weight is stored as (C, K), over rows of all samples."""

    owns_module = anywhere = True

    @staticmethod
    def capture(arguments: dict[str, Any], value: Any) -> Captured:
        if "mat1" not in arguments:
            return linear(tensor(arguments["self"], "the first operand"), arguments["mat2"], None, value)
        if arguments["beta"] != 1 or arguments["alpha"] != 1:
            raise Reject("alpha or beta other than 1")
        x = tensor(arguments["mat1"], "the first factor")
        return linear(x, arguments["mat2"], parameter(arguments["self"], "the bias"), value)


@lowers(aten.softmax.int, aten._softmax.default, aten._safe_softmax.default)
class Softmax:
    """exp(gain x) / sum(exp(gain x)) along the last dimension, over the places that a mask keeps.

    attributes: gain. parameters: keep, booleans that broadcast to a sample, where there is a mask; or a second input,
    not 0 where kept. A row that keeps nothing is 0.
    """

    follows = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        x = tensor(arguments["self"], "the input")
        if arguments["dim"] % rank_of(x) != rank_of(x) - 1 or axis_of(x, -1) != len(x.shape) - 1:
            raise Reject("softmax along another dimension than the last")
        return Captured((x,), {"gain": 1.0})

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        x = x * node.attributes["gain"]
        keep = node.parameters.get("keep") if mask is None else mask
        if keep is None:
            return torch.softmax(x, dim=-1)
        found = torch.softmax(torch.where(keep != 0, x, -torch.inf), dim=-1)
        return torch.nan_to_num(found, nan=0.0)  # a row that keeps nothing

    @staticmethod
    def fixed_limits(profile: NumericProfile, bits: int, symmetric: bool) -> tuple[float, float]:
        """Of probabilities: scale 2^-bits, smallest code 0."""
        return (0.0, 1.0 - 2.0 ** -(bits - symmetric))

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        x, y = to.params(node.inputs[0]), to.params(node)
        names, keep = to.names(node, plain=True), node.parameters.get("keep")
        masked = keep is not None or len(node.inputs) > 1
        numerics = numerics_of(to.profile, "softmax")
        if numerics is not None and not masked and max(x.bits, y.bits) <= 8:
            scales = {"input_scale": x.scale * node.attributes["gain"], "scale": y.scale, "zero_point": y.zero_point}
            to.add(node, IntegerSoftmax(**names, arithmetic=str(numerics.arithmetic), params=scales))
            return
        own = _own_grid(x.bits, y)
        params = dict(softmax_parameters(node.attributes["gain"], x, own))
        how: dict[str, Any] = {"arithmetic": params.pop("arithmetic"), "params": params}
        if masked:
            how["keep"] = None if keep is None else keep.bool().numpy()
        kind = IntegerMaskedSoftmax if masked else IntegerSoftmax
        if own == y:
            to.add(node, kind(**names, **how))
            return
        inner = f"{node.name}.probabilities"
        source = to.between(node, kind(**{**names, "name": inner, "output": inner}, **how), params=own)
        requantizer = to.requantizer(node, to.profile.operator("requantize"), (own.scale, 1.0, y.scale))
        to.add(
            node,
            IntegerRequantize(node.name, (source,), node.name, own.zero_point, requantizer),
            plain=True,
        )


@lowers(aten.log_softmax.int, aten._log_softmax.default)
class LogSoftmax:
    """Has no integers here: as a last layer it changes no ranking, and losses can be computed from logits."""

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        raise Reject("leave it out: the largest logit is the largest log-probability")

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("log-softmax is refused when a network is captured")

    lower = execute


def _own_grid(input_bits: int, y: QuantParams) -> QuantParams:
    """The grid that the integer softmax itself has: E18 for 8-bit scores, E19 for wider ones."""
    if input_bits > 8:
        return QuantParams(2.0**-15, 0, 16)
    bits = 8 if y.bits <= 8 else 16
    return QuantParams(2.0**-bits, -(1 << (bits - 1)), bits)


@lowers(aten.scaled_dot_product_attention.default)
class Attention:
    """softmax(q kᵀ scale + bias, where the mask keeps) v, of (batch, heads, length, depth); taken apart below."""

    word = "sdpa"  # in the names of its parts

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        q, k, v = (tensor(arguments[name], name) for name in ("query", "key", "value"))
        if len(q.shape) < 2:
            raise Reject(f"a query of shape {q.shape} without the batch")
        if arguments.get("enable_gqa"):
            raise Reject("enable_gqa=True: repeat keys and values instead")
        scale = arguments.get("scale")
        attributes = {"gain": float(1 / math.sqrt(q.shape[-1]) if scale is None else scale)}
        if attributes["gain"] <= 0:
            raise Reject(f"scale={scale}")
        mask = arguments.get("attn_mask")
        inputs: tuple[Ref, ...] = (q, k, v)
        parameters = {}
        if arguments.get("is_causal"):
            parameters["keep"] = torch.ones(q.shape[-2], k.shape[-2]).tril()
        elif isinstance(mask, Ref):
            if arguments.get("mask_dtype") != torch.bool:
                raise Reject("what is added to the scores is computed from the network's inputs; booleans may be")
            inputs = (*inputs, mask)
        elif isinstance(mask, torch.Tensor):
            parameters |= _mask_parameters(mask, (*q.shape[:-1], k.shape[-2]))
        return Captured(inputs, attributes, parameters)

    @staticmethod
    def decompose(node: FloatNode) -> tuple[FloatNode, ...]:
        """Scores, perhaps a bias, probabilities, and their product with the values: each with a grid of its own."""
        q, k, v, *mask = node.inputs
        shape = (*node.shape[:-1], k.shape[-2])
        gain, bias, keep = node.attributes["gain"], node.parameters.get("bias"), node.parameters.get("keep")
        nodes = []

        def part(suffix: str, **fields: Any) -> Ref:
            made = replace(node, name=f"{node.name}.{suffix}", shape=shape, parameters={}, attributes={})
            nodes.append(replace(made, **fields))
            return Ref(nodes[-1].name, nodes[-1].shape)

        # where nothing is added to the scores, softmax multiplies by their scale anyway
        attributes = {"transpose": True, "gain": 1.0 if bias is None else gain}
        scores = part("scores", operator=MatMul, inputs=(q, k), attributes=attributes)
        if bias is not None:
            added = part("bias", operator=Constant, inputs=(), parameters={"value": bias}, shape=tuple(bias.shape),
                         attributes={"fixed": True})  # fmt: skip
            scores = part("biased", operator=Add, inputs=(scores, added))
        parameters = {} if keep is None else {"keep": keep}
        attributes = {"gain": gain if bias is None else 1.0}
        probabilities = part("softmax", operator=Softmax, inputs=(scores, *mask), attributes=attributes,
                             parameters=parameters)  # fmt: skip
        product = {"transpose": False, "gain": 1.0}
        return (*nodes, replace(node, operator=MatMul, inputs=(probabilities, v), attributes=product, parameters={}))


def _mask_parameters(mask: torch.Tensor, scores: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """keep and bias of a constant mask of torch's: booleans, or numbers to add of which the very low ones mask."""
    if mask.ndim > len(scores):
        if mask.ndim != len(scores) + 1 or not torch.equal(mask, mask[:1].expand_as(mask)):
            raise Reject("a mask that differs from sample to sample")
        mask = mask[0]
    return split_mask(mask)


def split_mask(mask: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a constant addend of scores means: places that it keeps, and a finite bias; each where it says something."""
    if mask.dtype == torch.bool:
        return {} if mask.all() else {"keep": mask.float()}
    keep = mask > MASKED
    bias = torch.where(keep, mask, 0.0).float()
    found = {} if keep.all() else {"keep": keep.float()}
    return found | ({"bias": bias} if bias.any() else {})
