"""Rivals that are always there."""

from __future__ import annotations

import numpy as np

from analytics.baseline.conditions import hour_numbers, local_hours
from benchmarks.analytics.series import ZONE, Meter, bank_holidays

WEEK = 168


def _clock(meter: Meter):
    h = local_hours(ZONE, hour_numbers(meter.time))
    works = bank_holidays().of_days(h.day)
    weekday = (h.day + 3) % 7
    kind = np.where((weekday < 5) & ~works, 6, weekday)
    return kind * 24 + h.hour, h.hour, kind < 5


def towt(train: Meter, test: Meter):
    """Time of week and temperature, plain: 168 levels, 6 slopes in and out of use; its band from in-sample errors."""
    knots = np.quantile(train.temperature, np.linspace(0, 1, 7))

    def columns(meter):
        cell, hour, work = _clock(meter)
        x = np.zeros((len(cell), WEEK + 12))
        x[np.arange(len(cell)), cell] = 1
        use = work & (hour >= 8) & (hour < 19)
        for k in range(6):
            low, high = (0 if k else -99), (knots[k + 1] - knots[k] if k < 5 else 99)
            part = np.clip(meter.temperature - knots[k], low, high)
            x[:, WEEK + k], x[:, WEEK + 6 + k] = part * use, part * ~use
        return x

    known = np.isfinite(train.value)
    x = columns(train)[known]
    fitted = np.linalg.solve(x.T @ x + 1e-3 * np.eye(x.shape[1]), x.T @ train.value[known])
    low, high = np.quantile(train.value[known] - x @ fitted, [0.05, 0.95])
    expected = columns(test) @ fitted
    return expected, expected + low, expected + high


def same_week_last_year(train: Meter, test: Meter):
    """The same weekday and hour 52 weeks before; the mean of the hour of the week where that is a gap."""
    at = np.searchsorted(train.time, test.time - np.timedelta64(52 * 7, "D"))
    out = np.where(at < len(train.time), train.value[np.minimum(at, len(train.value) - 1)], np.nan)
    return np.where(np.isfinite(out), out, hour_of_week_mean(train, test))


def hour_of_week_mean(train: Meter, test: Meter):
    """The mean of each hour of the week, holidays as Sundays."""
    cell, known = _clock(train)[0], np.isfinite(train.value)
    count = np.bincount(cell[known], minlength=WEEK)
    mean = np.bincount(cell[known], train.value[known], WEEK) / np.maximum(count, 1)
    return mean[_clock(test)[0]]


def three_sigma(train: Meter, test: Meter):
    """Hours flagged: further than three deviations of its hour of the week from its mean, or not there."""
    cell, known = _clock(train)[0], np.isfinite(train.value)
    mean = hour_of_week_mean(train, test)
    error = train.value[known] - hour_of_week_mean(train, train)[known]
    count = np.maximum(np.bincount(cell[known], minlength=WEEK), 2)
    deviation = np.sqrt(np.bincount(cell[known], error**2, WEEK) / (count - 1))
    return ~np.isfinite(test.value) | (np.abs(test.value - mean) > 3 * np.maximum(deviation[_clock(test)[0]], 1e-9))


def fixed_limit(train: Meter, test: Meter):
    """Hours flagged: above the highest or below the lowest reading of the year before."""
    low, high = np.nanquantile(train.value, [0.0005, 0.9995])
    return ~np.isfinite(test.value) | (test.value > high) | (test.value < low)
