"""Simulated sites with ground truth: water of households with leaks and bursts, and buildings with known savings."""

from __future__ import annotations

import numpy as np

from benchmarks.analytics.faults import Fault
from benchmarks.analytics.series import Meter

HOURS = 365 * 24


def household(seed: int, years: int = 2) -> Meter:
    """Hourly water of a household, litres to the tenth: draws of a Poisson process by clock and weekday, absences."""
    random = np.random.default_rng(seed)
    n = HOURS * years
    clock, weekday = np.arange(n) % 24, np.arange(n) // 24 % 7
    people = random.integers(1, 6)
    shape = np.exp(-0.5 * ((clock[:, None] - [7.3, 12.5, 19.0]) / [1.2, 1.8, 2.2]) ** 2) @ [1.0, 0.5, 1.0]
    rate = people * (0.35 * shape + random.uniform(0.004, 0.03)) * np.where(weekday >= 5, 1.2, 1.0)
    away = np.repeat(random.random(n // 24) < 0.02, 24)
    rate[away] = 0.0
    draws = random.poisson(rate)
    litres = random.gamma(1.2, 14.0, n) * draws
    garden = (clock == 20) & (np.abs(np.arange(n) // 24 % 365 - 190) < 60) & (random.random(n) < 0.25)
    litres += garden * random.uniform(60, 220, n) * (random.random() < 0.5)
    litres += (random.random(n) < 0.01) * random.uniform(0, 1.5, n)
    time = np.datetime64("2021-01-01", "us") + np.arange(n) * np.timedelta64(3_600_000_000, "us")
    return Meter(f"household {seed}", "water", time, np.round(litres, 1), np.full(n, np.nan))


def with_leaks(meter: Meter, seed: int, count: int = 6) -> tuple[Meter, list[Fault]]:
    """Leaks of 3 to 12 l/h for 5 to 8 days and bursts of 150 to 400 l/h for 3 to 8 h, in turn."""
    random = np.random.default_rng(seed)
    value = meter.value.copy()
    n = len(value)
    faults = []
    for k in range(count * 2):
        at = n // (count * 2) * k + int(random.integers(24, 24 * 8))
        if k % 2:
            length, flow, kind = int(random.integers(24 * 5, 24 * 8)), random.uniform(3, 12), "leak"
        else:
            length, flow, kind = int(random.integers(3, 9)), random.uniform(150, 400), "burst"
        value[at : at + length] += np.round(flow * random.uniform(0.95, 1.05, length), 1)
        faults.append(Fault(kind, meter.time[at], meter.time[at + length]))
    return Meter(meter.name, meter.carrier, meter.time, value, meter.temperature), faults


def office(seed: int, saving: float = 0.0) -> tuple[Meter, Meter, float]:
    """(baseline year, reporting year, true saving [kWh]) of an office whose use falls by a share at the new year."""
    random = np.random.default_rng(seed)
    n = HOURS * 2
    hour, day = np.arange(n) % 24, np.arange(n) // 24
    season = -np.cos(2 * np.pi * (day - 20) / 365.25)
    noise = np.repeat(np.cumsum(random.normal(0, 1, n // 24)) * 0.0 + random.normal(0, 2.5, n // 24), 24)
    air = 11 + 9 * season + 4 * np.sin(2 * np.pi * (hour - 9) / 24) + noise
    work = (day + 4) % 7 < 5
    busy = work & (hour >= 8) & (hour < 19)
    load = 30 + 60 * busy + busy * 2.0 * np.maximum(air - 20, 0) + (0.6 + busy) * np.maximum(14 - air, 0)
    daily = np.repeat(random.normal(1, 0.05, n // 24), 24)
    load = load * daily * random.normal(1, 0.04, n)
    truth = float(load[HOURS:].sum() * saving)
    load[HOURS:] *= 1 - saving
    time = np.datetime64("2021-01-01", "us") + np.arange(n) * np.timedelta64(3_600_000_000, "us")
    both = Meter(f"office {seed}", "electricity", time, np.round(load, 1), air)
    return both.year(2021), both.year(2022), truth
