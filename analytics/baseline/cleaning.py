"""Hours fit to learn from: sorted, one value an hour, and what is no reading is a gap."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metering.clock import HOUR_US
from metering.explain import Finding

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Zeros = Literal["auto", "gap", "value"]
FEW_ZEROS = 0.10  # more zeros than this are how the meter is, not gaps
SPIKE = 20.0  # times the 99th percentile: no reading of this meter
LONG_RUN_HOURS = 48


class Cleaned(NamedTuple):
    """Hours in order. start : int64 (n,) [hours since 1970]; value, temperature : float64 (n,), NaN is a gap."""

    start: I64
    value: F64
    temperature: F64 | None
    spacing_h: float
    findings: list[Finding]


def clean(
    time: NDArray[Any], value: NDArray[Any], temperature: NDArray[Any] | None = None, zeros: Zeros = "auto"
) -> Cleaned:
    """Put readings in order and make gaps of what is none.

    Parameters
    ----------
    time : (n,) datetime64 or int64 [us since 1970], starts of intervals, in any order
    value : (n,), amount of each interval; temperature : (n,) [degC]
    zeros : are zeros readings, or gaps; `auto`: gaps if they are few and far below everything else

    Raises
    ------
    ValueError
        If the arrays differ in length.
    """
    if len(time) != len(value) or (temperature is not None and len(temperature) != len(time)):
        raise ValueError(f"{len(time)} times, {len(value)} values: give one value (and temperature) for each time")
    findings: list[Finding] = []
    array = np.asarray(time)
    us = array.astype("datetime64[us]").astype(np.int64) if array.dtype.kind == "M" else array.astype(np.int64)
    amount = np.asarray(value, np.float64).copy()
    air = None if temperature is None else np.asarray(temperature, np.float64)
    spacing = _spacing(us)
    if spacing < 0.75:
        us, amount, air = _to_hours(us, amount, air, spacing)
    start, place = np.unique(us // HOUR_US, return_inverse=True)
    amount[~np.isfinite(amount)] = np.nan
    if len(start) < len(amount):
        repeated = len(amount) - len(start)
        findings.append(
            Finding(
                "baseline.repeated", "info", f"{repeated} hours came twice; their mean is used", {"count": repeated}
            )
        )
    amount = _mean(place, amount, len(start))
    if air is not None:
        air = _mean(place, air, len(start))
        if not np.isfinite(air).any():
            air = None
    amount = _without_zeros(amount, zeros, findings)
    amount = _without_spikes(amount, findings)
    if spacing < 1.5:
        amount = _without_stuck(start, amount, findings)
    return Cleaned(start, amount, air, max(spacing, 1.0), findings)


def _spacing(us: I64) -> float:
    step = np.diff(np.unique(us))
    return float(np.median(step)) / HOUR_US if len(step) else 1.0


def _to_hours(us: I64, amount: F64, air: F64 | None, spacing: float) -> tuple[I64, F64, F64 | None]:
    us, first = np.unique(us, return_index=True)
    amount, air = amount[first], None if air is None else air[first]
    hour, place = np.unique(us // HOUR_US, return_inverse=True)
    whole = max(round(1.0 / spacing), 1)
    count = np.bincount(place, np.isfinite(amount))
    total = np.where(count >= whole, np.bincount(place, np.where(np.isfinite(amount), amount, 0.0)), np.nan)
    return hour * HOUR_US, total, None if air is None else _mean(place, air, len(hour))


def _mean(place: NDArray[np.intp], value: F64, size: int) -> F64:
    known = np.isfinite(value)
    count = np.bincount(place, known, size)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.bincount(place, np.where(known, value, 0.0), size) / count, np.float64)


def _without_zeros(value: F64, zeros: Zeros, findings: list[Finding]) -> F64:
    zero = value == 0
    count = int(zero.sum())
    if zeros == "value" or not count:
        return value
    if zeros == "auto" and not zeros_are_gaps(value):
        return value
    findings.append(
        Finding(
            "baseline.zeros_are_gaps",
            "info",
            f"{count} zeros stand far below every other reading and count as gaps",
            {"count": count},
        )
    )
    return np.where(zero, np.nan, value)


def zeros_are_gaps(value: F64) -> bool:
    """Are the zeros of a series gaps: few, and away from all other readings by several of its steps?"""
    above = value[np.isfinite(value) & (value > 0)]
    zero = int(np.sum(value == 0))
    if not zero or len(above) < 100 or zero > FEW_ZEROS * (zero + len(above)) or np.nanmin(value) < 0:
        return False
    distinct = np.unique(above)
    step = float(np.min(np.diff(distinct))) if len(distinct) > 1 else float(distinct[0])
    low = float(np.quantile(above, 0.002))
    return low > 2.5 * step and low > 0.02 * float(np.mean(above))


def _without_spikes(value: F64, findings: list[Finding]) -> F64:
    known = np.abs(value[np.isfinite(value)])
    if len(known) < 100:
        return value
    limit = SPIKE * float(np.quantile(known, 0.99))
    far = np.isfinite(value) & (np.abs(np.nan_to_num(value)) > limit)
    if limit <= 0 or not far.any():
        return value
    findings.append(
        Finding(
            "baseline.spikes",
            "warning",
            f"{int(far.sum())} hours above {limit:g} are no readings of this meter and were left out",
            {"count": int(far.sum()), "limit": limit},
        )
    )
    return np.where(far, np.nan, value)


def runs(start: I64, value: F64) -> tuple[I64, I64]:
    """(first index, length) of runs of one same value in hours that follow each other; int64 (r,) each."""
    if not len(value):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    new = np.concatenate([[True], (value[1:] != value[:-1]) | (np.diff(start) != 1)])
    first = np.flatnonzero(new)
    return first.astype(np.int64), np.diff(np.concatenate([first, [len(value)]])).astype(np.int64)


def _without_stuck(start: I64, value: F64, findings: list[Finding]) -> F64:
    first, length = runs(start, value)
    own = np.isfinite(value[first]) & (value[first] != 0) if len(first) else np.zeros(0, np.bool_)
    if own.sum() < 100:
        return value
    usual = float(np.quantile(np.repeat(length[own], length[own]), 0.95))
    stuck = own & (length >= max(LONG_RUN_HOURS, 5 * usual))
    if not stuck.any():
        return value
    out = value.copy()
    for begin, count in zip(first[stuck].tolist(), length[stuck].tolist(), strict=True):
        out[begin : begin + count] = np.nan
    hours = int(length[stuck].sum())
    findings.append(
        Finding(
            "baseline.stuck",
            "warning",
            f"{hours} hours with one same value, far longer than this meter ever rests, were left out",
            {"hours": hours},
        )
    )
    return out
