"""Text from a causal network, one token at a time: with a cache of keys and values, or the whole sequence each time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.cached_graph import POSITION, CachedGraph, cached_graph
from accelsim.errors import AccelsimError
from accelsim.graph import IntegerGraph
from accelsim.hardware import AcceleratorSpec, load_spec
from accelsim.quant import dequantize
from accelsim.simulator import as_array, simulate


class CachedDecoder:
    """A causal integer network with its keys and values kept as codes.

    graph: (N, T) tokens to (N, T, vocabulary), causal, as from_torch makes it. spec, backend: as `simulate` takes them.
    step_graph: the network of one token; `acs.cost(decoder.step_graph)` prices it with a full cache. Its outputs equal
    those of `graph` code for code on every accelerator whose sums are serial or do not overflow.
    Raises AccelsimError naming a layer that is not causal.
    """

    def __init__(
        self, graph: IntegerGraph, spec: str | Path | AcceleratorSpec = "edge-16x16", *, backend: str = "numba"
    ) -> None:
        self._cached: CachedGraph = cached_graph(graph)
        self.spec, self.backend = load_spec(spec), backend
        self.output = graph.outputs[0]
        self.length = self._cached.length
        self._past: dict[str, np.ndarray] = {}
        self.position = 0

    @property
    def step_graph(self) -> IntegerGraph:
        """The network of one token: inputs token, position and pasts; outputs logits and new keys and values."""
        return self._cached.graph

    @property
    def cache_size_bytes(self) -> int:
        """Keys and values of one full sequence, packed to their bits."""
        tensors = self.step_graph.tensors
        bits = sum(tensors[cache.past].elements * tensors[cache.past].bits for cache in self._cached.caches)
        return -(-bits // 8)

    def reset(self) -> None:
        """Forget the sequence."""
        self._past, self.position = {}, 0

    def step(self, tokens: Any) -> np.ndarray:
        """The codes of the output for the next token of every sequence.

        tokens: (N,) integers. Returns (N, vocabulary) codes. Raises AccelsimError where the sequence is full.
        """
        tokens = as_array(tokens)
        if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
            raise AccelsimError(f"a step takes one integer token for each sequence, not {tokens.dtype} {tokens.shape}")
        if self.position >= self.length:
            raise AccelsimError(f"the sequence is full: the network takes {self.length} tokens")
        tensors = self.step_graph.tensors
        if not self._past:
            for cache in self._cached.caches:
                info = tensors[cache.past]
                self._past[cache.past] = np.full((len(tokens), *info.shape), cache.empty, info.grid.dtype)
        if any(len(past) != len(tokens) for past in self._past.values()):
            raise AccelsimError("the number of sequences changed: reset() begins anew")
        inputs = {
            self._cached.token: tokens[:, None],
            POSITION: np.full((len(tokens), 1), self.position),
            **self._past,
        }
        run = simulate(self.step_graph, inputs, self.spec, backend=self.backend)
        for cache in self._cached.caches if self.position < self.length - 1 else ():
            place = (slice(None),) * cache.axis + (slice(self.position, self.position + 1),)
            self._past[cache.past][place] = run.outputs[cache.new]
        self.position += 1
        return run.outputs[self.output][:, 0]

    def generate(self, prompt: Any, count: int) -> np.ndarray:
        """(N, count) tokens after the prompt (N, P), each the one with the largest output."""
        prompt = _prompt(prompt, count, self.length)
        self.reset()
        for tokens in prompt.T[:-1]:
            self.step(tokens)
        return np.stack(list(self._following(prompt[:, -1], count)), axis=1)

    def _following(self, tokens: np.ndarray, count: int) -> Iterator[np.ndarray]:
        for _ in range(count):
            tokens = _chosen(self.step_graph, self.output, self.step(tokens)[:, None])
            yield tokens


def generate(
    graph: IntegerGraph,
    prompt: Any,
    count: int,
    spec: str | Path | AcceleratorSpec = "edge-16x16",
    *,
    backend: str = "numba",
) -> np.ndarray:
    """(N, count) tokens after the prompt (N, P), the whole sequence simulated again for every token."""
    length = graph.tensors[graph.inputs[0]].shape[0]
    prompt = _prompt(prompt, count, length)
    tokens = np.zeros((len(prompt), length), np.int64)
    tokens[:, : prompt.shape[1]] = prompt
    for position in range(prompt.shape[1], prompt.shape[1] + count):
        run = simulate(graph, tokens, spec, backend=backend)
        output = graph.outputs[0]
        found = _chosen(graph, output, run.outputs[output][:, position - 1 : position])
        if position < length:
            tokens[:, position] = found
    return np.concatenate([tokens[:, prompt.shape[1] :], found[:, None]], axis=1)[:, :count]


def _chosen(graph: IntegerGraph, output: str, codes: np.ndarray) -> np.ndarray:
    """The token with the largest real value for each sequence; codes (N, 1, vocabulary)."""
    return dequantize(codes, graph.tensors[output].params)[:, 0].argmax(axis=-1)


def _prompt(prompt: Any, count: int, length: int) -> np.ndarray:
    prompt = as_array(prompt)
    if prompt.ndim != 2 or prompt.dtype.kind not in "iu" or 0 in prompt.shape:
        raise AccelsimError(f"the prompt must be integer tokens (N, P), not {prompt.dtype} {prompt.shape}")
    if count < 1 or prompt.shape[1] + count - 1 > length:
        raise AccelsimError(f"{prompt.shape[1]} tokens and {count} more: the network takes {length}")
    return prompt
