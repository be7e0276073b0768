"""What a tenth of the accuracy simulations finds on digits and 5 040 designs; errors of bulk pricing."""

from __future__ import annotations

import numpy as np
import pytest

import accelsim as acs
from accelsim.evaluation import price_graph

pytestmark = pytest.mark.slow
KNOBS = {
    "weight_bits": range(2, 9),
    "activation_bits": range(4, 9),
    "array": [(8, 8), (16, 16), (32, 16), (32, 32)],
    "dataflow": ("ws", "os", "is"),
    "buffer_bytes": (2**14, 2**15, 2**16, 2**18),
    "accumulator_bits": (14, 16, 32),
}


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    from accelsim.frontend.digits import load_digits_data, trained

    data = load_digits_data()
    return trained("resnet"), data.calibration, (data.test_images, data.test_labels)


def test_a_tenth_of_the_simulations_finds_the_hypervolume(digits, tmp_path) -> None:
    asked = {"knobs": KNOBS, "results": tmp_path / "accuracies.jsonl"}
    whole = acs.explore(*digits, **asked, batch=16)
    assert len(whole.frame) == 5040 and (whole.frame.status == "known").all()
    assert whole.configurations == 105 and whole.simulations <= 105
    assert whole.simulations <= 0.1 * len(whole.frame)  # each design by itself would be 5 040 simulations
    tenth = whole.simulations // 10  # of what the whole grid takes, where hardware with the same integers shares one
    few = acs.explore(*digits, **asked, simulations=tenth)
    assert few.simulations == tenth
    share = few.hypervolume(whole.box) / whole.hypervolume()
    strict = {**whole.box, "accuracy": (1.0, 0.9)}
    strict_share = few.hypervolume(strict) / whole.hypervolume(strict)
    print(f"hypervolume of {tenth} of {whole.simulations} simulations: {share:.4f}; above 90 %: {strict_share:.4f}")
    assert share >= 0.95


def test_short_listed_tilings_cost_little_more_than_all(digits) -> None:
    model, calibration, _ = digits
    found = acs.explore(model, calibration, knobs=KNOBS, method="random", designs=400)
    excess = []
    for row in range(0, 400, 8):
        quantization, spec = found.design(row)
        report = price_graph(acs.from_torch(model, calibration, **quantization, ranges="min-max"), spec)
        excess.append(found.frame.energy_pj[row] / report.total_energy_pj - 1)
    print(f"energy above the full search: median {np.median(excess):.5f}, most {max(excess):.4f}")
    assert min(excess) > -1e-9 and np.median(excess) < 0.01 and max(excess) < 0.05
