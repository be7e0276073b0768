"""Encoders of digits lose less than a point at W8A8; networks of the transformers package go through."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import accelsim as acs
from accelsim.frontend.digits import load_digits_data
from accelsim.frontend.sequence_networks import ENCODERS, trained_encoder


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_of_digits_at_8_bits(name: str) -> None:
    """Mean over three training seeds, integer simulation: within one point of float."""
    data = load_digits_data()
    drops = []
    for seed in range(3):
        model = trained_encoder(name, seed)
        graph = acs.from_torch(model, data.calibration)
        report = acs.evaluate(graph, (data.test_images, data.test_labels), float_model=model)
        assert report.float_accuracy > 0.93
        drops.append(report.float_accuracy - report.accuracy)
    assert np.mean(drops) <= 0.01 and max(drops) <= 0.02


class Logits(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x).logits


def _network(name: str, attention: str) -> tuple[nn.Module, torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers", reason="the transformers package is not installed")
        small = {"attn_implementation": attention}
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, **small}
        if name == "BERT":
            config = transformers.BertConfig(vocab_size=100, max_position_embeddings=32, **sizes)
            model = transformers.BertForSequenceClassification(config)
        elif name == "ViT":
            config = transformers.ViTConfig(image_size=16, patch_size=4, num_channels=1, **sizes)
            model = transformers.ViTForImageClassification(config)
        elif name == "LLaMA":
            config = transformers.LlamaConfig(vocab_size=100, num_key_value_heads=1, use_cache=False, **sizes)
            model = transformers.LlamaForCausalLM(config)
        else:
            config = transformers.GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=2, n_positions=32,
                                             use_cache=False, **small)  # fmt: skip
            model = transformers.GPT2LMHeadModel(config)
    x = torch.randn(64, 1, 16, 16) if name == "ViT" else torch.randint(0, 100, (64, 8))
    return Logits(model).eval(), x


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the package itself, while it builds and runs its networks
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("name", "least_db"), [("BERT", 27), ("ViT", 19), ("GPT-2", 29), ("LLaMA", 28)])
def test_networks_of_the_transformers_package(name: str, least_db: int, attention: str) -> None:
    torch.manual_seed(0)
    model, x = _network(name, attention)
    graph = acs.from_torch(model, x)
    assert acs.evaluate(graph, (x, None), float_model=model).sqnr_db > least_db
    codes = [acs.simulate(graph, x[:2].numpy(), backend=b).output for b in ("numba", "reference")]
    np.testing.assert_array_equal(*codes)
    assert acs.cost(graph).layers["energy_pj"].sum() > 0
    if name in ("GPT-2", "LLaMA"):
        from accelsim.decoding import CachedDecoder, generate

        np.testing.assert_array_equal(CachedDecoder(graph).generate(x[:4, :3], 5), generate(graph, x[:4, :3], 5))
