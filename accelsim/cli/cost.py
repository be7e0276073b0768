"""accelsim cost: price a network without data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from accelsim.cli import _options as options

if TYPE_CHECKING:
    from accelsim.cli._models import Network

EXAMPLE = "accelsim cost model.pt2 --spec micro-8x8 --weight-bits 4"
PANEL = "Simulate and price"


def cost(
    model: options.Model,
    spec: options.Spec = "edge-16x16",
    input_shape: Annotated[
        str | None,
        typer.Option("--input-shape", help="Of one sample, e.g. 1x16x16; needed for module:function only."),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", help="Samples per inference.", min=1)] = 1,
    weight_bits: options.WeightBits = None,
    activation_bits: options.ActivationBits = None,
    profile: options.Profile = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="An .npz file with the array inputs: adds the energy at their zeros and toggles."),
    ] = None,
    objective: Annotated[
        str, typer.Option("--objective", help="What the tilings minimise: energy, latency or edp.")
    ] = "energy",
    energy_table: Annotated[
        Path | None,
        typer.Option("--energy-table", help="A YAML reference table (ERT, ART) in place of the laws' energies, areas."),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", help="Write a timeline for Perfetto or chrome://tracing here.")
    ] = None,
    out: options.Out = None,
    as_json: options.Json = False,
) -> None:
    """Price a network: energy, latency, area and data movement, per layer and in total.

    No data is needed: costs follow from shapes and widths. A float network is quantized with made-up ranges, or those
    of --data.
    """
    import accelsim as acs
    from accelsim.cli._models import load_network, quantized, read_arrays
    from accelsim.cli._output import say, show_report
    from accelsim.errors import AccelsimError
    from accelsim.report.files import check_suffix

    if out is not None:
        check_suffix(out)
    accelerator = acs.load_spec(spec)
    notes: tuple[str, ...] = ()
    if energy_table is not None:
        from accelsim.pricing import calibrate_to_table

        calibrated = calibrate_to_table(energy_table, accelerator)
        accelerator, notes = calibrated.spec, tuple(calibrated.summary().splitlines())
    quantization = options.quantization(weight_bits, activation_bits, profile, None, False)
    acs.QuantConfig(**quantization)
    shape = None if input_shape is None else options.shape_of(input_shape)
    network = load_network(model)
    samples = None if data is None else read_arrays(data)["inputs"]
    if network.graph is None and samples is None:
        import numpy as np

        if shape is None:
            shape = _known_shape(network)
        if shape is None:
            raise AccelsimError(f"--input-shape is needed to price {model}, e.g. --input-shape 3x224x224")
        samples = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    graph = quantized(network, samples, quantization)
    given = None if data is None else samples
    report = acs.cost(graph, accelerator, batch=batch, objective=objective, data=given)
    report = replace(report, notes=(*report.notes, *notes))
    if trace is not None:
        say(f"wrote {acs.save_trace(report, trace)}")
    show_report(report, as_json, out)


def _known_shape(network: Network) -> tuple[int, ...] | None:
    """Of one sample, where the network says it: a demo network by its data, an exported one by its graph."""
    if network.calibration is not None:
        return network.calibration.shape[1:]
    if hasattr(network.model, "graph_signature"):
        from accelsim.frontend.exported import input_shape

        return input_shape(network.model)
    return None
