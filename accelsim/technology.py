"""A process as data: node, supply and the named constants of the energy and area laws, each with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from accelsim.errors import AccelsimError
from accelsim.scaling import scaling_factor
from accelsim.specfile import SpecModel, read_spec_file, validated


class Constant(SpecModel):
    """A number with its unit, its source and the relative uncertainty of the value (0.2: ± 20 %)."""

    value: float
    unit: str
    source: str
    uncertainty: float = Field(default=0.0, ge=0)


class TechnologySpec(SpecModel):
    """A process: node, supply, and the named constants of the energy and area laws, each with its source.

    base and scaling: constants that are not given are those of another technology, scaled by a published
    table. sram_node_nm: node of the SRAM tables (32 to 65 nm); None: node_nm.
    """

    name: str
    node_nm: float = Field(gt=0)
    voltage_v: float = Field(gt=0)
    sram_cell: str = "itrs-lstp"
    sram_node_nm: float | None = Field(default=None, ge=32, le=65)
    base: str | None = None
    scaling: Literal["stillmaker", "tpuv4i"] | None = None
    constants: dict[str, Constant] = Field(default_factory=dict)
    sources: tuple[str, ...] = ()

    @property
    def sram_node(self) -> float:
        return self.sram_node_nm or self.node_nm

    def constant(self, name: str) -> Constant:
        if name not in self.constants:
            raise AccelsimError(f"technology {self.name!r} has no constant {name!r}; known: {sorted(self.constants)}")
        return self.constants[name]


def load_technology(name_or_path: str | Path | TechnologySpec) -> TechnologySpec:
    """A technology by name (data/technology), by path of a YAML file, or itself."""
    if isinstance(name_or_path, TechnologySpec):
        return name_or_path
    data, where, lines = read_spec_file(name_or_path, "technology")
    return rescaled(validated(TechnologySpec, data, where, lines))


def rescaled(technology: TechnologySpec, scaling: str | None = None) -> TechnologySpec:
    """A technology with the constants of its base, scaled to its node and supply by its own or another table."""
    if technology.base is None:
        return technology
    base, table = load_technology(technology.base), scaling or technology.scaling or "stillmaker"
    own, scaled = technology.constants, {}
    for name, constant in base.constants.items():
        factor = scaling_factor(
            table,
            name,
            constant.unit,
            (base.node_nm, base.voltage_v),
            (technology.node_nm, technology.voltage_v),
            technology.sram_node,
        )
        source = (
            constant.source
            if factor == 1
            else (f"{constant.source}; × {factor:.3g} from {base.node_nm:g} to {technology.node_nm:g} nm ({table})")
        )
        scaled[name] = constant.model_copy(update={"value": constant.value * factor, "source": source})
    return technology.model_copy(update={"constants": {**scaled, **own}, "scaling": table})
