"""The kernels in Python integers, under the names of accelsim_kernels: slow, plain, and the truth."""

from __future__ import annotations

from importlib import import_module

#: public name -> module that holds it
_HOMES = {
    "conv2d": "mac_array",
    "matmul": "mac_array",
    "pack": "mac_array",
    "pack_conv2d": "mac_array",
    "requantize": "requantization",
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
