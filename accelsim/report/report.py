"""Report: accuracy beside energy, latency, area and data movement, with where each number comes from."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelsim.events import LayerEvents, RescaleDifferences
from accelsim.hardware import AcceleratorSpec, Constant
from accelsim.pricing.activity import Activity
from accelsim.pricing.costs import CostReport
from accelsim.report.files import save_as

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Report:
    """The result of `cost` (without data) and of `evaluate` (with data); totals are those of one inference.

    network, profile: names. cost: prices per layer at average activity, with the accelerator that was priced.
    accuracy, float_accuracy: the metric of the integer and of the float network, a fraction of 0 to 1 for
    "top1"; None where no data or no float network was given. sqnr_db: of the outputs against the float
    network's. samples: number of inputs that were simulated. layer_bits: layer → (weight bits, activation
    bits), weight bits None for layers without weights. events, rescale_differences: per layer, over all
    samples. data_cost: the same schedule priced with activity: layer → what its data do, measured on
    activity_samples of the inputs; None where no data were given. scaling_energy_pj: total energy by each published
    scaling table, where the technology is scaled. notes: what a reader must know. versions: of
    the packages that took part. command: what made this report.
    """

    network: str
    profile: str
    cost: CostReport
    layer_bits: Mapping[str, tuple[int | None, int]] = field(default_factory=dict)
    accuracy: float | None = None
    float_accuracy: float | None = None
    metric: str = "top1"
    sqnr_db: float | None = None
    samples: int = 0
    events: tuple[LayerEvents, ...] = ()
    rescale_differences: tuple[RescaleDifferences, ...] = ()
    data_cost: CostReport | None = None
    activity: Mapping[str, Activity] = field(default_factory=dict)
    activity_samples: int = 0
    scaling_energy_pj: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""

    @property
    def spec(self) -> AcceleratorSpec:
        return self.cost.spec

    @property
    def energy_pj(self) -> float:
        """At average activity."""
        return self.cost.total_energy_pj

    @property
    def data_energy_pj(self) -> float | None:
        """At the activity of the data; None where no data were given."""
        return None if self.data_cost is None else self.data_cost.total_energy_pj

    @property
    def latency_s(self) -> float:
        return self.cost.latency_s

    @property
    def power_w(self) -> float:
        """Average power: energy over latency."""
        return self.cost.power_w

    @property
    def area_mm2(self) -> float:
        return self.cost.total_area_mm2

    @property
    def dram_bytes(self) -> int:
        """Read and written."""
        return self.cost.dram_bytes

    @property
    def weight_bits(self) -> str:
        """Width of the weights over all layers, "8" or "4-8"; "" where unknown."""
        return _span([w for w, _ in self.layer_bits.values() if w is not None])

    @property
    def activation_bits(self) -> str:
        return _span([a for _, a in self.layer_bits.values()])

    @property
    def widths(self) -> str:
        """Short form of both widths, e.g. "W4A8"; "" where unknown."""
        return f"W{self.weight_bits}A{self.activation_bits}" if self.layer_bits else ""

    @property
    def all_notes(self) -> tuple[str, ...]:
        """Notes of the simulation, then those of the prices, each once."""
        with_data = () if self.data_cost is None else self.data_cost.notes
        return tuple(dict.fromkeys((*self.notes, *self.cost.notes, *with_data)))

    @property
    def constants(self) -> dict[str, Constant]:
        """Every constant that entered, those of the toggle law included."""
        return {**self.cost.constants, **({} if self.data_cost is None else self.data_cost.constants)}

    @property
    def layers(self) -> pandas.DataFrame:
        """One row per layer, units in the columns' names; the columns' sums are the totals."""
        import pandas

        from accelsim.report.tables import layer_rows

        frame = pandas.DataFrame(layer_rows(self))
        missing = [name for name in ("weight_bits", "activation_bits", "accumulator_bits") if name in frame]
        return frame.astype(dict.fromkeys(missing, "Int64"))

    def to_dict(self) -> dict[str, Any]:
        """Everything in the report as plain JSON values; a number that is not finite becomes None."""
        from accelsim.report.tables import layer_rows, plain

        cost = self.cost
        return plain(
            {
                "accelsim_report": 1,
                "network": self.network,
                "profile": self.profile,
                "weight_bits": self.weight_bits,
                "activation_bits": self.activation_bits,
                "metric": self.metric,
                "accuracy": self.accuracy,
                "float_accuracy": self.float_accuracy,
                "sqnr_db": self.sqnr_db,
                "samples": self.samples,
                "totals": {
                    "energy_pj": self.energy_pj,
                    "energy_band_pj": cost.band_pj,
                    "mac_energy_pj": cost.mac_energy_pj,
                    "latency_s": self.latency_s,
                    "latency_cycles": cost.latency_cycles,
                    "stall_cycles": cost.stall_cycles,
                    "power_w": self.power_w,
                    "peak_power_w": cost.peak_power_w,
                    "energy_delay_js": cost.energy_delay_js,
                    "area_mm2": self.area_mm2,
                    "area_band_mm2": cost.area_band_mm2,
                    "dram_bytes": self.dram_bytes,
                    "macs": cost.macs,
                    "utilization": cost.utilization,
                    "tops": cost.tops,
                    "tops_per_watt": cost.tops_per_watt,
                },
                "scaling_energy_pj": self.scaling_energy_pj,
                "data_totals": None if self.data_cost is None else _data_totals(self),
                "energy_pj": cost.energy_pj,
                "area_mm2": cost.area_mm2,
                "bytes_read": cost.bytes_read,
                "bytes_written": cost.bytes_written,
                "layers": layer_rows(self),
                "roofline": cost.roofline(),
                "events": [asdict(e) for e in self.events],
                "rescale_differences": [asdict(r) for r in self.rescale_differences],
                "accelerator": self.spec.model_dump(mode="json", exclude={"technology": {"constants"}}),
                "activity": {name: asdict(a) for name, a in self.activity.items()},
                "constants": {k: c.model_dump() for k, c in self.constants.items()},
                "notes": self.all_notes,
                "versions": self.versions,
                "command": self.command,
            }
        )

    def to_html(self) -> str:
        """One self-contained page: no script, nothing fetched from a network."""
        from accelsim.report.html import report_page

        return report_page(self)

    def to_csv(self) -> str:
        """The table of layers."""
        text = io.StringIO()
        self.layers.to_csv(text, index=False, lineterminator="\n")
        return text.getvalue()

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def save(self, path: str | Path) -> Path:
        """Write the report whole or not at all; the suffix says how: .html, .json or .csv (the layers)."""
        return save_as(path, {".html": self.to_html, ".json": self.to_json, ".csv": self.to_csv})

    def to_text(self, width: int = 100) -> str:
        """Totals and a table of the layers for a terminal of `width` characters."""
        from accelsim.report.text import to_text

        return to_text(self, width)

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        from accelsim.report.html import report_fragment

        return report_fragment(self)


def _data_totals(report: Report) -> dict[str, Any]:
    cost = report.data_cost
    assert cost is not None
    return {
        "samples": report.activity_samples,
        "energy_pj": cost.total_energy_pj,
        "energy_band_pj": cost.band_pj,
        "energy_by_component_pj": cost.energy_pj,
        "latency_s": cost.latency_s,
        "power_w": cost.power_w,
        "dram_bytes": cost.dram_bytes,
    }


def _span(bits: list[int]) -> str:
    if not bits:
        return ""
    low, high = min(bits), max(bits)
    return str(low) if low == high else f"{low}-{high}"
