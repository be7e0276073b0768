"""Training a little, and whether a prepared module computes what its lowered graph does."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import accelsim as acs


def narrow(bits: int, overflow: str, **more: object) -> acs.AcceleratorSpec:
    changes = {"bits": bits, "overflow": overflow, **more}
    return acs.load_spec("edge-16x16").replace(**{f"array.accumulators.{key}": v for key, v in changes.items()})


def train(prepared: nn.Module, x: torch.Tensor, steps: int = 4, lr: float = 2e-3) -> None:
    """A few steps that move every parameter."""
    prepared.train()
    optimizer = torch.optim.Adam(prepared.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        (prepared(x) - 0.3).square().mean().backward()
        optimizer.step()


def check(prepared: nn.Module, x: torch.Tensor, spec: object = "edge-16x16", backend: str = "numba") -> acs.Run:
    """Every code of the forward pass and every output value equal the simulation of the lowered graph."""
    prepared.eval()
    graph = acs.from_torch(prepared)
    run = acs.simulate(graph, x.numpy(), spec, keep="all", backend=backend)
    codes = prepared.codes(x)
    assert set(run.tensors) == set(codes)
    for name, values in codes.items():
        assert values.dtype == run.tensors[name].dtype, name
        assert np.array_equal(values, run.tensors[name]), name
    expected = run.real().astype(np.float32)
    with_gradient = prepared(x)
    assert with_gradient.requires_grad and np.array_equal(with_gradient.detach().numpy(), expected)
    with torch.no_grad():
        assert np.array_equal(prepared(x).numpy(), expected)
    return run
