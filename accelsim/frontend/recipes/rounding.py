"""Rounding as something to be learned: the relaxation that AdaRound and block reconstruction share.

W~ = s (clamp(floor(W / s) + z + h(V), qmin, qmax) - z), h(V) = clip(sigmoid(V) (zeta - gamma) + gamma, 0, 1)
with zeta = 1.1, gamma = -0.1; the regularizer sum(1 - |2 h(V) - 1|^beta) pulls every h to 0 or 1.
Source: Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization, 2020, equations 21 to 24.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from accelsim.quant import QTensor, QuantParams, along

_ZETA, _GAMMA = 1.1, -0.1
_SETTLED = 0.01  # an h this close to 0 or 1 counts as decided


class SoftWeight:
    """One layer's weights with learned rounding, in torch's layout; it starts at the float weights themselves."""

    def __init__(self, weight: torch.Tensor, params: QuantParams) -> None:
        real = weight.double().numpy()
        scale = along(params.scale, params.axis, real.ndim)
        zero = along(params.zero_point, params.axis, real.ndim)
        floor = np.floor(real / scale)
        rest = np.clip((real / scale - floor - _GAMMA) / (_ZETA - _GAMMA), 1e-4, 1 - 1e-4)
        self.params = params
        self.scale = torch.from_numpy(np.asarray(scale, np.float32))
        self.floor = torch.from_numpy(floor.astype(np.float32))
        # bounds of floor + h, the zero point taken off
        self.low = torch.from_numpy(np.asarray(params.qmin - zero, np.float32))
        self.high = torch.from_numpy(np.asarray(params.qmax - zero, np.float32))
        self._zero = np.asarray(zero)
        self.v = torch.from_numpy(np.log(rest / (1 - rest)).astype(np.float32)).requires_grad_()
        self.nearest = np.rint(real / scale)

    def h(self) -> torch.Tensor:
        return torch.clamp(torch.sigmoid(self.v) * (_ZETA - _GAMMA) + _GAMMA, 0, 1)

    def __call__(self) -> torch.Tensor:
        """W~ in real values, differentiable in v."""
        return self.scale * torch.clamp(self.floor + self.h(), self.low, self.high)

    def regularizer(self, beta: float) -> torch.Tensor:
        return (1 - (2 * self.h() - 1).abs().pow(beta)).sum()

    def settled(self) -> bool:
        """Whether every weight has decided between up and down."""
        h = self.h()
        return bool((torch.minimum(h, 1 - h) < _SETTLED).all())

    def rounded(self) -> QTensor:
        """The codes that h decided on."""
        return self._codes(self.floor.double().numpy() + (self.h() >= 0.5).double().detach().numpy())

    def to_nearest(self) -> QTensor:
        return self._codes(self.nearest)

    def _codes(self, steps: np.ndarray) -> QTensor:
        codes = np.clip(steps + self._zero, self.params.qmin, self.params.qmax)
        return QTensor(codes.astype(self.params.dtype), self.params)


def annealed_beta(place: float, warm_up: float = 0.2, first: float = 20.0, last: float = 2.0) -> float | None:
    """beta at `place` (0 … 1) of the iterations: None while warming up, then a cosine from first to last."""
    if place < warm_up:
        return None
    progress = (place - warm_up) / (1 - warm_up)
    return last + (first - last) * 0.5 * (1 + float(np.cos(np.pi * progress)))


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread: its sums, and so every learned rounding, are the same on any number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
