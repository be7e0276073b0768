"""What is read of a .tflite file: the layout of its tables. Source: LiteRT schema.fbs, version 3."""

from __future__ import annotations

from functools import cache

from accelsim.importers.flatbuffer import STRING, Layout, Scalar, Union, Vector

_BYTE, _INT, _LONG = Scalar(1), Scalar(4), Scalar(8)
_INTS = Vector(_INT)


def _fields(*kinds: Scalar | Vector | Union | str) -> dict:
    return dict(enumerate(kinds))


_LAYOUT: dict[str, dict] = {
    "Model": {0: _INT, 1: Vector("OperatorCode"), 2: Vector("SubGraph"), 4: Vector("Buffer")},
    "OperatorCode": {0: _BYTE, 1: STRING, 2: _INT, 3: _INT},
    "SubGraph": _fields(Vector("Tensor"), _INTS, _INTS, Vector("Operator")),
    "Tensor": {
        0: _INTS, 1: _BYTE, 2: _INT, 3: STRING, 4: "QuantizationParameters", 5: _BYTE, 6: "SparsityParameters",
        7: _INTS,
    },
    "QuantizationParameters": {2: Vector(_INT), 3: Vector(_LONG), 6: _INT},
    "SparsityParameters": {},
    "Buffer": _fields(Vector(_BYTE), _LONG, _LONG),
    "Operator": {0: _INT, 1: _INTS, 2: _INTS, 3: _BYTE},
    "Conv2DOptions": _fields(_BYTE, _INT, _INT, _BYTE, _INT, _INT, _BYTE),
    "DepthwiseConv2DOptions": _fields(_BYTE, _INT, _INT, _INT, _BYTE, _INT, _INT),
    "Pool2DOptions": _fields(_BYTE, _INT, _INT, _INT, _INT, _BYTE),
    "FullyConnectedOptions": _fields(_BYTE, _BYTE, _BYTE, _BYTE, _BYTE),
    "SoftmaxOptions": _fields(_INT),
    "ConcatenationOptions": _fields(_INT, _BYTE),
    "AddOptions": _fields(_BYTE, _BYTE),
    "SubOptions": _fields(_BYTE, _BYTE),
    "MulOptions": _fields(_BYTE),
    "L2NormOptions": _fields(_BYTE),
    "ResizeBilinearOptions": {2: _BYTE, 3: _BYTE},
    "ResizeNearestNeighborOptions": _fields(_BYTE, _BYTE),
    "ReshapeOptions": _fields(_INTS),
    "SpaceToDepthOptions": _fields(_INT),
    "DepthToSpaceOptions": _fields(_INT),
    "GatherOptions": _fields(_INT, _INT),
    "ReducerOptions": _fields(_BYTE),
    "SqueezeOptions": _fields(_INTS),
    "StridedSliceOptions": _fields(_INT, _INT, _INT, _INT, _INT, _BYTE),
    "SplitOptions": _fields(_INT),
    "SplitVOptions": _fields(_INT),
    "TransposeConvOptions": _fields(_BYTE, _INT, _INT, _BYTE, _BYTE),
    "PackOptions": _fields(_INT, _INT),
    "UnpackOptions": _fields(_INT, _INT),
    "LeakyReluOptions": _fields(_INT),
    "MirrorPadOptions": _fields(_BYTE),
    "BatchMatMulOptions": _fields(_BYTE, _BYTE),
    "GeluOptions": _fields(_BYTE),
}  # fmt: skip


@cache
def options() -> dict[int, str]:
    """Tables of options by the number of their type in BuiltinOptions; other operators have none that is read."""
    import tflite

    numbers = {name: number for name, number in vars(tflite.BuiltinOptions).items() if isinstance(number, int)}
    return {numbers[name]: name for name in _LAYOUT if name in numbers}


@cache
def layout() -> Layout:
    """Every table that is read."""
    return {**_LAYOUT, "Operator": {**_LAYOUT["Operator"], 4: Union(options())}}
