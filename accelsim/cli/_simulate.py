"""What `demo` and `run` share: from a network to its printed report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import accelsim as acs
from accelsim.cli._models import Network, calibration_for, data_for, quantized
from accelsim.cli._output import progress, say, show_report
from accelsim.report.files import check_suffix


def simulate_and_show(
    network_of: Callable[[], Network],
    spec: str,
    quantization: dict[str, Any],
    *,
    data: Path | None = None,
    calibration: Path | None = None,
    out: Path | None = None,
    save: Path | None = None,
    as_json: bool = False,
) -> None:
    """Everything that can be wrong in the arguments is found before anything takes time."""
    if out is not None:
        check_suffix(out)
    accelerator = acs.load_spec(spec)
    acs.QuantConfig(**quantization)
    network = network_of()
    if network.graph is not None and network.data is None and data is None:
        _priced_alone(quantized(network, None, quantization), accelerator, out, save, as_json)
        return
    inputs, labels = data_for(network, data)
    samples = calibration_for(network, calibration, inputs)
    graph = quantized(network, samples, quantization)
    if save is not None:
        graph.save(save)
        say(f"wrote {save}")
    done = 0
    with progress(f"simulating {len(inputs)} inputs", "inputs") as advance:
        advance(0, len(inputs))

        def count(batch: int) -> None:
            nonlocal done
            done += batch
            advance(done, len(inputs))

        report = acs.evaluate(graph, (inputs, labels), accelerator, float_model=network.model, progress=count)
    if network.graph is None and network.calibration is None and calibration is None:
        note = f"ranges were set from the data itself: its first {len(samples)} inputs"
        report = replace(report, notes=(*report.notes, note))
    show_report(report, as_json, out)


def _priced_alone(
    graph: acs.IntegerGraph, accelerator: acs.AcceleratorSpec, out: Path | None, save: Path | None, as_json: bool
) -> None:
    """A network that is quantized already, without data: its price."""
    if save is not None:
        graph.save(save)
        say(f"wrote {save}")
    report = acs.cost(graph, accelerator)
    note = "nothing was simulated: --data, an .npz file with the arrays inputs and labels, adds accuracy and overflows"
    show_report(replace(report, notes=(*report.notes, note)), as_json, out)
