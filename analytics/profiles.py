"""The course of a day: what is used in each hour of the local clock, the quietest hour and the highest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.edges import hours_of_day, local_days
from metering.clock import HOUR_US
from metering.reading import IntervalSeries

HOURS = 24
LEAST_OBSERVED = 0.75  # of an hour, else it is not known
ENOUGH_HOURS = 20  # of a day, to name its quietest and highest hour


class Profiles(NamedTuple):
    """Days in rows.

    day : int64 (n,), local date as days since 1970-01-01
    rate : float64 (n, 24) [unit/h], NaN where an hour is not known; an hour that comes twice is their mean
    base, peak : float64 (n,) [unit/h], of the quietest and the highest hour, NaN where too few hours are known
    mean : float64 (n,) [unit/h], of the hours that are known, NaN where none is
    """

    day: NDArray[np.int64]
    rate: NDArray[np.float64]
    base: NDArray[np.float64]
    peak: NDArray[np.float64]
    mean: NDArray[np.float64]


def profiles(series: IntervalSeries, zone: str) -> Profiles:
    """The profile of each local day that quarter hours lie in. What was spread over gaps tells nothing of hours.

    Parameters
    ----------
    series : intervals of an hour or less
    zone : IANA zone of the days
    """
    dates = local_days(zone, series.start)
    day, row = np.unique(dates, return_inverse=True)
    hour = hours_of_day(zone, series.start).astype(np.int64)
    cell = row * HOURS + hour
    length = (series.end - series.start) / HOUR_US
    n = len(day) * HOURS
    seen = length * series.coverage
    amount = np.bincount(cell, series.amount / 1000.0 * (series.coverage > 0), n)
    counted = np.bincount(cell, length * (series.coverage > 0), n)
    observed = np.bincount(cell, seen, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.where(observed >= LEAST_OBSERVED, amount / counted, np.nan).reshape(len(day), HOURS)
    known = np.isfinite(rate)
    enough = known.sum(axis=1) >= ENOUGH_HOURS
    some = known.any(axis=1)
    filled = np.where(known, rate, 0.0)
    base = np.where(enough, np.where(known, rate, np.inf).min(axis=1, initial=np.inf), np.nan)
    peak = np.where(enough, np.where(known, rate, -np.inf).max(axis=1, initial=-np.inf), np.nan)
    mean = np.where(some, filled.sum(axis=1) / np.maximum(known.sum(axis=1), 1), np.nan)
    return Profiles(day, rate, base, peak, mean)
