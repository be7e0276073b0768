"""Decoders with a cache of keys and values: the same codes as the whole sequence, token by token."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import accelsim as acs
from accelsim.decoding import CachedDecoder, generate
from accelsim.errors import AccelsimError
from accelsim.frontend.sequence_networks import Block, Decoder, digit_sequences, trained_decoder
from accelsim.ops import MaskedSoftmax

LENGTH = 6


@pytest.fixture(scope="module")
def graph() -> acs.IntegerGraph:
    torch.manual_seed(0)
    model = Decoder(length=LENGTH, width=16, layers=1).eval()
    return acs.from_torch(model, digit_sequences(64, LENGTH))


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_codes_are_those_of_the_whole_sequence(graph: acs.IntegerGraph, backend: str) -> None:
    tokens = digit_sequences(3, LENGTH, seed=1)
    whole = acs.simulate(graph, tokens, backend=backend).output
    decoder = CachedDecoder(graph, backend=backend)
    for position in range(LENGTH):
        np.testing.assert_array_equal(decoder.step(tokens[:, position]), whole[:, position])
    with pytest.raises(AccelsimError, match="the sequence is full: the network takes 6 tokens"):
        decoder.step(tokens[:, 0])
    decoder.reset()
    np.testing.assert_array_equal(decoder.step(tokens[:2, 0]), whole[:2, 0])
    with pytest.raises(AccelsimError, match="number of sequences changed"):
        decoder.step(tokens[:, 0])


@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
def test_narrow_accumulators_overflow_alike(graph: acs.IntegerGraph, overflow: str) -> None:
    fields = {"array.accumulators.bits": 13, "array.accumulators.overflow": overflow}
    spec = acs.load_spec("edge-16x16").replace(**fields)
    tokens = digit_sequences(4, LENGTH, seed=2)
    run = acs.simulate(graph, tokens, spec)
    assert any(e.outputs_with_events for e in run.events)
    decoder = CachedDecoder(graph, spec)
    steps = np.stack([decoder.step(column) for column in tokens.T], axis=1)
    np.testing.assert_array_equal(steps, run.output)


def test_the_same_tokens_with_and_without_cache(graph: acs.IntegerGraph) -> None:
    prompt = digit_sequences(5, 2, seed=3)
    decoder = CachedDecoder(graph)
    np.testing.assert_array_equal(decoder.generate(prompt, 5), generate(graph, prompt, 5))
    with pytest.raises(AccelsimError, match="2 tokens and 6 more: the network takes 6"):
        decoder.generate(prompt, 6)
    with pytest.raises(AccelsimError, match="the prompt must be integer tokens"):
        decoder.generate(prompt.astype(float), 2)


def test_a_step_is_priced_and_cheaper(graph: acs.IntegerGraph) -> None:
    decoder = CachedDecoder(graph)
    step, whole = acs.cost(decoder.step_graph), acs.cost(graph)
    assert step.layers["macs"].sum() * LENGTH == whole.layers["macs"].sum()
    assert decoder.cache_size_bytes == 2 * (LENGTH - 1) * 16
    assert f"one token of {LENGTH}" in str(step)


def test_networks_that_look_ahead_are_refused() -> None:
    class Both(nn.Module):
        def __init__(self, causal: bool, last: bool) -> None:
            super().__init__()
            self.embedding, self.block = nn.Embedding(10, 16), Block(16, 2, nn.LayerNorm, causal)
            self.last = last

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            x = self.block(self.embedding(tokens))
            return x[:, -1] if self.last else x

    torch.manual_seed(0)
    tokens = digit_sequences(32, 4)
    ahead = acs.from_torch(Both(causal=False, last=False).eval(), tokens)
    with pytest.raises(AccelsimError, match=r"'block.attention.*softmax'.*needs a causal mask"):
        CachedDecoder(ahead)
    causal = acs.from_torch(Both(causal=True, last=False).eval(), tokens)
    (softmax,) = (op for op in causal.ops if isinstance(op, MaskedSoftmax))
    wider = softmax.keep.copy()
    wider[0, 1] = True
    ops = tuple(replace(op, keep=wider) if op is softmax else op for op in causal.ops)
    with pytest.raises(AccelsimError, match="its mask keeps later tokens"):
        CachedDecoder(replace(causal, ops=ops))
    last = acs.from_torch(Both(causal=True, last=True).eval(), tokens)
    with pytest.raises(AccelsimError, match="an output for every token"):
        CachedDecoder(last)


@pytest.mark.slow
def test_a_trained_decoder_continues_sequences() -> None:
    model = trained_decoder(0)
    rows = digit_sequences(256, 13, seed=5)
    graph = acs.from_torch(model, rows[:, :-1])
    found = CachedDecoder(graph).generate(rows[:64, :2], 11)
    np.testing.assert_array_equal(found, generate(graph, rows[:64, :2], 11))
    assert (found == rows[:64, 2:]).mean() > 0.99
