"""Tiny networks for the recipes: every kind of chain, in well under a second."""

from __future__ import annotations

import torch
from torch import nn


class Chained(nn.Module):
    """stem → (expand → depthwise → project) + residual → pool → conv → mean → two fully connected layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU6())
        self.expand = nn.Sequential(nn.Conv2d(6, 12, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU6())
        self.depthwise = nn.Sequential(
            nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False), nn.BatchNorm2d(12), nn.ReLU6()
        )
        self.project = nn.Sequential(nn.Conv2d(12, 6, 1, bias=False), nn.BatchNorm2d(6))
        self.grouped = nn.Sequential(nn.Conv2d(6, 8, 3, groups=2, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.last = nn.Conv2d(8, 4, 1)
        self.hidden = nn.Linear(4 * 3 * 3, 10)
        self.classes = nn.Linear(10, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.project(self.depthwise(self.expand(x)))
        x = nn.functional.max_pool2d(self.grouped(x), 2)
        x = torch.relu(self.last(x)).flatten(1)
        return self.classes(torch.relu(self.hidden(x)))


def chained(seed: int = 0, samples: int = 32) -> tuple[Chained, torch.Tensor]:
    """(the network in evaluation mode, inputs 1×8×8); batch-norm statistics are those of the inputs."""
    torch.manual_seed(seed)
    model, x = Chained(), torch.rand(samples, 1, 8, 8)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.uniform_(module.bias, -0.5, 1.5)
            module.momentum = None  # cumulative average
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(x)
    return model.eval(), x


def spread(model: Chained, doublings: float, seed: int = 0) -> None:
    """Divide channel i of three layers by 2^U(-k, k) and multiply the weights that read it: the same function.

    The ReLU6 behind an expanded or depthwise channel is replaced by a clip at 6 / s_i.
    """
    generator = torch.Generator().manual_seed(seed)
    for first, second in (("expand", "depthwise"), ("depthwise", "project"), ("last", "hidden")):
        before, after = getattr(model, first), getattr(model, second)
        layer = before[0] if isinstance(before, nn.Sequential) else before
        reader = after[0] if isinstance(after, nn.Sequential) else after
        count = len(layer.weight)
        scale = torch.exp2(torch.empty(count).uniform_(-doublings, doublings, generator=generator))
        with torch.no_grad():
            if isinstance(before, nn.Sequential):
                before[1].weight /= scale
                before[1].bias /= scale
                before[2] = ChannelClip(6 / scale)
            else:
                layer.weight /= scale.view(-1, 1, 1, 1)
                layer.bias /= scale
            if isinstance(reader, nn.Linear):
                reader.weight *= scale.repeat_interleave(reader.in_features // count)
            elif reader.groups == count:
                reader.weight *= scale.view(-1, 1, 1, 1)
            else:
                reader.weight *= scale.view(1, -1, 1, 1)


class ChannelClip(nn.Module):
    """clip(x, 0, upper) with an upper bound per channel: ReLU6 of a rescaled layer."""

    def __init__(self, upper: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("upper", upper.view(1, -1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.clamp(torch.relu(x), max=self.upper)
