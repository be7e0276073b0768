"""Whole networks as loop nests, for tests of the cost model."""

from __future__ import annotations

from accelsim.shapes import ElementwiseNest, LoopNest


def conv(size: int, c: int, k: int, filt: int, stride: int = 1, groups: int = 1, **more) -> LoopNest:
    """A square convolution with "same" padding."""
    pad = filt // 2
    out = (size + 2 * pad - filt) // stride + 1
    return LoopNest(
        1,
        k,
        c,
        out,
        out,
        filt,
        filt,
        groups,
        (stride, stride),
        (1, 1),
        ((pad, pad), (pad, pad)),
        iy=size,
        ix=size,
        **more,
    )


def resnet18(size: int = 224, **more):
    """ResNet-18 (He et al., CVPR 2016)."""
    half, quarter = size // 2, size // 4
    pool = ElementwiseNest("max_pool", ((half * half * 64, 8),), quarter * quarter * 64, 8, 9, 8)
    layers = [("conv1", "conv2d", conv(size, 3, 64, 7, 2, **more)), ("pool", "max_pool", pool)]
    at, c = quarter, 64
    for stage, k in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            out, name = at // stride, f"layer{stage + 1}.{block}"
            layers += [
                (f"{name}.conv1", "conv2d", conv(at, c, k, 3, stride, **more)),
                (f"{name}.conv2", "conv2d", conv(out, k, k, 3, **more)),
            ]
            if stride == 2:
                layers.append((f"{name}.down", "conv2d", conv(at, c, k, 1, 2, **more)))
            layers.append(
                (f"{name}.add", "add", ElementwiseNest("add", ((out * out * k, 8),) * 2, out * out * k, 8, 4))
            )
            at, c = out, k
    return [*layers, ("flatten", "flatten", None), ("fc", "linear", LoopNest(1, 1000, 512, **more))]


def mobilenet_v2(size: int = 224, **more):
    """MobileNetV2 (Sandler et al., CVPR 2018)."""
    layers = [("conv1", "conv2d", conv(size, 3, 32, 3, 2, **more))]
    at, c, number = size // 2, 32, 0
    for expansion, k, repeats, first in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for repeat in range(repeats):
            stride, wide, name = (1 if repeat else first), c * expansion, f"block{number}"
            if expansion > 1:
                layers.append((f"{name}.expand", "conv2d", conv(at, c, wide, 1, **more)))
            layers.append((f"{name}.depthwise", "conv2d", conv(at, wide, wide, 3, stride, wide, **more)))
            at = (at - 1) // stride + 1
            layers.append((f"{name}.project", "conv2d", conv(at, wide, k, 1, **more)))
            if repeat:
                layers.append(
                    (f"{name}.add", "add", ElementwiseNest("add", ((at * at * k, 8),) * 2, at * at * k, 8, 4))
                )
            c, number = k, number + 1
    return [
        *layers,
        ("conv2", "conv2d", conv(at, c, 1280, 1, **more)),
        ("fc", "linear", LoopNest(1, 1000, 1280, **more)),
    ]


def resnet50(size: int = 224):
    """ResNet-50 (He et al., CVPR 2016), additions as layers of their own."""
    half, at, c = size // 2, size // 4, 64
    layers = [
        ("conv1", "conv2d", conv(size, 3, 64, 7, 2)),
        ("pool", "max_pool", ElementwiseNest("max_pool", ((half * half * 64, 8),), at * at * 64, 8, 9, 8)),
    ]
    for stage, (k, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            stride, out, name = 2 if stage and not block else 1, 4 * k, f"layer{stage + 1}.{block}"
            layers += [
                (f"{name}.conv1", "conv2d", conv(at, c, k, 1)),
                (f"{name}.conv2", "conv2d", conv(at, k, k, 3, stride)),
                (f"{name}.conv3", "conv2d", conv(at // stride, k, out, 1)),
            ]
            if not block:
                layers.append((f"{name}.down", "conv2d", conv(at, c, out, 1, stride)))
            at, c = at // stride, out
            layers.append((f"{name}.add", "add", ElementwiseNest("add", ((at * at * c, 8),) * 2, at * at * c, 8, 4)))
    return [*layers, ("fc", "linear", LoopNest(1, 1000, 2048))]


def mobilenet_v1(size: int = 224):
    """MobileNet-v1 (Howard et al., 2017)."""
    layers, at, c = [("conv1", "conv2d", conv(size, 3, 32, 3, 2))], size // 2, 32
    for i, (k, stride) in enumerate(
        (
            (64, 1),
            (128, 2),
            (128, 1),
            (256, 2),
            (256, 1),
            (512, 2),
            (512, 1),
            (512, 1),
            (512, 1),
            (512, 1),
            (512, 1),
            (1024, 2),
            (1024, 1),
        )
    ):
        layers.append((f"dw{i}", "conv2d", conv(at, c, c, 3, stride, c)))
        at = (at - 1) // stride + 1
        layers.append((f"pw{i}", "conv2d", conv(at, c, k, 1)))
        c = k
    pool = ElementwiseNest("avg_pool", ((at * at * c, 8),), c, 8, at * at + 1)
    return [*layers, ("pool", "avg_pool", pool), ("fc", "linear", LoopNest(1, 1000, c))]
