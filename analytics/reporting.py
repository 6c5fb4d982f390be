"""A saving, day by day and month by month: the parts add up to the whole to the last digit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.baseline import band
from analytics.baseline.conditions import local_hours, months
from analytics.baseline.expected import predict
from analytics.baseline.model import BaselineModel
from analytics.savings import Adjustment, beyond
from analytics.workdays import Workdays
from metering.clock import HOUR_US

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


class Avoided(NamedTuple):
    """Avoided energy of local days or months; hours that were not observed are left out on both sides.

    start : int64 (m,), local days since 1970
    adjusted_baseline, observed : int64 (m,) [0.001 unit]
    adjustments : float64 (m,), the share of non-routine adjustments that falls there [unit]
    low, high : float64 (m,), 90 % interval of the adjusted baseline less what was observed, plus adjustments [unit]
    hours, known : int64 (m,), hours of it in the reporting period, and those observed
    """

    start: I64
    adjusted_baseline: I64
    observed: I64
    adjustments: F64
    low: F64
    high: F64
    hours: I64
    known: I64

    @property
    def avoided(self) -> F64:
        """float64 (m,) [unit]"""
        return np.asarray((self.adjusted_baseline - self.observed) / 1000.0 + self.adjustments, np.float64)


def avoided_by(
    model: BaselineModel,
    time: NDArray[Any],
    observed: NDArray[Any],
    temperature: NDArray[Any] | None = None,
    *,
    by: Literal["day", "month"] = "month",
    calendar: Workdays | None = None,
    adjustments: Sequence[Adjustment] = (),
    warm_up: int = 0,
    seed: int = 1,
) -> Avoided:
    """The avoided energy of `analytics.savings.avoided_energy`, by local day or month.

    Arguments are those of `avoided_energy`, of an hourly model; times in order, without a gap between them.
    """
    found = predict(model, time, temperature, calendar=calendar)
    expected = beyond(found, warm_up)
    value = np.asarray(observed, np.float64)[warm_up:]
    known = np.isfinite(value)
    day = local_hours(model.zone, expected.start // HOUR_US).day
    key = day if by == "day" else months(day).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    start, place = np.unique(key, return_inverse=True)
    count = len(start)
    baseline, used = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.add.at(baseline, place[known], expected.amount[known])
    np.add.at(used, place[known], np.rint(value[known] * 1000.0).astype(np.int64))
    seen = np.bincount(place, known, count).astype(np.int64)
    extra = sum((_spread(each, expected.start, place, count) for each in adjustments), np.zeros(count))
    error = {h: band.of_sum(model.weeks, float(h), seed) if h else (0.0, 0.0) for h in set(seen.tolist())}
    avoided = (baseline - used) / 1000.0 + extra
    low = avoided - np.array([error[h][1] for h in seen.tolist()])
    high = avoided - np.array([error[h][0] for h in seen.tolist()])
    return Avoided(start, baseline, used, extra, low, high, np.bincount(place, minlength=count).astype(np.int64), seen)


def _spread(adjustment: Adjustment, start: I64, place: NDArray[np.intp], count: int) -> F64:
    """An adjustment, evenly over its time; what lies outside the reporting period falls away. float64 (count,)"""
    overlap = np.minimum(start + HOUR_US, adjustment.end) - np.maximum(start, adjustment.start)
    share = np.maximum(overlap, 0) / max(adjustment.end - adjustment.start, 1)
    return np.asarray(np.bincount(place, adjustment.amount * share, count), np.float64)
