"""Simulated weather of a temperate continental place: seasons, days, fronts and clouds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulators.grid import STEPS_PER_DAY, STEPS_PER_HOUR, Array, Grid, ramp, stream, wander

COLDEST_DAY = 20  # of the year
MEAN_DEGC, SEASON_K, FRONT_K = 13.2, 14.0, 3.2


@dataclass(frozen=True)
class Weather:
    """Weather on a grid.

    Attributes
    ----------
    temperature : float64 (n + 1,), at the edges [degC]
    humidity : float64 (n + 1,), at the edges [%]
    irradiance : float64 (n + 1,), at the edges, on the horizontal [W/m2]
    lagged : float64 (n,), temperature's mean over the last day [degC]
    dark : float64 (n,), 1 at night, 0 by day
    """

    temperature: Array
    humidity: Array
    irradiance: Array
    lagged: Array
    dark: Array

    @property
    def outside(self) -> Array:
        """float64 (n,): mean temperature of each step [degC]."""
        return (self.temperature[:-1] + self.temperature[1:]) / 2

    @property
    def sun(self) -> Array:
        """float64 (n,): mean irradiance of each step [W/m2]."""
        return (self.irradiance[:-1] + self.irradiance[1:]) / 2


def sun_height(grid: Grid, latitude: float, longitude: float) -> Array:
    """Sine of the sun's elevation at the edges. float64 (n + 1,)

    Declination by Cooper's formula; the equation of time (at most 16 minutes) is left out.
    """
    hours = grid.edges / 3.6e9
    day = hours / 24 + longitude / 360
    declination = np.radians(23.45) * np.sin(2 * np.pi * ((day % 365.2425) + 284) / 365.2425)
    angle = 2 * np.pi * (day % 1 - 0.5)
    place = np.radians(latitude)
    return np.sin(place) * np.sin(declination) + np.cos(place) * np.cos(declination) * np.cos(angle)


def weather(grid: Grid, latitude: float, longitude: float, seed: int) -> Weather:
    """The weather of a place, a pure function of seed and instant."""
    n = grid.n + 1
    day = grid.edges / 8.64e10 + longitude / 360  # local solar days since 1970
    season = np.cos(2 * np.pi * ((day - COLDEST_DAY) / 365.2425))
    height = sun_height(grid, latitude, longitude)
    sky = wander(stream(seed, "weather", "sky"), n, STEPS_PER_DAY + 40) * 0.9
    clear = 1 / (1 + np.exp(-(0.5 + 0.4 * season + 1.6 * sky)))  # winters are clearer here
    cloud = wander(stream(seed, "weather", "cloud"), n, 2) * 0.22 * (1 - clear) * 2
    direct = 1080 * np.maximum(height, 0) ** 1.18
    irradiance = direct * np.clip((0.18 + 0.82 * clear) * (1 + cloud), 0.08, 1.05)
    fronts = FRONT_K * wander(stream(seed, "weather", "fronts"), n, 4 * STEPS_PER_DAY)
    gusts = 0.8 * wander(stream(seed, "weather", "gusts"), n, 6 * STEPS_PER_HOUR)
    ripple = 0.12 * wander(stream(seed, "weather", "ripple"), n, 2)
    phase = 2 * np.pi * (day % 1)
    swing = -np.cos(phase - 2 * np.pi * 3 / 24) + 0.18 * np.cos(2 * phase - 2 * np.pi * 4 / 24)
    temperature = MEAN_DEGC - SEASON_K * season + (2.2 + 3.4 * clear) * swing + fronts + gusts + ripple
    humidity = np.clip(
        66 - 14 * season - 26 * (clear - 0.5) - 9 * swing + 6 * wander(stream(seed, "weather", "damp"), n, 48), 12, 99
    )
    return Weather(temperature, humidity, irradiance, _mean_before(temperature, STEPS_PER_DAY), _dark(height))


def _dark(height: Array) -> Array:
    return 1 - ramp((height[:-1] + height[1:]) / 2, -0.06, 0.04)


def _mean_before(edges: Array, steps: int) -> Array:
    """Mean of the `steps` edges up to and with each step's start; shorter at the beginning. float64 (n,)"""
    total = np.concatenate(([0.0], np.cumsum(edges)))
    end = np.arange(1, len(edges))
    first = np.maximum(0, end - steps)
    return (total[end] - total[first]) / (end - first)
