"""Edges of intervals: UTC quarter hours, and the local hours, days, weeks, months and years of any IANA zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from metering.clock import DAY_US, EPOCH, HOUR_US, QUARTER_US, from_us

Period = Literal["hour", "day", "week", "month", "year"]
_US = timedelta(microseconds=1)


def grid_edges(start: int, end: int, step: int = QUARTER_US) -> NDArray[np.int64]:
    """The multiples of `step` since 1970 that enclose [start, end); int64 (m + 1,) [us]."""
    first = start // step
    return np.arange(first, max(-(-end // step), first) + 1, dtype=np.int64) * step


@lru_cache(maxsize=65536)
def day_start(zone: str, day: date) -> int:
    """The instant at which the local date becomes `day` or, if the zone skips that date, a later one [us since 1970].

    Where the clock is put back over midnight the date begins twice; the second time counts, since the
    first one lasts minutes (America/St_Johns until 2011: from 00:01 back to 23:01).
    """
    tz = ZoneInfo(zone)
    midnight = datetime(day.year, day.month, day.day, tzinfo=tz)
    first = (midnight.astimezone(UTC) - EPOCH) // _US
    second = (midnight.replace(fold=1).astimezone(UTC) - EPOCH) // _US
    if first == second:
        return first
    if first < second:  # the clock shows midnight twice
        return second if _date(tz, second - 1) < day else first
    lo, hi = second - 1, first  # the clock shows no midnight: the date begins when the clock jumps
    while hi - lo > 1:
        middle = (lo + hi) // 2
        lo, hi = (lo, middle) if _date(tz, middle) >= day else (middle, hi)
    return hi


def _date(tz: ZoneInfo, us: int) -> date:
    return from_us(us).astimezone(tz).date()


def local_date(zone: str, us: int) -> date:
    """The local day that an instant belongs to, by `day_start`."""
    day = _date(ZoneInfo(zone), us)
    while day_start(zone, day) > us:
        day -= timedelta(days=1)
    return day


def floor_date(day: date, period: Period) -> date:
    """The first day of the week (Monday), month or year that `day` is in."""
    if period == "week":
        return day - timedelta(days=day.weekday())
    if period == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if period == "year" else day


def next_date(day: date, period: Period) -> date:
    """The first day of the period after the one that begins with `day`."""
    if period == "week":
        return day + timedelta(days=7)
    if period == "month":
        return date(day.year + day.month // 12, day.month % 12 + 1, 1)
    return date(day.year + 1, 1, 1) if period == "year" else day + timedelta(days=1)


def local_edges(zone: str, start: int, end: int, period: Period = "day") -> NDArray[np.int64]:
    """The local periods that enclose [start, end); int64 (m + 1,), strictly increasing [us since 1970].

    A day has the length its zone gives it: 23, 24, 25 hours, in history also others; a skipped date
    has no interval. Hours are counted from the start of each day, the last one may be shorter.
    """
    if period == "hour":
        days = local_edges(zone, start, end, "day")
        parts = [np.arange(a, b, HOUR_US, dtype=np.int64) for a, b in pairwise(days)]
        hours = np.concatenate([*parts, days[-1:]])
        lo = max(int(np.searchsorted(hours, start, side="right")) - 1, 0)
        return hours[lo : max(int(np.searchsorted(hours, end, side="left")), lo) + 1]
    day = floor_date(local_date(zone, start), period)
    out = [day_start(zone, day)]
    while out[-1] < end or len(out) == 1:
        day = next_date(day, period)
        edge = day_start(zone, day)
        if edge > out[-1]:
            out.append(edge)
        if edge >= end:
            break
    return np.array(out, np.int64)


def aligned(edges: NDArray[np.int64], step: int = QUARTER_US) -> bool:
    """Do all edges fall on multiples of `step` since 1970?"""
    return not bool(np.any(edges % step))


def hours_of_day(zone: str, at: NDArray[np.int64]) -> NDArray[np.float64]:
    """Local clock hour of each instant, with fraction; float64 (n,) [h]. Exact also on days of a clock change."""
    return _local_us(zone, at) % DAY_US / HOUR_US


def weekdays(zone: str, at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Local weekday of each instant, Monday 0; int64 (n,)."""
    return (_local_us(zone, at) // DAY_US + 3) % 7


def local_days(zone: str, at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Local date of each instant as days since 1970-01-01; int64 (n,)."""
    return _local_us(zone, at) // DAY_US


def _local_us(zone: str, at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Local clock reading as if it were UTC [us]; one look into the zone a day, more on a day of change."""
    days, place = np.unique(at // DAY_US, return_inverse=True)
    begins = np.array([_offset(zone, int(day) * DAY_US) for day in days], np.int64)
    ends = np.array([_offset(zone, int(day + 1) * DAY_US) for day in days], np.int64)
    offsets = begins[place]
    for i in np.flatnonzero((begins != ends)[place]):
        offsets[i] = _offset(zone, int(at[i]))
    return at + offsets


@lru_cache(maxsize=200_000)
def _offset(zone: str, us: int) -> int:
    offset = from_us(us).astimezone(ZoneInfo(zone)).utcoffset()
    return (offset or timedelta()) // _US
