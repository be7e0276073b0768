"""Every ablation of the white paper's tables, repeated on the digits by integer simulation; one report.

    python examples/paper_tables.py                 # all tables, one training seed: a quarter of an hour on one core
    python examples/paper_tables.py --seeds 3       # means over three training seeds
    python examples/paper_tables.py --tables 1 5    # some tables only

Stop it and start it again: finished points are kept in paper_tables.jsonl, which several processes may fill at once
(--tables 1 2 3 4 5 6 beside --tables 7 8 9); started once more it writes the whole report at once. Where the paper has
32-bit activations, these tables have 12 bits.
"""

import argparse
from dataclasses import asdict, dataclass, field

import pandas as pd
import torch
from rich.progress import track

import accelsim as acs
from accelsim.frontend import digits
from accelsim.frontend.api import calibrated, quantized
from accelsim.report.html import page
from accelsim.store import ResultFile, digest

NETWORKS = ("resnet", "mobilenet")
WIDE = 12
TENSOR = {"per_channel": False}
TRAINING = {"batch_norm": "folded"}  # unless a row says otherwise
MSE = ("activation-ranges(method=mse)", "weight-ranges(method=mse)")
MIN_MAX = ("activation-ranges(method=min-max)", "weight-ranges(method=min-max)")


@dataclass(frozen=True)
class Point:
    """One cell: a configuration of `from_torch`, and how it is trained where it is."""

    table: str
    row: str
    weight_bits: int
    activation_bits: int
    config: dict = field(default_factory=dict)
    training: dict | None = None  # keywords of prepare_qat

    @property
    def column(self) -> str:
        return f"W{self.weight_bits}A{self.activation_bits}"


def points() -> list[Point]:
    """All cells of all tables, in order."""
    found: list[Point] = []

    def add(
        table: str, row: str, widths: list[tuple[int, int]], training: dict | None = None, **config: object
    ) -> None:
        found.extend(Point(table, row, w, a, config, training) for w, a in widths)

    low = [(8, WIDE), (6, WIDE), (4, WIDE), (3, WIDE)]
    for grain, how in (("per tensor", TENSOR), ("per channel", {})):
        for method in ("min-max", "mse"):
            steps = ["activation-ranges(method=min-max)", f"weight-ranges(method={method})"]
            add("1 Weight ranges", f"{method}, {grain}", low, recipe=steps, **how)

    weights = "weight-ranges(method=min-max)"
    for method in ("min-max", "percentile", "mse"):
        steps = [f"activation-ranges(method={method})", weights]
        add("2 Activation ranges", method, [(8, 8), (8, 6), (8, 4), (8, 3)], recipe=steps, output_bits=8)
    logits = ["activation-ranges(method=mse)", "cross-entropy-range", weights]
    add(
        "2 Activation ranges",
        "mse, logits by cross-entropy",
        [(8, 8), (8, 6), (8, 4), (8, 3)],
        recipe=logits,
        output_bits=8,
    )
    statistics = ["batch-norm-ranges", weights]
    add(
        "2 Activation ranges",
        "batch-norm statistics",
        [(8, 8), (8, 6), (8, 4), (8, 3)],
        recipe=statistics,
        output_bits=8,
    )

    narrow = [(8, 8), (6, 8), (4, 8), (3, 8)]
    for row, before in (("none", ()), ("CLE", ("equalize",)), ("CLE + bias absorption", ("equalize", "absorb-bias"))):
        add("3 Cross-layer equalization, per tensor", row, narrow, recipe=[*before, *MIN_MAX], **TENSOR)

    for prefix, before in (("", ()), ("CLE + ", ("equalize", "absorb-bias"))):
        for row, after in (
            ("none", ()),
            ("analytic", ("analytic-bias-correction",)),
            ("empirical", ("bias-correction",)),
        ):
            add("4 Bias correction, per tensor", prefix + row, narrow, recipe=[*before, *MSE, *after], **TENSOR)

    for grain, how in (("per tensor", TENSOR), ("per channel", {})):
        for row, after in (("nearest", ()), ("AdaRound", ("adaround",))):
            steps = ["equalize", *MSE, *after]
            add("5 Rounding", f"{row}, {grain}", [(4, WIDE), (3, WIDE), (2, WIDE)], recipe=steps, **how)

    pipeline = [(8, 8), (4, 8), (4, 4), (3, 8), (2, 8)]
    for grain, how in (("per tensor", TENSOR), ("per channel", {})):
        for recipe in ("min-max", "data-free", "bias-correction", "white-paper", "reconstruct"):
            # by block is for 4 bits and below
            widths = pipeline[1:] if recipe == "reconstruct" else pipeline
            add("6 Post-training pipeline", f"{recipe}, {grain}", widths, recipe=recipe, **how)

    trained_widths = [(4, 4), (2, 4)]
    add("7 Training: batch norm", "no training", trained_widths, recipe=list(MSE))
    for style in ("folded", "double-forward", "per-channel"):
        add("7 Training: batch norm", style, trained_widths, training={"batch_norm": style}, recipe=list(MSE))
    for row, steps in (("min-max", MIN_MAX), ("mse", MSE)):
        add("8 Training: range initialization", f"{row}, no training", trained_widths, recipe=list(steps))
        add("8 Training: range initialization", row, trained_widths, training={}, recipe=list(steps))
    for row, steps in (
        ("ranges by mse", MSE),
        ("+ CLE", ("equalize", *MSE)),
        ("+ CLE + bias correction", ("equalize", *MSE, "bias-correction")),
        ("+ CLE + AdaRound", ("equalize", *MSE, "adaround")),
    ):
        add("9 Training pipeline, per tensor", f"{row}, no training", trained_widths, recipe=list(steps), **TENSOR)
        add("9 Training pipeline, per tensor", row, trained_widths, training={}, recipe=list(steps), **TENSOR)
    return found


def accuracy(point: Point, name: str, seed: int, epochs: int) -> float:
    """Top-1 in %, every bit as the accelerator computes it."""
    data = digits.load_digits_data()
    config = acs.QuantConfig(weight_bits=point.weight_bits, activation_bits=point.activation_bits, **point.config)
    if point.training is None:
        graph = quantized(captured(name, seed), config)
    else:
        graph = train(digits.trained(name, seed), seed, config, {**TRAINING, **point.training}, epochs)
    wide = acs.load_spec("edge-16x16").replace(**{"array.accumulators.bits": 48})  # 12-bit operands
    run = acs.simulate(graph, data.test_images, wide if point.activation_bits == WIDE else "edge-16x16")
    return 100 * float((run.real().argmax(axis=1) == data.test_labels).mean())


CAPTURED: dict = {}


def captured(name: str, seed: int):
    """The network captured once for all its configurations."""
    if (name, seed) not in CAPTURED:
        CAPTURED[name, seed] = calibrated(digits.trained(name, seed), digits.load_digits_data().calibration)
    return CAPTURED[name, seed]


def train(model: torch.nn.Module, seed: int, config: acs.QuantConfig, keywords: dict, epochs: int) -> acs.IntegerGraph:
    """A few epochs through the integer simulation, as examples/qat_learning_rate.py chose them; the integers of it."""
    prepared = acs.prepare_qat(model, digits.load_digits_data().calibration, config, **keywords)
    digits.train(prepared, seed, protocol=protocol(epochs))
    return prepared.lower()


def protocol(epochs: int) -> digits.Protocol:
    return digits.Protocol(epochs=epochs, peak_learning_rate=0.01, weight_decay=0.0)


def report(cells: pd.DataFrame, seeds: int) -> str:
    """One page: a table for each of the paper's, top-1 in %."""
    body = [
        f"<header><h1>The white paper's tables on the digits</h1><p>Top-1 in %, mean of {seeds} seed(s).</p></header>"
    ]
    for table, rows in cells.groupby("table", sort=False):
        body.append(f"<h2>{table}</h2>")
        for name, mine in rows.groupby("network", sort=False):
            shown = mine.pivot_table(index="row", columns="column", values="accuracy", sort=False)
            body.append(f"<h3>{name}</h3>" + shown.to_html(float_format="%.2f", border=0))
    return page("The white paper's tables", "\n".join(body))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=1, help="training seeds to average over")
    parser.add_argument("--epochs", type=int, default=4, help="of quantization-aware training")
    parser.add_argument("--tables", nargs="*", help="numbers of the tables to make (default: all)")
    parser.add_argument("--networks", nargs="*", default=NETWORKS, choices=NETWORKS)
    options = parser.parse_args()
    chosen = [p for p in points() if options.tables is None or p.table[0] in options.tables]
    store = ResultFile("paper_tables.jsonl")
    tasks = [(p, name, seed) for p in chosen for name in options.networks for seed in range(options.seeds)]
    cells = []
    for point, name, seed in track(tasks, "tables"):
        # what several tables have in common is trained once
        training = (
            None if point.training is None else {**TRAINING, **point.training, **asdict(protocol(options.epochs))}
        )
        key = digest(acs.__version__, name, seed, point.column, point.config, training)
        if store.get(key) is None:
            store.put(key, {"accuracy": accuracy(point, name, seed, options.epochs)})
        found = store.get(key)["accuracy"]
        cells.append(
            {"table": point.table, "row": point.row, "network": name, "column": point.column, "accuracy": found}
        )
    frame = pd.DataFrame(cells)
    with open("paper_tables.html", "w", encoding="utf-8") as file:
        file.write(report(frame, options.seeds))
    mean = frame.groupby(["table", "network", "row", "column"], sort=False)["accuracy"].mean()
    print(mean.unstack().to_string(float_format="%.2f", na_rep=""))
    print("wrote paper_tables.html")


if __name__ == "__main__":
    main()
