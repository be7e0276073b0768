"""Bring your own energies: tables in the style of Accelergy's reference tables, put in place of the laws.

    ERT:                                            ART:
      version: 0.4                                    version: 0.4
      tables:                                         tables:
        - name: system.chip.buffer[1..4]                - name: system.chip.buffer
          actions:                                        area: 250000    # um2, of the whole memory
            - {name: read, energy: 8.1}   # pJ          - name: system.chip.pe.mac
            - {name: write, energy: 9.0}                  area: 600       # um2, of one element
        - name: system.chip.pe.mac
          actions: [{name: mac, energy: 0.31}]

Either part may be missing; `ERT_summary` and `ART_summary` with `table_summary` are read, too. The last part of a name
without its bracket is the component: a memory of the spec, or "mac" for an element. Energies are those of one word of
the memory, or of one product with its accumulation at the array's widths.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from accelsim.errors import AccelsimError
from accelsim.hardware import AcceleratorSpec, Constant, load_spec
from accelsim.pricing import laws
from accelsim.pricing.area import memory_area_mm2
from accelsim.pricing.rates import access_energy_pj

#: actions that are one word read, one word written, one product; random data where a table tells kinds apart
READS, WRITES = ("read", "random_read", "read_random"), ("write", "update", "random_write", "write_random")
PRODUCTS = ("mac", "mac_random", "compute", "multiply", "mult_random", "mult")
#: actions without a place here: they are part of leakage, gating and clock in this model
LEFT_OUT = ("idle", "leak", "mac_gated", "mac_reused", "gated_mac", "random_fill", "repeated_read", "repeated_write")
_LOGIC = ("multiplier", "adder", "register", "fused_brick")


@dataclass(frozen=True)
class Replaced:
    """One number of a table: which component and quantity, what the laws said, what the table says, the unit."""

    component: str
    quantity: str
    law: float
    table: float
    unit: str


@dataclass(frozen=True)
class TableCalibration:
    """spec: with the table's numbers; replaced: every one of them beside the laws' own."""

    spec: AcceleratorSpec
    replaced: tuple[Replaced, ...]

    def summary(self) -> str:
        """One line per number."""
        return "\n".join(
            f"{r.component} {r.quantity}: {r.table:.4g} {r.unit} in place of {r.law:.4g}" for r in self.replaced
        )


def calibrate_to_table(
    table: str | Path,
    spec: str | Path | AcceleratorSpec,
    *,
    components: Mapping[str, str | None] | None = None,
    uncertainty: float = 0.1,
) -> TableCalibration:
    """Put a table's energies (pJ) and areas (um2) in place of the laws' for a spec.

    components: names of the table → "mac" or a memory of the spec; None leaves a component out. uncertainty: of the
    table's numbers. Multiplier, adder and register constants are scaled together, so that a product at the array's
    widths costs what the table says and other widths follow the laws. Raises AccelsimError for a file that is not
    such a table, an unknown key, component or action, and a value that is not a positive number.
    """
    spec, where = load_spec(spec), Path(table).name
    if not 0 <= uncertainty <= 1:
        raise AccelsimError(f"uncertainty must be 0 to 1, not {uncertainty}")
    constants, replaced = dict(spec.technology.constants), []
    source = f"energy table {where}"
    for name, quantity, value in _entries(Path(table)):
        component = _component(name, spec, components or {}, where)
        if component is None:
            continue
        if component == "mac":
            kind, unit = ("energy", "pJ") if quantity in PRODUCTS else ("area", "um2")
            if quantity not in (*PRODUCTS, "area"):
                raise _unknown(where, name, quantity, PRODUCTS)
            law = _element(spec, kind)
            for part in _LOGIC:
                old = constants[f"{part}_{kind}"]
                about = f"{old.source}; × {value / law:.3g}: {source}"
                scaled = {"value": old.value * value / law, "uncertainty": uncertainty, "source": about}
                constants[f"{part}_{kind}"] = old.model_copy(update=scaled)
        else:
            memory = next(m for m in spec.memories if m.name == component)
            if quantity == "area":
                if memory.kind == "dram":
                    raise AccelsimError(f"{where}: {name!r}: a DRAM takes no area of the chip")
                kind, unit, law, value = "area", "mm2", memory_area_mm2(memory, spec), value * 1e-6
            elif quantity in (*READS, *WRITES):
                kind, unit = ("read_energy" if quantity in READS else "write_energy"), "pJ"
                law = access_energy_pj(memory, spec)[quantity in WRITES]
            else:
                raise _unknown(where, name, quantity, (*READS, *WRITES))
            constants[f"{component}_{kind}"] = Constant(value=value, unit=unit, source=source, uncertainty=uncertainty)
        replaced.append(Replaced(component, kind.replace("_", " "), law, value, unit))
    for memory in spec.memories:
        given = [f"{memory.name}_{way}_energy" in constants for way in ("read", "write")]
        if any(given) and not all(given):
            raise AccelsimError(f"{where}: {memory.name!r} needs the energies of both read and write")
    technology = spec.technology.model_copy(update={"name": f"{spec.technology.name}+{where}", "constants": constants})
    return TableCalibration(spec.model_copy(update={"technology": technology}), tuple(replaced))


def _element(spec: AcceleratorSpec, kind: str) -> float:
    """What the laws say of one element at the array's widths: pJ per product, or um2."""
    array, tech = spec.array, spec.technology
    if kind == "area":
        return sum(laws.element_area_um2(array, tech).values()) * array.area_overhead
    widths = np.int64(array.weight_bits), np.int64(array.activation_bits)
    part = laws.element(array, tech, *widths, "multiplier_energy_exponent")
    amounts = {
        "multiplier": part.multiplier,
        "adder": part.adder_bits + part.accumulator_adder_bits,
        "register": part.register_bits + part.accumulator_register_bits,
        "fused_brick": part.bricks,
    }
    return float(sum(amount * tech.constant(f"{name}_energy").value for name, amount in amounts.items()))


def _component(name: str, spec: AcceleratorSpec, given: Mapping[str, str | None], where: str) -> str | None:
    """The component of the spec that an entry of a table means; None where the user leaves it out."""
    known = ["mac", *(memory.name for memory in spec.memories)]
    last = re.sub(r"\[.*?\]", "", name).split(".")[-1]
    chosen = given.get(name, given.get(last, last))
    if chosen is not None and chosen not in known:
        raise AccelsimError(
            f"{where}: {name!r} is no component of spec {spec.name!r}; known: {', '.join(known)}. Map it with "
            f"components={{{last!r}: …}}, to None to leave it out"
        )
    return chosen


def _unknown(where: str, name: str, action: str, known: tuple[str, ...]) -> AccelsimError:
    return AccelsimError(f"{where}: {name!r}: unknown action {action!r}; known: {', '.join((*known, *LEFT_OUT))}")


def _entries(path: Path) -> Iterator[tuple[str, str, float]]:
    """(component's name, action or "area", value) of every entry of a file."""
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise AccelsimError(f"cannot read {path}: {error}") from None
    except yaml.YAMLError as error:
        raise AccelsimError(f"{path.name}: not valid YAML: {error}") from None
    parts = {"ERT": "tables", "ART": "tables", "ERT_summary": "table_summary", "ART_summary": "table_summary"}
    top = _mapping(path.name, "the whole", data, set(parts))
    if not top:
        raise AccelsimError(f"{path.name}: needs ERT, ART or both")
    for part, inside in parts.items():
        if part not in top:
            continue
        body = _mapping(path.name, part, top[part], {"version", inside})
        for place, entry in enumerate(_list(path.name, f"{part}.{inside}", body.get(inside))):
            at = f"{part}.{inside}.{place}"
            keys = {"name", "actions"} if part.startswith("ERT") else {"name", "area"}
            entry = _mapping(path.name, at, entry, keys | {"primitive_estimation(s)", "primitive_estimations"})
            name = entry.get("name")
            if not isinstance(name, str) or not name:
                raise AccelsimError(f"{path.name}: {at}: name is missing")
            if "area" in keys:
                yield name, "area", _positive(path.name, f"{at}.area", entry.get("area"))
                continue
            for index, action in enumerate(_list(path.name, f"{at}.actions", entry.get("actions"))):
                here = f"{at}.actions.{index}"
                action = _mapping(path.name, here, action, {"name", "arguments", "energy"})
                if action.get("name") not in LEFT_OUT:
                    yield name, str(action.get("name")), _positive(path.name, f"{here}.energy", action.get("energy"))


def _mapping(where: str, at: str, data: Any, keys: set[str]) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise AccelsimError(f"{where}: {at}: expected a mapping, found {type(data).__name__}")
    unknown = {str(key) for key in data} - keys
    if unknown:
        raise AccelsimError(
            f"{where}: {at}: unknown key {', '.join(sorted(unknown))}; known: {', '.join(sorted(keys))}"
        )
    return data


def _list(where: str, at: str, data: Any) -> list[Any]:
    if not isinstance(data, list) or not data:
        raise AccelsimError(f"{where}: {at}: expected a list")
    return data


def _positive(where: str, at: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise AccelsimError(f"{where}: {at}: expected a positive number, found {value!r}")
    return float(value)
