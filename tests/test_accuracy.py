"""Real networks on real data: scikit-learn's digits at 16×16, integer simulation on the whole test set."""

from __future__ import annotations

import numpy as np
import pytest
from exactness import check_layers

import accelsim as acs
from accelsim.evaluation import score, signal_to_noise_db
from accelsim.frontend import digits
from accelsim.frontend.api import calibrated, quantized
from accelsim.frontend.config import QuantConfig
from accelsim.frontend.reference_model import float_outputs

# top-1 % of fake-quantized networks, min-max ranges, one training seed: per tensor / per channel
PUBLISHED = {
    ("resnet", False): {(8, 8): 99.72, (4, 8): 99.17, (4, 4): 99.03},
    ("resnet", True): {(8, 8): 99.72, (4, 8): 99.86, (4, 4): 99.58, (3, 8): 96.52},
    ("mobilenet", False): {(8, 8): 99.44, (4, 8): 98.61, (4, 4): 97.50},
    ("mobilenet", True): {(8, 8): 99.58, (4, 8): 99.17, (4, 4): 97.91, (3, 8): 97.36},
}
NOISE = 0.6  # points


@pytest.fixture(scope="module")
def data():
    return digits.load_digits_data()


@pytest.fixture(scope="module")
def resnet():
    return digits.trained("resnet", 0)


def test_eight_bits_cost_no_accuracy(data, resnet) -> None:
    graph = acs.from_torch(resnet, data.calibration)
    report = acs.evaluate(graph, (data.test_images, data.test_labels), float_model=resnet)
    assert report.samples == 719
    assert report.float_accuracy > 0.99 and report.accuracy > report.float_accuracy - NOISE / 100
    assert report.sqnr_db > 30
    assert not any(event.outputs_with_events for event in report.events)


def test_layers_are_exact(data, resnet) -> None:
    check_layers(acs.from_torch(resnet, data.calibration), data.test_images[:32])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
@pytest.mark.parametrize("profile", ["tflm", "tflite-reference", "tosa-single", "onnxruntime", "shift-only"])
def test_layers_are_exact_over_the_whole_test_set(data, name: str, profile: str) -> None:
    check_layers(acs.from_torch(digits.trained(name, 0), data.calibration, profile=profile), data.test_images)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
@pytest.mark.parametrize("order", ["serial", "tree:4", "mapping"])
def test_backends_agree_on_digits(data, name: str, overflow: str, order: str) -> None:
    graph = acs.from_torch(digits.trained(name, 0), data.calibration)
    for bits in (32, 20, 16):
        changes = {"bits": bits, "overflow": overflow, "order": order}
        spec = acs.load_spec("edge-16x16").replace(**{f"array.accumulators.{k}": v for k, v in changes.items()})
        fast, slow = (acs.simulate(graph, data.test_images[:1], spec, backend=b) for b in ("numba", "reference"))
        assert np.array_equal(fast.output, slow.output) and fast.events == slow.events


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
def test_published_accuracies_are_reached(data, name: str) -> None:
    """Mean of three training seeds; per-tensor W3A8 collapses and is no target."""
    networks = []
    for seed in range(3):
        model = digits.trained(name, seed)
        networks.append((calibrated(model, data.calibration), float_outputs(model, data.test_images)))
    floats = [100 * score("top1", outputs, data.test_labels) for _, outputs in networks]
    assert np.mean(floats) >= 99.0
    gain = []
    for per_channel in (False, True):
        for bits in [(8, 8), (4, 8), (4, 4), (3, 8)]:
            row = {}
            for ranges in ("min-max", "mse"):
                config = QuantConfig(*bits, per_channel=per_channel, ranges=ranges)
                scores, decibels = [], []
                for network, expected in networks:
                    outputs = acs.simulate(quantized(network, config), data.test_images).real()
                    scores.append(100 * score("top1", outputs, data.test_labels))
                    decibels.append(signal_to_noise_db(expected, outputs))
                row[ranges] = np.mean(scores)
                print(
                    f"{name} per_channel={per_channel} W{bits[0]}A{bits[1]} {ranges}: "
                    f"{row[ranges]:.2f} % ({np.mean(decibels):.1f} dB)"
                )
            target = PUBLISHED[name, per_channel].get(bits)
            assert target is None or row["min-max"] >= target - NOISE
            gain.append(row["mse"] - row["min-max"])
    assert np.mean(gain) >= 0, "least squared error must be at least as good as min-max on average"
