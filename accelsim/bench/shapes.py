"""The shapes that are timed: matrix products, and every distinct convolution of two networks at 224 x 224."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Matmul:
    """(m, k) @ (k, n)."""

    m: int
    k: int
    n: int

    @property
    def name(self) -> str:
        return f"matmul {self.m}x{self.k}x{self.n}"

    @property
    def macs(self) -> int:
        return self.m * self.k * self.n


@dataclass(frozen=True)
class Conv:
    """A square convolution of a (1, size, size, channels) input, padded with taps // 2 on every side."""

    size: int
    channels: int
    outputs: int
    taps: int
    stride: int = 1
    groups: int = 1

    @property
    def name(self) -> str:
        kind = "depthwise" if self.groups > 1 else "conv"
        return f"{kind} {self.taps}x{self.taps} s{self.stride} {self.size}² {self.channels}->{self.outputs}"

    @property
    def out_size(self) -> int:
        return (self.size + 2 * (self.taps // 2) - self.taps) // self.stride + 1

    @property
    def macs(self) -> int:
        return self.out_size**2 * self.outputs * self.taps**2 * (self.channels // self.groups)


MATMULS = (
    Matmul(256, 256, 256),
    Matmul(512, 512, 512),
    Matmul(1024, 1024, 1024),
    Matmul(64, 4096, 1024),
    Matmul(1, 1024, 1024),
)

#: a first look: the shapes that between them exercise every path of the convolution
SIX = (
    Conv(56, 64, 64, 3),
    Conv(14, 256, 256, 3),
    Conv(224, 3, 64, 7, 2),
    Conv(56, 24, 144, 1),
    Conv(14, 384, 96, 1),
    Conv(112, 96, 96, 3, 1, 96),
)


def resnet18() -> tuple[Conv, ...]:
    """The distinct convolutions of ResNet-18 (He et al. 2016, table 1)."""
    layers = [Conv(224, 3, 64, 7, 2), Conv(56, 64, 64, 3)]
    for size, channels in ((56, 64), (28, 128), (14, 256)):
        layers += [
            Conv(size, channels, 2 * channels, 3, 2),
            Conv(size, channels, 2 * channels, 1, 2),
            Conv(size // 2, 2 * channels, 2 * channels, 3),
        ]
    return tuple(layers)


#: MobileNetV2's inverted residuals (Sandler et al. 2018, table 2): expansion, output channels, repeats, stride
_INVERTED = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenet_v2() -> tuple[Conv, ...]:
    """The distinct convolutions of MobileNetV2 at width 1.0."""
    layers = [Conv(224, 3, 32, 3, 2)]
    size, channels = 112, 32
    for expansion, outputs, repeats, first_stride in _INVERTED:
        for index in range(repeats):
            stride = first_stride if index == 0 else 1
            hidden = channels * expansion
            if expansion > 1:
                layers.append(Conv(size, channels, hidden, 1))
            layers.append(Conv(size, hidden, hidden, 3, stride, hidden))
            size //= stride
            layers.append(Conv(size, hidden, outputs, 1))
            channels = outputs
    layers.append(Conv(7, 320, 1280, 1))
    return tuple(dict.fromkeys(layers))


CONVS = tuple(dict.fromkeys((*SIX, *resnet18(), *mobilenet_v2())))
