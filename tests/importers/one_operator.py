"""A random .tflite file of one operator under construction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tflite_writer import Model

Rng = np.random.Generator
Case = tuple[bytes, list[np.ndarray]]
SINGLE: dict[str, Callable[[Rng], Case]] = {}


def single(function: Callable[[Rng], Case]) -> Callable[[Rng], Case]:
    SINGLE[function.__name__] = function
    return function


class One:
    """A model under construction: activations on random grids.

    Half of the models have scales whose ratios are small fractions: their rounding has many ties. Some have a batch.
    """

    def __init__(self, rng: Rng, kind: str = "INT8") -> None:
        self.rng, self.model, self.inputs, self.kind = rng, Model(), [], kind
        self.ties = bool(rng.random() < 0.5)
        self.batch = int(rng.choice([1] * 8 + [2, 3]))

    def scale(self, low: float, high: float, count: int | None = None) -> np.ndarray:
        """float32 scales; a number where no count is given."""
        scale = np.exp(self.rng.uniform(np.log(low), np.log(high), count))
        if self.ties:
            scale = 2.0 ** np.rint(np.log2(scale)) * self.rng.choice([1, 1, 1, 3 / 4, 4 / 3, 5 / 4, 5 / 3], count)
        return np.float32(scale)

    def grid(self, low: float = 0.01, high: float = 0.06) -> dict:
        zero = (
            int(self.rng.integers(-30, 31)) if self.rng.random() < 0.8 else int(self.rng.choice([-128, -127, 0, 127]))
        )
        zero = 0 if self.kind == "INT16" else zero + (128 if self.kind == "UINT8" else 0)
        wide = 200 if self.kind == "INT16" else 1
        return {"scale": self.scale(low / wide, high / wide), "zero_point": zero}

    def shape(self, largest: int, lowest_rank: int = 1, highest_rank: int = 5) -> list[int]:
        """Of any rank, mostly images."""
        ranks = [rank for rank in (1, 2, 3, 4, 4, 4, 5) if lowest_rank <= rank <= highest_rank]
        sizes = [int(n) for n in self.rng.integers(1, largest + 1, self.rng.choice(ranks) - 1)]
        return [self.batch, *sizes]

    def input(self, shape, grid=None) -> int:
        self.inputs.append(self.model.tensor(f"input{len(self.inputs)}", shape, self.kind, **(grid or self.grid())))
        return self.inputs[-1]

    def constant(self, values, kind: str = "INT32", **grid) -> int:
        values = np.asarray(values)
        return self.model.tensor(f"constant{len(self.model.tensors)}", values.shape, kind, data=values, **grid)

    def weight(self, shape, axis: int, per_channel: bool, bits: int = 8) -> tuple[int, np.ndarray]:
        top = 2 ** (bits - 1) - 1
        values = self.rng.integers(-top, top + 1, shape)
        scale = self.scale(0.25 / top, 1 / top, shape[axis] if per_channel else 1)
        kind = "INT4" if bits == 4 else "INT8"
        return self.model.tensor("weight", shape, kind, scale=scale, data=values, axis=axis), scale

    def bias(self, channels: int, x: int, scale: np.ndarray, kind: str | None = None, optional: bool = True) -> int:
        if optional and self.rng.random() < 0.15:
            return -1
        kind = kind or ("INT64" if self.kind == "INT16" else "INT32")
        real = np.float32(self.model.tensors[x]["scale"]) * scale
        spread = 2.0 / float(np.mean(real))
        values = np.rint(self.rng.normal(size=channels) * spread)
        return self.model.tensor("bias", [channels], kind, scale=real, data=values)

    def output(self, shape, grid=None, name: str = "output") -> int:
        return self.model.tensor(name, shape, self.kind, **(grid or self.grid()))

    def done(self, *outputs: int) -> Case:
        data = []
        for index in self.inputs:
            shape = self.model.tensors[index]["shape"]
            info = np.iinfo({"INT8": np.int8, "INT16": np.int16, "UINT8": np.uint8}[self.kind])
            data.append(self.rng.integers(info.min, info.max + 1, shape).astype(info.dtype))
        return self.model.build(self.inputs, outputs or [len(self.model.tensors) - 1]), data


def extent(size: int, window: int, stride: int, dilation: int, mode: int) -> int:
    reach = (window - 1) * dilation + 1
    return -(-size // stride) if mode == 0 else (size - reach) // stride + 1
