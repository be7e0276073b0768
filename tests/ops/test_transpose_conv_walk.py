"""The transpose convolution three ways: the kernel, a convolution over the spread input, and tap by tap."""

from __future__ import annotations

import accelsim_kernels as kernels
import numpy as np

from accelsim.errors import AccelsimError
from accelsim.ops import TransposeConv2d
from accelsim.ops.transpose_conv import walked_weight
from accelsim.quant import QuantParams


def test_three_ways_agree() -> None:
    rng = np.random.default_rng(0)
    compared = 0
    for _ in range(200):
        h, w, c, k = map(int, rng.integers(1, 6, 4))
        fy, fx = map(int, rng.integers(1, 5, 2))
        stride = tuple(map(int, rng.integers(1, 4, 2)))
        op = TransposeConv2d(
            "t", ("x",), "y", weight=rng.integers(-5, 5, (k, fy, fx, c)).astype(np.int8),
            weight_params=QuantParams(1.0), x_zero_point=2, bias=None, requantizer=None, stride=stride,
            padding=(int(rng.integers(0, fy)), int(rng.integers(0, fx))),
            output_size=(int(rng.integers(1, h * stride[0] + fy)), int(rng.integers(1, w * stride[1] + fx))),
        )  # fmt: skip
        try:
            rows, columns, _ = op.output_shape([(h, w, c)])
        except AccelsimError:
            continue
        x = rng.integers(-9, 9, (2, h, w, c)).astype(np.int8)
        y = op.run([x], kernels, {}).values
        wide, padding = op.spread(x)
        weight = np.ascontiguousarray(walked_weight(op))
        assert np.array_equal(kernels.conv2d(wide, weight, padding=padding, x_zero_point=2), y)
        oy, ox = int(rng.integers(rows)), int(rng.integers(columns))
        total = 0
        for ky, kx, channel in np.ndindex(fy, fx, c):
            iy, ix = op.source(oy, ky, h, 0), op.source(ox, kx, w, 1)
            if iy is not None and ix is not None:
                total += (int(x[1, iy, ix, channel]) - 2) * int(walked_weight(op)[0, ky, kx, channel])
        assert total == y[1, oy, ox, 0]
        compared += 1
    assert compared > 100
