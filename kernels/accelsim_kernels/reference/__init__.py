"""The kernels in Python integers, under the names of accelsim_kernels: slow, plain, and the truth."""

from __future__ import annotations

from importlib import import_module

#: public name -> module that holds it
_HOMES = {
    "activation_table": "activations",
    "activity": "streams",
    "add": "pairwise",
    "average_pool2d": "pooling",
    "batch_matmul": "composed",
    "clamp": "elementwise",
    "concat": "elementwise",
    "conv2d": "mac_array",
    "dequantize": "elementwise",
    "float_average_pool": "float_forms",
    "float_conv2d": "float_sums",
    "float_matmul": "float_sums",
    "float_pair": "float_forms",
    "grouped_matmul": "grouped",
    "hard_swish": "activations",
    "interpolated_lut": "interpolation",
    "layer_norm": "norms",
    "leaky_relu": "activations",
    "logistic": "activations",
    "lstm": "lstm_step",
    "lut": "elementwise",
    "matmul": "mac_array",
    "max_pool2d": "pooling",
    "maximum": "pairwise",
    "mean": "pooling",
    "minimum": "pairwise",
    "mul": "pairwise",
    "pack": "mac_array",
    "pack_conv2d": "mac_array",
    "pad": "elementwise",
    "quantize": "elementwise",
    "requantize": "requantization",
    "rescale": "elementwise",
    "resize_bilinear": "resizing",
    "resize_nearest": "resizing",
    "rms_norm": "norms",
    "softmax": "softmax_rows",
    "sub": "pairwise",
    "svdf": "recurrent",
    "tanh": "activations",
    "transpose_conv2d": "composed",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
