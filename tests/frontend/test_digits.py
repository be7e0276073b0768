"""The demo data, networks and their cache; one epoch of training, never thirty."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from accelsim.errors import AccelsimError
from accelsim.frontend import digits


@pytest.fixture
def one_epoch(monkeypatch):
    monkeypatch.setattr(digits, "PROTOCOL", dataclasses.replace(digits.PROTOCOL, epochs=1))


def test_data_is_split_stratified_and_scaled():
    data = digits.load_digits_data()
    assert data.train_images.shape == (1078, 1, 16, 16)
    assert data.test_images.shape == (719, 1, 16, 16)
    assert data.train_images.dtype == np.float32 and data.train_labels.dtype == np.int64
    assert data.train_images.min() == 0.0 and data.train_images.max() == 1.0
    share = np.bincount(data.test_labels) / (np.bincount(data.train_labels) + np.bincount(data.test_labels))
    assert np.allclose(share, 0.4, atol=0.005)
    assert data.calibration.shape == (256, 1, 16, 16)
    # chance, as guessing the most frequent test label scores: a fingerprint of the split's sizes
    assert 0.09 < np.bincount(data.test_labels).max() / 719 < 0.11


@pytest.mark.parametrize(("name", "parameters"), [("resnet", 77754), ("mobilenet", 33274)])
def test_networks_have_the_documented_size_and_shapes(name, parameters):
    model = digits.build(name)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model.eval()(torch.zeros(3, 1, 16, 16)).shape == (3, 10)
    spatial = model.blocks(model.stem(torch.zeros(1, 1, 16, 16))).shape[-2:]
    assert spatial == (4, 4)


def test_training_learns_and_repeats_bit_for_bit(one_epoch):
    data = digits.load_digits_data()
    states, seen = [], []
    for noise in (1, 2):
        torch.manual_seed(noise)  # the caller's own generator must not matter
        model = digits.build("resnet", 3)
        digits.train(model, 3, lambda done, epochs: seen.append((done, epochs)), digits.PROTOCOL)
        states.append(model.state_dict())
    assert seen == [(0, 1), (1, 1)] * 2
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert digits.accuracy(model, data.test_images, data.test_labels) > 0.5
    assert not torch.equal(digits.build("resnet", 4).classifier.weight, digits.build("resnet", 3).classifier.weight)


def test_weights_are_cached_and_a_damaged_file_is_replaced(one_epoch, tmp_path):
    def saved():
        return sorted(p.name for p in tmp_path.iterdir())

    calls = []
    first = digits.trained("resnet", 0, cache_dir=tmp_path, progress=lambda *a: calls.append(a))
    assert calls == [(0, 1), (1, 1)] and len(saved()) == 1 and saved()[0].endswith(".safetensors")
    again = digits.trained("resnet", 0, cache_dir=tmp_path, progress=lambda *a: calls.append(a))
    assert len(calls) == 2, "the second run must not train"
    assert not again.training
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))

    path = tmp_path / saved()[0]
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.warns(UserWarning, match=r"cached weights .* unusable .* training again"):
        digits.trained("resnet", 0, cache_dir=tmp_path, progress=lambda *a: calls.append(a))
    assert len(calls) == 4 and len(saved()) == 1


def test_cache_key_follows_protocol_and_network(one_epoch, monkeypatch):
    names = {digits._cache_name("resnet", 0, digits.build("resnet"))}
    names.add(digits._cache_name("resnet", 1, digits.build("resnet")))
    names.add(digits._cache_name("mobilenet", 0, digits.build("mobilenet")))
    monkeypatch.setattr(digits, "PROTOCOL", dataclasses.replace(digits.PROTOCOL, learning_rate=0.01))
    names.add(digits._cache_name("resnet", 0, digits.build("resnet")))
    monkeypatch.setattr(torch, "__version__", "0.0")
    names.add(digits._cache_name("resnet", 0, digits.build("resnet")))
    assert len(names) == 5


def test_an_unwritable_cache_costs_a_warning_only(one_epoch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.warns(UserWarning, match="could not be cached"):
        digits.trained("resnet", cache_dir=tmp_path / "file")


def test_unknown_network_is_named():
    with pytest.raises(AccelsimError, match=r"'vgg'.*resnet, mobilenet"):
        digits.build("vgg")
