"""Small transformers to try things on: two encoders of handwritten digits, and a decoder of digit sequences.

The encoders are a vision transformer over 16 patches (Dosovitskiy et al., 2021) and a BERT-like network over the 16
rows of pixels (Devlin et al., 2019: norms behind the additions, a pooled first token); about 40 k parameters each.
The decoder is GPT-like, with RMS norm; it learns sequences in which each digit is the sum of the two before, modulo 10.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from accelsim.frontend.digits import Progress, load_digits_data

_WIDTH, _HEADS, _LAYERS = 48, 4, 2


class Attention(nn.Module):
    """Self-attention with one product for queries, keys and values."""

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """Attention and a wide layer, each behind a norm and beside a shortcut."""

    def __init__(self, width: int, heads: int, norm: Callable[[int], nn.Module], causal: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(width), norm(width)
        self.attention = Attention(width, heads, causal)
        self.wide = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.wide(self.norm2(x))


class VisionTransformer(nn.Module):
    """(n, 1, 16, 16) images in patches of 4×4 → (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, _WIDTH, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, _WIDTH))
        self.positions = nn.Parameter(torch.randn(1, 17, _WIDTH) * 0.02)
        self.blocks = nn.Sequential(*(Block(_WIDTH, _HEADS, nn.LayerNorm) for _ in range(_LAYERS)))
        self.norm, self.classifier = nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        return self.classifier(self.norm(self.blocks(x))[:, 0])


class RowEncoder(nn.Module):
    """(n, 1, 16, 16) images as 16 rows of pixels → (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(16, _WIDTH)
        self.token = nn.Parameter(torch.zeros(1, 1, _WIDTH))
        self.positions = nn.Embedding(17, _WIDTH)
        self.norm = nn.LayerNorm(_WIDTH)
        layer = nn.TransformerEncoderLayer(_WIDTH, _HEADS, 4 * _WIDTH, 0.0, "gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False)
        self.pooler, self.classifier = nn.Linear(_WIDTH, _WIDTH), nn.Linear(_WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embedding(x.squeeze(1))
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions(torch.arange(17))
        x = self.encoder(self.norm(x))
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))


class Decoder(nn.Module):
    """(n, length) tokens → (n, length, vocabulary): what comes after each of them."""

    def __init__(self, vocabulary: int = 10, length: int = 12, width: int = 32, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.randn(length, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, 2, nn.RMSNorm, causal=True) for _ in range(layers)))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, vocabulary)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.embedding(tokens) + self.positions)))


ENCODERS: dict[str, Callable[[], nn.Module]] = {"vit": VisionTransformer, "bert": RowEncoder}


def trained_encoder(name: str, seed: int = 0, epochs: int = 30, progress: Progress | None = None) -> nn.Module:
    """An encoder of ENCODERS trained on the digits, in evaluation mode; seed: its weights and the order of images."""
    data = load_digits_data()
    images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    model, generator = _built(ENCODERS[name], seed)

    def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
        order = torch.randperm(len(labels), generator=generator)
        parts = order.split(64)
        moves = torch.randint(-1, 2, (len(parts), 2), generator=generator).tolist()
        return [(images[i].roll(move, dims=(2, 3)), labels[i]) for i, move in zip(parts, moves, strict=True)]

    return _train(model, batches, epochs, progress)


def digit_sequences(count: int, length: int, seed: int = 0) -> np.ndarray:
    """(count, length) digits: two random ones, then each the sum of the two before, modulo 10."""
    rows = np.random.default_rng(seed).integers(0, 10, (count, length))
    for place in range(2, length):
        rows[:, place] = (rows[:, place - 1] + rows[:, place - 2]) % 10
    return rows


def trained_decoder(seed: int = 0, epochs: int = 60, progress: Progress | None = None) -> Decoder:
    """A decoder trained on digit_sequences, in evaluation mode."""
    model, generator = _built(Decoder, seed)
    rows = torch.from_numpy(digit_sequences(1024, 13, seed))

    def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
        order = torch.randperm(len(rows), generator=generator)
        return [(rows[i, :-1], rows[i, 1:]) for i in order.split(128)]

    return _train(model, batches, epochs, progress)  # type: ignore[return-value]  # the model that it was given


def _built(make: Callable[[], nn.Module], seed: int) -> tuple[nn.Module, torch.Generator]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(), torch.Generator().manual_seed(seed)


def _train(
    model: nn.Module,
    batches: Callable[[], list[tuple[torch.Tensor, torch.Tensor]]],
    epochs: int,
    progress: Progress | None,
) -> nn.Module:
    steps = len(batches())
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, epochs=epochs, steps_per_epoch=steps)
    model.train()
    for epoch in range(epochs):
        for inputs, wanted in batches():
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(inputs).flatten(0, -2), wanted.flatten()).backward()
            optimizer.step()
            schedule.step()
        if progress is not None:
            progress(epoch + 1, epochs)
    return model.eval()
