"""accelsim explore: hardware and bits together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from accelsim.cli import _options as options

EXAMPLE = (
    "accelsim explore demo:resnet --knob weight_bits=2..8 --knob array=8x8,16x16,32x32 --max area=2 --out explored.html"
)
PANEL = "Simulate and price"


def explore(
    model: options.Model,
    data: options.Data = None,
    spec: Annotated[
        list[str],
        typer.Option("--spec", help="The accelerator that is varied: a preset or a YAML file; may be repeated."),
    ] = ["edge-16x16"],  # noqa: B006
    knob: Annotated[
        list[str],
        typer.Option(
            "--knob",
            help="NAME=VALUES, may be repeated: weight_bits=2..8, array=8x8,16x16, dataflow=ws,os, pe=sized,fused, "
            "accumulator_bits=16,32, buffer_bytes=65536,262144, bandwidth_bytes_per_cycle=4,16, or any dotted field of "
            "a spec. (default: bits, array and dataflow)",
        ),
    ] = [],  # noqa: B006
    objective: Annotated[
        list[str],
        typer.Option("--objective", help="accuracy, energy, latency, area or power; may be repeated."),
    ] = [],  # noqa: B006
    least: Annotated[
        float | None, typer.Option("--min-accuracy", help="Designs below are refused, in per cent.")
    ] = None,
    most: Annotated[
        list[str],
        typer.Option(
            "--max", help="energy=PJ, latency=S, area=MM2 or power=W: designs above are refused; may be repeated."
        ),
    ] = [],  # noqa: B006
    method: Annotated[str, typer.Option("--method", help="grid (all), random or optuna.")] = "grid",
    designs: Annotated[int | None, typer.Option("--designs", help="How many designs random or optuna tries.")] = None,
    simulations: Annotated[
        int | None, typer.Option("--simulations", help="Most accuracy simulations. (default: all that can matter)")
    ] = None,
    monotone: Annotated[
        float | None,
        typer.Option(
            "--monotone",
            help="Take for granted that narrower widths gain at most this many points of accuracy, and leave out what "
            "then cannot reach the front.",
        ),
    ] = None,
    cost_only: Annotated[bool, typer.Option("--cost-only", help="No accuracy: price the designs alone.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the random and optuna methods.")] = 0,
    calibration: options.Calibration = None,
    profile: options.Profile = None,
    ranges: options.Ranges = None,
    per_tensor: options.PerTensor = False,
    recipe: options.Recipe = None,
    results: Annotated[
        Path | None,
        typer.Option("--results", help="Where accuracies are kept, to continue from. (default: the user's cache)"),
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
    """Search array shapes, dataflows, memories and bit widths together for designs that nothing beats.

    Costs of all designs are modeled; accuracy is simulated only where a design can still reach the Pareto front, once
    for all hardware that computes the same integers. An exploration that was stopped continues. Prints the front.
    """
    import accelsim as acs
    from accelsim.cachedir import cache_dir
    from accelsim.cli._models import calibration_for, data_for, load_network
    from accelsim.cli._output import say, show
    from accelsim.cli._points import points_progress
    from accelsim.errors import AccelsimError
    from accelsim.report.exploration import front_table, plain_exploration, summary
    from accelsim.report.files import check_suffix

    if out is not None:
        check_suffix(out)
    knobs = dict(_knob(text) for text in knob)
    constraints = {name: _number(value, "--max") for name, value in (_pair(text, "--max") for text in most)}
    if "accuracy" in constraints:
        raise AccelsimError("accuracy has a least value: --min-accuracy")
    if least is not None:
        constraints["accuracy"] = least / 100
    network = load_network(model)
    quantization = options.quantization(None, None, profile, ranges, per_tensor, recipe)
    given, samples = None, None
    if network.graph is None:
        inputs, labels = data_for(network, data)
        samples = calibration_for(network, calibration, inputs)
        given = None if cost_only else (inputs, labels)
    elif not cost_only:
        given = data_for(network, data)
    kept = results or cache_dir() / "explore.jsonl"
    with points_progress(None if cost_only else f"accuracies kept in {kept}") as advance:
        found = acs.explore(
            network.model if network.graph is None else network.graph,
            samples,
            given,
            knobs=knobs or None,
            spec=spec,
            objectives=objective or None,
            constraints=constraints,
            method=method,
            designs=designs,
            simulations=simulations,
            monotone=None if monotone is None else monotone / 100,
            seed=seed,
            results=None if cost_only else kept,
            progress=advance,
            engine=engine,
            workers=workers,
            address=address,
            **quantization,
        )
    found = replace(found, network=network.name)
    if out is not None:
        say(f"wrote {found.save(out)}")
    for line in summary(found):
        say(line)
    show(front_table(found), as_json, lambda: plain_exploration(found))


def _pair(text: str, option: str) -> tuple[str, str]:
    from accelsim.errors import AccelsimError

    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise AccelsimError(f"{option} {text!r} should be NAME=VALUE")
    return name.strip(), value.strip()


def _knob(text: str) -> tuple[str, list[Any]]:
    """ "weight_bits=2..4" → ("weight_bits", [2, 3, 4]); "array=8x8,16" → ("array", [(8, 8), (16, 16)])."""
    name, values = _pair(text, "--knob")
    found: list[Any] = []
    for part in values.split(","):
        if name == "array":
            sides = options.shape_of(part, "--knob array")
            found.append(sides if len(sides) == 2 else (sides[0], sides[0]))
        elif ".." in part:
            found += options.widths_of(part, f"--knob {name}")
        else:
            found.append(_value(part.strip()))
    return name, found


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _number(text: str, option: str) -> float:
    from accelsim.errors import AccelsimError

    value = _value(text)
    if isinstance(value, str):
        raise AccelsimError(f"{option}: {text!r} is not a number")
    return float(value)
