"""accelsim debug: why a quantized network is worse than the float one."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from accelsim.cli import _options as options

EXAMPLE = "accelsim debug demo:mobilenet --weight-bits 4 --per-tensor --out diagnosis.html"
PANEL = "Simulate and price"


def debug(
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
    samples: Annotated[int, typer.Option("--samples", help="Inputs that every trial is measured on.")] = 256,
    out: options.Out = None,
    as_json: options.Json = False,
) -> None:
    """Walk the white paper's debugging flowchart and say which layer is to blame and what to do next.

    Weights alone, activations alone, every quantizer alone; ranges, biases and bits that look wrong are mended on
    trial. The page (--out) shows the distributions.
    """
    import accelsim as acs
    from accelsim.cli._models import calibration_for, data_for, load_float_network
    from accelsim.cli._output import progress, say, show
    from accelsim.report.files import check_suffix

    if out is not None:
        check_suffix(out)
    config = acs.QuantConfig(**options.quantization(weight_bits, activation_bits, profile, ranges, per_tensor, recipe))
    accelerator = acs.load_spec(spec)
    network = load_float_network(model, "debug")
    inputs, labels = data_for(network, data)
    calibration_inputs = calibration_for(network, calibration, inputs)
    with progress("trying quantizers", "trials") as advance:
        found = acs.debug(
            network.model,
            calibration_inputs,
            (inputs, labels),
            config,
            spec=accelerator,
            samples=samples,
            progress=advance,
        )
    found = replace(found, network=network.name)
    if out is not None:
        say(f"wrote {found.save(out)}")
    show(str(found), as_json, found.to_dict)
