"""Checks flag what is implausible and change nothing else."""

import numpy as np

from collector.checks import Checks
from metering.clock import HOUR_US, MINUTE_US
from metering.quantity import Carrier, Quality
from metering.reading import Point
from metering.site import Installation, Meter, Name, Site

METER = Meter("main", "s", "", Name("Main"), Carrier.ELECTRICITY, "grid", "p", "c", rated_power_w=10_000)
PLANT = Installation(sites=(Site("s", Name("S"), "UTC"),), meters=(METER,))
POWER, ENERGY = Point("s", "main", "active_power"), Point("s", "main", "active_energy_import")
POINTS = (POWER, ENERGY)


def flags(checks, rows, now=HOUR_US * 100):
    point, at, value = zip(*rows, strict=True)
    quality = np.zeros(len(rows), np.uint8)
    checks.check(
        POINTS, np.array(point, np.int32), np.array(at), np.array(value, float), np.full(len(rows), now), quality
    )
    return quality.tolist()


def test_a_plausible_value_is_measured():
    assert flags(Checks(PLANT), [(0, 0, 9_000), (0, 1, -9_000), (1, 0, 5e9)]) == [0, 0, 0]


def test_a_power_above_twice_the_rated_one_is_suspect():
    assert flags(Checks(PLANT), [(0, 0, 20_001), (0, 1, 19_999)]) == [Quality.SUSPECT, 0]


def test_a_counter_that_rises_faster_than_the_rated_power_allows_is_suspect_within_and_across_batches():
    checks = Checks(PLANT)
    assert flags(checks, [(1, 0, 100), (1, HOUR_US, 119), (1, 2 * HOUR_US, 200)]) == [0, 0, Quality.SUSPECT]
    assert flags(checks, [(1, 3 * HOUR_US, 300), (1, 4 * HOUR_US, 310)]) == [Quality.SUSPECT, 0]


def test_a_device_clock_more_than_a_minute_ahead_is_suspect():
    now = 10 * HOUR_US
    assert flags(Checks(PLANT), [(0, now + 2 * MINUTE_US, 1), (0, now + MINUTE_US // 2, 1)], now) == [
        Quality.SUSPECT,
        0,
    ]


def test_late_rows_do_not_move_the_newest_value_back():
    checks = Checks(PLANT)
    flags(checks, [(1, 10 * HOUR_US, 500)])
    assert flags(checks, [(1, 5 * HOUR_US, 400)]) == [0]
    assert flags(checks, [(1, 11 * HOUR_US, 510)]) == [0]
