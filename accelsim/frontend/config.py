"""QuantConfig: every choice of the torch frontend, checked when it is made. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any

from accelsim.errors import AccelsimError
from accelsim.frontend.recipes.names import Recipe, check_recipe, steps_of
from accelsim.profiles import load_profile
from accelsim.quant import check_bits

RANGES = ("mse", "min-max", "percentile")

Bits = int | Mapping[str, int]


@dataclass(frozen=True)
class QuantConfig:
    """How a float network becomes integers (paper, sections 2 and 3).

    weight_bits, activation_bits: 2 .. 16, or a mapping from layer name (or pattern such as "block1.*") to
        bits; layers that no pattern matches get 8. An activation belongs to the layer that produces it,
        the network's input to the name "input".
    per_channel: one weight scale per output channel, else per tensor.
    weight_group_size: None, or consecutive inputs of a fully connected layer that share a weight scale: partial sums
        are then rescaled inside the sum (and priced). Layers with no more inputs than that have one group.
    ranges: "mse" (least squared error), "min-max", or "percentile" (`percentile` below).
    profile: numeric profile, see `accelsim profiles`.
    symmetric_weights: weight zero point 0 (else affine weights: the data-dependent row sums are computed and
        priced). symmetric_activations: activation zero points 0.
    output_bits: None leaves the outputs of a final MAC layer as accumulators (dequantized exactly);
        2 .. 16 requantizes them to an output grid.
    residual_bits: least width of a MAC layer's output that only additions read, so that narrow activations
        are rounded once, behind the addition.
    bias_correction: remove the mean error that weight and activation quantization leave at each output channel,
        measured on the calibration data (paper, section 4.2).
    recipe: a pipeline of steps by name ("white-paper", "min-max", "bias-correction", "data-free", "reconstruct") or a
        list of steps such as ["equalize", "weight-ranges(method=mse)", "adaround", "activation-ranges"], see
        accelsim/frontend/recipes/names.py. None: activation and weight ranges by `ranges`, then `bias_correction`;
        where a recipe is given, it alone says which methods and corrections are used (overrides by layer still win).
    percentile: two-sided share in % that the percentile range keeps.
    overrides: layer name or pattern → {"weight_bits" | "activation_bits" | "per_channel" | "weight_group_size" |
        "ranges": value, or
        "activation_range": (lower, upper), the real range of the layer's output where it is known}; later entries
        win over earlier ones and over the fields above.
    Power-of-two scales are used where the profile rescales by shifts alone, symmetric activations where it has
    no zero points, unsigned activations where its runtime computes with them.
    """

    weight_bits: Bits = 8
    activation_bits: Bits = 8
    per_channel: bool = True
    ranges: str = "mse"
    profile: str = "tflm"
    overrides: Mapping[str, Mapping[str, Any]] | None = None
    symmetric_weights: bool = True
    symmetric_activations: bool = False
    output_bits: int | None = None
    residual_bits: int = 8
    bias_correction: bool = True
    percentile: float = 99.99
    weight_group_size: int | None = None
    recipe: Recipe | None = None

    def __post_init__(self) -> None:
        for name in ("weight_bits", "activation_bits"):
            bits = getattr(self, name)
            if isinstance(bits, Mapping):
                checked: Bits = {key: check_bits(value, f"{name}[{key!r}]") for key, value in bits.items()}
            else:
                checked = check_bits(bits, name)
            object.__setattr__(self, name, checked)
        for name in ("per_channel", "symmetric_weights", "symmetric_activations", "bias_correction"):
            _check_bool(getattr(self, name), name)
        if not (self.overrides is None or isinstance(self.overrides, Mapping)):
            raise AccelsimError(f"overrides must map layer names to changed fields, not {self.overrides!r}")
        _check_ranges(self.ranges, "ranges")
        load_profile(self.profile)
        object.__setattr__(self, "recipe", check_recipe(self.recipe))
        if self.output_bits is not None:
            check_bits(self.output_bits, "output_bits")
        check_bits(self.residual_bits, "residual_bits")
        if isinstance(self.percentile, bool) or not isinstance(self.percentile, (int, float)):
            raise AccelsimError(f"percentile must be a number, not {self.percentile!r}")
        if not 50 < self.percentile <= 100:
            raise AccelsimError(f"percentile must be in (50, 100], not {self.percentile!r}")
        _check_group_size(self.weight_group_size, "weight_group_size")
        for pattern, changes in (self.overrides or {}).items():
            if not isinstance(changes, Mapping):
                raise AccelsimError(f"overrides[{pattern!r}] must map field names to values, not {changes!r}")
            for key, value in changes.items():
                if key in ("weight_bits", "activation_bits"):
                    check_bits(value, f"overrides[{pattern!r}].{key}")
                elif key == "weight_group_size":
                    _check_group_size(value, f"overrides[{pattern!r}].weight_group_size")
                elif key == "ranges":
                    _check_ranges(value, f"overrides[{pattern!r}].ranges")
                elif key == "per_channel":
                    _check_bool(value, f"overrides[{pattern!r}].per_channel")
                elif key == "activation_range":
                    _check_range(value, f"overrides[{pattern!r}].activation_range")
                else:
                    raise AccelsimError(
                        f"overrides[{pattern!r}]: unknown field {key!r}; "
                        "known: weight_bits, activation_bits, per_channel, ranges, activation_range, weight_group_size"
                    )

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps that turn the float network into integers."""
        if self.recipe is not None:
            return steps_of(self.recipe)
        correction = ("bias-correction",) if self.bias_correction else ()
        return ("fold", "activation-ranges", "weight-ranges", *correction)

    @property
    def activation_grids(self) -> dict[str, bool]:
        """Keywords of choose_params() for activations: what these choices and the profile ask of their grids."""
        profile = load_profile(self.profile)
        symmetric = self.symmetric_activations or profile.symmetric
        signed = symmetric or not profile.unsigned_activations
        return {"signed": signed, "symmetric": symmetric, "power_of_two": profile.power_of_two}

    def for_layer(self, layer: str) -> LayerConfig:
        """The choices that hold for one layer."""
        chosen = LayerConfig(
            weight_bits=_look_up(self.weight_bits, layer),
            activation_bits=_look_up(self.activation_bits, layer),
            per_channel=self.per_channel,
            ranges=self.ranges,
            weight_group_size=self.weight_group_size,
        )
        for pattern, changes in (self.overrides or {}).items():
            if fnmatchcase(layer, pattern):
                chosen = replace(chosen, **changes)
        return chosen

    def check_layers(self, layers: Iterable[str]) -> None:
        """Raises AccelsimError for a pattern of bits or overrides that no layer matches."""
        layers = list(layers)
        used: list[tuple[str, str]] = [("overrides", p) for p in self.overrides or {}]
        for name in ("weight_bits", "activation_bits"):
            bits = getattr(self, name)
            used += [(name, p) for p in bits] if isinstance(bits, Mapping) else []
        for name, pattern in used:
            if not any(fnmatchcase(layer, pattern) for layer in layers):
                raise AccelsimError(f"{name}: no layer matches {pattern!r}; layers: {', '.join(dict.fromkeys(layers))}")


@dataclass(frozen=True)
class LayerConfig:
    """The part of a QuantConfig that holds for one layer."""

    weight_bits: int
    activation_bits: int
    per_channel: bool
    ranges: str
    activation_range: tuple[float, float] | None = None
    weight_group_size: int | None = None


def as_config(config: QuantConfig | None, keywords: Mapping[str, Any]) -> QuantConfig:
    """The config that `from_torch(…, config, **keywords)` means: keywords win over the config's fields."""
    known = {f.name for f in fields(QuantConfig)}
    unknown = [key for key in keywords if key not in known]
    if unknown:
        raise AccelsimError(f"unknown option {unknown[0]!r}; known: {', '.join(sorted(known))}")
    if config is None:
        return QuantConfig(**keywords)
    if not isinstance(config, QuantConfig):
        raise AccelsimError(f"config must be a QuantConfig, not {type(config).__name__}")
    return replace(config, **keywords)


def _look_up(bits: Bits, layer: str) -> int:
    if not isinstance(bits, Mapping):
        return bits
    if layer in bits:
        return bits[layer]
    return next((value for pattern, value in bits.items() if fnmatchcase(layer, pattern)), 8)


def _check_bool(value: Any, name: str) -> None:
    if not isinstance(value, bool):
        raise AccelsimError(f"{name} must be True or False, not {value!r}")


def _check_range(value: Any, name: str) -> None:
    numbers = isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(v, (int, float)) for v in value)
    if not numbers or not value[0] < value[1]:
        raise AccelsimError(f"{name} must be (lower, upper) with lower < upper, not {value!r}")


def _check_group_size(value: Any, name: str) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 2):
        raise AccelsimError(f"{name} must be None or an integer of at least 2, not {value!r}")


def _check_ranges(value: Any, name: str) -> None:
    if value not in RANGES:
        raise AccelsimError(f"{name} must be one of {', '.join(RANGES)}, not {value!r}")
