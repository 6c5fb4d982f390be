"""Learn a meter's habits and its alarm thresholds from its baseline period."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.anomaly.habits import Habits, Limits, night_hours, robust, run_lengths
from analytics.anomaly.rests import rests, told_of_rests
from analytics.anomaly.watch import LAG_DAYS, Hour, Watch
from analytics.baseline.cleaning import Zeros
from analytics.baseline.conditions import local_hours
from analytics.baseline.fitting import HeldOut, fit_held_out
from analytics.baseline.model import BaselineModel
from analytics.baseline.sufficiency import NEEDS
from analytics.workdays import Workdays

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
FLOOR = Limits(spike=7.0, day=4.2, days=4.2, night=4.2, nights=3.8, shape=1.6, week=4.0)
CAP = Limits(spike=60.0, day=9.0, days=8.0, night=12.0, nights=10.0, shape=5.0, week=8.0)
MARGIN = 1.12  # above what the baseline period itself reached
APART_HOURS = 96
NEVER = 1e30
LEAST_AT_WORK = 0.05  # of the time, for a meter that rests


class Learnt(NamedTuple):
    """A baseline and the habits that go with it: all a detector needs."""

    model: BaselineModel
    habits: Habits


def learn(
    time: NDArray[Any],
    value: NDArray[Any],
    temperature: NDArray[Any] | None = None,
    *,
    zone: str = "UTC",
    calendar: Workdays | None = None,
    unit: str = "kWh",
    zeros: Zeros = "auto",
    alarms_per_month: float = 0.3,
    seed: int = 1,
) -> Learnt:
    """Fit a baseline and learn from its held-out errors what is an alarm for this meter.

    Parameters
    ----------
    time, value, temperature, zone, calendar, zeros, seed : as for `analytics.baseline.fitting.fit`, hourly
    alarms_per_month : alarm budget of this meter; a smaller one raises its thresholds

    Notes
    -----
    Where the baseline is refused the rules about data stay; errors of a building are then not judged. What a meter
    does while it rests at zero for days on end (`rests`) is not learnt.
    """
    return learn_held_out(
        time, value, temperature, zone=zone, calendar=calendar, unit=unit, zeros=zeros,
        alarms_per_month=alarms_per_month, seed=seed,
    )[0]  # fmt: skip


def learn_held_out(
    time: NDArray[Any],
    value: NDArray[Any],
    temperature: NDArray[Any] | None = None,
    *,
    zone: str = "UTC",
    calendar: Workdays | None = None,
    unit: str = "kWh",
    zeros: Zeros = "auto",
    left_out: NDArray[np.bool_] | None = None,
    alarms_per_month: float = 0.3,
    seed: int = 1,
) -> tuple[Learnt, HeldOut]:
    """`learn`, and what was expected in the baseline period itself without the months around each hour.

    left_out : bool (n,), intervals not to be learnt from, such as known incidents; they are predicted all the same
    """
    amount = np.asarray(value, np.float64)
    resting = rests(instants(time), amount)
    unused = resting if left_out is None else resting | left_out
    model, held = fit_held_out(
        time, np.where(unused, np.nan, amount), temperature, zone=zone, calendar=calendar, unit=unit, zeros=zeros,
        needs=replace(NEEDS["monitoring"], least_coverage=LEAST_AT_WORK) if resting.any() else None, seed=seed,
    )  # fmt: skip
    habits = habits_of(held, zone, model.zeros_are_gaps, alarms_per_month)
    if resting.any():
        model, habits = told_of_rests(model, resting), _with(habits, rests=True)
    return Learnt(model, habits), held


def instants(time: NDArray[Any]) -> I64:
    """Instants as int64 [us since 1970]."""
    array = np.asarray(time)
    return array.astype("datetime64[us]").astype(np.int64) if array.dtype.kind == "M" else np.asarray(array, np.int64)


def habits_of(held: HeldOut, zone: str, zeros_are_gaps: bool, alarms_per_month: float) -> Habits:
    """The habits behind held-out errors."""
    start, value = _grid(held.start, held.value)
    _, expected = _grid(held.start, held.expected)
    _, scale = _grid(held.start, held.scale)
    known = value[np.isfinite(value)]
    hours = local_hours(zone, start)
    longest, often = run_lengths(start, value)
    night = night_hours(hours.hour, value) if len(known) else (False,) * 24
    size = np.abs(known)
    floor24 = _least(value, 24)
    rank = 1 + round(alarms_per_month * len(start) / 730.0 / 6.0)
    plain = Habits(
        largest=float(size.max()) if len(size) else 0.0, lowest=float(known.min()) if len(known) else 0.0,
        typical=float(np.median(size)) if len(size) else 0.0, run=longest, run_of=often,
        negative=bool(len(known) and known.min() < 0), zeros_are_gaps=zeros_are_gaps, night=night,
        scale_day=NEVER, scale_days=NEVER, scale_night=NEVER, scale_nights=NEVER, scale_shape=NEVER,
        scale_week=NEVER, scale_least=0.0,
        level_day=(), level_night=(), least_flow=_peak(floor24, rank), least_hours=_peak(_least(value, 3), rank),
        usual_flow=float(np.nanmedian(floor24)) if np.isfinite(floor24).any() else 0.0,
        step=_step(known), limits=Limits(),
    )  # fmt: skip
    error = value - expected
    if np.isfinite(error).sum() < 14 * 24:
        return plain
    return _calibrated(plain, start, hours.day, hours.hour, value, expected, scale, rank)


def _calibrated(
    plain: Habits, start: I64, day: I64, hour: I64, value: F64, expected: F64, scale: F64, rank: int
) -> Habits:
    """With scales and limits from a run of the watch itself over the baseline period."""
    seen = scale[np.isfinite(scale)]
    least = 0.4 * float(np.median(seen)) if len(seen) else 0.0
    one = _with(
        plain,
        scale_day=1.0,
        scale_days=1.0,
        scale_night=1.0,
        scale_nights=1.0,
        scale_shape=1.0,
        scale_week=1.0,
        scale_least=least,
    )
    watch = Watch(one)
    scale = np.maximum(np.nan_to_num(scale, nan=1.0), max(least, 1e-12))
    error = value - expected
    rows = zip(start.tolist(), day.tolist(), hour.tolist(), value.tolist(), expected.tolist(),
               scale.tolist(), error.tolist(), strict=True)  # fmt: skip
    scores = np.array([watch.push(Hour(*row)) for row in rows])
    warm = np.arange(len(scores)) >= min(10 * 24, len(scores) // 4)
    told = np.isfinite(error) & warm  # while a meter rests or is away nothing is scored
    warm = told if told.sum() >= 14 * 24 else warm
    per_night = scores[np.array(plain.night)[hour] & ~np.array(plain.night)[(hour + 1) % 24] & np.isfinite(error)]
    small = max(float(np.nanmean(np.abs(value))) * 0.004, 1e-9)

    deviation = {
        "scale_day": robust(scores[warm, 1]), "scale_days": robust(scores[warm, 2]),
        "scale_night": robust(per_night[8:, 3]), "scale_nights": robust(per_night[8:, 4]),
        "scale_shape": float(np.median(scores[warm, 5])), "scale_week": robust(scores[warm, 6]),
    }  # fmt: skip
    deviation = {name: max(size, 0.05 if name == "scale_shape" else small) for name, size in deviation.items()}
    divided = scores / np.array([1.0, *deviation.values()])
    peaks = [_peak(np.abs(divided[warm, k]), rank) for k in range(7)]
    peaks[0] = _peak(divided[warm, 0], rank) * 1.15
    limits = Limits(*(
        float(min(max(peak * MARGIN, low), high)) for peak, low, high in zip(peaks, FLOOR, CAP, strict=True)
    ))  # fmt: skip
    lately = np.isfinite(error[-LAG_DAYS * 24 :]).any()  # what a meter did before it rested is no level to go by
    daily = [float(x) for x in watch.levels][-LAG_DAYS:] if lately else []
    nightly = [float(x) for x in watch.night_levels][-LAG_DAYS:] if lately else []
    return _with(
        plain, **deviation, scale_least=least, limits=limits, level_day=tuple(daily), level_night=tuple(nightly)
    )


def _with(habits: Habits, **changes: Any) -> Habits:
    return Habits(**{name: changes.get(name, getattr(habits, name)) for name in habits.__slots__})


def _grid(start: I64, value: F64) -> tuple[I64, F64]:
    """Every hour from the first to the last, NaN where there is none."""
    if not len(start):
        return start, value
    hours = np.arange(start[0], start[-1] + 1)
    out = np.full(len(hours), np.nan)
    out[start - start[0]] = value
    return hours, out


def _least(value: F64, length: int) -> F64:
    """The smallest of the last `length` hours, NaN if more than a twelfth is missing; float64 (n,)."""
    if len(value) < length:
        return np.zeros(0)
    windows = np.lib.stride_tricks.sliding_window_view(value, length)
    enough = np.isfinite(windows).sum(1) >= length - length // 12
    lowest = np.where(np.isfinite(windows), windows, np.inf).min(1)
    return np.where(enough, lowest, np.nan)


def _peak(value: F64, rank: int) -> float:
    """The rank-th largest of peaks that lie apart; 0 without any."""
    left = np.where(np.isfinite(value), value, -np.inf)
    out = 0.0
    for _ in range(rank):
        if not len(left) or not np.isfinite(left.max()):
            break
        at = int(np.argmax(left))
        out = float(left[at])
        left[max(at - APART_HOURS, 0) : at + APART_HOURS + 1] = -np.inf
    return out


def _step(known: F64) -> float:
    distinct = np.unique(known)
    return float(np.min(np.diff(distinct))) if len(distinct) > 1 else 0.0
