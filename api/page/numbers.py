"""Numbers typeset for a reader: the twin of `static/numbers.js`; one table tests both.

Three significant digits (per cent whole), the unit scaled for the eye, a narrow no-break space between; whole
digits are never rounded away ("12,345 m³", not "12,300 m³"). Nothing known is a dash, never 0.
"""

from __future__ import annotations

import math
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

THIN = "\u202f"  # narrow no-break space
MINUS = "\u2212"
UNKNOWN = "–"
BEYOND = 1e18  # no quantity comes near it
LADDERS: dict[str, tuple[tuple[str, float], ...]] = {
    "W": (("W", 1.0), ("kW", 1e3), ("MW", 1e6), ("GW", 1e9)),
    "var": (("var", 1.0), ("kvar", 1e3), ("Mvar", 1e6)),
    "VA": (("VA", 1.0), ("kVA", 1e3), ("MVA", 1e6)),
    "kWh": (("kWh", 1.0), ("MWh", 1e3), ("GWh", 1e6)),
    "kvarh": (("kvarh", 1.0), ("Mvarh", 1e3)),
    "byte": (("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12)),
}
UNIT_TEXT = {
    "m3": "m³",
    "m3/h": "m³/h",
    "m2": "m²",
    "degC": "°C",
    "W/m2": "W/m²",
    "kWh/m2": "kWh/m²",
    "l": "L",
    "l/h": "L/h",
    "deg": "°",
    "1": "",
}


class Typeset(NamedTuple):
    """A number as text, and its unit as text ("" for none)."""

    text: str
    unit: str

    def __str__(self) -> str:
        return f"{self.text}{THIN}{self.unit}" if self.unit else self.text


def _fixed(magnitude: float, decimals: int) -> str:
    return str(Decimal(magnitude).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP))


def _decimals(magnitude: float, unit: str) -> int:
    if unit == "%":
        return 0
    return 0 if magnitude >= 100 else 1 if magnitude >= 10 else 2 if magnitude >= 1 else 3


def _grouped(digits: str) -> str:
    whole, dot, rest = digits.partition(".")
    return f"{int(whole):,}{dot}{rest}"


def typeset(value: float | None, unit: str) -> Typeset:
    """A value [unit] for the eye; a dash for None and for what is no number."""
    if value is None or not abs(value) < BEYOND:
        return Typeset(UNKNOWN, "")
    ladder = LADDERS.get(unit, ((UNIT_TEXT.get(unit, unit), 1.0),))
    if value == 0:
        return Typeset("0", ladder[0][0])
    magnitude = abs(value)
    if magnitude < 0.0005 and unit != "%":
        return Typeset("<" + THIN + "0.001" if value > 0 else ">" + THIN + MINUS + "0.001", ladder[0][0])
    sign = MINUS if value < 0 else ""
    rung = max((i for i, (_, factor) in enumerate(ladder) if magnitude >= factor), default=0)
    digits = ""
    while True:
        scaled = magnitude / ladder[rung][1]
        digits = _fixed(scaled, _decimals(scaled, unit))
        rounded = float(digits)
        if rung + 1 < len(ladder) and rounded * ladder[rung][1] >= ladder[rung + 1][1]:
            rung += 1
            continue
        digits = _fixed(scaled, _decimals(rounded, unit))
        return Typeset(sign + _grouped(digits), ladder[rung][0])


def count(number: int | None) -> str:
    """A number of things: every digit, grouped."""
    return UNKNOWN if number is None else f"{number:,}".replace("-", MINUS)


def columns(values: NDArray[np.float64], digits: int = 4) -> list[float | None]:
    """Values as JSON numbers, what is not known as null."""
    return [None if value != value else value for value in np.round(values, digits).tolist()]


def percent(ratio: float | None, language: str) -> str:
    """A ratio as whole per cent; the sign is left to the words around it."""
    if ratio is None or not math.isfinite(ratio):
        return UNKNOWN
    hundredths = abs(ratio) * 100
    text = "<1" if 0 < hundredths < 0.5 else _grouped(_fixed(hundredths, 0))
    return text + ("%" if language == "zh" else THIN + "%")


def share(ratio: float | None, language: str) -> str:
    """A share of a whole, as per cent with a decimal near the ends; never rounded up to 100."""
    if ratio is None or not math.isfinite(ratio):
        return UNKNOWN
    hundredths = Decimal(ratio) * 100
    near_end = hundredths >= 99 or hundredths < 1
    text = str(hundredths.quantize(Decimal("0.1" if near_end else "1"), ROUND_DOWN))
    text = text.removesuffix(".0")
    return text + ("%" if language == "zh" else THIN + "%")


def exact(value: float) -> str:
    """A reading as the meter said it: up to four decimals, trailing zeros dropped."""
    text = f"{value:,.4f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "0") else text.replace("-", MINUS)
