"""A causal network over a whole sequence → the network of one token, which reads the keys and values of those before.

The operators stay as they are, with a sequence of length one. What differs from token to token becomes a row of a
table, chosen by the token's position: position embeddings, relative biases, masks. The second operand of a product
that runs over the sequence (keys, values) is joined behind its past, which is an input; its new entry is an output.
Every grid and every rescaling is the whole network's, so the codes are the whole network's, one for one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.graph import IntegerGraph
from accelsim.ops.base import Op, TensorInfo
from accelsim.ops.batch_matmul import BatchMatMul
from accelsim.ops.concat import Concat
from accelsim.ops.constant import Constant
from accelsim.ops.lookup import Embedding, Gather
from accelsim.ops.mac import Linear
from accelsim.ops.norm import LayerNorm
from accelsim.ops.shape import Reshape, Transpose
from accelsim.ops.slicing import Slice
from accelsim.ops.softmax import MaskedSoftmax, Softmax
from accelsim.quant import QuantParams

POSITION = "position"

#: operators of one element of each operand, broadcast
_ELEMENTWISE = frozenset(
    {
        "add",
        "sub",
        "mul",
        "float_pair",
        "maximum",
        "minimum",
        "table_add",
        "requantize",
        "clamp",
        "lut",
        "interpolated_lut",
        "logistic",
        "tanh",
        "leaky_relu",
    }
)


@dataclass(frozen=True)
class Cache:
    """One tensor that is kept from token to token: the input that holds its past, the output with its new entry.

    axis: of the sequence, the batch counted. empty: the code that stands where nothing is yet.
    """

    past: str
    new: str
    axis: int
    empty: int


@dataclass(frozen=True)
class CachedGraph:
    """graph: of one token; its inputs are the token, POSITION and every cache's past; length: tokens it can take."""

    graph: IntegerGraph
    token: str
    caches: tuple[Cache, ...]
    length: int


@dataclass(frozen=True)
class _Track:
    """Where the sequence runs in a tensor of the whole network, without the batch; keys: second such axis of scores."""

    axis: int
    keys: int | None = None


def cached_graph(graph: IntegerGraph) -> CachedGraph:
    """The network of one token. graph: one input of T tokens, outputs that have T places, causal attention.

    Raises AccelsimError naming the layer that looks at later tokens, or that mixes tokens in another way.
    """
    return _Rewriter(graph).result()


class _Rewriter:
    def __init__(self, graph: IntegerGraph) -> None:
        if len(graph.inputs) != 1 or len(graph.tensors[graph.inputs[0]].shape) != 1:
            raise AccelsimError("a decoder takes one input: a sequence of tokens")
        self.graph = graph
        self.token = graph.inputs[0]
        info = graph.tensors[self.token]
        self.length = info.shape[0]
        if self.length < 2:
            raise AccelsimError("a decoder needs sequences of at least two tokens")
        positions = QuantParams(1.0, 0, max((self.length - 1).bit_length(), 2), signed=False)
        self.tensors: dict[str, TensorInfo] = {
            self.token: TensorInfo((1,), info.params),
            POSITION: TensorInfo((1,), positions),
        }
        self.tracks: dict[str, _Track] = {self.token: _Track(0)}
        self.ops: list[Op] = []
        self.caches: list[Cache] = []
        self.constants: dict[str, Constant] = {}

    def result(self) -> CachedGraph:
        for op in self.graph.ops:
            self._take(op)
        for name in self.graph.outputs:
            if name not in self.tracks:
                raise AccelsimError(f"output {name!r} does not have an entry for every token")
        graph = IntegerGraph(
            ops=tuple(self.ops),
            inputs=(self.token, POSITION, *(cache.past for cache in self.caches)),
            outputs=(*self.graph.outputs, *(cache.new for cache in self.caches)),
            tensors=self.tensors,
            profile=self.graph.profile,
            name=f"{self.graph.name}, one token of {self.length}",
            notes=self.graph.notes,
        )
        return CachedGraph(graph, self.token, tuple(self.caches), self.length)

    def _take(self, op: Op) -> None:
        if isinstance(op, Constant):
            self.constants[op.output] = op
            return
        tracked = [self.tracks.get(name) for name in op.inputs]
        if isinstance(op, BatchMatMul):
            self._product(op, tracked)
        elif isinstance(op, MaskedSoftmax):
            self._masked(op, tracked[0])
        elif isinstance(op, Concat):
            self._join(op, tracked)
        elif op.kind in _ELEMENTWISE:
            self._elementwise(op, tracked)
        else:
            track = self._only(op, tracked)
            moved, after = self._moved(op, track)
            self._add(moved, after)

    # one operator after another

    def _moved(self, op: Op, track: _Track) -> tuple[Op, _Track]:
        """The operator on one token, and where the sequence runs in its output."""
        shape = self.graph.tensors[op.inputs[0]].shape
        if isinstance(op, (Linear, LayerNorm, Softmax)):
            if track.axis == len(shape) - 1 or track.keys is not None:
                raise op.refuse("it mixes tokens, later ones too: a decoder's attention needs a causal mask")
            return op, track
        if isinstance(op, Embedding):
            return op, track
        if isinstance(op, Reshape):
            after = self._reshaped(op, shape, track)
            return replace(op, shape=_one(op.shape, after)), after
        if isinstance(op, Transpose):
            keys = None if track.keys is None else op.order.index(track.keys)
            return op, _Track(op.order.index(track.axis), keys)
        if isinstance(op, Slice):
            if op.sizes[track.axis] != self.length or track.keys is not None:
                raise op.refuse("it takes some tokens only: let the network return an output for every token")
            return replace(op, sizes=_one(op.sizes, track)), track
        if isinstance(op, Gather) and op.axis != track.axis and track.keys is None:
            grown = op.indices.ndim - 1 if op.axis < track.axis else 0
            return op, _Track(track.axis + grown)
        raise op.refuse("a decoder cannot do this token by token")

    def _reshaped(self, op: Reshape, shape: tuple[int, ...], track: _Track) -> _Track:
        if track.keys is not None:
            raise op.refuse("scores of attention change their shape")
        ahead = math.prod(shape[: track.axis])
        for axis, size in enumerate(op.shape):
            if size == self.length and math.prod(op.shape[:axis]) == ahead:
                return _Track(axis)
        raise op.refuse("it merges tokens with other dimensions")

    def _elementwise(self, op: Op, tracked: Sequence[_Track | None]) -> None:
        rank = len(self.graph.tensors[op.output].shape)
        found = {
            _Track(t.axis + rank - len(self._shape(name)), None if t.keys is None else t.keys + rank - len(
                self._shape(name)))
            for name, t in zip(op.inputs, tracked, strict=True) if t is not None
        }  # fmt: skip
        if len(found) != 1:
            raise op.refuse("its operands run over the tokens along different axes")
        (track,) = found
        inputs = tuple(self._operand(op, name, track, rank) for name in op.inputs)
        self._add(replace(op, inputs=inputs), track)

    def _operand(self, op: Op, name: str, track: _Track, rank: int) -> str:
        """A constant operand's row for the token; other operands as they are."""
        if name in self.tracks:
            return name
        values = self.constants[name].values
        lead = rank - values.ndim
        return self._row(f"{op.name}.{name}", values, track.axis - lead, None if track.keys is None else
                         track.keys - lead, self.graph.tensors[name].params)  # fmt: skip

    def _row(self, name: str, values: np.ndarray, axis: int, keys: int | None, params: Any) -> str:
        """A constant as the token at POSITION sees it: a row of a table, with the past's places and then its own."""
        if axis < 0 or values.shape[axis] == 1:
            if keys is not None and keys >= 0 and values.shape[keys] != 1:
                values = np.broadcast_to(values, (*values.shape[:axis], self.length, *values.shape[axis + 1 :]))
            else:
                self._emit(Constant(name, (), name, np.ascontiguousarray(values)), params)
                return name
        table = np.moveaxis(values, axis, 0)
        if keys is not None and keys >= 0 and values.shape[keys] != 1:
            table = self._reordered(table, keys if keys > axis else keys + 1)
        shape = (*values.shape[:axis], 1, *values.shape[axis + 1 :])
        if shape == (1, *table.shape[1:]):
            self._emit(Embedding(name, (POSITION,), name, np.ascontiguousarray(table)), params)
            return name
        inner = f"{name}.row"
        self._emit(Embedding(inner, (POSITION,), inner, np.ascontiguousarray(table)), params)
        self._emit(Reshape(name, (inner,), name, shape), params)
        return name

    def _reordered(self, table: np.ndarray, keys: int) -> np.ndarray:
        """Rows (position first) whose last place along `keys` is the token's own."""
        moved = np.moveaxis(table, keys, -1).copy()
        for position in range(self.length):
            moved[position, ..., -1] = moved[position, ..., position]
        return np.moveaxis(moved, -1, keys)

    def _product(self, op: BatchMatMul, tracked: Sequence[_Track | None]) -> None:
        a, b = tracked
        shapes = [self._shape(name) for name in op.inputs]
        wrong = op.refuse("a product of two activations that is not attention over the tokens")
        if a is None or b is None or op.transpose_a or a.axis != len(shapes[0]) - 2 or b.keys is not None:
            raise wrong
        columns = len(shapes[1]) - (2 if op.transpose_b else 1)  # the axis of the second operand behind the output's
        scores = a.keys is None and b.axis == columns
        values = a.keys == len(shapes[0]) - 1 and b.axis == len(shapes[1]) - 2 and not op.transpose_b
        if not (scores or values):
            raise wrong
        joined = self._joined(op, op.inputs[1], b.axis)
        rank = len(self.graph.tensors[op.output].shape)
        self._add(replace(op, inputs=(op.inputs[0], joined)), _Track(rank - 2, rank - 1 if scores else None))

    def _joined(self, op: Op, name: str, axis: int) -> str:
        """The tensor behind its past: an input, `length - 1` places of it."""
        past, whole = f"{name}.past", f"{name}.all"
        if whole not in self.tensors:
            info = self.tensors[name]
            shape = (*info.shape[:axis], self.length - 1, *info.shape[axis + 1 :])
            self.tensors[past] = TensorInfo(shape, info.params)
            zero = int(info.params.zero_point)
            self._emit(Concat(whole, (past, name), whole, axis, (zero, zero), (None, None)), info.params)
            self.caches.append(Cache(past, name, axis + 1, zero))
        return whole

    def _masked(self, op: MaskedSoftmax, track: _Track | None) -> None:
        if op.keep is None or track is None or track.keys is None:
            raise op.refuse("a decoder's masks are constant and those of attention over the tokens")
        rank = len(self._shape(op.inputs[0]))
        keep = np.broadcast_to(op.keep, (*(1,) * (rank - op.keep.ndim), *op.keep.shape))
        keep = np.broadcast_to(keep, (*keep.shape[:-2], self.length, self.length))
        if track != _Track(rank - 2, rank - 1) or np.triu(keep, 1).any():
            raise op.refuse("its mask keeps later tokens: a decoder's attention needs a causal mask")
        table = np.moveaxis(keep, -2, 0).astype(np.uint8)
        own = np.stack([table[p, ..., p] for p in range(self.length)])
        table = np.concatenate([table[..., :-1], own[..., None]], axis=-1)
        for position in range(self.length):
            table[position, ..., position : self.length - 1] = 0
        grid = QuantParams(1.0, 0, 8, signed=False)
        name = f"{op.name}.mask"
        self._emit(Embedding(f"{name}.row", (POSITION,), f"{name}.row", np.ascontiguousarray(table)), grid)
        self._emit(Reshape(name, (f"{name}.row",), name, (*keep.shape[:-2], 1, self.length)), grid)
        self._add(replace(op, inputs=(op.inputs[0], name), keep=None), track)

    def _join(self, op: Concat, tracked: Sequence[_Track | None]) -> None:
        track = self._only(op, tracked)
        if any(t != track for t in tracked) or op.axis == track.axis or track.keys is not None:
            raise op.refuse("it joins something to the sequence of tokens")
        self._add(op, track)

    def _only(self, op: Op, tracked: Sequence[_Track | None]) -> _Track:
        found = [t for t in tracked if t is not None]
        if not found:
            raise op.refuse("it depends on no token")
        return found[0]

    def _shape(self, name: str) -> tuple[int, ...]:
        return self.graph.tensors[name].shape

    def _add(self, op: Op, track: _Track) -> None:
        self._emit(op, self.graph.tensors[op.output].params)
        self.tracks[op.output] = track

    def _emit(self, op: Op, params: Any) -> None:
        shape = op.output_shape([self.tensors[name].shape for name in op.inputs])
        self.ops.append(op)
        self.tensors[op.output] = TensorInfo(tuple(shape), params)


def _one(shape: tuple[int, ...], track: _Track) -> tuple[int, ...]:
    return (*shape[: track.axis], 1, *shape[track.axis + 1 :])
