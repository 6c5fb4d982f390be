"""Judges one hour after the other. Plain numbers, so that a batch and a stream are the same code.

Errors (observed - expected) are looked at over an hour, 24 h, 48 h, a week and the night, against a level that lags
21 days behind: what a building has drifted to is no alarm, a step is.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from analytics.anomaly.habits import Habits

LAG_DAYS = 21
FEW_DAYS = 5
WHOLE_DAY, WHOLE_DAYS, WHOLE_NIGHT = 18, 36, 4  # known hours that make a day, two days, a night
KEEP = 96  # hours looked back upon
CLIP = 6.0  # deviations


class Hour(NamedTuple):
    """An hour: start [hours since 1970], local day and clock hour, value, expected and its scale [unit/h]."""

    start: int
    day: int
    hour: int
    value: float
    expected: float
    scale: float
    error: float  # NaN where the reading is no reading


class Score(NamedTuple):
    """How far each statistic stands out, in its own deviations; 0 where it cannot be told."""

    spike: float
    day: float
    days: float
    night: float
    nights: float
    shape: float
    week: float


@dataclass(slots=True)
class Watch:
    """The state of a meter under watch."""

    habits: Habits
    past: deque[Hour] = field(default_factory=lambda: deque(maxlen=KEEP))
    pulls: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=48))
    levels: deque[float] = field(default_factory=lambda: deque(maxlen=LAG_DAYS + 1))
    night_levels: deque[float] = field(default_factory=lambda: deque(maxlen=LAG_DAYS + 1))
    level: float = 0.0
    night_level: float = 0.0
    disturbed: int = 0  # days in a row that an incident kept out of the level
    held: bool = False  # an incident is open: the level waits
    sum24: float = 0.0
    square48: float = 0.0
    count24: int = 0
    sum48: float = 0.0
    count48: int = 0
    day: int = -(10**9)
    day_sum: float = 0.0
    day_count: int = 0
    night_sum: float = 0.0
    night_count: int = 0
    last_night: float = float("nan")
    night_score: float = 0.0
    nights_score: float = 0.0
    week_score: float = 0.0
    nights: deque[float] = field(default_factory=lambda: deque(maxlen=7))
    week: deque[float] = field(default_factory=lambda: deque(maxlen=7))

    def __post_init__(self) -> None:
        self.levels.extend(self.habits.level_day)
        self.night_levels.extend(self.habits.level_night)
        self.level, self.night_level = _median(self.levels), _median(self.night_levels)

    def push(self, h: Hour) -> Score:
        """Take an hour in, and score it."""
        if h.day != self.day:
            self._new_day(h.day)
        error = h.error
        known = error == error
        scale = h.scale
        if known:  # one hour pulls no more than CLIP deviations do
            far = CLIP * scale
            pull = far if error > far else -far if error < -far else error
            z = (pull - self.level) / scale
            z = CLIP if z > CLIP else -CLIP if z < -CLIP else z
            self.sum24 += pull
            self.count24 += 1
            self.sum48 += pull
            self.square48 += z * z
            self.count48 += 1
            self.day_sum += pull
            self.day_count += 1
        else:
            pull = z = error
        pulls = self.pulls
        if len(pulls) >= 24:
            old, _ = pulls[-24]
            if old == old:
                self.sum24 -= old
                self.count24 -= 1
            if len(pulls) == 48:
                old, of = pulls[0]
                if old == old:
                    self.sum48 -= old
                    self.square48 -= of * of
                    self.count48 -= 1
        pulls.append((pull, z))
        self.past.append(h)
        habits = self.habits
        if habits.night[h.hour]:
            if known:
                self.night_sum += pull
                self.night_count += 1
            if not habits.night[(h.hour + 1) % 24]:
                self._end_of_night()
        day = days = shape = 0.0
        if self.count24 >= WHOLE_DAY:
            day = (self.sum24 / self.count24 - self.level) / habits.scale_day
            if self.count48 >= WHOLE_DAYS:
                days = (self.sum48 / self.count48 - self.level) / habits.scale_days
                spread = self.square48 / self.count48
                shape = (spread**0.5 if spread > 0.0 else 0.0) / habits.scale_shape
        return Score(
            (error - (self.level if self.level > 0.0 else 0.0)) / scale if known else 0.0,  # back to usual is no spike
            day,
            days,
            self.night_score,
            self.nights_score,
            shape,
            self.week_score,
        )

    def _end_of_night(self) -> None:
        mean = self.night_sum / self.night_count if self.night_count >= WHOLE_NIGHT else float("nan")
        self.night_sum, self.night_count = 0.0, 0
        self.night_score = self.nights_score = 0.0
        if mean == mean:
            self.nights.append(mean)
            above = mean - self.night_level
            self.night_score = above / self.habits.scale_night
            if self.last_night == self.last_night:
                self.nights_score = ((mean + self.last_night) / 2 - self.night_level) / self.habits.scale_nights
            if not self.held or self.disturbed >= LAG_DAYS:
                self.night_levels.append(mean)
        self.last_night = mean

    def _new_day(self, day: int) -> None:
        if self.day_count >= WHOLE_DAY:
            self.week.append(self.day_sum / self.day_count)
            if len(self.week) == 7:
                self.week_score = (_median(self.week) - self.level) / self.habits.scale_week
            if self.held and self.disturbed < LAG_DAYS:
                self.disturbed += 1
            else:
                if self.disturbed >= LAG_DAYS:  # what lasts has become usual: begin anew from the last days
                    self.levels.clear()
                    self.levels.extend(self.week)
                    self.night_levels.clear()
                    self.night_levels.extend(self.nights)
                    self.held = False
                    self.night_score = self.nights_score = self.week_score = 0.0
                else:
                    self.levels.append(self.day_sum / self.day_count)
                self.disturbed = 0
                self.level = _median(self.levels)
                self.night_level = _median(self.night_levels)
        self.day, self.day_sum, self.day_count = day, 0.0, 0


def _median(values: deque[float]) -> float:
    ordered = sorted(values)
    n = len(ordered)
    if not n:
        return 0.0
    return ordered[n // 2] if n % 2 else (ordered[n // 2 - 1] + ordered[n // 2]) / 2
