"""MobileNetV2 and ResNet-18 as .tflite files of their full size, with random weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from tflite_writer import Model

_SPREAD = 40.0  # codes: standard deviation that weights and activations are given
_RELU, _RELU6 = 1, 3


class _Network:
    """Layers one after the other on grids that keep the codes spread out."""

    def __init__(self, side: int, seed: int) -> None:
        self.rng, self.model = np.random.default_rng(seed), Model()
        self.x = self.input = self.tensor([1, side, side, 3], 1 / 64, 0)

    def tensor(self, shape: list[int], scale: float, zero_point: int) -> int:
        return self.model.tensor(f"t{len(self.model.tensors)}", shape, scale=scale, zero_point=zero_point)

    def shape(self, index: int) -> list[int]:
        return list(self.model.tensors[index]["shape"])

    def scale(self, index: int) -> float:
        return float(self.model.tensors[index]["scale"])

    def layer(self, kind: str, options: str, shape: list[int], axis: int, out: list[int], clamp: int = 0, **fields):
        """An operator with weights on the last tensor."""
        rng, x = self.rng, self.x
        channels, products = shape[axis], math.prod(shape) // shape[axis]
        scales = rng.uniform(0.5, 1.5, channels).astype(np.float32) / np.float32(_SPREAD * math.sqrt(products))
        codes = np.clip(np.rint(rng.normal(0, _SPREAD, shape)), -127, 127)
        number = len(self.model.tensors)
        weight = self.model.tensor(f"w{number}", shape, scale=scales, data=codes, axis=axis)
        real = scales * np.float32(self.scale(x))
        bias = self.model.tensor(
            f"b{number}", [channels], "INT32", scale=real, data=np.rint(rng.normal(0, 0.1, channels) / real)
        )
        y = self.tensor(out, 6 / 255, -128) if clamp == _RELU6 else self.tensor(out, 1 / 64, -128 if clamp else 0)
        self.model.operator(kind, [x, weight, bias], [y], options, FusedActivationFunction=clamp, **fields)
        self.x = y

    def conv(self, channels: int, window: int, stride: int = 1, clamp: int = 0) -> None:
        _, h, w, c = self.shape(self.x)
        self.layer("CONV_2D", "Conv2DOptions", [channels, window, window, c], 0,
                   [1, -(-h // stride), -(-w // stride), channels], clamp, Padding=0, StrideW=stride,
                   StrideH=stride, DilationWFactor=1, DilationHFactor=1)  # fmt: skip

    def depthwise(self, stride: int, clamp: int) -> None:
        _, h, w, c = self.shape(self.x)
        self.layer("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", [1, 3, 3, c], 3,
                   [1, -(-h // stride), -(-w // stride), c], clamp, Padding=0, StrideW=stride, StrideH=stride,
                   DepthMultiplier=1, DilationWFactor=1, DilationHFactor=1)  # fmt: skip

    def add(self, other: int, clamp: int = 0) -> None:
        y = self.tensor(self.shape(other), 1 / 48, -128 if clamp else 0)
        self.model.operator("ADD", [other, self.x], [y], "AddOptions", FusedActivationFunction=clamp)
        self.x = y

    def head(self, classes: int) -> bytes:
        """Mean over the image, a fully connected layer, softmax."""
        _, _, _, c = self.shape(self.x)
        axes = self.model.tensor("axes", [2], "INT32", data=[1, 2])
        mean = self.tensor([1, c], self.scale(self.x), self.model.tensors[self.x]["zero_point"])
        self.model.operator("MEAN", [self.x, axes], [mean], "ReducerOptions", KeepDims=False)
        self.x = mean
        self.layer("FULLY_CONNECTED", "FullyConnectedOptions", [classes, c], 0, [1, classes])
        y = self.model.tensor("probabilities", [1, classes], scale=1 / 256, zero_point=-128)
        self.model.operator("SOFTMAX", [self.x], [y], "SoftmaxOptions", Beta=1.0)
        return self.model.build([self.input], [y])


def mobilenet_v2(side: int = 224, classes: int = 1000, seed: int = 0) -> bytes:
    net = _Network(side, seed)
    net.conv(32, 3, 2, _RELU6)
    for expansion, channels, count, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for block in range(count):
            before, step = net.x, stride if block == 0 else 1
            if expansion > 1:
                net.conv(expansion * net.shape(net.x)[3], 1, 1, _RELU6)
            net.depthwise(step, _RELU6)
            net.conv(channels, 1)
            if net.shape(before) == net.shape(net.x):
                net.add(before)
    net.conv(1280, 1, 1, _RELU6)
    return net.head(classes)


def resnet18(side: int = 224, classes: int = 1000, seed: int = 0) -> bytes:
    net = _Network(side, seed)
    net.conv(64, 7, 2, _RELU)
    h = -(-net.shape(net.x)[1] // 2)
    pooled = net.tensor([1, h, h, 64], net.scale(net.x), -128)
    net.model.operator("MAX_POOL_2D", [net.x], [pooled], "Pool2DOptions", Padding=0, StrideW=2, StrideH=2,
                       FilterWidth=3, FilterHeight=3)  # fmt: skip
    net.x = pooled
    for channels, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for block in range(2):
            before, step = net.x, stride if block == 0 else 1
            net.conv(channels, 3, step, _RELU)
            net.conv(channels, 3)
            body = net.x
            if step > 1:
                net.x = before
                net.conv(channels, 1, step)
                before, net.x = net.x, body
            net.add(before, _RELU)
    return net.head(classes)


NETWORKS: dict[str, Callable[..., bytes]] = {"mobilenet_v2": mobilenet_v2, "resnet18": resnet18}
