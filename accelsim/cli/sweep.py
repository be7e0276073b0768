"""accelsim sweep: a grid of bit widths and accelerators."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from accelsim.cli import _options as options

EXAMPLE = "accelsim sweep demo:resnet --weight-bits 2..8 --activation-bits 4,8 --out sweep.html"
PANEL = "Simulate and price"


def sweep(
    model: options.Model,
    data: options.Data = None,
    spec: Annotated[
        list[str], typer.Option("--spec", help="The accelerator: a preset or a YAML file; may be repeated.")
    ] = ["edge-16x16"],  # noqa: B006
    calibration: options.Calibration = None,
    weight_bits: Annotated[str, typer.Option("--weight-bits", help="Widths: 2..8, or 2,4,8.")] = "2..8",
    activation_bits: Annotated[str, typer.Option("--activation-bits", help="Widths: 4..8, or 4,8.")] = "4..8",
    profile: options.Profile = None,
    ranges: options.Ranges = None,
    per_tensor: options.PerTensor = False,
    recipe: options.Recipe = None,
    results: Annotated[
        Path | None,
        typer.Option("--results", help="Where finished points are kept, to continue from. (default: the user's cache)"),
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="What computes the points: local (processes), dask or ray.")
    ] = "local",
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes of engine local. (default: one per core)")
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", help="The dask scheduler or ray cluster, as host:port.")
    ] = None,
    out: options.Out = None,
    as_json: options.Json = False,
) -> None:
    """Accuracy against energy for every pair of widths; a sweep that was stopped continues.

    Prints every point; those on the Pareto front are marked.
    """
    import accelsim as acs
    from accelsim.cachedir import cache_dir
    from accelsim.cli._models import calibration_for, data_for, load_float_network
    from accelsim.cli._output import say, show
    from accelsim.cli._points import points_progress
    from accelsim.report.files import check_suffix
    from accelsim.search.engine import check_engine
    from accelsim.search.grid import Failure

    if out is not None:
        check_suffix(out)
    check_engine(engine, workers, address)
    weights = options.widths_of(weight_bits, "--weight-bits")
    activations = options.widths_of(activation_bits, "--activation-bits")
    specs = [acs.load_spec(name) for name in spec]
    quantization = options.quantization(None, None, profile, ranges, per_tensor, recipe)
    for bits in (*weights, *activations):
        acs.QuantConfig(weight_bits=bits, **quantization)
    network = load_float_network(model, "a sweep")
    inputs, labels = data_for(network, data)
    samples = calibration_for(network, calibration, inputs)
    kept = results or cache_dir() / "sweep.jsonl"
    failed: list[Failure] = []
    with points_progress(f"points kept in {kept}") as advance:
        found = acs.sweep(
            network.model,
            samples,
            (inputs, labels),
            specs=specs,
            weight_bits=weights,
            activation_bits=activations,
            results=kept,
            progress=lambda done, whole: advance("points", done, whole, len(failed)),
            on_failure=failed.append,
            engine=engine,
            workers=workers,
            address=address,
            **quantization,
        )
    found = replace(found, network=network.name)
    for failure in found.failures:
        say(str(failure))
    if out is not None:
        found.save(out)
        say(f"wrote {out}")
    from accelsim.report.sweep import sweep_records, sweep_table

    show(
        sweep_table(found.frame),
        as_json,
        lambda: {
            "network": found.network,
            "profile": found.profile,
            "points": sweep_records(found.frame),
            "failures": [asdict(failure) for failure in found.failures],
        },
    )
