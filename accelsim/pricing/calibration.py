"""Calibrate the laws to a user's own synthesis or measurement: least squares, residuals shown, leave-one-out
error.

The table is CSV with a header. Columns `weight_bits`, `activation_bits` and, optionally, `accumulator_bits`
(else their sum), and one or more of `energy_pj` (per MAC), `area_um2`, `leakage_uw` (per element). Tables of
Accelergy style name the same things otherwise; `COLUMN_NAMES` lists what is understood.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.hardware import AccumulatorLevel, AccumulatorSpec, ArraySpec, Constant, TechnologySpec, load_technology
from accelsim.pricing import laws

#: other names of the columns
COLUMN_NAMES = {
    "weight_bits": ("weight_bits", "datawidth_a", "width_a", "w", "datawidth", "width", "bits"),
    "activation_bits": ("activation_bits", "datawidth_b", "width_b", "a", "datawidth", "width", "bits"),
    "accumulator_bits": ("accumulator_bits", "accumulator_width", "psum_bits", "acc"),
    "energy": ("energy_pj", "energy", "dynamic_energy_pj", "pj"),
    "area": ("area_um2", "area", "um2"),
    "leakage": ("leakage_uw", "leakage", "leakage_power_uw", "uw"),
}
#: rows of an `action` column that are left out: they are not a product of random operands
OTHER_ACTIONS = ("idle", "leak", "mac_gated", "mac_reused", "gated_mac")
_UNITS = {"energy": ("pJ", "pJ/bit"), "area": ("um2", "um2/bit"), "leakage": ("uW", "uW/bit")}


@dataclass(frozen=True)
class Fit:
    """One quantity's fit: the table's values, what the fitted law says, and relative errors of it and of each
    point predicted from all the others.
    """

    quantity: str
    measured: tuple[float, ...]
    fitted: tuple[float, ...]
    leave_one_out: tuple[float, ...]

    @property
    def residuals(self) -> tuple[float, ...]:
        """fitted / measured - 1, point by point."""
        return tuple(f / m - 1 for f, m in zip(self.fitted, self.measured, strict=True))


@dataclass(frozen=True)
class Calibration:
    """A technology with fitted constants, and how well each quantity fits."""

    technology: TechnologySpec
    fits: tuple[Fit, ...]

    def summary(self) -> str:
        """One line per quantity: points, largest residual, largest leave-one-out error."""
        return "\n".join(
            f"{fit.quantity}: {len(fit.measured)} points, residual at most "
            f"{100 * max(map(abs, fit.residuals)):.1f} %, leave-one-out at most "
            f"{100 * max(map(abs, fit.leave_one_out)):.1f} %"
            for fit in self.fits
        )


def calibrate(
    table: str | Path, technology: str | Path | TechnologySpec = "45nm", *, name: str | None = None
) -> Calibration:
    """Fit the scales of multiplier, adder and registers to a table (relative least squares, none negative).

    Exponents and offset of the multiplier law are kept. Adder and registers cannot be told apart by elements
    alone: their ratio stays as it is in the technology. Uncertainties become the largest leave-one-out error.
    Raises AccelsimError that names the file, line and column of what is wrong, or says how many points lack.
    """
    tech = load_technology(technology)
    points, values = _read(Path(table))
    constants, fits = dict(tech.constants), []
    for quantity, column in values.items():
        basis = np.array([_amounts(point, quantity, tech) for point in points])
        if len(points) < basis.shape[1] + 1:
            raise AccelsimError(f"{table}: {quantity} needs at least {basis.shape[1] + 1} points, has {len(points)}")
        measured = np.array(column)
        scales = _solve(basis, measured)
        left_out = [
            basis[i] @ _solve(np.delete(basis, i, 0), np.delete(measured, i)) / measured[i] - 1
            for i in range(len(measured))
        ]
        fits.append(Fit(quantity, tuple(column), tuple(basis @ scales), tuple(left_out)))
        error = float(np.max(np.abs(left_out)))
        for part, scale in zip((("multiplier",), ("adder", "register")), scales, strict=True):
            for law in part:
                key = f"{law}_{quantity}"
                constants[key] = Constant(
                    value=constants[key].value * float(scale),
                    uncertainty=error,
                    unit=_UNITS[quantity][law != "multiplier"],
                    source=f"fitted to {Path(table).name}, {len(measured)} points",
                )
    return Calibration(
        tech.model_copy(update={"name": name or f"{tech.name}-calibrated", "constants": constants}), tuple(fits)
    )


def _amounts(point: tuple[int, int, int], quantity: str, tech: TechnologySpec) -> tuple[float, float]:
    """What the present constants say of multiplier, and of adder and registers, for one element."""
    w, a, bits = point
    array = ArraySpec(
        rows=1,
        cols=1,
        weight_bits=w,
        activation_bits=a,
        accumulators=AccumulatorSpec(levels=(AccumulatorLevel(bits=bits),)),
    )
    exponent = "multiplier_energy_exponent" if quantity == "energy" else "multiplier_area_exponent"
    part = laws.element(array, tech, np.int64(w), np.int64(a), exponent)
    adder = part.adder_bits + part.accumulator_adder_bits
    registers = part.register_bits + part.accumulator_register_bits
    return (
        float(part.multiplier * tech.constant(f"multiplier_{quantity}").value),
        float(
            adder * tech.constant(f"adder_{quantity}").value + registers * tech.constant(f"register_{quantity}").value
        ),
    )


def _solve(basis: np.ndarray, measured: np.ndarray) -> np.ndarray:
    from scipy.optimize import nnls

    return nnls(basis / measured[:, None], np.ones(len(measured)))[0]


def _read(path: Path) -> tuple[list[tuple[int, int, int]], dict[str, list[float]]]:
    """(widths of each row, columns of the quantities that the table has)."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise AccelsimError(f"cannot read {path}: {error}") from None
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    rows = list(csv.DictReader(lines, skipinitialspace=True))
    rows = [row for row in rows if (row.get("action") or "").strip() not in OTHER_ACTIONS]
    present = {column.strip().lower(): column for column in (rows[0] if rows else {}) if column}
    found = {
        field: present[name] for field, names in COLUMN_NAMES.items() for name in reversed(names) if name in present
    }
    quantities = [quantity for quantity in _UNITS if quantity in found]
    if not {"weight_bits", "activation_bits"} <= set(found) or not quantities:
        raise AccelsimError(
            f"{path}: needs columns weight_bits, activation_bits and one of energy_pj, area_um2, "
            f"leakage_uw; found {sorted(present)}"
        )
    points: list[tuple[int, int, int]] = []
    values: dict[str, list[float]] = {quantity: [] for quantity in quantities}
    for number, row in enumerate(rows, start=2):
        try:
            w, a = int(row[found["weight_bits"]]), int(row[found["activation_bits"]])
            bits = int(row[found["accumulator_bits"]]) if "accumulator_bits" in found else max(8, w + a)
            numbers = {quantity: float(row[found[quantity]]) for quantity in quantities}
        except (TypeError, ValueError) as error:
            raise AccelsimError(f"{path}, row {number}: {error}") from None
        if not (1 <= w <= 32 and 1 <= a <= 32 and 8 <= bits <= 64) or not all(
            np.isfinite(v) and v > 0 for v in numbers.values()
        ):
            raise AccelsimError(f"{path}, row {number}: widths out of range, or a value that is not positive: {row}")
        points.append((w, a, bits))
        for quantity, value in numbers.items():
            values[quantity].append(value)
    return points, values
