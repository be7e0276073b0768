"""ResNet-18 and MobileNetV2 with random weights: networks of real size for timing and pricing, no data needed.

Structure: He et al., Deep Residual Learning (2015), table 1; Sandler et al., MobileNetV2 (2018), table 2.
"""

from __future__ import annotations

import torch
from torch import nn


def _conv_bn(cin: int, cout: int, kernel: int, stride: int, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(cout)]


class _Basic(nn.Module):
    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(*_conv_bn(cin, cout, 3, stride), nn.ReLU(), *_conv_bn(cout, cout, 3, 1))
        same = stride == 1 and cin == cout
        self.shortcut = nn.Identity() if same else nn.Sequential(*_conv_bn(cin, cout, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.branch(x) + self.shortcut(x))


class _Inverted(nn.Module):
    def __init__(self, cin: int, cout: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = cin * expansion
        expand = [*_conv_bn(cin, inner, 1, 1), nn.ReLU6()] if expansion > 1 else []
        depthwise = [*_conv_bn(inner, inner, 3, stride, groups=inner), nn.ReLU6()]
        self.branch = nn.Sequential(*expand, *depthwise, *_conv_bn(inner, cout, 1, 1))
        self.residual = stride == 1 and cin == cout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch(x) if self.residual else self.branch(x)


def resnet18(seed: int = 0) -> nn.Module:
    """ResNet-18 for 3×224×224 inputs, 1000 classes, in evaluation mode."""
    torch.manual_seed(seed)
    blocks = [_Basic(64, 64, 1), _Basic(64, 64, 1)]
    for cin, cout in ((64, 128), (128, 256), (256, 512)):
        blocks += [_Basic(cin, cout, 2), _Basic(cout, cout, 1)]
    stem = [*_conv_bn(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return _lively(nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)))


def mobilenet_v2(seed: int = 0) -> nn.Module:
    """MobileNetV2 1.0 for 3×224×224 inputs, 1000 classes, in evaluation mode."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = [*_conv_bn(3, 32, 3, 2), nn.ReLU6()]
    cin = 32
    for expansion, cout, repeats, stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for repeat in range(repeats):
            layers.append(_Inverted(cin, cout, stride if repeat == 0 else 1, expansion))
            cin = cout
    layers += [*_conv_bn(320, 1280, 1, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)]
    return _lively(nn.Sequential(*layers))


def _lively(model: nn.Module) -> nn.Module:
    """Weights that keep the signal's size from layer to layer, and batch norms that do something."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            assert module.running_mean is not None and module.running_var is not None  # as built
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()
