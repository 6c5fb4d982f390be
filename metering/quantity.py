"""The vocabulary: each measured quantity once, with its unit, kind and physical range.

Values everywhere in Meterhall are in the quantity's own unit; a device profile converts once,
at the edge. `docs/glossary.md` is printed from this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Kind(StrEnum):
    """How a quantity behaves in time."""

    GAUGE = "gauge"  # an instantaneous value; rolled up as min, mean, max
    COUNTER = "counter"  # cumulative, never falls but for rollover, reset or replacement
    STATE = "state"  # a code or a flag; holds until the next one


class Carrier(StrEnum):
    """What flows: the energy or resource carrier a meter counts."""

    ELECTRICITY = "electricity"
    WATER = "water"
    GAS = "gas"
    HEAT = "heat"
    COOLING = "cooling"
    CLIMATE = "climate"  # weather and indoor climate: no carrier, but measured
    VEHICLE = "vehicle"


class Phase(StrEnum):
    """Conductor of an electrical quantity; everything else is `total`."""

    TOTAL = "total"
    L1 = "l1"
    L2 = "l2"
    L3 = "l3"
    N = "n"


class Quality(IntEnum):
    """Quality of one value. Raw rows are 0, 1 or 2; a missing value makes no row."""

    MEASURED = 0
    SUSPECT = 1  # failed a plausibility check, kept as the meter said it
    MANUAL = 2  # read or typed by a person
    INTERPOLATED = 3  # derived only: an interval finer than the meter's cadence
    ESTIMATED = 4  # derived only: energy of a gap, spread in proportion to time
    CORRECTED = 5  # derived only: by a dated correction


@dataclass(frozen=True, slots=True)
class Quantity:
    """One measurable quantity.

    Attributes
    ----------
    name : field name, snake_case
    unit : unit every stored value has
    kind : gauge, counter or state
    lowest, highest : physically possible range [unit]; outside it a value is rejected
    carrier : the carrier it belongs to
    """

    name: str
    unit: str
    kind: Kind
    lowest: float
    highest: float
    carrier: Carrier


def _table() -> dict[str, Quantity]:
    electricity, vehicle, climate = Carrier.ELECTRICITY, Carrier.VEHICLE, Carrier.CLIMATE
    gauge, counter, state = Kind.GAUGE, Kind.COUNTER, Kind.STATE
    rows = [
        Quantity("active_power", "W", gauge, -1e9, 1e9, electricity),
        Quantity("reactive_power", "var", gauge, -1e9, 1e9, electricity),
        Quantity("apparent_power", "VA", gauge, -1e9, 1e9, electricity),
        Quantity("active_energy_import", "kWh", counter, 0.0, 1e12, electricity),
        Quantity("active_energy_export", "kWh", counter, 0.0, 1e12, electricity),
        Quantity("reactive_energy_import", "kvarh", counter, 0.0, 1e12, electricity),
        Quantity("reactive_energy_export", "kvarh", counter, 0.0, 1e12, electricity),
        Quantity("voltage", "V", gauge, 0.0, 1e6, electricity),
        Quantity("line_voltage", "V", gauge, 0.0, 1e6, electricity),
        Quantity("current", "A", gauge, -1e5, 1e5, electricity),
        Quantity("frequency", "Hz", gauge, 0.0, 1000.0, electricity),
        Quantity("power_factor", "1", gauge, -1.0, 1.0, electricity),
        Quantity("water_volume", "m3", counter, 0.0, 1e10, Carrier.WATER),
        Quantity("water_flow", "m3/h", gauge, -1e5, 1e5, Carrier.WATER),
        Quantity("gas_volume", "m3", counter, 0.0, 1e10, Carrier.GAS),
        Quantity("gas_flow", "m3/h", gauge, -1e5, 1e5, Carrier.GAS),
        Quantity("gas_energy", "kWh", counter, 0.0, 1e12, Carrier.GAS),
        Quantity("heat_energy", "kWh", counter, 0.0, 1e12, Carrier.HEAT),
        Quantity("heat_power", "W", gauge, -1e9, 1e9, Carrier.HEAT),
        Quantity("heat_volume", "m3", counter, 0.0, 1e10, Carrier.HEAT),
        Quantity("heat_flow", "m3/h", gauge, -1e5, 1e5, Carrier.HEAT),
        Quantity("flow_temperature", "degC", gauge, -50.0, 250.0, Carrier.HEAT),
        Quantity("return_temperature", "degC", gauge, -50.0, 250.0, Carrier.HEAT),
        Quantity("cooling_energy", "kWh", counter, 0.0, 1e12, Carrier.COOLING),
        Quantity("cooling_power", "W", gauge, -1e9, 1e9, Carrier.COOLING),
        Quantity("outdoor_temperature", "degC", gauge, -90.0, 65.0, climate),
        Quantity("indoor_temperature", "degC", gauge, -50.0, 100.0, climate),
        Quantity("relative_humidity", "%", gauge, 0.0, 100.0, climate),
        Quantity("global_irradiance", "W/m2", gauge, 0.0, 1600.0, climate),
        Quantity("odometer", "km", counter, 0.0, 2e6, vehicle),
        Quantity("speed", "km/h", gauge, 0.0, 400.0, vehicle),
        Quantity("state_of_charge", "%", gauge, 0.0, 100.0, vehicle),
        Quantity("battery_power", "W", gauge, -1e6, 1e6, vehicle),
        Quantity("battery_voltage", "V", gauge, 0.0, 1500.0, vehicle),
        Quantity("battery_current", "A", gauge, -2000.0, 2000.0, vehicle),
        Quantity("traction_energy_used", "kWh", counter, 0.0, 1e7, vehicle),
        Quantity("traction_energy_recovered", "kWh", counter, 0.0, 1e7, vehicle),
        Quantity("charge_energy", "kWh", counter, 0.0, 1e7, vehicle),
        Quantity("fuel_level", "%", gauge, 0.0, 100.0, vehicle),
        Quantity("fuel_used", "l", counter, 0.0, 1e7, vehicle),
        Quantity("fuel_rate", "l/h", gauge, 0.0, 500.0, vehicle),
        Quantity("engine_on", "1", state, 0.0, 1.0, vehicle),
        Quantity("charging", "1", state, 0.0, 1.0, vehicle),
        Quantity("latitude", "deg", gauge, -90.0, 90.0, vehicle),
        Quantity("longitude", "deg", gauge, -180.0, 180.0, vehicle),
        Quantity("supply_voltage", "V", gauge, 0.0, 60.0, vehicle),
        Quantity("battery_level", "%", gauge, 0.0, 100.0, climate),
    ]
    return {row.name: row for row in rows}


QUANTITIES: dict[str, Quantity] = _table()

# The counter whose intervals stand for a carrier's consumption, in the order of preference.
CONSUMPTION: dict[Carrier, tuple[str, ...]] = {
    Carrier.ELECTRICITY: ("active_energy_import",),
    Carrier.WATER: ("water_volume",),
    Carrier.GAS: ("gas_volume", "gas_energy"),
    Carrier.HEAT: ("heat_energy",),
    Carrier.COOLING: ("cooling_energy",),
}

# Position quantities: dropped at decoding unless the vehicle's `position` is true.
POSITION: frozenset[str] = frozenset({"latitude", "longitude"})


def quantity(name: str) -> Quantity:
    """The quantity of that name.

    Raises
    ------
    KeyError
        If there is none; the message lists near names.
    """
    try:
        return QUANTITIES[name]
    except KeyError:
        import difflib

        near = difflib.get_close_matches(name, QUANTITIES, n=3) or sorted(QUANTITIES)[:5]
        raise KeyError(f"unknown quantity {name!r}; use one of {', '.join(near)}") from None
