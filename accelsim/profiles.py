"""Numeric profiles: which arithmetic each operator uses in a named runtime and version."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

import yaml
from accelsim_kernels.names import ARITHMETIC, SCHEMES

from accelsim.errors import AccelsimError
from accelsim.requant import PRODUCTS

DEFAULT_PROFILE = "tflm"


@dataclass(frozen=True)
class OperatorNumerics:
    """How one operator computes.

    scheme: requantization scheme (a name of names.SCHEMES), None where the operator uses none.
    wide_scheme: the scheme for activations of more than 8 bits, where the runtime has another one for them.
    product: precision of the product of scales (a name of requant.PRODUCTS).
    arithmetic: the operator's own form (a name of names.ARITHMETIC[operator]), None for matrix operators.
    options: the scheme's named choices, e.g. {"rounding": "half_even"}.
    tail_scheme, block: the scheme of what does not fill a block of so many channels (codes, for a change of grid)
        where the runtime's vector code rounds unlike its scalar code.
    fraction_bits: of a multiplier in fixed point, for runtimes that take none with a mantissa; None elsewhere.
    """

    scheme: str | None = None
    product: str = "float64"
    arithmetic: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    wide_scheme: str | None = None
    fraction_bits: int | None = None
    tail_scheme: str | None = None
    block: int | None = None

    @property
    def rescaling(self) -> str:
        """The scheme, for an operator that cannot do without; AccelsimError where the profile names none."""
        if self.scheme is None:
            raise AccelsimError("the profile names no requantization scheme for an operator that needs one")
        return self.scheme

    def for_activations(self, bits: int) -> OperatorNumerics:
        """Itself, with the scheme that holds for activations of that many bits."""
        return replace(self, scheme=self.wide_scheme) if bits > 8 and self.wide_scheme else self


@dataclass(frozen=True)
class NumericProfile:
    """A runtime's arithmetic, operator by operator.

    power_of_two: scales must be powers of two. bits: widths that the runtime itself has (operand widths);
    at others the profile keeps its rounding. source: where the arithmetic is defined.
    fallback: the profile of the runtime that computes what this one, a delegate of it, leaves alone.
    unsigned_activations: its kernels compute on unsigned codes of activations, which can show in the last bit.
    """

    name: str
    runtime: str
    version: str
    source: str
    bits: tuple[int, ...]
    operators: Mapping[str, OperatorNumerics]
    power_of_two: bool = False
    notes: str = ""
    fallback: str | None = None
    unsigned_activations: bool = False

    def operator(self, name: str) -> OperatorNumerics:
        """The arithmetic of an operator; AccelsimError where the profile does not define it."""
        try:
            return self.operators[name]
        except KeyError:
            if self.fallback is not None:
                return load_profile(self.fallback).operator(name)
            raise AccelsimError(
                f"profile {self.name!r} does not define operator {name!r}; it defines {', '.join(self.operators)}"
            ) from None

    @property
    def symmetric(self) -> bool:
        """Whether the runtime has no zero points: activations then get symmetric grids."""
        schemes = (numerics.scheme for numerics in self.operators.values() if numerics.scheme)
        return any(SCHEMES[scheme].zero_point == "none" for scheme in schemes)

    def has_width(self, bits: int) -> bool:
        """Whether the runtime itself has operands of that many bits."""
        return bits in self.bits


def list_profiles() -> list[str]:
    """Names of all profiles, the default first."""
    folder = resources.files("accelsim") / "data" / "profiles"
    names = sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))
    return sorted(names, key=lambda n: n != DEFAULT_PROFILE)


@cache
def load_profile(name: str = DEFAULT_PROFILE) -> NumericProfile:
    """The profile of that name. AccelsimError lists the known names where there is none."""
    if name not in list_profiles():
        raise AccelsimError(f"unknown numeric profile {name!r}; known: {', '.join(list_profiles())}")
    text = (resources.files("accelsim") / "data" / "profiles" / f"{name}.yaml").read_text(encoding="utf-8")
    return parse_profile(yaml.safe_load(text), f"profile {name}")


def parse_profile(data: Any, where: str) -> NumericProfile:
    """A profile from the mapping of its YAML file. AccelsimError names `where` and the wrong field."""
    if not isinstance(data, dict):
        raise AccelsimError(f"{where}: must be a mapping of name, runtime, version, source, bits, operators")
    required = {"name", "runtime", "version", "source", "bits", "operators"}
    allowed = required | {"power_of_two", "notes", "fallback", "unsigned_activations"}
    if not required <= set(data) <= allowed:
        wrong = sorted(required - set(data)) or sorted(set(data) - allowed)
        raise AccelsimError(f"{where}: missing or unknown fields {wrong}; fields are {sorted(allowed)}")
    operators = {
        operator: _operator(f"{where}, operator {operator}", operator, fields)
        for operator, fields in data["operators"].items()
    }
    rest = {k: v for k, v in data.items() if k not in ("operators", "bits")}
    return NumericProfile(**rest, bits=tuple(data["bits"]), operators=MappingProxyType(operators))


def _operator(where: str, operator: str, fields: dict[str, Any]) -> OperatorNumerics:
    unknown = set(fields) - {field.name for field in dataclasses.fields(OperatorNumerics)}
    if unknown:
        raise AccelsimError(f"{where}: unknown fields {sorted(unknown)}")
    numerics = OperatorNumerics(**fields)
    checks = (
        ("scheme", numerics.scheme, SCHEMES),
        ("wide_scheme", numerics.wide_scheme, SCHEMES),
        ("tail_scheme", numerics.tail_scheme, SCHEMES),
        ("product", numerics.product, PRODUCTS),
        ("arithmetic", numerics.arithmetic, ARITHMETIC.get(operator, ())),
    )
    for key, value, known in checks:
        if value is not None and value not in known:
            raise AccelsimError(f"{where}: {key} {value!r} is not one of {', '.join(known)}")
    return numerics
