"""What a vehicle did in a period: its readings asked of the store, and told as trips, charging and refuelling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analytics.journeys import charges, refuellings, trips, value_at
from api.periods import Period
from api.samples import bites, with_facts
from api.services import Services
from metering.clock import DAY_US
from metering.reading import Point
from metering.site import Vehicle

if TYPE_CHECKING:
    from numpy.typing import NDArray

MARGIN_US = DAY_US  # so much more is read on either side: what began before the period is told whole


@dataclass(frozen=True, slots=True)
class Trip:
    """start, end : [us since 1970]; distance [km]; fuel [l] and levels [%] where they are known."""

    start: int
    end: int
    distance: float
    certain: bool
    fuel: float | None
    charge_before: float | None
    charge_after: float | None


@dataclass(frozen=True, slots=True)
class Charge:
    """start, end : [us since 1970]; energy [kWh]; levels [%] where they are known."""

    start: int
    end: int
    energy: float
    certain: bool
    charge_before: float | None
    charge_after: float | None


@dataclass(frozen=True, slots=True)
class Refuel:
    """after, before : readings between which it happened [us since 1970]; fuel [l] by gauge and tank; levels [%]."""

    after: int
    before: int
    fuel: float | None
    level_before: float
    level_after: float


@dataclass(frozen=True, slots=True)
class Journeys:
    """All in time order."""

    trips: list[Trip]
    charges: list[Charge]
    refuellings: list[Refuel]


def journeys(services: Services, vehicle: Vehicle, period: Period) -> Journeys:
    """What a vehicle did that ended in the period."""
    horizon = Period(period.start - MARGIN_US, min(period.end, services.now()) + MARGIN_US)
    column = {
        name: _column(services, vehicle, name, horizon)
        for name in ("odometer", "charge_energy", "fuel_level", "fuel_used", "state_of_charge")
    }

    def inside(end: int) -> bool:
        return period.start < end <= period.end

    def level(when: int) -> float | None:
        return value_at(*column["state_of_charge"], when)

    return Journeys(
        [
            Trip(
                t.start,
                t.end,
                t.amount,
                t.certain,
                _used(column["fuel_used"], t.start, t.end),
                level(t.start),
                level(t.end),
            )
            for t in trips(*column["odometer"])
            if inside(t.end)
        ],
        [
            Charge(c.start, c.end, c.amount, c.certain, level(c.start), level(c.end))
            for c in charges(*column["charge_energy"])
            if inside(c.end)
        ],
        [
            Refuel(r.after, r.before, vehicle.tank_l and (r.high - r.low) / 100 * vehicle.tank_l, r.low, r.high)
            for r in refuellings(*column["fuel_level"])
            if inside(r.before)
        ],
    )


def _column(
    services: Services, vehicle: Vehicle, quantity: str, period: Period
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    point = Point(vehicle.site, vehicle.id, quantity)
    parts = [with_facts(vehicle, part) for part in bites(services.store, point, *period)]
    if not parts:
        return np.empty(0, np.int64), np.empty(0)
    return np.concatenate([part.at for part in parts]), np.concatenate([part.value for part in parts])


def _used(column: tuple[NDArray[np.int64], NDArray[np.float64]], start: int, end: int) -> float | None:
    """What a counter rose by between two instants; None where it is not known, or was reset."""
    before, after = value_at(*column, start), value_at(*column, end)
    return None if before is None or after is None or after < before else after - before
