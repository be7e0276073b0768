"""Mean and deviation of every tensor's channels from batch-norm statistics alone (Nagel et al., 2019, appendix C).

Behind a folded batch norm each channel is taken for a normal distribution of mean beta and deviation abs(gamma);
activations clip it; other operators hand on what they do to mean and variance, channels taken for independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from accelsim.errors import AccelsimError
from accelsim.frontend.float_graph import Bound, FloatGraph, FloatNode
from accelsim.frontend.observe import Observation
from accelsim.frontend.operators.arithmetic import Add, Clamp
from accelsim.frontend.operators.functions import Function, PRelu
from accelsim.frontend.operators.padding import AnyPad, Pad
from accelsim.frontend.operators.pool import AxisMean
from accelsim.frontend.operators.product import Mul
from accelsim.frontend.operators.shape import Concat, Reshape
from accelsim.frontend.operators.split import Part
from accelsim.frontend.operators.transpose_conv import MAC_LAYERS, ConvTranspose2d
from accelsim.frontend.recipes.chains import POOLS, RESIZES

_SAME = (*POOLS, *RESIZES, Pad, AnyPad)
_PLACES = 64


@dataclass(frozen=True)
class Moments:
    """Per channel (dimension 1 of the batched tensor), float64: before and behind the activation."""

    mean: np.ndarray
    variance: np.ndarray
    mean_before: np.ndarray
    variance_before: np.ndarray


def output_moments(seen: Observation) -> dict[str, Moments]:
    """Tensor → Moments. Inputs are taken for uniform over their observed range.

    Raises AccelsimError naming the first layer whose moments cannot be told.
    """
    found: dict[str, Moments] = {}
    for ref in seen.graph.inputs:
        low, high = seen.limits[seen.owners[ref.name]]
        count = ref.shape[0] if ref.shape else 1
        mean, variance = np.full(count, (low + high) / 2), np.full(count, (high - low) ** 2 / 12)
        found[ref.name] = Moments(mean, variance, mean, variance)
    for node in seen.graph.nodes:
        before = _before_clamp(node, [found[ref.name] for ref in node.inputs])
        found[node.name] = Moments(*clipped_normal(*before, *node.clamp), *before)
    return found


def _before_clamp(node: FloatNode, inputs: list[Moments]) -> tuple[np.ndarray, np.ndarray]:
    if "mean" in node.parameters:
        deviation = node.parameters["deviation"].double().numpy()
        return node.parameters["mean"].double().numpy(), np.square(deviation)
    first = inputs[0]
    if node.operator in MAC_LAYERS:
        weight = node.parameters["weight"].double().numpy()
        bias = node.parameters["bias"].double().numpy() if "bias" in node.parameters else np.zeros(len(weight))
        sums, squares = summed_taps(node, weight), summed_taps(node, np.square(weight))
        return bias + through_layer(node, sums, first.mean), through_layer(node, squares, first.variance)
    if node.operator is Add:
        return sum(m.mean for m in inputs), sum(m.variance for m in inputs)  # type: ignore[return-value]
    if node.operator is Concat and node.attributes["axis"] == 1:
        return np.concatenate([m.mean for m in inputs]), np.concatenate([m.variance for m in inputs])
    mixes = node.operator is AxisMean and 0 in node.attributes["axes"]
    if issubclass(node.operator, Clamp) or (node.operator in _SAME and not mixes):
        return first.mean, first.variance
    if issubclass(node.operator, Function) or node.operator is PRelu:
        return _through_function(node, first)
    if node.operator is Mul and len({len(m.mean) for m in inputs}) == 1:
        other = inputs[1]
        squares = (first.variance + np.square(first.mean)) * (other.variance + np.square(other.mean))
        return first.mean * other.mean, squares - np.square(first.mean * other.mean)
    if node.operator is Part and node.attributes["axis"] == 0:
        kept = slice(node.attributes["start"], node.attributes["start"] + node.attributes["size"])
        return first.mean[kept], first.variance[kept]
    if node.operator is Reshape and node.shape[0] % len(first.mean) == 0:
        repeat = node.shape[0] // len(first.mean)
        return np.repeat(first.mean, repeat), np.repeat(first.variance, repeat)
    raise _unknown(node)


def _unknown(node: FloatNode) -> AccelsimError:
    return AccelsimError(
        f"layer {node.layer!r}: its channels cannot be followed from batch-norm statistics; "
        "use a recipe that observes calibration data, such as 'white-paper'"
    )


def _through_function(node: FloatNode, x: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of a function of a normal variable, by Gauss-Hermite quadrature."""
    places, shares = np.polynomial.hermite.hermgauss(_PLACES)
    values = x.mean[:, None] + np.sqrt(2 * x.variance)[:, None] * places
    y = node.operator.execute(node, torch.from_numpy(values.T)).numpy().T  # channels are dimension 1
    mean = y @ shares / np.sqrt(np.pi)
    return mean, np.maximum(np.square(y) @ shares / np.sqrt(np.pi) - np.square(mean), 0.0)


def summed_taps(node: FloatNode, weight: np.ndarray) -> np.ndarray:
    """(outputs, inputs per group): a weight in torch's layout, summed over the spatial taps that an output sees."""
    # an output of a transpose convolution sees every stride-th tap: on average over positions, that share of all
    share = 1 / math.prod(node.attributes["stride"]) if node.operator is ConvTranspose2d else 1.0
    return weight.reshape(*weight.shape[:2], -1).sum(axis=2) * share


def through_layer(node: FloatNode, taps: np.ndarray, x: np.ndarray) -> np.ndarray:
    """taps @ x for each group of channels."""
    groups = node.attributes.get("groups", 1)
    if len(x) != taps.shape[1] * groups:
        raise _unknown(node)
    return np.einsum("gkc,gc->gk", taps.reshape(groups, -1, taps.shape[1]), x.reshape(groups, -1)).reshape(-1)


def clipped_normal(mean: np.ndarray, variance: np.ndarray, lower: Bound, upper: Bound) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of clip(x, lower, upper), x normal, per channel.

    With a = (lower - mean) / s, b = (upper - mean) / s, density f and distribution F of the standard normal:
    E = lower F(a) + upper (1 - F(b)) + mean (F(b) - F(a)) + s (f(a) - f(b)).
    """
    if lower is None and upper is None:
        return mean, variance
    from scipy.special import ndtr

    s = np.sqrt(np.maximum(variance, 1e-24))
    low = np.full_like(mean, -np.inf) if lower is None else np.broadcast_to(np.asarray(lower, np.float64), mean.shape)
    high = np.full_like(mean, np.inf) if upper is None else np.broadcast_to(np.asarray(upper, np.float64), mean.shape)
    a, b = (low - mean) / s, (high - mean) / s
    density_a, density_b = (np.exp(-np.square(z) / 2) / np.sqrt(2 * np.pi) for z in (a, b))
    below, above = ndtr(a), ndtr(-b)
    inside = 1 - below - above
    finite_low, finite_high = np.where(np.isfinite(low), low, 0.0), np.where(np.isfinite(high), high, 0.0)
    first = finite_low * below + finite_high * above + mean * inside + s * (density_a - density_b)
    second = (
        np.square(finite_low) * below
        + np.square(finite_high) * above
        + (np.square(mean) + np.square(s)) * inside
        + s * ((mean + finite_low) * density_a - (mean + finite_high) * density_b)
    )
    return first, np.maximum(second - np.square(first), 0.0)


def normal_limits(graph: FloatGraph, moments: Mapping[str, Moments], alpha: float) -> dict[str, tuple[float, float]]:
    """Tensor → (smallest, largest) of mean ∓ alpha deviation over channels, clamped as the layer clamps."""
    clamps = {node.name: node.clamp for node in graph.nodes}
    limits = {}
    for name, m in moments.items():
        spread = alpha * np.sqrt(m.variance_before)
        low, high = m.mean_before - spread, m.mean_before + spread
        lower, upper = clamps.get(name, (None, None))
        for bound, choose in ((lower, np.maximum), (upper, np.minimum)):
            if bound is not None:
                low, high = choose(low, np.asarray(bound)), choose(high, np.asarray(bound))
        limits[name] = (float(low.min()), float(high.max()))
    return limits
