"""torchao's PT2E flow on a small network, with a quantizer that leaves nothing in float."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class Network(nn.Module):
    """Convolutions, residual, pools, concatenation, hard-swish, squeeze-and-excitation, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.depthwise, self.point = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1)
        self.gate = nn.Conv2d(8, 8, 1)
        self.side = nn.Conv2d(8, 4, 3, padding=1)
        self.hidden, self.head = nn.Linear(12, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.stem(x)))
        y = F.hardswish(self.point(F.relu6(self.depthwise(x))))
        y = y * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(y, 1)))
        x = F.max_pool2d(F.relu(x + y), 2)
        x = torch.cat([x, F.relu(self.side(x))], 1)
        x = torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)
        return self.head(F.relu(self.hidden(x)))


_LAYERS = (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default)
_SHARED = ("max_pool2d", "flatten", "view", "reshape")
_ANNOTATED = (*_SHARED, "conv2d", "linear", "add", "mul", "cat", "hardswish", "sigmoid", "adaptive_avg_pool2d",
              "relu", "relu6", "hardtanh")  # fmt: skip
_CLAMPS = ("relu", "relu_", "relu6", "hardtanh", "relu6_")


def everything(signed: bool = True, qat: bool = False) -> Any:
    """A quantizer that annotates every operator: activations affine per tensor, weights symmetric per channel."""
    from torchao.quantization.pt2e import (
        FakeQuantize,
        FusedMovingAvgObsFakeQuantize,
        MinMaxObserver,
        MovingAverageMinMaxObserver,
        PerChannelMinMaxObserver,
    )
    from torchao.quantization.pt2e.quantizer import (
        QuantizationAnnotation,
        QuantizationSpec,
        Quantizer,
        SharedQuantizationSpec,
    )

    low = -128 if signed else 0
    observer = MovingAverageMinMaxObserver if qat else MinMaxObserver
    ends = {"quant_min": low, "quant_max": low + 255}
    maker = (
        FusedMovingAvgObsFakeQuantize.with_args(observer=observer, **ends) if qat else observer.with_args(eps=2**-12)
    )
    activation = QuantizationSpec(
        dtype=torch.int8 if signed else torch.uint8, qscheme=torch.per_tensor_affine, observer_or_fake_quant_ctr=maker,
        **ends,
    )  # fmt: skip
    channels = PerChannelMinMaxObserver
    weight = QuantizationSpec(
        dtype=torch.int8, quant_min=-127, quant_max=127, qscheme=torch.per_channel_symmetric, ch_axis=0,
        observer_or_fake_quant_ctr=FakeQuantize.with_args(observer=channels) if qat else channels.with_args(eps=2**-12),
    )  # fmt: skip

    class Everything(Quantizer):
        def annotate(self, model: Any) -> Any:
            for node in model.graph.nodes:
                if node.op == "placeholder" or _name(node) in _ANNOTATED:
                    self._annotate(node)
            return model

        def _annotate(self, node: Any) -> None:
            name = _name(node)
            sources = [n for n in node.all_input_nodes if n.op != "get_attr"]
            specs: dict[Any, Any] = dict.fromkeys(sources, activation)
            if node.target in _LAYERS:
                specs = {node.args[0]: activation, node.args[1]: weight}
            followed = next(iter(node.users), None)
            quiet = name in ("conv2d", "linear", "add") and len(node.users) == 1 and _passes(followed)
            output = None if quiet or next(iter(node.users)).op == "output" else activation
            if name in _SHARED:
                output = SharedQuantizationSpec((node.args[0], node))
            if name == "cat":
                first = node.args[0][0]
                specs = {n: activation if n is first else SharedQuantizationSpec((first, node)) for n in node.args[0]}
                output = SharedQuantizationSpec((first, node))
            if name in _CLAMPS:
                specs = {}
            node.meta["quantization_annotation"] = QuantizationAnnotation(
                input_qspec_map=specs, output_qspec=output, _annotated=True
            )

        def validate(self, model: Any) -> None:
            return None

    return Everything()


def _name(node: Any) -> str:
    return str(node.target).split(".")[1] if node is not None and node.op == "call_function" else ""


def _passes(node: Any) -> bool:
    return _name(node) in _CLAMPS or "batch_norm" in _name(node)


def converted(quantizer: Any, qat: bool = False, seed: int = 0) -> tuple[Any, torch.Tensor]:
    """(the converted program as a module, inputs)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        disabled = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            return _converted(quantizer, qat, seed)
        finally:
            logging.disable(disabled)


def _converted(quantizer: Any, qat: bool, seed: int) -> tuple[Any, torch.Tensor]:
    from torchao.quantization.pt2e import move_exported_model_to_eval
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e, prepare_qat_pt2e

    torch.manual_seed(seed)
    model, x = Network(), torch.randn(32, 3, 8, 8)
    model.train()
    model(x)
    model.train(qat)
    batch = ({0: torch.export.Dim.AUTO},)
    program = torch.export.export(model, (x,), dynamic_shapes=batch).module()
    prepared = (prepare_qat_pt2e if qat else prepare_pt2e)(program, quantizer() if callable(quantizer) else quantizer)
    if qat:
        optimizer = torch.optim.SGD(prepared.parameters(), lr=1e-3)
        for _ in range(3):
            optimizer.zero_grad()
            prepared(x).square().mean().backward()
            optimizer.step()
        move_exported_model_to_eval(prepared)
    with torch.no_grad():
        prepared(x)
    return convert_pt2e(prepared), x


def exported(program: Any, x: torch.Tensor) -> Any:
    """The converted program as an ExportedProgram with a dynamic batch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(program, (x,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
