"""Load shapes: what a building's end uses take, from presence, calendar and weather.

Every function gives the mean flow of each quarter hour: electricity and heat in W, water and gas in m3/h.
Intensities are ordinary figures of the use, made up for the demo; a meter's `size` scales its shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metering.site import Building
from simulators.grid import Array, Grid, ramp, stream, wander
from simulators.weather import Weather
from simulators.workdays import Workdays

LIGHTING_W_M2 = {"office": 7.0, "school": 7.5, "canteen": 8.0, "archive": 4.0, "depot": 4.5, "library": 9.0}
COOLING_W_M2 = {"office": 17.0, "school": 12.0, "canteen": 22.0, "archive": 5.0, "service_hall": 20.0}
SOCKETS_W_M2 = {"office": 6.0, "school": 3.2, "archive": 1.5, "service_hall": 7.0}
WATER_L_PERSON_DAY = {"office": 42.0, "school": 24.0, "service_hall": 110.0, "library": 210.0, "archive": 45.0}
DRAW_M3 = 0.006  # one tap or flush
MEALS = ((7 * 60 + 15, 32.0, 0.42), (10 * 60 + 55, 48.0, 1.0), (16 * 60 + 40, 40.0, 0.5))  # minute, spread, size


@dataclass(frozen=True)
class Surroundings:
    """What all buildings of a site share."""

    grid: Grid
    workdays: Workdays
    weather: Weather
    seed: int

    @cached_property
    def work(self) -> Array:
        """1 on worked days, else 0. float64 (n,)"""
        return self.workdays.work.astype(np.float64)[self.grid.day]

    @cached_property
    def school(self) -> Array:
        """1 on school days, else 0. float64 (n,)"""
        return self.workdays.school.astype(np.float64)[self.grid.day]

    @cached_property
    def heating(self) -> Array:
        """Heating season, November 8 to March 22, with two soft days at its ends. float64 (n,)"""
        day = self._day_of_year
        return np.maximum(ramp(day, 311, 314), 1 - ramp(day, 79, 83))

    @cached_property
    def cooling(self) -> Array:
        """Cooling season, late May to late September. float64 (n,)"""
        day = self._day_of_year
        return ramp(day, 145, 152) * (1 - ramp(day, 266, 274))

    @cached_property
    def _day_of_year(self) -> Array:
        return self.workdays.day_of_year[self.grid.day] + self.grid.minute / 1440

    def by_day(self, *names: str) -> Array:
        """A normal random number for each day. float64 (n,)"""
        days = int(self.grid.day[-1]) + 1
        return stream(self.seed, *names).standard_normal(days)[self.grid.day]

    def noise(self, every: int, *names: str) -> Array:
        """Smooth noise of mean 0. float64 (n,)"""
        return wander(stream(self.seed, *names), self.grid.n, every)


def _minutes(clock: str) -> float:
    hours, minutes = clock.split(":")
    return int(hours) * 60.0 + int(minutes)


class House:
    """One building's presence and its end uses."""

    def __init__(self, building: Building | None, around: Surroundings) -> None:
        self.around = around
        self.id = building.id if building else "site"
        self.use = building.use if building else "site"
        self.area = building.floor_area[-1].value if building and building.floor_area else 1000.0
        self.persons = building.persons[-1].value if building and building.persons else 20.0
        self.opens = _minutes(building.opens) if building else 510.0
        self.closes = _minutes(building.closes) if building else 1050.0

    def _noise(self, meter: str, every: int = 4) -> Array:
        return self.around.noise(every, meter, f"noise{every}")

    @cached_property
    def open_day(self) -> Array:
        """How much of a working day each day is, 0 to 1. float64 (n,)"""
        around = self.around
        if self.use == "school":
            return np.maximum(around.school, 0.07 * around.work)
        if self.use == "library":  # open at weekends, closed on Mondays
            monday = (around.workdays.weekday == 0)[around.grid.day]
            return np.where(monday, 0.1, np.where(around.work > 0, 0.8, 1.0))
        idle = {"canteen": 0.15, "depot": 0.12, "archive": 0.1}.get(self.use, 0.035)
        return np.maximum(around.work, idle)

    @cached_property
    def presence(self) -> Array:
        """Share of the people that are in. float64 (n,)"""
        around = self.around
        minute = around.grid.minute + 7 * around.by_day(self.id, "late")
        opens, closes = self.opens, self.closes
        inside = ramp(minute, opens - 55, opens + 15) * (1 - ramp(minute, closes - 12, closes + 80))
        lunch = 1 - (0.3 if self.use in ("office", "service_hall") else 0.12) * (
            ramp(minute, 11 * 60 + 40, 12 * 60 + 15) * (1 - ramp(minute, 13 * 60 + 5, 13 * 60 + 40))
        )
        late = 0.07 * ramp(minute, closes, closes + 60) * (1 - ramp(minute, 20 * 60, 22 * 60 + 30)) * around.work
        friday = 1 - 0.06 * (around.workdays.weekday == 4)[around.grid.day] * ramp(minute, 14 * 60, 17 * 60)
        attendance = np.clip(1 + 0.045 * around.by_day(self.id, "attendance"), 0.75, 1.12)
        if self.use == "canteen":
            return np.clip(self.meals * 1.1, 0, 1)
        if self.use == "school":
            late = late * 0.4
        share = inside * lunch * friday * self.open_day * attendance + late
        return np.clip(share * (1 + 0.04 * self._noise(self.id, 2)), 0.0, 1.1)

    @cached_property
    def meals(self) -> Array:
        """Cooking in a canteen, 1 at the busiest. float64 (n,)"""
        around = self.around
        minute = around.grid.minute + 5 * around.by_day(self.id, "cook")
        busy = sum(size * np.exp(-0.5 * ((minute - at) / spread) ** 2) for at, spread, size in MEALS)
        guests = np.clip(1 + 0.07 * around.by_day(self.id, "guests"), 0.7, 1.2)
        return np.asarray(busy * guests * np.maximum(around.work, 0.15))

    @cached_property
    def plant(self) -> Array:
        """Schedule of ventilation and cooling: starts an hour before opening. float64 (n,)"""
        minute = self.around.grid.minute
        run = ramp(minute, self.opens - 85, self.opens - 50) * (1 - ramp(minute, self.closes + 20, self.closes + 50))
        day = np.where(self.open_day > 0.5, 1.0, self.open_day)
        return np.asarray(run * day)

    def lighting(self, meter: str, size: float) -> Array:
        """Lighting [W]; a depot's is outdoor light."""
        around = self.around
        full = LIGHTING_W_M2.get(self.use, 7.0) * self.area * size
        if self.use == "depot":
            late = around.grid.minute < 5 * 60
            return full * (0.06 + around.weather.dark * np.where(late, 0.5, 0.92)) * (1 + 0.015 * self._noise(meter))
        daylight = np.clip(around.weather.sun / 420, 0, 1)
        share = 0.055 + 0.86 * np.clip(self.presence, 0, 1) ** 0.65 * (1 - 0.34 * daylight)
        return full * share * (1 + 0.03 * self._noise(meter))

    def hvac(self, meter: str, size: float) -> Array:
        """Fans, pumps and cooling [W]."""
        around, area = self.around, self.area * size
        outside = 0.6 * around.weather.outside + 0.4 * around.weather.lagged
        if self.use == "archive":  # day and night
            need = 5.4 + 0.13 * np.abs(outside - 17) + 0.5 * around.cooling * np.maximum(0, outside - 20)
            return area * need * (1 + 0.06 * self._noise(meter, 3))
        limit = COOLING_W_M2.get(self.use, 15.0)
        chill = np.minimum(limit, 0.9 + limit / 13 * np.maximum(0, outside - 20.5)) * around.cooling
        crowd = 0.75 + 0.25 * np.clip(self.presence, 0, 1)
        fans = 1.5 + 0.9 * np.maximum(around.heating, around.cooling)
        pumps = 0.7 * around.heating * self.plant
        cycling = 1 + 0.07 * self._noise(meter, 2) + 0.05 * self._noise(meter, 16)
        return np.maximum(area * (0.22 + self.plant * (fans + chill * crowd) + pumps) * cycling, 0.05 * area)

    def sockets(self, meter: str, size: float) -> Array:
        """Sockets, lifts, kitchenettes [W]."""
        full = SOCKETS_W_M2.get(self.use, 4.0) * self.area * size
        lifts = 0.05 * np.abs(self._noise(meter, 1)) * self.presence
        return full * (0.2 + 0.78 * self.presence + lifts) * (1 + 0.03 * self._noise(meter))

    def servers(self, meter: str, size: float) -> Array:
        """A server room with its cooling [W]."""
        around = self.around
        minute, weekday = around.grid.minute, around.workdays.weekday[around.grid.day]
        backup = 0.09 * ((minute > 120) & (minute < 260) & (weekday == 6))
        cool = 0.006 * np.maximum(0, around.weather.outside - 12)
        busy = 0.05 * self.presence
        return 2.3 * self.area * size * (0.86 + backup + cool + busy) * (1 + 0.012 * self._noise(meter, 8))

    def kitchen(self, meter: str, size: float) -> Array:
        """Ovens, steamers, dishwashers [W]; the washing follows the meals."""
        later = np.concatenate((np.zeros(5), self.meals[:-5]))
        full = 30.0 * self.area * size
        return full * (0.035 + 0.8 * self.meals + 0.3 * later) * np.clip(1 + 0.11 * self._noise(meter, 1), 0.5, 1.6)

    def cold_room(self, meter: str, size: float) -> Array:
        """A cold room's compressor, by its duty [W]."""
        warm = 0.006 * (self.around.weather.lagged - 10) + 0.12 * self.meals
        return np.clip(2600 * size * (0.46 + warm + 0.14 * self._noise(meter, 2)), 180, None)

    def appliance(self, meter: str, size: float) -> Array:
        """Copiers, kiosks: a stand-by and use by presence [W]."""
        use = np.clip(self.presence * (1 + 0.5 * self._noise(meter, 1)), 0, 1.5)
        return 1000 * size * (0.06 + 0.5 * use)

    def whole(self, meter: str, size: float) -> Array:
        """A building without sub-meters [W]."""
        return self.lighting(meter + "~l", size) + self.hvac(meter + "~h", size) + self.sockets(meter + "~s", size)

    def common(self, meter: str, size: float) -> Array:
        """What stands behind a main and has no meter of its own: fire pumps, controls, small circuits [W]."""
        return 0.35 * self.area * size * (1 + 0.35 * self.presence) * (1 + 0.04 * self._noise(meter, 8))

    def grounds(self, meter: str, size: float) -> Array:
        """A compound's pumps, transformer losses and outdoor lighting [W]."""
        night = self.around.weather.dark * np.where(self.around.grid.minute < 5 * 60, 0.6, 1.0)
        return size * (39_000 + 11_000 * night) * (1 + 0.02 * self._noise(meter, 8))

    def solar(self, meter: str, size: float) -> Array:
        """A photovoltaic roof's output [W]; `size` is its peak [W]."""
        warm = 1 - 0.004 * np.maximum(0, self.around.weather.outside + 0.025 * self.around.weather.sun - 25)
        return np.asarray(size * 0.86 * np.minimum(self.around.weather.sun / 1000, 1.05) * warm)

    def heat(self, meter: str, size: float) -> Array:
        """District heat [W]: degrees below 19, a set-back outside hours, a boost in the morning."""
        around = self.around
        lack = np.maximum(0, 19 - (0.35 * around.weather.outside + 0.65 * around.weather.lagged))
        minute = around.grid.minute
        boost = (
            0.22
            * ramp(minute, self.opens - 140, self.opens - 110)
            * (1 - ramp(minute, self.opens - 10, self.opens + 70))
        )
        level = 0.6 + 0.34 * self.plant + boost * (self.open_day > 0.5) - 0.08 * np.clip(around.weather.sun / 600, 0, 1)
        return 1.55 * self.area * size * lack * level * around.heating * (1 + 0.04 * self._noise(meter, 3))

    def pipes(self, meter: str, size: float) -> Array:
        """Losses of a heat network [W]."""
        return size * self.around.heating * (15_000 + 250 * np.maximum(0, 19 - self.around.weather.lagged))

    def water(self, meter: str, size: float) -> Array:
        """Water [m3/h], drawn by taps and flushes: many small draws, nearly none at night."""
        around, rng = self.around, stream(self.around.seed, meter, "draws")
        if self.use == "canteen":
            flow = 1.9 * size * (self.meals + 0.6 * np.concatenate((np.zeros(6), self.meals[:-6]))) + 0.004
        elif self.use == "depot":
            minute = around.grid.minute
            washing = ramp(minute, 480, 510) * (1 - ramp(minute, 660, 690)) + 0.5 * (np.abs(minute - 960) < 45)
            flow = 0.75 * size * washing * around.work * np.clip(1 + 0.5 * around.by_day(meter), 0, 2) + 0.004
        else:
            litres = WATER_L_PERSON_DAY.get(self.use, 40.0)
            flow = size * self.persons * litres / 1000 / 8.6 * self.presence + 0.012
        draws = rng.poisson(np.maximum(flow, 0) / 4 / DRAW_M3).astype(np.float64)
        if self.use == "office":  # the cooling tower
            draws += around.cooling * self.plant * np.maximum(0, around.weather.outside - 22) * 0.02 / 4 / DRAW_M3
        return draws * DRAW_M3 * 4

    def supply(self, meter: str, size: float) -> Array:
        """What a water main loses and sprinkles [m3/h]."""
        around = self.around
        minute = around.grid.minute
        dry = np.clip((around.weather.lagged - 14) / 10, 0, 1) * (around.grid.day % 2 == 0)
        return size * (0.045 + 2.4 * dry * ramp(minute, 285, 300) * (1 - ramp(minute, 375, 390)))

    def cooking_gas(self, meter: str, size: float) -> Array:
        """Gas of a kitchen [m3/h]."""
        use = 13.0 * size * self.meals * np.clip(1 + 0.1 * self._noise(meter, 1), 0.4, 1.6)
        return np.where(use > 0.05, use, 0.0)
