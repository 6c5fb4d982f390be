"""What most likely lies behind errors that stand out: the meter's clock, another meter, the night, or a step."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

from analytics.anomaly.habits import Habits
from analytics.anomaly.incident import Kind
from analytics.anomaly.watch import Hour

SHIFTS = tuple(shift for size in range(1, 13) for shift in (-size, size))
SHIFT_EXPLAINS = 0.4  # of the squares is left at most, once the clock is put right
KEEPS_AMOUNT = 0.5  # a clock that is off moves the use, it adds none: sum of the errors over the sum of their sizes
STRANGE = 0.45  # correlation with its own pattern below which the pattern is not its own
ITS_OWN = 0.7  # correlation above which it is
NIGHT_LEADS = 1.6  # the night's rise over the day's


class Cause(NamedTuple):
    """kind; rate : mean error beyond the level [unit/h]; shift : of the clock [h]"""

    kind: Kind
    rate: float
    shift: int = 0


def cause(habits: Habits, past: Sequence[Hour], level: float, lasting_hours: int, shape: float) -> Cause:
    """The likely cause of the errors of the last hours.

    Parameters
    ----------
    past : the hours looked at, oldest first; level : what errors were before [unit/h]
    lasting_hours : how long it has lasted; shape : score of the scatter
    """
    seen = [h for h in past if h.error == h.error]
    if not seen:
        return Cause("high_use", 0.0)
    rate = sum(h.error for h in seen) / len(seen) - level
    if len(seen) >= 20 and shape > 1.5:
        shift = clock_shift(seen, level)
        if shift:
            return Cause("clock_shift", rate, shift)
    if shape > habits.limits.shape and len(seen) >= 20:
        fit, slope = own_pattern(seen)
        if fit < STRANGE or slope > 2.5 or slope < 0.4:
            return Cause("swap", rate)
    night = [h.error - level for h in seen if habits.night[h.hour]]
    day = [h.error - level for h in seen if not habits.night[h.hour]]
    if len(night) >= 4 and day:
        by_night, by_day = sum(night) / len(night), sum(day) / len(day)
        if by_night > 2.5 * habits.scale_night and by_night > NIGHT_LEADS * by_day:
            return Cause("night_load", by_night)
    if lasting_hours >= 36:
        return Cause("step_up" if rate > 0 else "step_down", rate)
    return Cause("high_use" if rate > 0 else "low_use", rate)


def follows_itself(past: Sequence[Hour]) -> bool:
    """Does the meter, at whatever height, still follow its own pattern?"""
    return own_pattern([h for h in past if h.error == h.error] or past)[0] > ITS_OWN


def own_pattern(seen: Sequence[Hour]) -> tuple[float, float]:
    """(correlation of observed and expected, ratio of their spread)."""
    n = len(seen)
    mv, me = sum(h.value for h in seen) / n, sum(h.expected for h in seen) / n
    vv = sum((h.value - mv) ** 2 for h in seen)
    ee = sum((h.expected - me) ** 2 for h in seen)
    ve = sum((h.value - mv) * (h.expected - me) for h in seen)
    if vv <= 0 or ee <= 0:
        return 0.0, 0.0 if vv <= 0 else 1.0
    return ve / sqrt(vv * ee), sqrt(vv / ee)


def clock_shift(seen: Sequence[Hour], level: float) -> int:
    """Hours by which the observed pattern stands late (+) or early (-), if that explains most; else 0."""
    expected = {h.start: h.expected for h in seen}
    if abs(sum(h.error - level for h in seen)) > KEEPS_AMOUNT * sum(abs(h.error - level) for h in seen):
        return 0
    here = sum((h.error - level) ** 2 for h in seen) / len(seen)
    best, at = SHIFT_EXPLAINS * here, 0
    for shift in SHIFTS:
        pairs = [(h.value - level, expected[h.start - shift]) for h in seen if h.start - shift in expected]
        if len(pairs) < 14:
            continue
        left = sum((v - e) ** 2 for v, e in pairs) / len(pairs)
        if left < best:
            best, at = left, shift
    return at


def onset(past: Sequence[Hour], level: float, rate: float) -> int:
    """Index of the hour from which on the errors carry the rise: where what is missing to half of it, summed, turns."""
    total = lowest = 0.0
    at = len(past)
    sign = 1.0 if rate >= 0 else -1.0
    half = abs(rate) / 2
    for i in range(len(past) - 1, -1, -1):
        error = past[i].error
        if error == error:
            total -= sign * (error - level) - half
        if total < lowest:
            lowest, at = total, i
    return min(at, len(past) - 1)
