"""Your own torch network: widths per layer, a saved graph, the outputs bit for bit, the costliest layers."""

import numpy as np
import torch
from torch import nn

import accelsim as acs


class Detector(nn.Module):
    """A residual block and a classifier of 24×24 images in two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU6())
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.pointwise = nn.Conv2d(16, 16, 1)
        self.classifier = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.pointwise(torch.relu(self.depthwise(x)))
        return self.classifier(x.mean((2, 3)))


torch.manual_seed(0)
model = Detector().eval()
images = np.random.default_rng(0).normal(size=(64, 3, 24, 24)).astype(np.float32)

# the first and the last layer keep 8 bits, the rest gets 4
bits = {"stem.*": 8, "classifier": 8, "*": 4}
graph = acs.from_torch(model, images, weight_bits=bits, activation_bits=8, ranges="min-max")
graph.save("detector.safetensors")  # arrays and JSON; acs.load reads it without torch

run = acs.simulate(acs.load("detector.safetensors"), images, "micro-8x8")
print("integer outputs of the first image:", run.output[0], "=", run.real()[0])
print("float outputs:                     ", model(torch.from_numpy(images[:1])).detach().numpy()[0])

report = acs.cost(graph, "micro-8x8")
costliest = report.layers.sort_values("energy_pj", ascending=False)
print(costliest[["layer", "operator", "weight_bits", "energy_pj", "latency_s", "dram_bytes"]].head(3).to_string())
