"""accelsim demo: train, quantize, simulate, price, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from accelsim.cli import _options as options

EXAMPLE = "accelsim demo --model mobilenet --weight-bits 4"
PANEL = "Simulate and price"


def demo(
    model: Annotated[str, typer.Option("--model", help="resnet (78 k parameters) or mobilenet (33 k).")] = "resnet",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the training.", min=0)] = 0,
    spec: options.Spec = "edge-16x16",
    weight_bits: options.WeightBits = None,
    activation_bits: options.ActivationBits = None,
    profile: options.Profile = None,
    ranges: options.Ranges = None,
    per_tensor: options.PerTensor = False,
    out: Annotated[Path, typer.Option("--out", help="The report: .html, .json or .csv.")] = Path("accelsim-demo.html"),
    as_json: options.Json = False,
) -> None:
    """Train a small network on handwritten digits and run it as integers on an accelerator.

    The 719 test images are computed bit for bit. Trained weights are kept: a second run takes seconds.
    """
    from accelsim.cli._models import demo_network
    from accelsim.cli._simulate import simulate_and_show

    quantization = options.quantization(weight_bits, activation_bits, profile, ranges, per_tensor)
    simulate_and_show(lambda: demo_network(model, seed), spec, quantization, out=out, as_json=as_json)
