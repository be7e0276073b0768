"""Networks whose tensors are laid out unlike the usual chain of convolutions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import accelsim as acs


class Permuted(nn.Module):
    """A fully connected layer over channels, as in ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 5, 3), nn.Linear(5, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Variadic(nn.Module):
    def forward(self, *xs: torch.Tensor) -> torch.Tensor:
        return xs[0] + xs[1]


NETWORKS = {
    "convolution as output": (nn.Sequential(nn.Conv2d(3, 4, 3)), (3, 6, 6)),
    "output as wide as its channels": (nn.Sequential(nn.Conv2d(3, 4, 3)), (3, 7, 6)),
    "output of one column": (nn.Sequential(nn.Conv2d(3, 4, 3)), (3, 5, 3)),
    "linear over width": (nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(90, 3)), (3, 6, 6)),
    "linear over width as output": (nn.Sequential(nn.Linear(6, 5)), (3, 4, 6)),
    "linear over channels": (Permuted(), (3, 6, 6)),
    "linear over sequences": (nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)), (7, 5)),
    "batch norm behind linear": (nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), (5,)),
    "float64": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 3)).double(), (3, 6, 6)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_close_to_float(name: str) -> None:
    model, shape = NETWORKS[name]
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.1, 3)
    x = torch.randn(64, *shape)
    report = acs.evaluate(acs.from_torch(model.eval(), x), (x, None), float_model=model)
    assert report.sqnr_db > 32


def test_batch_norm_on_another_axis_is_refused() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)).eval()
    with pytest.raises(acs.AccelsimError, match="batch norm over a tensor of shape"):
        acs.from_torch(model, torch.randn(8, 4, 5))


def test_variadic_forward() -> None:
    x = (torch.randn(8, 3), torch.randn(8, 3))
    graph = acs.from_torch(Variadic(), x)
    got = acs.simulate(graph, tuple(v.numpy() for v in x)).real()
    assert np.abs(got - (x[0] + x[1]).numpy()).max() < 0.1


def test_integer_data_are_real_values() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    pixels = torch.randint(0, 16, (64, 1, 6, 6), dtype=torch.uint8)
    graph = acs.from_torch(model, pixels)
    as_integers = acs.evaluate(graph, (pixels, None), float_model=model).sqnr_db
    as_floats = acs.evaluate(graph, (pixels.float(), None), float_model=model).sqnr_db
    assert as_integers == as_floats > 35


def test_exotic_inputs() -> None:
    model = nn.Linear(3, 2)
    x = torch.randn(16, 3)
    graph = acs.from_torch(model, x.clone().requires_grad_())
    expected = acs.simulate(graph, x.numpy()).output
    assert np.array_equal(acs.simulate(graph, x.clone().requires_grad_()).output, expected)
    acs.simulate(graph, x.bfloat16())
    for bad in (None, "abc", 5, x.to(torch.complex64)):
        with pytest.raises(acs.AccelsimError):
            acs.from_torch(model, bad)
    with pytest.raises(acs.AccelsimError, match="float_model must be"):
        acs.evaluate(graph, (x, None), float_model=5)
    with pytest.raises(acs.AccelsimError, match="metric must return a number"):
        acs.evaluate(graph, (x, np.zeros(16, int)), metric=lambda outputs, labels: None)
    with pytest.raises(acs.AccelsimError, match="labels 0 … 2 do not number the 2 classes"):
        acs.evaluate(graph, (x, np.arange(16) % 3))
