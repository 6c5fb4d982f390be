"""Exact unit conversion into each quantity's canonical unit, at the edge and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

from metering.explain import ExplainedError
from metering.quantity import quantity

# unit -> (canonical unit, numerator, denominator, offset): canonical = x * numerator / denominator + offset.
# Integers, so that 123456789 Wh / 1000 is 123456.789 kWh to the last bit.
_UNITS: dict[str, tuple[str, int, int, float]] = {
    "kW": ("W", 1000, 1, 0.0),
    "MW": ("W", 1_000_000, 1, 0.0),
    "mW": ("W", 1, 1000, 0.0),
    "kvar": ("var", 1000, 1, 0.0),
    "kVA": ("VA", 1000, 1, 0.0),
    "Wh": ("kWh", 1, 1000, 0.0),
    "MWh": ("kWh", 1000, 1, 0.0),
    "Wmin": ("kWh", 1, 60_000, 0.0),
    "MJ": ("kWh", 10, 36, 0.0),
    "GJ": ("kWh", 10_000, 36, 0.0),
    "varh": ("kvarh", 1, 1000, 0.0),
    "mV": ("V", 1, 1000, 0.0),
    "kV": ("V", 1000, 1, 0.0),
    "mA": ("A", 1, 1000, 0.0),
    "l": ("m3", 1, 1000, 0.0),
    "l/h": ("m3/h", 1, 1000, 0.0),
    "l/s": ("m3/h", 36, 10, 0.0),
    "percent": ("1", 1, 100, 0.0),
    "m": ("km", 1, 1000, 0.0),
    "kn": ("km/h", 1852, 1000, 0.0),
    "K": ("degC", 1, 1, -273.15),
}


def converter(quantity_name: str, unit: str, where: str) -> Callable[[float], float] | None:
    """The conversion from `unit` to the quantity's own unit; None where they are the same.

    Raises
    ------
    ExplainedError
        If the unit cannot be converted; `where` (file and key) is named.
    """
    wanted = quantity(quantity_name).unit
    if unit == wanted:
        return None
    found = _UNITS.get(unit)
    # litres are fuel for a vehicle's quantities and water elsewhere: only a listed pair converts
    if found is None or found[0] != wanted:
        able = sorted({u for u, row in _UNITS.items() if row[0] == wanted} | {wanted})
        raise ExplainedError(where, f'unit is "{unit}" for {quantity_name}', f"use one of {', '.join(able)}")
    _, numerator, denominator, offset = found
    return lambda value: value * numerator / denominator + offset


def conversion(quantity_name: str, unit: str, where: str) -> tuple[int, int, float]:
    """(numerator, denominator, offset) of `converter`, for whole columns and for the way back."""
    if converter(quantity_name, unit, where) is None:
        return 1, 1, 0.0
    _, numerator, denominator, offset = _UNITS[unit]
    return numerator, denominator, offset
