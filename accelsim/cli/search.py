"""accelsim search: widths layer by layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from accelsim.cli import _options as options

EXAMPLE = "accelsim search demo:mobilenet --pe fused --max-drop 0.5 --out widths.html"
PANEL = "Simulate and price"


def search(
    model: options.Model,
    data: options.Data = None,
    spec: options.Spec = "edge-16x16",
    pe: Annotated[
        str | None, typer.Option("--pe", help="Change the spec's elements: fused, serial or fixed gain from few bits.")
    ] = None,
    calibration: options.Calibration = None,
    objective: Annotated[str, typer.Option("--objective", help="What is saved: energy, latency or size.")] = "energy",
    max_drop: Annotated[
        float, typer.Option("--max-drop", help="Points of accuracy that may be lost against float.")
    ] = 1.0,
    weight_bits: Annotated[
        str, typer.Option("--weight-bits", help="Widths to choose from: 2..8, or 2,4,8.")
    ] = "2,3,4,8",
    activation_bits: Annotated[str, typer.Option("--activation-bits", help="Widths to choose from.")] = "4,8",
    profile: options.Profile = None,
    per_tensor: options.PerTensor = False,
    recipe: options.Recipe = None,
    save: Annotated[Path | None, typer.Option("--save", help="Also save the winner's quantized graph here.")] = None,
    results: Annotated[
        Path | None,
        typer.Option("--results", help="Where finished trials are kept, to continue from. (default: the user's cache)"),
    ] = None,
    engine: Annotated[str, typer.Option("--engine", help="What simulates: local (processes), dask or ray.")] = "local",
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes of engine local. (default: one per core)")
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", help="The dask scheduler or ray cluster, as host:port.")
    ] = None,
    out: options.Out = None,
    as_json: options.Json = False,
) -> None:
    """Choose a width for each layer's weights and each activation: the cheapest that keep the accuracy.

    Each width's harm is measured by simulation, its cost by the cost model; an integer programme allocates, and the
    allocations are simulated and priced. The page (--out) shows the Pareto front.
    """
    import accelsim as acs
    from accelsim.cachedir import cache_dir
    from accelsim.cli._models import calibration_for, data_for, load_float_network
    from accelsim.cli._output import say, show
    from accelsim.cli._points import points_progress
    from accelsim.report.files import check_suffix

    if out is not None:
        check_suffix(out)
    accelerator = acs.load_spec(spec)
    if pe is not None:
        accelerator = accelerator.replace(**{"array.pe": pe})
    network = load_float_network(model, "search")
    inputs, labels = data_for(network, data)
    samples = calibration_for(network, calibration, inputs)
    kept = results or cache_dir() / "search.jsonl"
    with points_progress(f"trials kept in {kept}") as advance:
        found = acs.search_bits(
            network.model,
            samples,
            (inputs, labels),
            accelerator,
            objective=objective,
            max_accuracy_drop=max_drop / 100,
            weight_bits=options.widths_of(weight_bits, "--weight-bits"),
            activation_bits=options.widths_of(activation_bits, "--activation-bits"),
            results=kept,
            progress=lambda done, whole: advance("trials", done, whole, 0),
            engine=engine,
            workers=workers,
            address=address,
            **options.quantization(None, None, profile, None, per_tensor, recipe),
        )
    found = replace(found, network=network.name)
    if save is not None:
        replace(found.graph, name=network.name).save(save)
        say(f"wrote {save}")
    if out is not None:
        say(f"wrote {found.save(out)}")
    show(str(found), as_json, found.to_dict)
