"""Saturating accumulators beside our own exact product: on real activations, and where nothing can be certified."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

#: networks whose activations are walked: two that the demo trains, one with random weights
FED = ("digits resnet", "digits mobilenet", "resnet18")
FED_BITS = (16, 17, 18, 20, 22, 24)
SERIAL_BITS = (16, 17, 20, 24, 30, 31, 32)
SERIAL_SIDE = 512
_DIGITS = 32  # images


@dataclass(frozen=True)
class SerialProblem:
    """A product of uniform random operands whose bias is at the limit: no bound certifies any output."""

    bits: int

    @property
    def name(self) -> str:
        return f"serial, nothing certified, {self.bits} bits"

    @property
    def macs(self) -> int:
        return SERIAL_SIDE**3

    def contenders(self) -> dict[str, Callable[[], np.ndarray]]:
        from accelsim_kernels import matmul, pack

        rng = np.random.default_rng(0)
        a = rng.integers(0, 256, (SERIAL_SIDE, SERIAL_SIDE)).astype(np.uint8)
        b = pack(rng.integers(-128, 128, (SERIAL_SIDE, SERIAL_SIDE)).astype(np.int8))
        bias = np.full(SERIAL_SIDE, 2 ** (self.bits - 1) - 1, np.int32)
        narrow = {"accumulator_bits": self.bits, "overflow": "saturate"}
        return {
            "accelsim": lambda: matmul(a, b, bias=bias, **narrow),
            "exact product": lambda: matmul(a, b, bias=bias),
        }


@dataclass(frozen=True)
class FedProblem:
    """Every convolution of a network on its own activations, requantization fused."""

    network: str
    bits: int

    @property
    def name(self) -> str:
        return f"{self.network}, real activations, {self.bits} bits"

    @property
    def macs(self) -> int:
        return _layers(self.network)[1]

    def contenders(self) -> dict[str, Callable[[], np.ndarray]]:
        from accelsim_kernels import conv2d

        layers = _layers(self.network)[0]

        def run(**accumulator: Any) -> np.ndarray:
            for x, packed, keywords in layers:
                y = conv2d(x, packed, **keywords, **accumulator)
            return y

        return {
            "accelsim": lambda: run(accumulator_bits=self.bits, overflow="saturate"),
            "exact product": run,
        }


@functools.cache
def _layers(network: str) -> tuple[list[tuple[np.ndarray, Any, dict[str, Any]]], int]:
    """(input codes, packed weights, keywords) of every convolution, and the MACs of all."""
    from accelsim_kernels import pack_conv2d

    from accelsim.simulator import simulate

    graph, x = _network(network)
    run = simulate(graph, x, keep="all")
    layers, macs = [], 0
    for op in graph.mac_ops:
        if op.kind != "conv2d" or op.requantizer is None:
            continue
        keywords = {
            "stride": op.stride, "padding": op.padding, "dilation": op.dilation, "groups": op.groups,
            "x_zero_point": op.x_zero_point, "w_zero_point": op.weight_params.zero_point, "bias": op.bias,
            "requantize": op.requantizer.kwargs(),
        }  # fmt: skip
        layers.append((run.tensors[op.inputs[0]], pack_conv2d(op.weight, groups=op.groups), keywords))
        macs += op.loop_nest(graph.tensors, len(x)).macs
    return layers, macs


def _network(name: str) -> tuple[Any, np.ndarray]:
    import accelsim
    from accelsim.frontend import zoo
    from accelsim.frontend.digits import load_digits_data, trained

    if name.startswith("digits "):
        data = load_digits_data()
        model = trained(name.removeprefix("digits "))
        return accelsim.from_torch(model, data.calibration), np.asarray(data.test_images[:_DIGITS])
    images = np.random.default_rng(1).standard_normal((4, 3, 224, 224)).astype(np.float32)
    return accelsim.from_torch(getattr(zoo, name)(), images), images[:1]
