"""Transformers from torch: attention however it is written, norms, embeddings, masks; integers from end to end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import accelsim as acs
from accelsim.errors import AccelsimError
from accelsim.frontend.sequence_networks import Attention, Block
from accelsim.ops import MaskedSoftmax


class Tokens(nn.Module):
    """Embedded tokens behind a class token, positions, torch's own encoder layer, a pooled first token."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(50, 16), nn.Parameter(torch.randn(1, 6, 16) * 0.3)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, activation="gelu", batch_first=True, norm_first=True)
        self.classifier = nn.Linear(16, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.token.expand(tokens.shape[0], -1, -1), self.embedding(tokens)], 1) + self.positions
        return self.classifier(torch.tanh(self.layer(x)[:, 0]))


class WithWeights(nn.Module):
    """MultiheadAttention that computes its weights too: bmm over merged batch and heads, softmax written out."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x, need_weights=True)[0]


class Eager(nn.Module):
    """Attention written out: a scaled product, an added mask with a bias, softmax, GELU in steps (GPT-2's)."""

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        self.register_buffer("mask", mask)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (f(x).view(x.shape[0], 5, 2, 8).transpose(1, 2) for f in (self.q, self.k, self.v))
        scores = torch.matmul(q, k.transpose(-1, -2)) / 8**0.5 + self.mask
        y = torch.matmul(F.softmax(scores, dim=-1), v).transpose(1, 2).reshape(x.shape[0], 5, 16)
        return 0.5 * y * (1.0 + torch.tanh(0.79788456 * (y + 0.044715 * torch.pow(y, 3.0))))


class WrittenNorm(nn.Module):
    """RMS norm as LLaMA writes it, rotated positions, keys and values shared by two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.qkv = nn.Parameter(torch.rand(16) + 0.5), nn.Linear(16, 24)
        angles = torch.arange(5.0)[:, None] * torch.tensor([1.0, 0.1])
        self.register_buffer("cos", torch.cat([angles, angles], -1).cos()[None])
        self.register_buffer("sin", torch.cat([angles, angles], -1).sin()[None])

    def rotated(self, x: torch.Tensor) -> torch.Tensor:
        half = torch.cat([-x[..., 2:], x[..., :2]], dim=-1)
        return x * self.cos.unsqueeze(1) + half * self.sin.unsqueeze(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))
        q, k, v = self.qkv(x).split([16, 4, 4], dim=-1)
        q = q.view(x.shape[0], 5, 4, 4).transpose(1, 2)
        k, v = (y.view(x.shape[0], 5, 1, 4).transpose(1, 2).expand(-1, 4, -1, -1) for y in (k, v))
        return F.scaled_dot_product_attention(self.rotated(q), self.rotated(k), v, is_causal=True)


class Masked(nn.Module):
    """torch's scaled dot-product attention with a constant mask."""

    def __init__(self, mask: torch.Tensor | None, causal: bool = False) -> None:
        super().__init__()
        self.qkv, self.causal = nn.Linear(16, 48), causal
        self.register_buffer("mask", mask)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).view(x.shape[0], 5, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask, is_causal=self.causal)


def _lively(model: nn.Module) -> nn.Module:
    """Norms that do something: fresh ones have weight 1 and bias 0."""
    for module in model.modules():
        if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            if getattr(module, "bias", None) is not None:
                nn.init.uniform_(module.bias, -1, 1)
    return model.eval()


CAUSAL = torch.ones(5, 5).tril().bool()
BIASED = torch.where(CAUSAL, torch.linspace(-2, 2, 25).view(5, 5), -torch.inf)
REAL = torch.randn(48, 5, 16, generator=torch.Generator().manual_seed(0))
NETWORKS = {
    "tokens": (lambda: Tokens(), torch.arange(48 * 5).view(48, 5) * 7 % 50, 30),
    "norm last": (lambda: nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16)), REAL, 32),
    "written out": (lambda: Eager(BIASED), REAL, 28),
    "written out, masked": (lambda: Eager(torch.where(CAUSAL, 0.0, -torch.inf)), REAL, 28),
    "boolean mask": (lambda: Masked(CAUSAL.flip(1)), REAL, 26),
    "as LLaMA": (lambda: WrittenNorm(), REAL, 26),
    "causal": (lambda: Masked(None, causal=True), REAL, 28),
    "biased mask": (lambda: Masked(BIASED), REAL, 28),
    "rms norm block": (lambda: Block(16, 2, nn.RMSNorm, causal=True), REAL, 34),
}
SLOW = {
    "with weights": (lambda: WithWeights(), REAL, 30),
    "post norm": (lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), REAL, 32),
    "sequence first": (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, 0.0, "gelu",
                       batch_first=True, norm_first=True), 2, enable_nested_tensor=False), REAL, 30),
}  # fmt: skip


@pytest.mark.parametrize("name", [*NETWORKS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_close_to_float_and_equal_to_the_reference(name: str, tmp_path) -> None:
    make, x, least_db = {**NETWORKS, **SLOW}[name]
    torch.manual_seed(0)
    model = _lively(make())
    graph = acs.from_torch(model, x)
    report = acs.evaluate(graph, (x, None), float_model=model, activity_samples=0)
    assert report.sqnr_db > least_db
    graph.save(tmp_path / "graph.safetensors")
    run = acs.simulate(graph, x[:2].numpy())
    slow = acs.simulate(acs.load(tmp_path / "graph.safetensors"), x[:2].numpy(), backend="reference")
    np.testing.assert_array_equal(run.output, slow.output)


def test_a_decoder_layer_reads_what_was_encoded() -> None:
    """torch's own: causal self-attention, attention to another sequence by one packed weight."""

    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerDecoderLayer(16, 2, 32, batch_first=True)

        def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
            return self.layer(x, memory, tgt_mask=nn.Transformer.generate_square_subsequent_mask(5), tgt_is_causal=True)

    torch.manual_seed(0)
    model, inputs = _lively(Reads()), (REAL, torch.randn(48, 7, 16))
    graph = acs.from_torch(model, inputs)
    assert acs.evaluate(graph, (inputs, None), float_model=model, activity_samples=0).sqnr_db > 28
    codes = [acs.simulate(graph, tuple(x[:2].numpy() for x in inputs), backend=b) for b in ("numba", "reference")]
    np.testing.assert_array_equal(codes[0].output, codes[1].output)


def test_a_written_norm_is_one_operator() -> None:
    torch.manual_seed(0)
    graph = acs.from_torch(WrittenNorm().eval(), REAL)
    (norm,) = (op for op in graph.ops if op.kind == "rms_norm")
    assert np.ptp(norm.gamma) > 20
    assert not {"mean", "rsqrt", "composition"} & {getattr(op, "function", op.kind) for op in graph.ops}

    class Alone(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.rsqrt(x)

    with pytest.raises(AccelsimError, match="rsqrt has no end at 0"):
        acs.from_torch(Alone(), REAL.abs() + 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tokens", "written out", "rms norm block"])
@pytest.mark.parametrize(
    ("profile", "least_db"),
    [("onnxruntime", 32), ("tosa-single", 32), ("shift-only", 27), ("cmsis-nn", 32), ("tflite-reference", 32)],
)
def test_profiles(name: str, profile: str, least_db: int) -> None:
    make, x, _ = NETWORKS[name]
    torch.manual_seed(0)
    model = make().eval()
    graph = acs.from_torch(model, x, profile=profile)
    assert acs.evaluate(graph, (x, None), float_model=model, activity_samples=0).sqnr_db > least_db
    codes = [acs.simulate(graph, x[:2].numpy(), backend=b).output for b in ("numba", "reference")]
    np.testing.assert_array_equal(*codes)


def test_a_profile_without_additions_says_so() -> None:
    torch.manual_seed(0)
    with pytest.raises(AccelsimError, match="layer 'add' under profile 'nvdla': .* does not define operator 'add'"):
        acs.from_torch(Block(16, 2, nn.LayerNorm).eval(), REAL, profile="nvdla")


@pytest.mark.slow
def test_wide_activations_come_closer() -> None:
    for name in NETWORKS:
        make, x, least_db = NETWORKS[name]
        torch.manual_seed(0)
        model = make().eval()
        graph = acs.from_torch(model, x, weight_bits=8, activation_bits=16)
        assert acs.evaluate(graph, (x, None), float_model=model, activity_samples=0).sqnr_db > least_db + 6, name


def test_products_of_wide_operands_in_wide_accumulators() -> None:
    """16 by 16 bits overflow 32-bit accumulators, and come close to float in 48 bits."""

    class Heads(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(x, x, x)

    graph = acs.from_torch(Heads(), REAL, activation_bits=16)
    wide = acs.load_spec("edge-16x16").replace(**{"array.accumulators.bits": 48})
    assert acs.evaluate(graph, (REAL, None), wide, float_model=Heads(), activity_samples=0).sqnr_db > 70
    fast, slow = (acs.simulate(graph, REAL[:2].numpy(), wide, backend=b) for b in ("numba", "reference"))
    np.testing.assert_array_equal(fast.output, slow.output)
    assert any(event.outputs_with_events for event in acs.simulate(graph, REAL.numpy()).events)


def test_a_masked_place_counts_for_nothing() -> None:
    """What the mask hides may be any code: the outputs do not change by one."""
    torch.manual_seed(0)
    graph = acs.from_torch(Masked(None, causal=True).eval(), REAL)
    (softmax,) = (op for op in graph.ops if isinstance(op, MaskedSoftmax))
    np.testing.assert_array_equal(softmax.keep, CAUSAL.numpy())
    x = REAL[:4].numpy().copy()
    before = acs.simulate(graph, x).output
    x[:, 3:] = -4.0
    after = acs.simulate(graph, x).output
    np.testing.assert_array_equal(before[:, :, :3], after[:, :, :3])
    assert not np.array_equal(before[:, :, 3:], after[:, :, 3:])


def test_narrow_accumulators_of_attention_are_emulated() -> None:
    """Products of two activations go through the array's accumulators: they overflow and are counted alike."""

    class Heads(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            heads = x.view(x.shape[0], 5, 2, 8).transpose(1, 2)
            return F.scaled_dot_product_attention(heads, heads, heads)

    graph = acs.from_torch(Heads(), REAL)
    x = REAL[:4].numpy()
    for overflow in ("wrap", "saturate"):
        fields = {"array.accumulators.bits": 14, "array.accumulators.overflow": overflow}
        narrow = acs.load_spec("edge-16x16").replace(**fields)
        fast, slow = (acs.simulate(graph, x, narrow, backend=b) for b in ("numba", "reference"))
        np.testing.assert_array_equal(fast.output, slow.output)
        assert fast.events == slow.events
        assert {e.name for e in fast.events if e.outputs_with_events} == {"sdpa.scores", "sdpa"}
        assert not np.array_equal(fast.output, acs.simulate(graph, x).output)


def test_every_layer_is_priced() -> None:
    torch.manual_seed(0)
    graph = acs.from_torch(Block(16, 2, nn.LayerNorm).eval(), REAL)
    report = acs.cost(graph)
    rows = report.layers.set_index("operator")
    macs = 5 * (16 * 48 + 16 * 16 + 2 * 16 * 64) + 2 * 2 * 5 * 5 * 8
    assert report.layers["macs"].sum() == macs
    for kind in ("layer_norm", "softmax", "lut", "batch_matmul"):
        assert (rows.loc[[kind], "energy_pj"] > 0).all() and (rows.loc[[kind], "latency_s"] > 0).all()
    assert "layer_norm" in str(report)


def test_what_is_not_supported_names_the_layer() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(16, 16), nn.GroupNorm(1, 5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

    with pytest.raises(AccelsimError, match=r"aten\.group_norm\.default in module 'inner\.1'"):
        acs.from_torch(Odd(), REAL)

    class OwnMask(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = Attention(16, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q = x.view(x.shape[0], 5, 2, 8).transpose(1, 2)
            return F.scaled_dot_product_attention(q, q, q, attn_mask=q @ q.mT)

    with pytest.raises(AccelsimError, match="added to the scores is computed from the network's inputs"):
        acs.from_torch(OwnMask(), REAL)

    class Length(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(len(x), 80)

    with pytest.raises(AccelsimError, match=r"take x\.shape\[0\], not len\(x\)"):
        acs.from_torch(Length(), REAL)


def test_tokens_outside_the_table_are_refused() -> None:
    torch.manual_seed(0)
    graph = acs.from_torch(nn.Sequential(nn.Embedding(40, 4), nn.Linear(4, 2)).eval(), torch.arange(40).view(8, 5))
    assert graph.tensors[graph.inputs[0]].params.bits == 6
    with pytest.raises(AccelsimError, match="indices 0 .. 41 of a table of 40 rows"):
        acs.simulate(graph, np.array([[0, 1, 2, 3, 41]]))
    with pytest.raises(AccelsimError, match="do not fit the grid"):
        acs.simulate(graph, np.array([[0, 1, 2, 3, 64]]))
