"""Bands from errors that were not seen in fitting: conformal, by hour and load level."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
LEVELS = 3
ALPHA = 0.10
WIDEN = 1.03  # a year further on, errors are larger than in held-out months of the same year,
DRIFT = 0.02  # and buildings drift by this share of what they use above their lowest (five buildings, three years)


class Band(NamedTuple):
    """Around an expected value, by clock hour and load level.

    edges : float64 (24, LEVELS - 1), expected values between the levels [unit]
    low, high : float64 (24, LEVELS), error not fallen below, not exceeded [unit]
    scale : float64 (24, LEVELS), robust deviation of the errors [unit]
    least : half width that resolution alone asks for [unit]
    """

    edges: F64
    low: F64
    high: F64
    scale: F64
    least: float


def no_band() -> Band:
    """A band without width."""
    zero = np.zeros((24, LEVELS))
    return Band(np.zeros((24, LEVELS - 1)), zero, zero, zero, 0.0)


def fit(hour: I64, expected: F64, error: F64, least: float, neighbours: int = 1) -> Band:
    """The band of held-out errors.

    Parameters
    ----------
    hour : int64 (n,) 0..23; expected, error : float64 (n,), observed - expected, all finite [unit]
    least : half width at least [unit]
    neighbours : hours before and after that are taken along
    """
    edges = np.zeros((24, LEVELS - 1))
    low, high, scale = np.zeros((24, LEVELS)), np.zeros((24, LEVELS)), np.zeros((24, LEVELS))
    order = np.argsort(expected, kind="stable")
    by_hour = [order[hour[order] == h] for h in range(24)]
    for h in range(24):
        near = np.concatenate([by_hour[(h + k) % 24] for k in range(-neighbours, neighbours + 1)])
        if len(near) < 5 * LEVELS:
            near = order
        if not len(near):
            continue
        edges[h] = np.quantile(expected[near], np.arange(1, LEVELS) / LEVELS)
        level = np.searchsorted(edges[h], expected[near], side="right")
        for k in range(LEVELS):
            own = error[near][level == k]
            own = np.sort(own if len(own) >= 10 else error[near])
            low[h, k], high[h, k] = _quantile(own, ALPHA / 2), -_quantile(-own[::-1], ALPHA / 2)
            scale[h, k] = np.quantile(np.abs(own - np.median(own)), 0.8) / 1.2816
    middle = (low + high) / 2
    drift = DRIFT * float(np.mean(expected) - np.quantile(expected, 0.02)) if len(expected) else 0.0
    half = np.maximum((high - low) / 2 * WIDEN + drift, least)
    return Band(edges, middle - half, middle + half, np.maximum(scale, least / 1.645), least)


def _quantile(ordered: F64, share: float) -> float:
    """The conformal lower quantile: with n errors, a new one falls below it with probability share or less."""
    at = share * (len(ordered) + 1) - 1
    if at <= 0:
        return float(ordered[0])
    below = int(at)
    return float(ordered[below] + (at - below) * (ordered[min(below + 1, len(ordered) - 1)] - ordered[below]))


def around(band: Band, hour: I64, expected: F64) -> tuple[F64, F64, F64]:
    """(low, high, scale) of expected values; float64 (n,) each [unit]."""
    level = np.zeros(len(hour), np.int64)
    for k in range(LEVELS - 1):
        level += expected >= band.edges[hour, k]
    return expected + band.low[hour, level], expected + band.high[hour, level], band.scale[hour, level]


def weekly(week: I64, error: F64) -> F64:
    """Mean error of each week and its hours; float64 (w, 2)."""
    weeks, place = np.unique(week, return_inverse=True)
    count = np.bincount(place, minlength=len(weeks))
    return np.stack([np.bincount(place, error, len(weeks)) / np.maximum(count, 1), count], 1).astype(np.float64)


def of_sum(weeks: F64, hours: float, seed: int, draws: int = 999, block: int = 4) -> tuple[float, float]:
    """5th and 95th percentile of the error of a sum, by a moving-block bootstrap over weeks [unit].

    weeks : float64 (w, 2) of `weekly`; hours : length of the sum [h]; block : weeks drawn together, since errors last
    """
    whole = weeks[weeks[:, 1] >= 84]
    if len(whole) < 2 or hours <= 0:
        return float("nan"), float("nan")
    error = whole[:, 0] - whole[:, 0].mean()
    need = max(hours / 168.0, 1.0 / 168.0)
    random = np.random.default_rng(seed)
    block = min(block, len(error))
    blocks = int(np.ceil(need / block))
    first = random.integers(0, len(error), (draws, blocks))
    drawn = error[(first[:, :, None] + np.arange(block)) % len(error)].reshape(draws, -1)
    share = np.clip(need - np.arange(drawn.shape[1]), 0.0, 1.0)
    spread = float(np.std(error)) * random.standard_normal(draws) / np.sqrt(len(error))  # the mean itself is estimated
    total = (drawn @ share + spread * need) * 168.0
    low, high = np.quantile(total, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low) * WIDEN, float(high) * WIDEN
