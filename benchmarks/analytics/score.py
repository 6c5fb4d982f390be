"""Figures of merit."""

from __future__ import annotations

import numpy as np

from benchmarks.analytics.series import ZONE, Meter


def cvrmse(observed, expected) -> float:
    """Root mean square error over the mean observed [1], over the points where both are known."""
    known = np.isfinite(observed) & np.isfinite(expected)
    return float(np.sqrt(np.mean((observed - expected)[known] ** 2)) / np.mean(observed[known]))


def daily_means(meter: Meter, expected, with_days: bool = False):
    """(observed, expected) means of the local days with 20 known hours or more."""
    from analytics.baseline.conditions import hour_numbers, local_hours

    days, place = np.unique(local_hours(ZONE, hour_numbers(meter.time)).day, return_inverse=True)
    known = np.isfinite(meter.value) & np.isfinite(expected)
    count = np.bincount(place, known)
    use = count >= 20
    sums = [np.bincount(place, np.where(known, v, 0.0))[use] / count[use] for v in (meter.value, expected)]
    return (*sums, days[use].astype("datetime64[D]")) if with_days else tuple(sums)


def winkler(observed, low, high, alpha: float = 0.1) -> float:
    """Mean interval score of a 1 - alpha band over the mean observed [1] (Winkler 1972; Gneiting, Raftery 2007)."""
    known = np.isfinite(observed) & np.isfinite(low) & np.isfinite(high)
    x, lo, hi = observed[known], low[known], high[known]
    score = hi - lo + 2 / alpha * (np.maximum(lo - x, 0) + np.maximum(x - hi, 0))
    return float(score.mean() / x.mean())
