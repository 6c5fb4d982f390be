"""Official vehicles: they leave, drive, come back, refuel, and charge at the depot's chargers.

A vehicle's whole course is a broken line through its events, so that every state is a pure function
of the instant: odometer, energy, fuel, state of charge. What a charger's meter counts is what the
vehicles take at their plugs, divided by the charger's efficiency, and a stand-by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metering.clock import SECOND_US
from metering.site import Meter, Vehicle
from simulators.grid import STEPS_PER_DAY, Array, Grid, stream
from simulators.workdays import Workdays

CHARGER_EFFICIENCY = 0.985  # meter to plug
BATTERY_EFFICIENCY = 0.91  # plug to battery
STANDBY_W = 6.0
RECOVERED = 0.13  # of the energy used
CHARGE_TO = {"electric": 0.9, "plug_in_hybrid": 1.0}
TAPER_FROM, TAPER = 0.88, 0.45
KWH_PER_KM = {"electric": 0.158, "plug_in_hybrid": 0.172}
LITRES_PER_KM = {"plug_in_hybrid": 0.056, "petrol": 0.078, "diesel": 0.072}
MINUTE = 60.0

COLUMNS = ("odometer", "used", "recovered", "battery", "plug", "fuel_used", "fuel", "away")


@dataclass(frozen=True)
class Tour:
    """One way out and back [s since the grid's start, km]."""

    leaves: float
    arrives: float  # at its aim
    turns: float
    returns: float
    km: float  # one way
    heading: float  # [rad]


@dataclass(frozen=True)
class Course:
    """A vehicle's course: instants and the values there, straight lines between.

    at : float64 (k,) [s since the grid's start]
    columns : odometer [km], used and recovered traction energy [kWh], battery [kWh], plug: taken at plugs [kWh],
        fuel_used [l], fuel in the tank [l], away from the depot [km]; float64 (k,) each
    heading : float64 (k,) [rad]
    """

    at: Array
    columns: dict[str, Array]
    heading: Array

    def value(self, name: str, seconds: Array | float) -> Array:
        """A column at instants [s since the grid's start]."""
        return np.interp(seconds, self.at, self.columns[name])

    def slope(self, name: str, seconds: float) -> float:
        """A column's change per second at an instant."""
        i = int(np.searchsorted(self.at, seconds, side="right"))
        if not 0 < i < len(self.at):
            return 0.0
        rise = self.columns[name][i] - self.columns[name][i - 1]
        return float(rise / (self.at[i] - self.at[i - 1])) if self.at[i] > self.at[i - 1] else 0.0


class _Log:
    """Builds a course event by event."""

    def __init__(self, odometer: float, battery: float, fuel: float) -> None:
        self.now = [odometer, 0.0, 0.0, battery, 0.0, 0.0, fuel, 0.0]
        self.rows: list[list[float]] = []
        self.heading = 0.0

    def mark(self, at: float) -> None:
        self.rows.append([at, *self.now, self.heading])

    def course(self, end: float, energy_used: float) -> Course:
        self.mark(end)
        table = np.array(self.rows).T
        columns = dict(zip(COLUMNS, table[1:9], strict=True))
        columns["used"] = columns["used"] + energy_used
        columns["recovered"] = columns["recovered"] + energy_used * RECOVERED
        return Course(table[0], columns, table[9])


def tours(vehicle: Vehicle, grid: Grid, calendar: Workdays, seed: int) -> list[list[Tour]]:
    """The tours of each day of the grid."""
    rng = stream(seed, vehicle.id, "tours")
    draws = rng.random((len(grid.days), 16))
    ways = stream(seed, vehicle.id, "distances").standard_normal((len(grid.days), 3))
    far = float(stream(seed, vehicle.id, "far").uniform(8.0, 19.0))  # its usual way [km]
    out: list[list[Tour]] = []
    for day, (u, way, work) in enumerate(zip(draws, ways, calendar.work, strict=True)):
        midnight = float(day) * 86_400.0
        count = int(np.searchsorted((0.11, 0.52, 0.87, 1.0) if work else (0.83, 1.0), u[0]))
        opens, closes = (8.2, 17.6) if work else (9.0, 16.0)
        slot = (closes - opens) * 3600 / max(count, 1)
        today = []
        for i in range(count):
            km = float(np.clip(far * math.exp(0.62 * way[i]), 2.5, 68.0))
            speed = 22.0 + 12.0 * u[1 + i] + 0.35 * km
            drive = km / speed * 3600
            leaves = midnight + opens * 3600 + slot * (i + 0.3 * u[4 + i])
            room = midnight + opens * 3600 + slot * (i + 1) - 15 * MINUTE - leaves
            stay = (15 + 110 * u[7 + i] ** 1.5) * MINUTE
            if 2 * drive + stay > room:
                stay = max(8 * MINUTE, room - 2 * drive)
            if 2 * drive + stay > room:
                km, drive = km * (room - stay) / (2 * drive), (room - stay) / 2
            back = drive * (0.92 + 0.2 * u[10 + i])
            arrives = leaves + drive
            today.append(Tour(leaves, arrives, arrives + stay, arrives + stay + back, km, 2 * math.pi * u[13 + i]))
        out.append(today)
    return out


class _Car:
    """One vehicle on its way through the days."""

    def __init__(self, vehicle: Vehicle, plan: list[list[Tour]], seed: int) -> None:
        rng = stream(seed, vehicle.id, "start")
        self.vehicle = vehicle
        self.plan = plan
        self.capacity = vehicle.battery_kwh or 0.0
        self.tank = vehicle.tank_l or 0.0
        self.start_km = float(rng.uniform(9_000, 90_000))
        self.log = _Log(self.start_km, 0.8 * self.capacity, float(rng.uniform(0.4, 0.9)) * self.tank)
        self.thirst = float(rng.uniform(0.9, 1.15))
        self.log.mark(0.0)
        self.parked_since = 0.0

    def drive(self, tour: Tour, degc: float) -> bool:
        """Drive a tour; False if the battery would not last."""
        drive = self.vehicle.drive
        cold = 1 + 0.013 * max(0.0, 17 - degc) + 0.012 * max(0.0, degc - 25)
        per_km = KWH_PER_KM.get(drive, 0.0) * self.thirst * cold
        if drive == "electric" and self.log.now[3] - 2 * tour.km * per_km < 0.08 * self.capacity:
            return False
        self.log.heading = tour.heading
        self.log.mark(tour.leaves)
        self._leg(tour.km, per_km, cold, tour.arrives, away=tour.km * 0.72)
        self.log.mark(tour.turns)
        short = self.tank and self.log.now[6] < 0.23 * self.tank
        if short and tour.returns - tour.turns > 12 * MINUTE:
            pump = tour.turns + 0.55 * (tour.returns - tour.turns)
            self._leg(0.6 * tour.km, per_km, cold, pump, away=tour.km * 0.72 * 0.4)
            self.log.now[6] = 0.95 * self.tank
            self.log.mark(pump + 4 * MINUTE)
            self._leg(0.4 * tour.km, per_km, cold, tour.returns, away=0.0)
        else:
            self._leg(tour.km, per_km, cold, tour.returns, away=0.0)
        self.parked_since = tour.returns
        return True

    def _leg(self, km: float, per_km: float, cold: float, until: float, *, away: float) -> None:
        now, drive = self.log.now, self.vehicle.drive
        electric = 0.0
        if per_km:
            reserve = 0.0 if drive == "electric" else 0.16 * self.capacity
            electric = min(km, max(0.0, now[3] - reserve) / per_km)
        net = electric * per_km
        litres = (km - electric) * LITRES_PER_KM.get(drive, 0.0) * self.thirst * (1 + 0.4 * (cold - 1))
        if electric and electric < km and self.log.rows:  # the engine starts on the way: a corner of its own
            begun = self.log.rows[-1][0]
            share = electric / km
            self._add(electric, net, 0.0, now[7] + (away - now[7]) * share)
            self.log.mark(begun + (until - begun) * share)
            km, net = km - electric, 0.0
        self._add(km, net, litres, away)
        self.log.mark(until)

    def _add(self, km: float, net: float, litres: float, away: float) -> None:
        now = self.log.now
        now[0] += km
        now[1] += net / (1 - RECOVERED)
        now[2] += net / (1 - RECOVERED) * RECOVERED
        now[3] -= net
        now[5] += litres
        now[6] = max(0.0, now[6] - litres)
        now[7] = away

    def charge(self, start: float, deadline: float, power_w: float) -> list[tuple[float, float, float]]:
        """Charge from `start` until full or the deadline: (from, to, power at the plug [W]) of each part."""
        parts = []
        top = CHARGE_TO[self.vehicle.drive] * self.capacity
        for level, watts in ((TAPER_FROM * self.capacity, power_w), (top, power_w * TAPER)):
            lack = level - self.log.now[3]
            if lack <= 0.02 or start >= deadline:
                continue
            rate = watts / 1000 * BATTERY_EFFICIENCY / 3600  # [kWh/s into the battery]
            end = min(deadline, start + lack / rate)
            if not parts:
                self.log.mark(start)
            self.log.now[3] += (end - start) * rate
            self.log.now[4] += (end - start) * watts / 3.6e6
            self.log.mark(end)
            parts.append((start, end, watts))
            start = end
        return parts

    def next_departure(self, day: int, after: float) -> float:
        """When it has to leave again [s since the grid's start]."""
        for today in self.plan[day : day + 4]:
            for tour in today:
                if tour.leaves > after:
                    return tour.leaves
        return (day + 2) * 86_400.0


@dataclass(frozen=True)
class Fleet:
    """All courses, and what each charger's meter has counted.

    chargers : meter id -> (float64 (k,) [s since the grid's start], float64 (k,) energy at the plug [kWh])
    """

    courses: dict[str, Course]
    chargers: dict[str, tuple[Array, Array]]

    def charger_energy(self, meter: str, seconds: Array | float) -> Array:
        """What a charger's meter has counted since the grid's start [kWh]."""
        at, plug = self.chargers[meter]
        return np.interp(seconds, at, plug) / CHARGER_EFFICIENCY + np.asarray(seconds) * STANDBY_W / 3.6e6

    def charger_power(self, meter: str, seconds: float) -> float:
        """A charger's power at an instant [W]."""
        at, plug = self.chargers[meter]
        i = int(np.searchsorted(at, seconds, side="right"))
        if not 0 < i < len(at) or at[i] <= at[i - 1]:
            return STANDBY_W
        return float((plug[i] - plug[i - 1]) / (at[i] - at[i - 1]) * 3.6e6 / CHARGER_EFFICIENCY) + STANDBY_W


def fleet(
    vehicles: Sequence[Vehicle],
    chargers: Mapping[str, Meter],
    grid: Grid,
    calendar: Workdays,
    degc: Array,
    seed: int,
) -> Fleet:
    """Let the vehicles drive through the grid's days.

    Parameters
    ----------
    chargers : the chargers' meters by id; plug-in vehicles share them in turn
    degc : float64 (n,), outdoor temperature of each step [degC]

    The last three days are not final (the charge of an evening depends on the next departure): ask only
    for instants before them.
    """
    daily = degc[: len(grid.days) * STEPS_PER_DAY].reshape(-1, STEPS_PER_DAY).mean(axis=1)
    cars = [_Car(vehicle, tours(vehicle, grid, calendar, seed), seed) for vehicle in vehicles]
    posts = list(chargers.values())
    groups: list[list[_Car]] = [[] for _ in posts]
    alone: list[list[_Car]] = []
    for i, car in enumerate(sorted(cars, key=lambda car: car.capacity == 0)):
        if car.capacity and posts:
            groups[i % len(posts)].append(car)
        else:
            alone.append([car])
    counted: dict[str, tuple[Array, Array]] = {}
    for post, group in [*zip(posts, groups, strict=True), *((None, group) for group in alone)]:
        free = 0.0
        at, plug = [0.0], [0.0]
        watts = 0.95 * ((post.rated_power_w if post else None) or 7000.0)  # without a post: at a public one
        for day in range(len(grid.days)):
            today = [(tour, driver) for driver in group for tour in driver.plan[day]]
            for tour, car in sorted(today, key=lambda pair: pair[0].returns):
                driven = car.drive(tour, float(daily[day]))
                if not car.capacity:
                    continue
                ready = (tour.returns if driven else max(tour.leaves, car.parked_since)) + 4 * MINUTE
                start, deadline = max(ready, free), car.next_departure(day, tour.leaves) - 10 * MINUTE
                full = CHARGE_TO[car.vehicle.drive] * car.capacity
                if deadline - start < 20 * MINUTE or car.log.now[3] > 0.93 * full:
                    continue
                for begun, ended, power in car.charge(start, deadline, watts):
                    at += [begun, ended]
                    plug += [plug[-1], plug[-1] + (ended - begun) * power / 3.6e6]
                    free = ended + 6 * MINUTE
        if post is not None:
            counted[post.id] = (np.array([*at, 1e12]), np.array([*plug, plug[-1]]))
    end = float(grid.n) * 900.0 + 5 * 86_400.0
    courses = {
        car.vehicle.id: car.log.course(end, car.start_km * KWH_PER_KM.get(car.vehicle.drive, 0.0)) for car in cars
    }
    return Fleet(courses, counted)


def state(course: Course, vehicle: Vehicle, us_since_start: int) -> dict[str, float]:
    """Everything a vehicle's electronics could say at an instant, by quantity (plus `away_km`, `heading`)."""
    s = us_since_start / SECOND_US
    value = {name: float(course.value(name, s)) for name in COLUMNS}
    speed = course.slope("odometer", s) * 3600
    pulse = 1 + 0.25 * math.sin(s / 47.0) + 0.15 * math.sin(s / 13.0)
    charging = course.slope("plug", s) * 3.6e6
    burning = course.slope("fuel_used", s) * 3600
    net = course.slope("used", s) - course.slope("recovered", s)
    i = int(np.searchsorted(course.at, s, side="right"))
    out = {
        "odometer": value["odometer"],
        "speed": max(0.0, speed * pulse),
        "engine_on": 1.0 if speed > 0 else 0.0,
        "supply_voltage": 14.1 if speed > 0 or charging > 0 else 12.5,
        "away_km": value["away"],
        "heading": float(course.heading[min(i, len(course.heading) - 1)]),
    }
    if vehicle.battery_kwh:
        charge = 100 * value["battery"] / vehicle.battery_kwh
        power = charging * BATTERY_EFFICIENCY - net * 3.6e6 * pulse
        volts = 330.0 + 0.6 * charge + power / 4000
        out |= {
            "state_of_charge": charge,
            "battery_power": power,
            "battery_voltage": volts,
            "battery_current": power / volts,
            "charging": 1.0 if charging > 0 else 0.0,
            "charge_energy": value["plug"],
            "traction_energy_used": value["used"],
            "traction_energy_recovered": value["recovered"],
        }
    if vehicle.tank_l:
        out |= {
            "fuel_level": 100 * value["fuel"] / vehicle.tank_l,
            "fuel_used": value["fuel_used"],
            "fuel_rate": burning * pulse if speed > 0 else 0.0,
        }
    return out
