"""Calls that torch itself makes of simpler ones, and places in another order: the codes are the input's own, moved."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import accelsim as acs
from accelsim.errors import AccelsimError
from accelsim.quant import dequantize


class Call(nn.Module):
    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *x: torch.Tensor) -> torch.Tensor:
        return self.function(*x)


IMAGE = torch.randn(8, 4, 6, 6, generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(8, 5, 8, generator=torch.Generator().manual_seed(1))
MOVED: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], torch.Tensor]] = {
    "roll": (lambda x: x.roll((1, -2), (2, 3)), IMAGE),
    "flip": (lambda x: x.flip(1, -1), IMAGE),
    "index_select": (lambda x: x.index_select(1, torch.tensor([2, 0, 2])), ROWS),
    "list of indices": (lambda x: x[:, [-1, 0]], ROWS),
    "mask of booleans": (lambda x: x[:, torch.tensor([True, False, True, True, False])], ROWS),
    "repeat": (lambda x: x.repeat(1, 2, 3), ROWS),
    "tile": (lambda x: x.tile(2, 1), ROWS),
    "repeat_interleave": (lambda x: x.repeat_interleave(2, 1), ROWS),
    "stack": (lambda x: torch.stack([x, x.flip(1)], 1), ROWS),
    "narrow": (lambda x: x.narrow(1, 1, 3), ROWS),
    "movedim": (lambda x: x.movedim(1, -1), IMAGE),
    "swapaxes": (lambda x: x.swapaxes(1, 2), ROWS),
    "mT": (lambda x: x.mT, ROWS),
    "pixel shuffle": (lambda x: F.pixel_shuffle(x, 2), IMAGE),
    "pixel unshuffle": (lambda x: F.pixel_unshuffle(x, 2), IMAGE),
    "channel shuffle": (lambda x: F.channel_shuffle(x, 2), IMAGE),
}


@pytest.mark.parametrize("name", MOVED)
def test_codes_are_moved(name: str) -> None:
    function, x = MOVED[name]
    graph = acs.from_torch(Call(function), x)
    run = acs.simulate(graph, x.numpy(), keep="all")
    source = dequantize(run.tensors[graph.inputs[0]], graph.tensors[graph.inputs[0]].params)
    np.testing.assert_array_equal(run.real(), function(torch.from_numpy(source)).numpy())
    assert acs.cost(graph).energy_pj >= 0


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (lambda a, b: torch.einsum("bqd,bkd->bqk", a, b), (ROWS, ROWS.flip(0))),
        (lambda a, b: torch.baddbmm(a @ b.mT, a, b.mT), (ROWS, ROWS.flip(0))),
        (lambda x: F.glu(x, dim=1), (IMAGE,)),
        (lambda x: 1 - torch.sigmoid(x), (IMAGE,)),
        (lambda x: torch.rsub(x, 2.0, alpha=0.5), (IMAGE,)),
    ],
    ids=["einsum", "baddbmm", "glu", "one minus", "rsub"],
)
def test_written_in_simpler_operators(function: Callable[..., torch.Tensor], inputs: tuple[torch.Tensor, ...]) -> None:
    graph = acs.from_torch(Call(function), inputs)
    arrays = tuple(x.numpy() for x in inputs)
    fast, slow = (acs.simulate(graph, arrays, backend=backend) for backend in ("numba", "reference"))
    np.testing.assert_array_equal(fast.output, slow.output)
    wanted = function(*inputs).numpy()
    assert np.square(wanted - fast.real()).sum() < 10**-3.3 * np.square(wanted).sum()


class Windows(nn.Module):
    """Attention in shifted windows, as Swin has it: rolled, cut into windows that join the batch, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out, self.bias = nn.Linear(4, 12), nn.Linear(4, 4), nn.Parameter(torch.randn(1, 9, 9))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch = x.shape[0]
        x = x.permute(0, 2, 3, 1).roll((-1, -1), (1, 2)).view(batch, 2, 3, 2, 3, 4)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(batch * 4, 9, 4)
        q, k, v = self.qkv(x).chunk(3, -1)
        x = self.out(torch.softmax(q @ k.transpose(1, 2) * 0.5 + self.bias, -1) @ v)
        x = x.view(batch, 2, 2, 3, 3, 4).permute(0, 1, 3, 2, 4, 5).reshape(batch, 6, 6, 4)
        return x.roll((1, 1), (1, 2)).permute(0, 3, 1, 2)


def test_shifted_windows() -> None:
    torch.manual_seed(0)
    model = Windows().eval()
    graph = acs.from_torch(model, IMAGE)
    assert acs.evaluate(graph, (IMAGE, None), float_model=model, activity_samples=0).sqnr_db > 28
    codes = [acs.simulate(graph, IMAGE[:2].numpy(), backend=b).output for b in ("numba", "reference")]
    np.testing.assert_array_equal(*codes)


def test_what_has_no_simpler_form_is_named_as_it_was_written() -> None:
    with pytest.raises(AccelsimError, match=r"aten\.group_norm\.default in the root module"):
        acs.from_torch(nn.GroupNorm(2, 4), IMAGE)
    with pytest.raises(AccelsimError, match="log_softmax.*leave it out: the largest logit"):
        acs.from_torch(nn.Sequential(nn.Linear(8, 4), nn.LogSoftmax(-1)), ROWS)
    with pytest.raises(AccelsimError, match="it repeats the batch"):
        acs.from_torch(Call(lambda x: x.repeat(2, 1, 1)), ROWS)
    with pytest.raises(AccelsimError, match="roll.*it works along the batch"):
        acs.from_torch(Call(lambda x: x.roll(1, 0)), ROWS)
