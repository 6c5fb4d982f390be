"""The course of a day, hour by hour of the local clock."""

from datetime import datetime

import numpy as np

from analytics.profiles import profiles
from metering.clock import QUARTER_US, to_us
from metering.reading import IntervalSeries, Measure

MEASURE = Measure("plant", "building", "hall", "electricity", "kWh")


def quarters(begin, amounts, coverage=None):
    """Quarter hours from an ISO instant on [0.001 kWh]."""
    start = to_us(datetime.fromisoformat(begin)) + np.arange(len(amounts)) * QUARTER_US
    n = len(amounts)
    whole = np.ones(n) if coverage is None else np.array(coverage, float)
    none = np.zeros(n, np.int64)
    return IntervalSeries(
        MEASURE, start, start + QUARTER_US, np.array(amounts, np.int64), whole, none, none.astype(np.uint8)
    )


def test_an_hour_of_the_local_clock_is_the_sum_of_its_quarters():
    amounts = [1000 * (1 + i // 4) for i in range(96)]  # 1 kWh a quarter in the first hour, 2 in the second, ...
    found = profiles(quarters("2026-03-02T00:00:00+08:00", amounts), "Asia/Shanghai")
    assert found.day.tolist() == [np.datetime64("2026-03-02").astype("datetime64[D]").astype(int)]
    assert found.rate[0].tolist() == [4.0 * (hour + 1) for hour in range(24)]
    assert (found.base[0], found.peak[0], found.mean[0]) == (4.0, 96.0, 50.0)


def test_what_was_spread_over_a_gap_tells_nothing_of_hours():
    coverage = [1.0] * 96
    coverage[8:16] = [0.0] * 8
    found = profiles(quarters("2026-03-02T00:00:00+08:00", [500] * 96, coverage), "Asia/Shanghai")
    assert np.flatnonzero(np.isnan(found.rate[0])).tolist() == [2, 3]
    assert found.base[0] == 2.0


def test_a_day_of_few_hours_has_no_quietest_one():
    found = profiles(quarters("2026-03-02T00:00:00+08:00", [500] * 76), "Asia/Shanghai")
    assert np.isnan(found.base[0])
    assert np.isnan(found.peak[0])
    assert found.mean[0] == 2.0


def test_the_hour_that_comes_twice_is_a_rate_and_the_one_left_out_is_not_known():
    autumn = profiles(quarters("2025-10-26T00:00:00+02:00", [500] * 100), "Europe/Berlin")
    assert autumn.rate[0].tolist() == [2.0] * 24
    spring = profiles(quarters("2026-03-29T00:00:00+01:00", [500] * 92), "Europe/Berlin")
    assert np.flatnonzero(np.isnan(spring.rate[0])).tolist() == [2]
    assert spring.base[0] == 2.0


def test_nothing_gives_no_day():
    assert len(profiles(quarters("2026-03-02T00:00:00+08:00", []), "Asia/Shanghai").day) == 0
