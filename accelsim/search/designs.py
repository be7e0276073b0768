"""The designs of an exploration with their costs, priced as columns and kept by their indices."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.hardware import AcceleratorSpec
from accelsim.search.costing import ShortList, Workload, price_designs
from accelsim.search.integers import Network, sums_of
from accelsim.search.knobs import SPEC, Space, SpecBuilder

if TYPE_CHECKING:
    import pandas

    from accelsim.search.trials import Trials

ANCHORS = 24  # designs that the short list of tilings is learnt from
EACH = 8  # of them for each dataflow and base spec, at most: more tilings are more to price
#: what computes the same integers: values of the quantization's knobs, and how sums are walked and held
Key = tuple[tuple[int, ...], str]


class Designs:
    """Rows are indices of knobs' values. Costs of a row depend on the space alone, not on the rows asked for before."""

    def __init__(self, space: Space, network: Network) -> None:
        self.space, self.network = space, network
        self.builder = SpecBuilder(space)
        self._workloads: dict[tuple[int, ...], Workload] = {}
        self._place: dict[tuple[int, ...], int] = {}
        self._rows = {name: np.zeros(0) for name in ("energy_pj", "latency_s", "area_mm2", "dram_bytes")}
        self._problems: dict[tuple[int, ...], str] = {}
        self._sums: dict[tuple, str] = {}
        self._short: ShortList | None = None

    def workload(self, index: Any) -> Workload:
        chosen = tuple(int(index[k]) for k in self.space.quantization)
        if chosen not in self._workloads:
            self._workloads[chosen] = self.network.workload(self.space.quantized(index))
        return self._workloads[chosen]

    def spec(self, index: Any) -> AcceleratorSpec:
        """With "sized" elements built for the network's widths. Raises AccelsimError where the design is impossible."""
        spec = self.builder.of(index)
        if isinstance(spec, str):
            raise AccelsimError(spec)
        return self.builder.sized(spec, self.workload(index).widths)

    def add(self, indices: np.ndarray) -> None:
        """Price the designs that are new."""
        if self._short is None:
            self._short = ShortList().learn(self._priceable(self._anchors())[1])
        new = [row for row in map(tuple, indices.tolist()) if row not in self._place and row not in self._problems]
        rows, designs = self._priceable(new)
        costs = price_designs(designs, self._short)
        self._problems.update({rows[i]: text for i, text in costs.problem.items()})
        first = len(self._rows["energy_pj"])
        self._place.update({row: first + i for i, row in enumerate(rows)})
        clocks = np.array([spec.clock_hz for _, spec in designs])
        found = {
            "energy_pj": costs.energy_pj,
            "latency_s": costs.latency_cycles / clocks,
            "area_mm2": costs.area_mm2,
            "dram_bytes": costs.dram_bytes,
        }
        self._rows = {name: np.concatenate([column, found[name]]) for name, column in self._rows.items()}

    def _anchors(self) -> list[tuple[int, ...]]:
        """Designs spread over the space, for each dataflow and each base spec about as many.

        Tilings follow the sizes of arrays and memories: their combinations are walked evenly. On digits energy is then
        at most 1 % above the full search's; 15 %, where they are spread like the other knobs.
        """
        fixed: list[dict[str, int]] = [{}]
        for knob in self.space.knobs:
            if knob.name in (SPEC, "dataflow", "array.dataflow"):
                fixed = [{**some, knob.name: i} for some in fixed for i in range(len(knob.values))]
        each = max(3, min(EACH, ANCHORS // len(fixed)))
        sizing = [
            k
            for k, knob in enumerate(self.space.knobs)
            if any(path.endswith((".rows", ".cols", ".size_bytes")) for path in knob.paths)
        ]
        sizes = [len(self.space.knobs[k].values) for k in sizing]
        rows = []
        for some in fixed:
            table = self.space.spread(each, some)
            if sizing:
                table[:, sizing] = np.stack(np.unravel_index(np.arange(each) * math.prod(sizes) // each, sizes), axis=1)
            rows += [tuple(row) for row in table.tolist()]
        return list(dict.fromkeys(rows))

    def _priceable(self, rows: list[tuple[int, ...]]) -> tuple[list[tuple[int, ...]], list[Any]]:
        good, designs = [], []
        for row in rows:
            try:
                designs.append((self.workload(row), self.spec(row)))
                good.append(row)
            except AccelsimError as error:
                self._problems[row] = str(error)
        return good, designs

    def keys(self, indices: np.ndarray) -> list[Key | None]:
        """Of each design, what decides its integers; None where it is impossible."""
        keys: list[Key | None] = []
        for row in map(tuple, indices.tolist()):
            try:
                keys.append((tuple(row[k] for k in self.space.quantization), self._sums_of(row)))
            except AccelsimError as error:
                self._problems[row] = str(error)
                keys.append(None)
        return keys

    def _sums_of(self, row: tuple[int, ...]) -> str:
        spec = self.spec(row)
        array = spec.array
        known = (id(array.accumulators), array.dataflow, array.rows)
        if known not in self._sums:
            self._sums[known] = sums_of(self.workload(row), spec)
        return self._sums[known]

    def table(self, indices: np.ndarray, trials: Trials | None) -> pandas.DataFrame:
        """One row per design, as `Exploration.frame` without `front`."""
        import pandas

        rows = list(map(tuple, indices.tolist()))
        places = np.array([self._place.get(row, -1) for row in rows], dtype=np.int64)
        columns: dict[str, Any] = {}
        if all(knob.name != SPEC for knob in self.space.knobs):
            columns[SPEC] = self.space.specs[0].name
        for k, knob in enumerate(self.space.knobs):
            labels = np.array([knob.label(i) for i in range(len(knob.values))], dtype=object)
            columns[knob.name] = labels[indices[:, k]]
        for name, column in self._rows.items():
            columns[name] = np.where(places >= 0, np.append(column, np.nan)[places], np.nan)
        frame = pandas.DataFrame(columns, index=range(len(rows))).infer_objects()
        frame["power_w"] = frame["energy_pj"] * 1e-12 / frame["latency_s"]
        impossible = frame["energy_pj"].isna().to_numpy()
        frame["accuracy"], frame["sqnr_db"] = np.nan, np.nan
        frame["status"] = np.where(impossible, "impossible", "priced")
        if trials is not None:
            trials.fill(frame, self, indices)
        return frame

    def problems(self, indices: np.ndarray, trials: Trials | None) -> dict[int, str]:
        """Row → why the design could not be priced or simulated."""
        found = {i: self._problems[row] for i, row in enumerate(map(tuple, indices.tolist())) if row in self._problems}
        if trials is not None:
            for i, key in enumerate(self.keys(indices)):
                if key is not None and key in trials.errors:
                    found[i] = trials.errors[key]
        return found
