"""The usual: the same weekday and hour of the last four weeks, or days of the same kind."""

import math
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from analytics.edges import day_start
from analytics.usual import shift, usual_load, usual_so_far
from analytics.workdays import Workdays, alike
from metering.clock import HOUR_US, QUARTER_US, to_us
from metering.reading import IntervalSeries, Measure

ZONE = "Europe/Berlin"
HOLIDAY, MAKE_UP = date(2026, 11, 18), date(2026, 11, 21)  # a Wednesday off, worked on Saturday
CALENDAR = Workdays({HOLIDAY: False, MAKE_UP: True}, frozenset({2026}))


def series(first, last, amount_of):
    start = np.arange(day_start(ZONE, first), day_start(ZONE, last), QUARTER_US)
    days = [datetime.fromtimestamp(s / 1e6, UTC) for s in start]
    n = len(start)
    return IntervalSeries(
        Measure("p", "meter", "m", "active_energy_import", "kWh"),
        start,
        start + QUARTER_US,
        np.array([amount_of(d) for d in days], np.int64),
        np.ones(n),
        np.zeros(n, np.int64),
        np.zeros(n, np.uint8),
    )


def test_a_day_so_far_is_compared_with_the_same_weekday_of_four_weeks():
    data = series(date(2026, 10, 1), date(2026, 11, 25), lambda d: 2000 if d.date() >= date(2026, 11, 24) else 1000)
    now = to_us(datetime(2026, 11, 24, 11, 5, tzinfo=UTC))
    got = usual_so_far(data, ZONE, now)
    assert got.amount == 2 * got.usual - 4  # the first hour of the local day is still the day before in UTC
    assert got.days == 4 and not math.isnan(got.ratio) and got.provisional


def test_without_four_weeks_it_says_on_how_many_it_rests_and_without_any_it_is_not_a_number():
    data = series(date(2026, 11, 10), date(2026, 11, 25), lambda d: 1000)
    now = to_us(datetime(2026, 11, 24, 11, 0, tzinfo=UTC))
    assert usual_so_far(data, ZONE, now).days == 2
    short = series(date(2026, 11, 23), date(2026, 11, 25), lambda d: 1000)
    assert usual_so_far(short, ZONE, now).days == 0
    assert math.isnan(usual_so_far(short, ZONE, now).ratio)


def test_a_day_with_a_gap_is_no_example():
    data = series(date(2026, 10, 20), date(2026, 11, 25), lambda d: 1000)
    data.coverage[(data.start >= day_start(ZONE, date(2026, 11, 17))) & (data.start < day_start(ZONE, HOLIDAY))] = 0.0
    assert usual_so_far(data, ZONE, to_us(datetime(2026, 11, 24, 11, 0, tzinfo=UTC))).days == 3


def test_the_usual_of_a_quarter_hour_keeps_its_clock_hour_over_a_clock_change():
    data = series(date(2026, 10, 1), date(2026, 11, 5), lambda d: d.hour * 1000)
    at = np.array([to_us(datetime(2026, 11, 2, 7, 0, tzinfo=UTC))])  # 08:00 local; in summer 06:00 UTC
    got = usual_load(data, ZONE, at)
    assert got.days.tolist() == [4]
    assert got.value.tolist() == [pytest.approx((6 * 3 + 7) / 4)]  # UTC hours: three weeks in summer time, one not


def test_the_same_clock_time_of_another_day():
    day, other = date(2026, 3, 29), date(2026, 3, 22)
    noon = to_us(datetime(2026, 3, 29, 10, tzinfo=UTC))  # 12:00 in summer time
    assert shift(ZONE, noon, day, other) == to_us(datetime(2026, 3, 22, 11, tzinfo=UTC))
    assert shift(ZONE, day_start(ZONE, day), day, other) == day_start(ZONE, other)
    end = day_start(ZONE, day + timedelta(days=1))
    assert shift(ZONE, end, day, other) == day_start(ZONE, other + timedelta(days=1))
    assert day_start(ZONE, day + timedelta(days=1)) - day_start(ZONE, day) == 23 * HOUR_US


def test_a_holiday_and_a_make_up_work_day_are_compared_with_their_own_kind():
    assert all(not CALENDAR.works(day) for day in alike(HOLIDAY, CALENDAR))
    assert all(CALENDAR.works(day) for day in alike(MAKE_UP, CALENDAR))
    assert HOLIDAY not in alike(date(2026, 11, 25), CALENDAR)  # a Wednesday leaves the holiday out
    assert len(alike(date(2026, 11, 25), CALENDAR)) == 3


def test_a_year_without_official_data_is_monday_to_friday_and_provisional():
    assert CALENDAR.works(date(2027, 3, 1)) and not CALENDAR.works(date(2027, 3, 6))
    assert CALENDAR.provisional(date(2027, 3, 1)) and not CALENDAR.provisional(date(2026, 3, 2))
