"""What a meter does by itself: its runs, its largest readings, its errors at three time scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.baseline.cleaning import runs

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
VERSION = 1
SHORTEST_STUCK = 5  # hours of one same value are nothing below this


class Limits(NamedTuple):
    """Alarm thresholds, in robust deviations of this meter's own held-out errors.

    spike : of a single hour; day, days : of 24 h and 48 h against the lagging level; night, nights : of one
    night and the mean of two; shape : of the scatter about the level over 48 h, each hour by its own deviation;
    week : median of seven days
    """

    spike: float = 8.0
    day: float = 5.0
    days: float = 4.5
    night: float = 6.0
    nights: float = 5.0
    shape: float = 3.0
    week: float = 4.5


@dataclass(frozen=True, slots=True)
class Habits:
    """A meter's habits.

    Attributes
    ----------
    largest, lowest, typical : of its readings, without spikes; typical is their median size [unit/h]
    run : longest run of one same value that is nothing strange [h]; run_of : the same of values that often stay
    negative : has readings below zero; zeros_are_gaps : a zero is no reading
    night : bool (24,), the clock hours at which it uses least
    scale_day, scale_days, scale_night, scale_nights, scale_shape, scale_week : robust deviations of the errors [unit/h]
    scale_least : an hour's deviation is not taken smaller than this [unit/h]
    level_day, level_night : the last daily and nightly errors of the baseline, oldest first [unit/h]
    least_flow, least_hours : the largest 24 h minimum and 3 h minimum that were nothing strange [unit/h]
    usual_flow : median 24 h minimum [unit/h]
    rests : spends weeks at zero (`analytics.anomaly.rests`): a zero is not judged
    """

    largest: float
    lowest: float
    typical: float
    run: int
    run_of: Mapping[float, int]
    negative: bool
    zeros_are_gaps: bool
    night: tuple[bool, ...]
    scale_day: float
    scale_days: float
    scale_night: float
    scale_nights: float
    scale_shape: float
    scale_week: float
    scale_least: float
    level_day: tuple[float, ...]
    level_night: tuple[float, ...]
    least_flow: float
    least_hours: float
    usual_flow: float
    step: float
    limits: Limits
    rests: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        row = {name: getattr(self, name) for name in self.__slots__}
        row["run_of"] = [[value, length] for value, length in self.run_of.items()]
        row["limits"] = self.limits._asdict()
        row["version"] = VERSION
        return {k: list(v) if isinstance(v, tuple) else v for k, v in row.items()}

    @staticmethod
    def from_dict(row: Mapping[str, Any]) -> Habits:
        """The habits of `to_dict`.

        Raises
        ------
        ValueError
            If they were written by another version.
        """
        if row.get("version") != VERSION:
            raise ValueError(f"habits of version {row.get('version')}, this reads {VERSION}; learn them again")
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) and k != "run_of" else v for k, v in row.items() if k != "version"
        }
        fields["run_of"] = {float(value): int(length) for value, length in row["run_of"]}
        fields["limits"] = Limits(**row["limits"])
        return Habits(**fields)


def run_lengths(start: I64, value: F64) -> tuple[int, dict[float, int]]:
    """(longest run of values that seldom stay [h], longest run of each value that often does [h])."""
    first, length = runs(start, value)
    own = np.isfinite(value[first]) if len(first) else np.zeros(0, np.bool_)
    which, length = value[first[own]], length[own]
    if not len(which):
        return SHORTEST_STUCK, {}
    often: dict[float, int] = {}
    stays = length >= SHORTEST_STUCK - 1
    values, counts = np.unique(which[stays], return_counts=True)
    for v, n in zip(values.tolist(), counts.tolist(), strict=True):
        if n >= 3:
            often[v] = int(np.sort(length[(which == v) & stays])[-2])
    seldom = ~np.isin(which, np.array(list(often))) if often else np.ones(len(which), np.bool_)
    rest = np.sort(length[seldom])
    return max(int(rest[-2]) if len(rest) > 1 else SHORTEST_STUCK, SHORTEST_STUCK), often


def night_hours(hour: I64, value: F64, length: int = 6) -> tuple[bool, ...]:
    """The clock hours, in a row, at which the meter uses least; (24,)."""
    known = np.isfinite(value)
    count = np.maximum(np.bincount(hour[known], minlength=24), 1)
    mean = np.bincount(hour[known], value[known], 24) / count
    total = [float(sum(mean[(h + k) % 24] for k in range(length))) for h in range(24)]
    # of windows that are as good as the best, the one nearest to midnight to six
    near = min(total) + 0.04 * length * float(mean.max() - mean.min())
    best = min((h for h in range(24) if total[h] <= near), key=lambda h: (min(h, 24 - h), h))
    return tuple((h - best) % 24 < length for h in range(24))


def robust(value: F64) -> float:
    """1.4826 times the median distance from the median; 0 without values."""
    known = value[np.isfinite(value)]
    return 1.4826 * float(np.median(np.abs(known - np.median(known)))) if len(known) else 0.0


def second_largest(value: F64, apart: int) -> float:
    """The second largest value, of peaks that lie `apart` places from each other or more; -inf without."""
    left = np.where(np.isfinite(value), value, -np.inf)
    out = -np.inf
    for _ in range(2):
        if not len(left):
            break
        at = int(np.argmax(left))
        out = float(left[at])
        left[max(at - apart, 0) : at + apart + 1] = -np.inf
    return out


def trailing(value: F64, length: int, least: int) -> F64:
    """Mean of the last `length` known values up to each, NaN with fewer than `least`; float64 (n,)."""
    known = np.isfinite(value)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, value, 0.0))])
    count = np.concatenate([[0], np.cumsum(known)])
    lo = np.maximum(np.arange(1, len(value) + 1) - length, 0)
    hi = np.arange(1, len(value) + 1)
    n = count[hi] - count[lo]
    return np.where(n >= least, (total[hi] - total[lo]) / np.maximum(n, 1), np.nan)
