"""Numbers for people: three significant digits and an SI prefix."""

from __future__ import annotations

import math

_PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}


def si(value: float | None, unit: str = "", digits: int = 3) -> str:
    """1.234e-5, "J" → "12.3 µJ"; None → "–"."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return f"{value} {unit}".strip()
    if value == 0:
        return f"0 {unit}".strip()
    exponent = max(-15, min(15, 3 * math.floor(math.log10(abs(value)) / 3)))
    text = _significant(value / 10**exponent, digits)
    if abs(float(text)) >= 1000 and exponent < 15:  # 999.6 was rounded up to the next prefix
        exponent += 3
        text = _significant(value / 10**exponent, digits)
    return f"{text} {_PREFIXES[exponent]}{unit}".strip()


def energy(pj: float) -> str:
    return si(pj * 1e-12, "J")


def memory_size(size_bytes: int) -> str:
    """In binary units, as memories are built: 262144 → "256 KiB"."""
    step = min(3, max(0, (size_bytes.bit_length() - 1) // 10))
    return f"{size_bytes / 1024**step:.4g} {('B', 'KiB', 'MiB', 'GiB')[step]}"


def percent(fraction: float | None, decimals: int = 1) -> str:
    return "–" if fraction is None else f"{100 * fraction:.{decimals}f} %"


def count(value: int) -> str:
    """Thousands apart: 1 234 567 (thin spaces do not break)."""
    return f"{value:,}".replace(",", "\u202f")


def _significant(value: float, digits: int) -> str:
    whole = len(str(int(abs(value))))
    return f"{value:.{max(0, digits - whole)}f}"
