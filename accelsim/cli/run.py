"""accelsim run: accuracy and cost of a network on data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from accelsim.cli import _options as options

EXAMPLE = "accelsim run model.pt2 --data test.npz --spec edge-16x16 --weight-bits 4 --out report.html"
PANEL = "Simulate and price"


def run(
    model: options.Model,
    data: options.Data = None,
    spec: options.Spec = "edge-16x16",
    calibration: options.Calibration = None,
    weight_bits: options.WeightBits = None,
    activation_bits: options.ActivationBits = None,
    profile: options.Profile = None,
    ranges: options.Ranges = None,
    per_tensor: options.PerTensor = False,
    recipe: options.Recipe = None,
    out: options.Out = None,
    save: Annotated[Path | None, typer.Option("--save", help="Also save the quantized graph here.")] = None,
    as_json: options.Json = False,
) -> None:
    """Quantize a network, compute every bit of its outputs as the accelerator would, and price it."""
    from accelsim.cli._models import load_network
    from accelsim.cli._simulate import simulate_and_show

    quantization = options.quantization(weight_bits, activation_bits, profile, ranges, per_tensor, recipe)
    simulate_and_show(
        lambda: load_network(model),
        spec,
        quantization,
        data=data,
        calibration=calibration,
        out=out,
        save=save,
        as_json=as_json,
    )
