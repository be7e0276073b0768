"""The compatibility mode against SCALE-Sim's own reports."""

from __future__ import annotations

import csv

import pytest
from shared_material import SHARED, needs_shared

from accelsim.dataflow import scalesim_compat
from accelsim.errors import AccelsimError

SIZES = ("ifmap_h", "ifmap_w", "filt_h", "filt_w", "channels", "num_filt", "stride")


@needs_shared
def test_every_run_is_reproduced():
    with open(SHARED / "cost" / "scalesim.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 165
    for row in rows:
        got = scalesim_compat(
            *(int(row[name]) for name in SIZES),
            rows=int(row["array_rows"]),
            cols=int(row["array_cols"]),
            dataflow=row["dataflow"],
        )
        where = (row["net"], row["layer"], row["dataflow"], row["array_rows"], row["simulator"])
        for name in (
            "total_cycles",
            "ofmap_h",
            "ofmap_w",
            "sram_ifmap_reads",
            "sram_filter_reads",
            "sram_ofmap_writes",
        ):
            expected = int(row[name]) - (int(row["stall_cycles"]) if name == "total_cycles" else 0)
            assert getattr(got, name) == expected, (where, name)
        if not int(row["stall_cycles"]):
            assert got.overall_util_pct == pytest.approx(float(row["overall_util_pct"]), rel=1e-9), where
        assert got.mapping_eff_pct == pytest.approx(float(row["mapping_eff_pct"]), rel=1e-9), where


def test_wrong_arguments_are_named():
    with pytest.raises(AccelsimError, match="dataflow 'rs'"):
        scalesim_compat(8, 8, 3, 3, 4, 4, 1, rows=4, cols=4, dataflow="rs")
    with pytest.raises(AccelsimError, match="stride"):
        scalesim_compat(8, 8, 3, 3, 4, 4, 0, rows=4, cols=4, dataflow="os")
