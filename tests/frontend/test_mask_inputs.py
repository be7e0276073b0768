"""Masks that come with each sample: padding of sentences, in all the ways networks say it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import accelsim as acs
from accelsim.errors import AccelsimError
from accelsim.ops import MaskedSoftmax

LENGTHS = torch.tensor([5, 3, 1, 4] * 8)
TOKENS = torch.randint(1, 20, (32, 5), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(5)[None] < LENGTHS[:, None]).long()


class Masked(nn.Module):
    """Attention over words, with a mask of the given kind, and a mean over the words that count."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.words, self.qkv, self.out = kind, nn.Embedding(20, 16), nn.Linear(16, 48), nn.Linear(16, 3)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(self.words(tokens)).view(tokens.shape[0], 5, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        if self.kind == "added":
            bias = (1.0 - mask[:, None, None, :].float()) * -10000.0
            y = torch.softmax(q @ k.mT / 8**0.5 + bias, -1) @ v
        elif self.kind == "where":
            bias = torch.where(mask[:, None, None, :].bool(), torch.zeros(()), torch.finfo(torch.float32).min)
            y = torch.softmax(q @ k.mT / 8**0.5 + bias, -1) @ v
        elif self.kind == "causal":
            causal = torch.ones(5, 5, dtype=torch.bool).tril()
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=causal & (mask[:, None, None, :] > 0))
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :].bool())
        y = y.transpose(1, 2).reshape(tokens.shape[0], 5, 16)
        return self.out(y * mask.unsqueeze(-1)).mean(1)


class OwnMask(Masked):
    """Token 0 is padding: the tokens are their own mask."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        keep = (tokens != 0)[:, None, None, :]
        q, k, v = self.qkv(self.words(tokens)).view(tokens.shape[0], 5, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=keep).transpose(1, 2)
        return self.out(y.reshape(tokens.shape[0], 5, 16)[:, 0])


def network(kind: str) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    torch.manual_seed(0)
    return (OwnMask(kind).eval(), (TOKENS * MASK,)) if kind == "own" else (Masked(kind).eval(), (TOKENS, MASK))


@pytest.mark.parametrize("profile", ["tflm", "onnxruntime"])
@pytest.mark.parametrize("kind", ["booleans", "added", "where", "causal", "own"])
def test_what_is_hidden_counts_for_nothing(kind: str, profile: str, tmp_path) -> None:
    model, inputs = network(kind)
    graph = acs.from_torch(model, inputs, profile=profile)
    assert acs.evaluate(graph, (inputs, None), float_model=model, activity_samples=0).sqnr_db > 25
    assert [op.keep for op in graph.ops if isinstance(op, MaskedSoftmax)] == [None]
    graph.save(tmp_path / "graph.safetensors")
    arrays = tuple(x[:8].numpy() for x in inputs)
    run = acs.simulate(graph, arrays, keep="all")
    slow = acs.simulate(acs.load(tmp_path / "graph.safetensors"), arrays, backend="reference")
    np.testing.assert_array_equal(run.output, slow.output)
    if kind != "own":
        other = np.where(arrays[1] == 1, arrays[0], 19)  # other words where none count
        changed = acs.simulate(graph, (other, arrays[1])).output
        np.testing.assert_array_equal(run.output, changed)
    nothing_hidden = (TOKENS[:8].numpy(), np.ones((8, 5), np.int64))[: len(inputs)]
    assert not np.array_equal(acs.simulate(graph, nothing_hidden).output, run.output)


@pytest.mark.parametrize("kind", ["booleans", "causal", "own"])
def test_masks_are_trained_with(kind: str) -> None:
    model, inputs = network(kind)
    prepared = acs.prepare_qat(model, inputs, weight_bits=4)
    optimizer = torch.optim.Adam(prepared.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        prepared(*inputs).square().mean().backward()
        optimizer.step()
    prepared.eval()
    run = acs.simulate(prepared.lower(), tuple(x.numpy() for x in inputs))
    np.testing.assert_array_equal(prepared(*inputs).detach().numpy(), run.real().astype(np.float32))


def test_what_is_no_mask_is_refused() -> None:
    model, (tokens, mask) = network("booleans")
    with pytest.raises(AccelsimError, match=r"input 'mask' is a mask with values 0 .. 2; only 0 and 1"):
        acs.from_torch(model, (tokens, mask * 2))

    class Added(nn.Module):
        def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(x, x, x, attn_mask=bias)

    x = torch.randn(8, 5, 16)
    with pytest.raises(AccelsimError, match="what is added to the scores is computed from the network's inputs"):
        acs.from_torch(Added(), (x, torch.randn(8, 5, 5)))

    class Elsewhere(nn.Module):
        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return x + torch.where(mask.bool(), torch.zeros(()), -1e9)[:, :, None]

    with pytest.raises(AccelsimError, match="added to something else than the scores in front of a softmax"):
        acs.from_torch(Elsewhere(), (x, MASK[:8].float()))
