"""Small networks with the blocks of torchvision's convolutional families, random weights, inputs of a few pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def _conv(cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1, act: nn.Module | None = None):
    layers = [nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(cout)]
    return nn.Sequential(*layers, *([] if act is None else [act]))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int, squeezed: int, act: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.activation, self.scale_activation = act, gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x))))) * x


class _Inverted(nn.Module):
    """MBConv of MobileNetV3 and EfficientNet."""

    def __init__(self, cin, inner, cout, kernel, stride, act, excitation) -> None:
        super().__init__()
        layers = [_conv(cin, inner, 1, act=act())] if inner != cin else []
        layers.append(_conv(inner, inner, kernel, stride, groups=inner, act=act()))
        if excitation is not None:
            layers.append(excitation)
        self.block = nn.Sequential(*layers, _conv(inner, cout, 1))
        self.residual = stride == 1 and cin == cout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x) if self.residual else self.block(x)


class MobileNetV3(nn.Module):
    """MobileNetV3-small's first rows at a quarter of the width."""

    def __init__(self) -> None:
        super().__init__()
        swish, relu = (lambda: nn.Hardswish(inplace=True)), (lambda: nn.ReLU(inplace=True))

        def squeeze(channels: int) -> nn.Module:
            return SqueezeExcitation(channels, 8, nn.ReLU(), nn.Hardsigmoid())

        self.features = nn.Sequential(
            _conv(3, 8, 3, 2, act=swish()),
            _Inverted(8, 8, 8, 3, 1, relu, squeeze(8)),
            _Inverted(8, 24, 12, 3, 2, relu, None),
            _Inverted(12, 40, 12, 5, 1, swish, squeeze(40)),
            _conv(12, 48, 1, act=swish()),
        )
        self.classifier = nn.Sequential(nn.Linear(48, 64), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(64, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(self.features(x), 1), 1))


class EfficientNet(nn.Module):
    """EfficientNet-B0's blocks at a quarter of the width."""

    def __init__(self) -> None:
        super().__init__()

        def squeeze(channels: int) -> nn.Module:
            return SqueezeExcitation(channels, 4, nn.SiLU(), nn.Sigmoid())

        self.features = nn.Sequential(
            _conv(3, 8, 3, 2, act=nn.SiLU()),
            _Inverted(8, 8, 8, 3, 1, nn.SiLU, squeeze(8)),
            _Inverted(8, 32, 12, 3, 2, nn.SiLU, squeeze(32)),
            _Inverted(12, 48, 12, 5, 1, nn.SiLU, squeeze(48)),
            _conv(12, 40, 1, act=nn.SiLU()),
        )
        self.head = nn.Linear(40, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean([2, 3]))


class DenseNet(nn.Module):
    """Dense layers (batch norm before the convolution, concatenation) and a transition."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        layers = [self._layer(8 + 4 * i) for i in range(3)]
        self.dense = nn.ModuleList(layers)
        shrink = nn.Conv2d(20, 10, 1, bias=False)
        self.transition = nn.Sequential(nn.BatchNorm2d(20), nn.ReLU(), shrink, nn.AvgPool2d(2))
        self.norm, self.head = nn.BatchNorm2d(10), nn.Linear(10, 10)

    @staticmethod
    def _layer(cin: int) -> nn.Module:
        return nn.Sequential(nn.BatchNorm2d(cin), nn.ReLU(), nn.Conv2d(cin, 8, 1, bias=False), nn.BatchNorm2d(8),
                             nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1, bias=False))  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for layer in self.dense:
            x = torch.cat([x, layer(x)], 1)
        x = F.relu(self.norm(self.transition(x)), inplace=True)
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


class SqueezeNet(nn.Module):
    """Fire modules; a convolution as classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.squeeze = nn.Conv2d(12, 6, 1)
        self.expand1, self.expand3 = nn.Conv2d(6, 8, 1), nn.Conv2d(6, 8, 3, padding=1)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(16, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2)
        x = F.relu(self.squeeze(x))
        x = torch.cat([F.relu(self.expand1(x)), F.relu(self.expand3(x))], 1)
        return torch.flatten(self.classifier(x), 1)


class ShuffleNetV2(nn.Module):
    """A unit of ShuffleNetV2: split, branch, concatenation, channel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 12, 3, 2, act=nn.ReLU())
        self.units = nn.ModuleList(
            nn.Sequential(_conv(6, 6, 1, act=nn.ReLU()), _conv(6, 6, 3, groups=6), _conv(6, 6, 1, act=nn.ReLU()))
            for _ in range(2)
        )
        self.head = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for unit in self.units:
            a, b = x.chunk(2, dim=1)
            x = torch.cat((a, unit(b)), dim=1)
            n, c, h, w = x.size()
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)
        return self.head(x.mean([2, 3]))


class SegmentationHead(nn.Module):
    """U-Net-like: strided convolutions, transpose convolution and bilinear upsampling with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.down = _conv(3, 8, 3, 2, act=nn.LeakyReLU(0.1))
        self.deep = _conv(8, 12, 3, 2, act=nn.PReLU(12))
        self.up = nn.ConvTranspose2d(12, 8, 2, 2)
        self.norm, self.last = nn.BatchNorm2d(8), nn.Conv2d(16, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.down(x)
        y = F.elu(self.norm(self.up(self.deep(skip))))
        y = self.last(torch.cat([y, skip], 1))
        return F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False)


class Keyword(nn.Module):
    """One-dimensional: convolutions, batch norm, residual, pooling, as on audio."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(3, 8, 5, 2, 2, bias=False), nn.BatchNorm1d(8), nn.SiLU())
        self.second = nn.Sequential(nn.Conv1d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = F.max_pool1d(x + self.second(x), 2)
        return self.head(F.adaptive_avg_pool1d(x, 1).squeeze(2))


#: name → (network, shape of a sample)
NETWORKS = {
    "mobilenet-v3": (MobileNetV3, (3, 8, 8)),
    "efficientnet": (EfficientNet, (3, 8, 8)),
    "densenet": (DenseNet, (3, 8, 8)),
    "squeezenet": (SqueezeNet, (3, 8, 8)),
    "shufflenet-v2": (ShuffleNetV2, (3, 8, 8)),
    "segmentation": (SegmentationHead, (3, 8, 12)),
    "keyword": (Keyword, (3, 20)),
}


def network(name: str, seed: int = 0, samples: int = 32) -> tuple[nn.Module, torch.Tensor]:
    """(the network in evaluation mode, inputs); batch-norm statistics are those of the inputs."""
    torch.manual_seed(seed)
    build, shape = NETWORKS[name]
    model, x = build(), torch.randn(samples, *shape)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.5)
            module.momentum = None
    model.train()
    with torch.no_grad():
        model(x)
    return model.eval(), x
