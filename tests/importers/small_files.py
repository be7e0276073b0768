"""Small .tflite networks for tests of the reader and of replay."""

from __future__ import annotations

import numpy as np
from tflite_writer import Model


def network(batch: int = 1, real_ends: bool = True, seed: int = 0) -> bytes:
    """Quantize, convolution, depthwise convolution, residual add, pool, reshape, dense, softmax, dequantize."""
    rng = np.random.default_rng(seed)
    m = Model()
    signature = [-1, 8, 8, 3] if batch == 1 else None

    def act(name, shape, scale=0.05, zero_point=3):
        return m.tensor(name, shape, scale=scale, zero_point=zero_point)

    def weights(name, shape, axis):
        scale = rng.uniform(0.004, 0.02, shape[axis]).astype(np.float32)
        codes = m.tensor(name, shape, scale=scale, data=rng.integers(-127, 128, shape), axis=axis)
        bias = rng.integers(-2000, 2000, shape[axis])
        return codes, m.tensor(f"{name}/bias", [shape[axis]], "INT32", scale=scale * np.float32(0.05), data=bias)

    real = m.tensor("image", [batch, 8, 8, 3], "FLOAT32", signature=signature)
    x = m.tensor("image/codes", [batch, 8, 8, 3], scale=0.05, zero_point=3, signature=signature)
    if real_ends:
        m.operator("QUANTIZE", [real], [x], "QuantizeOptions")
    a = act("stem", [batch, 8, 8, 8])
    m.operator("CONV_2D", [x, *weights("stem/w", [8, 3, 3, 3], 0)], [a], "Conv2DOptions", Padding=0, StrideW=1,
               StrideH=1, FusedActivationFunction=1)  # fmt: skip
    b = act("depthwise", [batch, 8, 8, 8], 0.04, -7)
    m.operator("DEPTHWISE_CONV_2D", [a, *weights("dw/w", [1, 3, 3, 8], 3)], [b], "DepthwiseConv2DOptions", Padding=0,
               StrideW=1, StrideH=1, DepthMultiplier=1)  # fmt: skip
    c = act("sum", [batch, 8, 8, 8], 0.07, 1)
    m.operator("ADD", [a, b], [c], "AddOptions")
    d = act("pool", [batch, 2, 2, 8], 0.07, 1)
    m.operator("AVERAGE_POOL_2D", [c], [d], "Pool2DOptions", Padding=1, StrideW=4, StrideH=4, FilterWidth=4,
               FilterHeight=4)  # fmt: skip
    flat = act("flat", [batch, 32], 0.07, 1)
    shape = m.tensor("shape", [2], "INT32", data=[-1, 32])
    m.operator("RESHAPE", [d, shape], [flat], "ReshapeOptions", NewShape=[-1, 32])
    logits = act("logits", [batch, 10], 0.1, -4)
    m.operator("FULLY_CONNECTED", [flat, *weights("fc/w", [10, 32], 0)], [logits], "FullyConnectedOptions")
    p = act("codes", [batch, 10], 1 / 256, -128)
    m.operator("SOFTMAX", [logits], [p], "SoftmaxOptions", Beta=1.0)
    y = m.tensor("probabilities", [batch, 10], "FLOAT32")
    if real_ends:
        m.operator("DEQUANTIZE", [p], [y], "DequantizeOptions")
    return m.build([real if real_ends else x], [y if real_ends else p])
