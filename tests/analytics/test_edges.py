"""Days of any length in any zone."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.counters import cumulative
from analytics.edges import (
    aligned,
    day_start,
    grid_edges,
    hours_of_day,
    local_date,
    local_days,
    local_edges,
    next_date,
    weekdays,
)
from analytics.intervals import aggregate, intervals
from metering.clock import DAY_US, HOUR_US, QUARTER_US, to_us
from metering.reading import Measure, Point, Series

MEASURE = Measure("plant", "meter", "main", "active_energy_import", "kWh")
ZONES = sorted(zone for zone in available_timezones() if not zone.startswith(("posix", "right", "Factory", "local")))


def us(*parts):
    return to_us(datetime(*parts, tzinfo=UTC))


def hours(zone, day):
    return (day_start(zone, next_date(day, "day")) - day_start(zone, day)) / HOUR_US


def test_days_of_a_clock_change_have_23_and_25_hours_and_in_history_others():
    assert hours("Europe/Berlin", date(2026, 3, 29)) == 23
    assert hours("Europe/Berlin", date(2026, 10, 25)) == 25
    assert hours("Australia/Lord_Howe", date(2026, 4, 5)) == 24.5
    assert hours("Asia/Shanghai", date(2026, 2, 17)) == 24
    assert hours("America/Sao_Paulo", date(2018, 11, 4)) == 23  # begins at 01:00
    assert hours("Africa/Monrovia", date(1972, 1, 7)) == pytest.approx(24 - 44.5 / 60)


def test_a_date_the_zone_skips_has_no_interval():
    edges = local_edges("Pacific/Apia", us(2011, 12, 28, 12), us(2012, 1, 1))
    days = [datetime.fromtimestamp(e / 1e6, ZoneInfo("Pacific/Apia")).day for e in edges]
    assert days == [28, 29, 31, 1, 2]
    assert set(np.diff(edges)) == {24 * HOUR_US}


def test_where_the_clock_goes_back_over_midnight_the_second_midnight_counts():
    assert hours("America/St_Johns", date(2010, 11, 6)) == 25
    assert hours("America/St_Johns", date(2010, 11, 7)) == 24


def test_a_day_edge_inside_a_quarter_has_its_own_edge():
    edges = local_edges("Africa/Monrovia", us(1971, 6, 1), us(1971, 6, 3))
    assert not aligned(edges)
    assert aligned(local_edges("Asia/Kathmandu", us(2026, 6, 1), us(2026, 6, 3)))


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(ZONES), st.integers(1970, 2098), st.integers(0, 2**31))
def test_quarters_days_months_years_and_total_add_up_exactly_in_every_zone(zone, year, seed):
    random = np.random.default_rng(seed)
    start = day_start(zone, date(year, 1, 1))
    end = day_start(zone, date(year + 1, 1, 1))
    at = np.unique(random.integers(start - DAY_US, end + DAY_US, 600))
    counter = np.cumsum(random.gamma(0.7, 30.0, len(at)))
    series = Series(Point("plant", "main", "active_energy_import"), at, counter, np.zeros(len(at), np.uint8))
    curve = cumulative(series, cadence_us=6 * HOUR_US)
    total = intervals(curve, np.array([start, end]), MEASURE).amount.sum()
    for period in ("year", "month", "day", "hour"):
        edges = local_edges(zone, start, end, period)
        assert edges[0] == start and edges[-1] == end and (np.diff(edges) > 0).all()
        assert intervals(curve, edges, MEASURE).amount.sum() == total
    days = local_edges(zone, start, end, "day")
    assert 364 <= len(days) - 1 <= 366
    fine = np.union1d(grid_edges(start, end), days)
    quarters = intervals(curve, fine[(fine >= start) & (fine <= end)], MEASURE)
    assert quarters.amount.sum() == total
    day_rows = intervals(curve, days, MEASURE)
    assert aggregate(quarters, days).amount.tolist() == day_rows.amount.tolist()
    assert np.allclose(aggregate(quarters, days).coverage, day_rows.coverage, atol=1e-9)
    months = local_edges(zone, start, end, "month")
    assert aggregate(day_rows, months).amount.tolist() == intervals(curve, months, MEASURE).amount.tolist()


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(ZONES), st.integers(us(1970, 1, 2), us(2099, 12, 30)))
def test_every_instant_is_in_exactly_one_local_day(zone, at):
    day = local_date(zone, at)
    assert day_start(zone, day) <= at < day_start(zone, next_date(day, "day"))


def test_a_leap_day_is_a_day_of_its_own():
    edges = local_edges("Asia/Shanghai", us(2028, 2, 10), us(2028, 2, 11), "month")
    assert (edges[1] - edges[0]) == 29 * DAY_US


def test_local_clock_hour_weekday_and_date_follow_the_zone():
    at = np.array([us(2026, 11, 24, 15, 30), us(2026, 11, 24, 16, 30)])
    assert hours_of_day("Asia/Shanghai", at).tolist() == [23.5, 0.5]
    assert weekdays("Asia/Shanghai", at).tolist() == [1, 2]
    assert np.diff(local_days("Asia/Shanghai", at)).tolist() == [1]


def test_grid_edges_enclose_the_period():
    assert grid_edges(1, QUARTER_US + 1).tolist() == [0, QUARTER_US, 2 * QUARTER_US]
    assert grid_edges(0, 0).tolist() == [0]
