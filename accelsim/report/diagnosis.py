"""The page of a diagnosis: its conclusion, every quantizer's share of the harm, and the distributions."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.report.files import save_as
from accelsim.report.html import Cell, page, render
from accelsim.report.units import percent

_CLOSE_POINTS = 0.005  # a loss of accuracy within it needs no debugging
_HIGH_BITS = 12


def conclusion(found: Any) -> tuple[str, ...]:
    """Plain sentences from a Diagnosis: what is lost, where it is lost, what to do next."""
    lines = [_loss(found)]
    if not found.faithful:
        lines.append(
            f"Even with every quantizer at {_HIGH_BITS} bits the simulation differs from the float network "
            f"({found.high_precision.sqnr_db:.1f} dB): the cause is not quantization. Next: compare layer by layer "
            "with acs.diff, and check that the calibration data has the inputs' scale and shape."
        )
        return tuple(lines)
    lines.append(
        f"At {_HIGH_BITS} bits the simulation equals the float network ({found.high_precision.sqnr_db:.1f} dB)."
    )
    only = {"weights": found.weights_only, "activations": found.activations_only}
    lines.append("Alone, " + "; ".join(f"quantized {what} leave {_text(value)}" for what, value in only.items()) + ".")
    for kind in ("weight", "activation"):
        worst = found.worst(kind)
        lines.append(
            f"Most harmful {kind} quantizer: layer {worst.layer!r} at {worst.bits} bits; alone it leaves "
            f"{worst.alone.sqnr_db:.1f} dB, and without it the network has {_text(worst.without)}."
        )
    if found.overflows:
        layer = max(found.overflows, key=found.overflows.get)
        lines.append(
            f"Accumulators overflow in {len(found.overflows)} layer(s), most in {layer!r} "
            f"({found.overflows[layer]:.2%} of its outputs). Next: widen them, or add the recipe step 'accumulator'."
        )
    for finding in found.findings:
        lines.append(f"Found: {finding.what}.")
    lines.append(_next_step(found))
    return tuple(lines)


def _next_step(found: Any) -> str:
    if found.findings:
        best = found.findings[0]
        gain = f"gains {best.gain_db:.1f} dB and gives {_text(best.mended)}"
        calm = "the accuracy is kept already; for more margin, " if _kept(found) else ""
        return f"Next: {calm}{best.remedy}; for layer {best.layer!r} that {gain}."
    if _kept(found):
        return "Next: nothing; the quantized network is as accurate as the float one."
    worst = min(found.quantizers, key=lambda q: q.alone.sqnr_db)
    bits = "weight_bits" if worst.kind == "weight" else "activation_bits"
    return (
        f"Next: no single fault stands out. Give layer {worst.layer!r} more {bits}, round with the recipe "
        "'white-paper' or 'reconstruct', or train with quantization."
    )


def _loss(found: Any) -> str:
    lost = _lost(found)
    if lost is None:
        return (
            f"The quantized network is at {found.quantized.sqnr_db:.1f} dB of the float one ({found.samples} samples)."
        )
    return (
        f"Quantization costs {100 * lost:.2f} points: {percent(found.float_accuracy, 2)} in float, "
        f"{percent(found.quantized.accuracy, 2)} quantized ({found.quantized.sqnr_db:.1f} dB, {found.samples} samples)."
    )


def _kept(found: Any) -> bool:
    lost = _lost(found)
    return lost is not None and lost <= _CLOSE_POINTS


def _lost(found: Any) -> float | None:
    if found.float_accuracy is None or found.quantized.accuracy is None:
        return None
    return found.float_accuracy - found.quantized.accuracy


def _text(value: Any) -> str:
    accuracy = "" if value.accuracy is None else f"{percent(value.accuracy, 2)}, "
    return f"{accuracy}{value.sqnr_db:.1f} dB"


def plain_diagnosis(found: Any) -> dict[str, Any]:
    """Plain JSON values."""

    def score(value: Any) -> dict[str, Any]:
        sqnr = float(value.sqnr_db)
        return {"accuracy": value.accuracy, "sqnr_db": sqnr if np.isfinite(sqnr) else None}

    return {
        "network": found.network,
        "samples": found.samples,
        "conclusion": list(conclusion(found)),
        "faithful": found.faithful,
        "float_accuracy": found.float_accuracy,
        **{name: score(getattr(found, name)) for name in _STAGES},
        "findings": [
            {"kind": f.kind, "layer": f.layer, "what": f.what, "remedy": f.remedy, "gain_db": f.gain_db,
             "mended": score(f.mended)}
            for f in found.findings
        ],
        "quantizers": [
            {"kind": q.kind, "layer": q.layer, "bits": q.bits, "alone": score(q.alone), "without": score(q.without)}
            for q in found.quantizers
        ],
        "overflows": dict(found.overflows),
    }  # fmt: skip


_STAGES = {
    "quantized": "as configured",
    "high_precision": f"every quantizer at {_HIGH_BITS} bits",
    "weights_only": "weights only",
    "activations_only": "activations only",
}


def save_diagnosis(found: Any, path: str | Path) -> Path:
    """Write a diagnosis whole or not at all; the suffix says how: .html, .json or .csv (one row per quantizer)."""
    from json import dumps

    def csv() -> str:
        rows = ["kind,layer,bits,alone_sqnr_db,alone_accuracy,without_sqnr_db,without_accuracy"]
        for q in found.quantizers:
            cells = [q.kind, q.layer, q.bits, q.alone.sqnr_db, q.alone.accuracy, q.without.sqnr_db, q.without.accuracy]
            rows.append(",".join("" if cell is None else str(cell) for cell in cells))
        return "\n".join(rows) + "\n"

    return save_as(
        path,
        {
            ".html": lambda: diagnosis_html(found),
            ".json": lambda: dumps(plain_diagnosis(found), indent=1, allow_nan=False) + "\n",
            ".csv": csv,
        },
    )


def diagnosis_html(found: Any) -> str:
    """A whole HTML document."""
    from accelsim.report import diagnosis_plots as plots
    from accelsim.versions import versions

    body = render(
        "diagnosis.html.j2",
        network=found.network,
        lines=conclusion(found),
        tiles=[(title, *_tile(getattr(found, name))) for name, title in _STAGES.items()],
        sensitivity=plots.sensitivity_figure(found.quantizers),
        weights=plots.weight_figure(found.weight_ranges),
        activations=plots.activation_figure(found.activation_distributions),
        columns=[("quantizer", "text"), ("layer", "text"), ("bits", ""), ("alone", ""), ("all but it", "")],
        rows=[{"cells": _cells(q)} for q in found.quantizers],
        versions=versions(),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )
    return page(f"diagnosis of {found.network}", body)


def _tile(value: Any) -> tuple[str, str]:
    decibels = f"{value.sqnr_db:.1f} dB"
    return (decibels, "") if value.accuracy is None else (percent(value.accuracy, 2), decibels)


def _cells(q: Any) -> list[Cell]:
    return [q.kind, q.layer, str(q.bits), _text(q.alone), _text(q.without)]
