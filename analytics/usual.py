"""What is usual, until there are baselines: the mean of the same weekday and hour of the last four weeks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from analytics.edges import day_start, local_date, next_date
from analytics.workdays import Workdays, alike
from metering.clock import from_us
from metering.reading import IntervalSeries

OBSERVED = 0.9  # a day with less of its readings is no example of the usual


class Usual(NamedTuple):
    """What was usual.

    value : float64 (m,), NaN where no day is an example [unit]
    days : int64 (m,), how many days (weeks) it rests on
    """

    value: NDArray[np.float64]
    days: NDArray[np.int64]


class Compared(NamedTuple):
    """A period so far against its usual."""

    amount: float  # [unit]
    usual: float  # [unit]; NaN if there is none
    days: int  # how many days it rests on
    provisional: bool  # the calendar of that year is not official yet

    @property
    def ratio(self) -> float:
        """amount / usual - 1; NaN without a usual."""
        return self.amount / self.usual - 1.0 if self.usual > 0 else float("nan")


def shift(zone: str, at: int, day: date, other: date) -> int:
    """The instant with the same local clock time on another day [us since 1970]."""
    start, length = day_start(zone, other), day_start(zone, next_date(other, "day")) - day_start(zone, other)
    moved = start + min(at - day_start(zone, day), length)
    # the offset may differ, on that day or between the days: put the clock right
    difference = _clock(zone, at, day) - _clock(zone, moved, other)
    return min(max(moved + difference, start), start + length)


def _clock(zone: str, at: int, day: date) -> int:
    local = from_us(at).astimezone(ZoneInfo(zone))
    days = (local.date() - day).days
    return ((days * 24 + local.hour) * 3600 + local.minute * 60 + local.second) * 1_000_000 + local.microsecond


def amount_between(series: IntervalSeries, start: int, end: int) -> tuple[float, float]:
    """(amount [unit], observed share [1]) of the intervals that start in [start, end)."""
    lo, hi = (int(i) for i in np.searchsorted(series.start, [start, end]))
    length = series.end[lo:hi] - series.start[lo:hi]
    share = float(np.sum(series.coverage[lo:hi] * length)) / (end - start) if end > start else 0.0
    return float(series.amount[lo:hi].sum()) / 1000.0, min(share, 1.0)


def usual_load(
    series: IntervalSeries, zone: str, at: NDArray[np.int64], calendar: Workdays | None = None, count: int = 4
) -> Usual:
    """The usual amount of the quarter hour that begins at each instant.

    Parameters
    ----------
    series : quarter hours that reach `count` weeks back
    at : int64 (m,), starts of quarter hours [us since 1970]
    """
    calendar = calendar or Workdays()
    value, rests = np.full(len(at), np.nan), np.zeros(len(at), np.int64)
    examples: dict[date, list[date]] = {}
    for i, instant in enumerate(at.tolist()):
        day = local_date(zone, instant)
        found: list[float] = []
        for other in examples.setdefault(day, alike(day, calendar, count)):
            there = shift(zone, instant, day, other)
            k = int(np.searchsorted(series.start, there))
            if k < len(series) and series.start[k] == there and series.coverage[k] >= OBSERVED:
                found.append(float(series.amount[k]) / 1000.0)
        if found:
            value[i], rests[i] = float(np.mean(found)), len(found)
    return Usual(value, rests)


def usual_so_far(
    series: IntervalSeries, zone: str, now: int, calendar: Workdays | None = None, count: int = 4
) -> Compared:
    """The local day of `now` up to `now`, against the same hours of days like it.

    Both are taken up to the end of the last quarter hour that is known today.
    """
    calendar = calendar or Workdays()
    day = local_date(zone, now)
    start = day_start(zone, day)
    known = series.end[(series.start >= start) & (series.end <= now)]
    until = int(known[-1]) if len(known) else start
    amount, _ = amount_between(series, start, until)
    found = _examples(series, zone, alike(day, calendar, count), day, until)
    mean = float(np.mean(found)) if found else float("nan")
    return Compared(amount, mean, len(found), calendar.provisional(day))


def _examples(series: IntervalSeries, zone: str, days: Sequence[date], day: date, until: int) -> list[float]:
    out = []
    for other in days:
        begin = day_start(zone, other)
        finish = shift(zone, until, day, other)
        amount, share = amount_between(series, begin, finish)
        if finish > begin and share >= OBSERVED:
            out.append(amount)
    return out
