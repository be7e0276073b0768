"""The two demo networks and their training on scikit-learn's handwritten digits.

Training is deterministic for a seed: every random choice comes from one generator, and the number of threads
is fixed.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from accelsim.cachedir import cache_dir as default_cache_dir
from accelsim.errors import AccelsimError
from accelsim.files import write_atomically

#: called with (epochs done, epochs in all) when training begins and after each epoch
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Protocol:
    """How the demo networks are trained; a change of any number here makes cached weights invalid."""

    epochs: int = 30
    batch: int = 32
    learning_rate: float = 0.05
    peak_learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.05
    roll_pixels: int = 1
    threads: int = 1


PROTOCOL = Protocol()


@dataclass(frozen=True, eq=False)
class Digits:
    """Images float32 (n, 1, 16, 16) in [0, 1], labels int64 (n,): 1078 to train, 719 to test."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    @property
    def calibration(self) -> np.ndarray:
        """The first 256 training images (their order is already shuffled)."""
        return self.train_images[:256]


def load_digits_data(seed: int = 0) -> Digits:
    """scikit-learn's 1797 digits, upsampled bilinearly to 16×16, split 1078/719 stratified by label."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise AccelsimError(
            "the demo's data comes with scikit-learn: install it with pip install 'accelsim[demo]'"
        ) from error
    data = load_digits()
    small = torch.from_numpy(data.images.astype(np.float32) / 16.0)[:, None]
    images = F.interpolate(small, size=(16, 16), mode="bilinear", align_corners=False).numpy()
    labels = data.target.astype(np.int64)
    split = train_test_split(images, labels, test_size=719, random_state=seed, stratify=labels)
    train_images, test_images, train_labels, test_labels = map(np.ascontiguousarray, split)
    return Digits(train_images, train_labels, test_images, test_labels)


def _conv_bn(cin: int, cout: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(cin, cout, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(cout)]


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut (1×1 convolution where the shape changes)."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv_bn(cin, cout, stride=stride)
        self.conv2, self.bn2 = _conv_bn(cout, cout)
        same = stride == 1 and cin == cout
        self.shortcut = nn.Identity() if same else nn.Sequential(*_conv_bn(cin, cout, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class InvertedResidual(nn.Module):
    """Expand ×4, 3×3 depthwise, project (linear); a residual add where the shape is kept."""

    def __init__(self, cin: int, cout: int, stride: int, expansion: int = 4) -> None:
        super().__init__()
        wide = cin * expansion
        self.expand = nn.Sequential(*_conv_bn(cin, wide, 1), nn.ReLU6())
        self.depthwise = nn.Sequential(*_conv_bn(wide, wide, 3, stride, groups=wide), nn.ReLU6())
        self.project = nn.Sequential(*_conv_bn(wide, cout, 1))
        self.residual = stride == 1 and cin == cout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class DigitsNet(nn.Module):
    """stem → blocks → head → global mean → linear, (n, 1, 16, 16) → (n, 10)."""

    def __init__(self, stem: nn.Module, blocks: nn.Module, head: nn.Module, features: int) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = blocks
        self.head = head
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(features, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.head(self.blocks(self.stem(x)))
        return self.classifier(torch.flatten(self.pool(x), 1))


def resnet_like() -> DigitsNet:
    """Residual network of three basic blocks, 16-32-64 channels, 78 k parameters."""
    stem = nn.Sequential(*_conv_bn(1, 16), nn.ReLU())
    blocks = nn.Sequential(BasicBlock(16, 16, 1), BasicBlock(16, 32, 2), BasicBlock(32, 64, 2))
    return DigitsNet(stem, blocks, nn.Identity(), 64)


def mobilenet_like() -> DigitsNet:
    """Network of five inverted residuals with ReLU6 and depthwise convolutions, 33 k parameters."""
    stem = nn.Sequential(*_conv_bn(1, 16), nn.ReLU6())
    shapes = [(16, 16, 1), (16, 24, 2), (24, 24, 1), (24, 32, 2), (32, 32, 1)]
    blocks = nn.Sequential(*(InvertedResidual(*shape) for shape in shapes))
    head = nn.Sequential(*_conv_bn(32, 96, 1), nn.ReLU6())
    return DigitsNet(stem, blocks, head, 96)


NETWORKS: dict[str, Callable[[], DigitsNet]] = {"resnet": resnet_like, "mobilenet": mobilenet_like}


def build(name: str, seed: int = 0) -> DigitsNet:
    """An untrained network, its weights drawn from `seed`."""
    if name not in NETWORKS:
        raise AccelsimError(f"unknown demo network {name!r}; known: {', '.join(NETWORKS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name]()


def train(
    model: nn.Module,
    seed: int = 0,
    progress: Progress | None = None,
    protocol: Protocol = PROTOCOL,
    data: Digits | None = None,
) -> None:
    """Train in place on the digits (split seed 0, unless data are given) and leave the model in evaluation mode.

    seed: order of the images and their shifts; the initial weights are the model's own.
    """
    data = load_digits_data() if data is None else data
    shifted, moves = _shifted_images(torch.from_numpy(data.train_images), protocol.roll_pixels)
    labels = torch.from_numpy(data.train_labels)
    n = len(labels)
    steps = -(-n // protocol.batch)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=protocol.learning_rate,
        momentum=protocol.momentum,
        weight_decay=protocol.weight_decay,
        nesterov=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=protocol.peak_learning_rate, epochs=protocol.epochs, steps_per_epoch=steps
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=protocol.label_smoothing)
    with _threads(protocol.threads):
        model.train()
        if progress is not None:
            progress(0, protocol.epochs)
        for epoch in range(protocol.epochs):
            order = torch.randperm(n, generator=generator)
            move = torch.randint(moves, (n,), generator=generator)
            for chosen in order.split(protocol.batch):
                optimizer.zero_grad(set_to_none=True)
                loss = loss_of(model(shifted[move[chosen], chosen]), labels[chosen])
                loss.backward()
                optimizer.step()
                schedule.step()
            if progress is not None:
                progress(epoch + 1, protocol.epochs)
        model.eval()


def trained(
    name: str = "resnet",
    seed: int = 0,
    *,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> DigitsNet:
    """The trained network, in evaluation mode: from the cache where it is there, else trained and cached.

    The cached file's name holds a hash of the network, the protocol and torch's version. A damaged file is
    trained again, with a warning; a folder that cannot be written costs a warning, too.
    """
    model = build(name, seed)
    path = Path(cache_dir or default_cache_dir()) / _cache_name(name, seed, model)
    if path.exists():
        try:
            model.load_state_dict(load_file(path))
            return model.eval()
        except (SafetensorError, RuntimeError, OSError) as error:
            first = str(error).splitlines()[0]
            warnings.warn(f"cached weights {path} are unusable ({first}); training again", stacklevel=2)
            model = build(name, seed)
    train(model, seed, progress, PROTOCOL)
    try:
        _write_weights(model, path)
    except (OSError, AccelsimError) as error:
        warnings.warn(f"trained weights could not be cached: {error}", stacklevel=2)
    return model


def accuracy(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Fraction of images whose largest logit is the label's, in float32."""
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(images))
    return float((logits.argmax(1).numpy() == labels).mean())


def _shifted_images(images: torch.Tensor, reach: int) -> tuple[torch.Tensor, int]:
    """All images rolled by every (dy, dx) within ±reach: (moves, n, 1, h, w)."""
    steps = range(-reach, reach + 1)
    rolled = [images.roll((dy, dx), dims=(2, 3)) for dy in steps for dx in steps]
    return torch.stack(rolled), len(rolled)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cache_name(name: str, seed: int, model: nn.Module) -> str:
    key = json.dumps([asdict(PROTOCOL), repr(model), torch.__version__], sort_keys=True)
    return f"digits-{name}-seed{seed}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.safetensors"


def _write_weights(model: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, save({name: value.contiguous() for name, value in model.state_dict().items()}))
