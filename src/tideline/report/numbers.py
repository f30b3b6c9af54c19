"""Numbers as a person reads them."""

from __future__ import annotations

import math

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def write_number(value: float | None, digits: int = 3) -> str:
    """At least `digits` significant digits, thousands separated: 36,912 or 0.0123; a dash for what is not defined."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0 or abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}".replace("-", "−")
    power = math.floor(math.log10(abs(value)))
    if power < -4:
        return f"{value / 10.0**power:.1f}·10{str(power).translate(_SUPERSCRIPT)}".replace("-", "−")
    return f"{value:,.{digits - 1 - power}f}".replace("-", "−")


def write_signed(value: float, digits: int = 3) -> str:
    """A number with its sign."""
    return f"+{write_number(value, digits)}" if value > 0 else write_number(value, digits)


def write_share(value: float | None, decimals: int = 1) -> str:
    """A share as a percentage."""
    return "–" if value is None or not math.isfinite(value) else f"{value * 100:.{decimals}f} %"


def write_tick(value: float) -> str:
    """A short label on an axis: 200k, 1.5M, 0.25."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}".replace("-", "−")
    return f"{value:g}".replace("-", "−")


def write_seconds(value: float) -> str:
    """A duration."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 60 else f"{int(value // 60)} min {value % 60:.0f} s"
