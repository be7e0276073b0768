"""Options that several verbs share, and how their values are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from accelsim.errors import AccelsimError

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]
Model = Annotated[
    str,
    typer.Argument(
        help="A saved graph, a .tflite or quantized .onnx file, a torch.export file (.pt2), module:function that "
        "builds a torch network, or demo:resnet, demo:mobilenet."
    ),
]
Data = Annotated[
    Path | None, typer.Option("--data", help="An .npz file with the arrays inputs and labels (or x and y).")
]
Calibration = Annotated[
    Path | None,
    typer.Option("--calibration", help="An .npz file with inputs to set ranges from. (default: the first of --data)"),
]
Spec = Annotated[str, typer.Option("--spec", help="The accelerator: a preset's name or a YAML file.")]
WeightBits = Annotated[
    str | None, typer.Option("--weight-bits", help="2 to 16, or by layer: 'stem.*=8,*=4'. (default: 8)")
]
ActivationBits = Annotated[
    str | None, typer.Option("--activation-bits", help="2 to 16, or by layer: 'input=8,*=4'. (default: 8)")
]
Profile = Annotated[
    str | None, typer.Option("--profile", help="Numeric profile, see `accelsim profiles`. (default: tflm)")
]
Ranges = Annotated[
    str | None,
    typer.Option("--ranges", help="How ranges are set: mse, min-max or percentile. (default: mse)"),
]
PerTensor = Annotated[
    bool, typer.Option("--per-tensor", help="One weight scale per tensor instead of one per channel.")
]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="How the network is quantized: white-paper, bias-correction, min-max, data-free, reconstruct, or steps "
        "separated by commas. (default: ranges, then bias correction)",
    ),
]
Out = Annotated[Path | None, typer.Option("--out", help="Write the result: .html, .json or .csv.")]


def quantization(
    weight_bits: str | None,
    activation_bits: str | None,
    profile: str | None,
    ranges: str | None,
    per_tensor: bool,
    recipe: str | None = None,
) -> dict[str, Any]:
    """Keywords for `accelsim.from_torch`, only those that were given."""
    given: dict[str, Any] = {"profile": profile, "ranges": ranges, "recipe": recipe}
    given["weight_bits"] = None if weight_bits is None else bits_of(weight_bits, "--weight-bits")
    given["activation_bits"] = None if activation_bits is None else bits_of(activation_bits, "--activation-bits")
    given["per_channel"] = False if per_tensor else None
    return {key: value for key, value in given.items() if value is not None}


def bits_of(text: str, option: str) -> int | dict[str, int]:
    """ "4" → 4; "stem.*=8,*=4" → {"stem.*": 8, "*": 4}."""
    if "=" not in text:
        return _whole(text, option, text)
    pairs = [part.rpartition("=") for part in text.split(",")]
    return {layer.strip(): _whole(bits, option, text) for layer, _, bits in pairs}


def widths_of(text: str, option: str) -> list[int]:
    """ "2..8" → [2, …, 8]; "2,4,8" → [2, 4, 8]; both can be mixed."""
    widths: list[int] = []
    for part in text.split(","):
        first, dots, last = part.partition("..")
        start = _whole(first, option, text)
        widths += range(start, _whole(last, option, text) + 1) if dots else [start]
    if not widths:
        raise AccelsimError(f"{option} {text!r} holds no width")
    return list(dict.fromkeys(widths))


def _whole(number: str, option: str, text: str) -> int:
    try:
        return int(number)
    except ValueError:
        raise AccelsimError(f"{option} {text!r}: {number!r} is not a whole number") from None


def shape_of(text: str, option: str = "--input-shape") -> tuple[int, ...]:
    """ "1x16x16" or "1,16,16" → (1, 16, 16)."""
    shape = tuple(_whole(part, option, text) for part in text.replace("x", ",").split(","))
    if any(size < 1 for size in shape):
        raise AccelsimError(f"{option} {text!r}: every size must be at least 1")
    return shape
