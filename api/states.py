"""How things are now: power, devices, vehicles, and buildings against their usual."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from analytics.nodes import signed_meters
from api.amounts import (
    Amount,
    Scope,
    amounts_of,
    change,
    grouped,
    measure_of,
    measure_of_main,
    scope_of,
    usual,
    zone_at,
)
from api.facts import applied_at
from api.periods import Period, edges, quarter_before
from api.services import Services
from metering.clock import HOUR_US, MINUTE_US, to_us
from metering.health import UnitHealth
from metering.quantity import QUANTITIES, Carrier
from metering.reading import Measure, Point
from metering.site import Building, Dated, Meter, Vehicle


@dataclass(frozen=True, slots=True)
class PowerNow:
    """Power into a node at this moment.

    value_w : None when not known; at : the oldest of the readings it is made of [us since 1970]
    basis : "readings" of all its meters, or the newest "interval" where one of them has none that is fresh
    """

    value_w: float | None
    at: int | None
    basis: Literal["readings", "interval", "none"]


FRESH_CADENCES = 3
CADENCE_US = 15 * MINUTE_US  # of a device that names none and is not polled
AT_LEAST_US = 5 * MINUTE_US  # no device is called silent sooner
VEHICLE_SILENT_US = 24 * HOUR_US  # a parked vehicle sleeps
NEVER_US = 1 << 60  # nobody waits for imported values, unless a cadence is configured


def cadence_us(device: Meter | Vehicle) -> int:
    """The expected spacing of a device's readings [us]: configured, else how often it is polled."""
    if device.cadence_s is not None:
        return int(device.cadence_s * 1e6)
    polled = isinstance(device, Meter) and device.connection.startswith("modbus")
    return int(device.poll_s * 1e6) if polled and isinstance(device, Meter) else CADENCE_US


def silent_after_us(device: Meter | Vehicle) -> int:
    """Without news for so long, a device is silent and its newest value stale [us]."""
    if isinstance(device, Vehicle):
        return VEHICLE_SILENT_US
    if device.imported and device.cadence_s is None:
        return NEVER_US
    return max(FRESH_CADENCES * cadence_us(device), AT_LEAST_US)


def power_now(services: Services, node: str) -> PowerNow:
    """Power into a meter now, or electric power used in a building or site: what flows in and is made inside [W]."""
    scope = scope_of(services, node)
    if scope == "meter":
        device = services.installation.by_id[node]
        weighed = [(device, 1)] if isinstance(device, Meter | Vehicle) else []
    else:
        weighed = list(signed_meters(services.installation, scope, node, Carrier.ELECTRICITY))
    points = {device.id: Point(device.site, device.id, _power_of(device)) for device, _ in weighed}
    latest = services.store.latest(list(points.values()))
    total, oldest = 0.0, services.now()
    for device, weight in weighed:
        reading = latest.get(points[device.id])
        age = None if reading is None else services.now() - to_us(reading.observed_at)
        if reading is None or age is None or age > silent_after_us(device):
            return _power_of_interval(services, scope, node)
        at = to_us(reading.observed_at)
        total += weight * applied_at(device, points[device.id].quantity, at, reading.value)
        oldest = min(oldest, at)
    if not weighed:
        return PowerNow(None, None, "none")
    return PowerNow(total, oldest, "readings")


def _power_of(device: Meter | Vehicle) -> str:
    if isinstance(device, Vehicle):
        return "battery_power"
    return {Carrier.HEAT: "heat_power", Carrier.COOLING: "cooling_power"}.get(device.carrier, "active_power")


def _power_of_interval(services: Services, scope: Scope, node: str) -> PowerNow:
    if scope == "meter":
        device = services.installation.by_id[node]
        if not isinstance(device, Meter) or device.role == "sensor":
            return PowerNow(None, None, "none")
        measure = measure_of_main(services, device)
    else:
        measure = measure_of(services, scope, node, Carrier.ELECTRICITY)
    now = services.now()
    series = services.store.intervals([measure], "15min", quarter_before(now) - HOUR_US, now)[0]
    if not len(series) or measure.unit != "kWh":
        return PowerNow(None, None, "none")
    hours = (int(series.end[-1]) - int(series.start[-1])) / HOUR_US
    return PowerNow(int(series.amount[-1]) / hours, int(series.end[-1]), "interval")


DeviceState = Literal["ok", "silent", "never", "broken", "degraded"]


@dataclass(frozen=True, slots=True)
class DeviceFigure:
    """How a meter or vehicle does.

    last_seen : observed_at of its newest reading [us since 1970]
    offline_since : when its unit stopped answering, or its newest reading if it is silent
    errors : kind -> count, from its line
    """

    device: Meter | Vehicle
    state: DeviceState
    last_seen: int | None
    offline_since: int | None
    errors: dict[str, int]
    note: str
    line: str


def device_figures(services: Services, devices: Sequence[Meter | Vehicle] | None = None) -> list[DeviceFigure]:
    """Meters and vehicles with their health; all of them, unless some are named."""
    units: dict[str, tuple[str, UnitHealth]] = {}
    for line in services.collector.lines() if services.collector else []:
        for unit in line.units:
            units[unit.device] = (line.id, unit)
    newest = services.store.last_seen()
    out = []
    for device in services.installation.devices() if devices is None else devices:
        found = units.get(device.id)
        line_id, own = found if found else ("", None)
        seen = newest.get(device.id)
        quiet = seen is not None and services.now() - seen > silent_after_us(device)
        state: DeviceState = "never" if seen is None else "silent" if quiet else "ok"
        offline = seen if quiet else None
        if own is not None:
            offline = own.offline_since or offline
            if own.state in ("broken", "degraded"):
                state = "broken" if own.state == "broken" else "degraded"
        errors = dict(own.errors) if own else {}
        out.append(DeviceFigure(device, state, seen, offline, errors, own.note if own else "", line_id))
    return out


VehicleActivity = Literal["driving", "charging", "parked", "silent", "unknown"]


@dataclass(frozen=True, slots=True)
class VehicleState:
    """What a vehicle does, by its newest readings; what it used in a period, by its counters.

    charge, fuel : [%]; odometer : [km]; distance, energy, fuel_used : amounts of the period [0.001 km, kWh, l]
    """

    vehicle: Vehicle
    activity: VehicleActivity
    last_seen: int | None
    charge: float | None
    fuel: float | None
    odometer: float | None
    distance: Amount
    energy: Amount
    fuel_used: Amount


def vehicle_states(services: Services, vehicles: Sequence[Vehicle], period: Period) -> list[VehicleState]:
    """The state of some vehicles, all of one time zone; one look into the store for all."""
    names = ("state_of_charge", "fuel_level", "odometer", "speed", "charging", "engine_on", "battery_power")
    points = [Point(vehicle.site, vehicle.id, name) for vehicle in vehicles for name in names]
    latest = services.store.latest(points)
    newest: dict[str, int] = {}
    for point, reading in latest.items():
        newest[point.meter] = max(newest.get(point.meter, 0), to_us(reading.observed_at))
    counters = ("odometer", "charge_energy", "fuel_used")
    measures = [
        Measure(vehicle.site, "meter", vehicle.id, name, QUANTITIES[name].unit)
        for vehicle in vehicles
        for name in counters
    ]
    amounts = amounts_of(services, measures, period.start, period.end)
    out = []
    for i, vehicle in enumerate(vehicles):

        def value(name: str, vehicle: Vehicle = vehicle) -> float | None:
            reading = latest.get(Point(vehicle.site, vehicle.id, name))
            return None if reading is None else reading.value

        seen = newest.get(vehicle.id)
        activity: VehicleActivity = "parked"
        if seen is None:
            activity = "unknown"
        elif services.now() - seen > VEHICLE_SILENT_US:
            activity = "silent"
        elif (value("speed") or 0) > 1 or ((value("engine_on") or 0) > 0 and value("speed") is None):
            activity = "driving"
        elif (value("charging") or 0) > 0 or (value("charging") is None and (value("battery_power") or 0) > 500):
            activity = "charging"
        distance, energy, fuel_used = amounts[3 * i : 3 * i + 3]
        out.append(
            VehicleState(
                vehicle,
                activity,
                seen,
                value("state_of_charge"),
                value("fuel_level"),
                value("odometer"),
                distance,
                energy,
                fuel_used,
            )
        )
    return out


@dataclass(frozen=True, slots=True)
class BuildingFigure:
    """A building in a list: the period, its own usual, and the difference [1]."""

    building: Building
    amount: Amount
    usual: Amount
    change: float | None
    per_m2: float | None  # [unit/m2]


def dated_value(values: Sequence[Dated], at: int) -> float | None:
    """The value that holds at an instant, None before the first."""
    held = [each for each in values if each.valid_from <= at]
    return max(held, key=lambda each: each.valid_from).value if held else None


def building_figures(services: Services, site: str, carrier: Carrier, period: Period) -> list[BuildingFigure]:
    """The buildings of a site, furthest above their usual first; one look into the store for all."""
    known = services.known.by_node(services.store)
    buildings = [b for b in services.installation.buildings if b.site == site and carrier in known.get(b.id, ())]
    measures = [measure_of(services, "building", building.id, carrier) for building in buildings]
    now = amounts_of(services, measures, *period)
    before = usual(services, measures, *period)
    out = []
    for building, amount_, usual_ in zip(buildings, now, before, strict=True):
        area = dated_value(building.floor_area, period.start)
        per_m2 = None if not area or amount_.in_units is None else amount_.in_units / area
        out.append(BuildingFigure(building, amount_, usual_, change(amount_, usual_), per_m2))
    return sorted(out, key=lambda each: -math.inf if each.change is None else each.change, reverse=True)


def quality_days(services: Services, measure: Measure, period: Period) -> list[tuple[int, float | None]]:
    """(start of the local day, coverage [1] or None where nothing is known) of each day: the quality strip."""
    zone = zone_at(services, measure.node)
    cuts = edges("day", period, zone)
    days = grouped(services, [measure], cuts, zone)[0]
    known = dict(zip(days.start.tolist(), days.coverage.tolist(), strict=True))
    return [(start, known.get(start)) for start in cuts[:-1].tolist()]
