"""Small torch networks, none of them square, that need most operators of .onnx files; ONNX Runtime's codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Images(nn.Module):
    """Depthwise, squeeze-and-excitation, split and joined channels, pads, pools, resizing, functions, a difference."""

    shape = (3, 13, 10)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, groups=8, stride=(2, 1))
        self.narrow, self.wide, self.head = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.silu(self.depthwise(F.hardswish(self.stem(x))))
        y = y * torch.sigmoid(self.wide(F.relu(self.narrow(y.mean((2, 3), keepdim=True)))))
        a, b = torch.split(y, [3, 5], 1)
        y = F.max_pool2d(F.pad(torch.cat([b, a], 1), (1, 0, 0, 2)), 2, stride=(1, 2))
        y = F.avg_pool2d(F.interpolate(y, scale_factor=2, mode="nearest"), 3, stride=2, padding=1)
        y = (F.gelu(y) - F.leaky_relu(y, 0.1)) * 1.7 + 0.3
        return self.head(torch.tanh(y.mean((2, 3))))


class Tokens(nn.Module):
    """Fully connected layers over the last of two axes, a sum, exchanged axes."""

    shape = (4, 6)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 10), nn.Linear(10, 7), nn.Linear(28, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.first(x))
        y = self.second(F.hardsigmoid(y) + F.elu(y)).transpose(1, 2)
        return self.head(y.reshape(y.shape[0], -1))


class Turned(nn.Module):
    """A clamp of its own, dilation, groups, a residual sum, every axis moved, an image as output."""

    shape = (2, 9, 6)

    def __init__(self) -> None:
        super().__init__()
        self.tall, self.grouped = nn.Conv2d(2, 6, (3, 1)), nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.clamp(self.tall(x), -0.3, 0.8)
        y = F.relu6(y + self.grouped(y)).permute(0, 2, 3, 1).permute(0, 3, 2, 1)
        return F.interpolate(y, size=(7, 11), mode="nearest")


class Spread(nn.Module):
    """Transpose convolutions: with cut edges, with another stride along each axis, with groups and dilation."""

    shape = (3, 5, 4)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.ConvTranspose2d(3, 8, 3, stride=2, padding=1, output_padding=1)
        self.second = nn.ConvTranspose2d(8, 4, (2, 4), stride=(2, 3))
        self.third = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, dilation=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.third(F.relu(self.second(self.first(x)))))


class Attention(nn.Module):
    """Products of activations, a softmax that takes a factor in, a residual sum."""

    shape = (7, 12)
    output_bits = 8

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.keys, self.values, self.head = (nn.Linear(12, n) for n in (12, 12, 12, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = (layer(x).reshape(x.shape[0], -1, 3, 4) for layer in (self.queries, self.keys, self.values))
        q, k, v = (y.transpose(1, 2) for y in heads)
        y = torch.softmax(q @ k.transpose(-1, -2) * 0.5, -1) @ v
        return self.head(F.gelu(y.transpose(1, 2).reshape(x.shape[0], -1, 12)) + x)


def graph_and_images(network: type[nn.Module], profile: str):
    """(graph of the network with random weights, images)."""
    import accelsim as acs

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    data = rng.normal(0, 1, (24, *network.shape)).astype(np.float32)
    how = {"output_bits": getattr(network, "output_bits", None), "profile": profile}
    return acs.from_torch(network().eval(), torch.as_tensor(data[:16]), **how), data[16:]


def runtime_codes(graph, path: Path, x: np.ndarray, level: str) -> np.ndarray:
    """What ONNX Runtime computes at a level of optimisation, as codes of the graph's output."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    real = session.run(None, {graph.inputs[0]: x})[0].astype(np.float64)
    params = graph.tensors[graph.outputs[0]].params
    return np.rint(real / np.asarray(params.scale)).astype(np.int64) + params.zero_point
