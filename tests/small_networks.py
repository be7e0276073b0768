"""Small torch networks with random weights that use every supported operator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Everything(nn.Module):
    """Convolutions of every kind, pools, concat, pad, residuals, shared modules, functional and in-place calls."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, stride=1, padding="same", bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 16, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(16, 8, 3, padding=2, dilation=2, groups=2)
        self.pre = nn.BatchNorm2d(8)  # follows an addition: becomes a depthwise layer of its own
        self.shared = nn.Conv2d(8, 8, 1)
        self.strided = nn.Conv2d(16, 8, (3, 2), stride=(2, 1), padding=(0, 1))
        self.drop = nn.Dropout()
        self.head = nn.Linear(8, 5)
        self.flat = nn.Linear(8 * 2 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn(self.stem(x)), inplace=True)
        y = F.relu6(self.depthwise(x))
        y = self.grouped(y)
        y += x  # in-place residual
        y = torch.relu_(self.pre(y))
        y = self.shared(self.shared(y)).clamp(-0.5, 0.5)
        y = F.max_pool2d(F.pad(y, (1, 0, 0, 1)), 3, 2, 1)
        z = F.avg_pool2d(y, 3, 1, 1, count_include_pad=False)
        y = torch.cat([y, F.hardtanh(z)], dim=1)
        y = self.strided(y)
        a = self.head(self.drop(F.adaptive_avg_pool2d(y, 1).flatten(1)))
        b = self.flat(_to_2_by_4(y).reshape(y.size(0), -1))
        return a + b + self.head(F.relu(y).mean((2, 3)))  # y has other readers: the ReLU stands alone


def _to_2_by_4(y: torch.Tensor) -> torch.Tensor:
    return F.adaptive_avg_pool2d(F.pad(y, (0, (-y.shape[3]) % 4, 0, (-y.shape[2]) % 2)), (2, 4))


def everything(seed: int = 0) -> tuple[Everything, torch.Tensor]:
    """(network in evaluation mode with lively batch-norm statistics, 24 inputs of 2×8×8)."""
    torch.manual_seed(seed)
    model = Everything().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.2, 1.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    return model, torch.randn(24, 2, 8, 8)
