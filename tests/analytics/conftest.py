"""A made-up office: two years of hours with known ways."""

import os
from datetime import date

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two test processes on two cores

import numpy as np
import pytest

from analytics.workdays import Workdays

HOUR_US = 3_600_000_000
ZONE = "Europe/London"
HOLIDAYS = Workdays(
    {date(y, m, d): False for y in (2021, 2022) for m, d in ((1, 3), (4, 15), (5, 2), (8, 29), (12, 26), (12, 27))},
    frozenset({2021, 2022}),
)


class Office:
    """time: datetime64[us] (n,), UTC; value [kWh]; temperature [degC]; n = 2 years of hours."""

    def __init__(self, seed: int = 7):
        random = np.random.default_rng(seed)
        n = 730 * 24
        self.time = np.datetime64("2021-01-01T00", "us") + np.arange(n) * np.timedelta64(HOUR_US, "us")
        hour, day = np.arange(n) % 24, np.arange(n) // 24
        air = 11 - 8 * np.cos(2 * np.pi * (day - 20) / 365.25) + 4 * np.sin(2 * np.pi * (hour - 9) / 24)
        self.temperature = air + np.repeat(random.normal(0, 2.5, n // 24), 24)
        works = HOLIDAYS.of_days(day + 18628)
        busy = works & (hour >= 8) & (hour < 19)
        load = 30 + 50 * busy + 2.0 * busy * np.maximum(self.temperature - 19, 0)
        load += (0.5 + busy) * np.maximum(13 - self.temperature, 0)
        load *= np.repeat(random.normal(1, 0.04, n // 24), 24) * random.normal(1, 0.04, n)
        self.value = np.round(load, 1)
        self.past, self.now = slice(0, 365 * 24), slice(365 * 24, n)


@pytest.fixture(scope="session")
def office():
    return Office()
