"""The simulators' time grid: quarter hours from a fixed anchor, and random streams that do not depend on its length.

Everything simulated is a pure function of (seed, instant). To that end every random series is drawn
in order from a stream named by the seed and the series' own name, so that a longer grid only adds
values at its end, and the history joins what the simulators say live.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from metering.clock import HOUR_US, MINUTE_US, QUARTER_US, from_us, to_us

STEPS_PER_HOUR = 4
STEPS_PER_DAY = 96

Array = NDArray[np.float64]


def stream(seed: int, *names: str) -> np.random.Generator:
    """A random stream of its own for a seed and a name."""
    digest = hashlib.blake2b("/".join([str(seed), *names]).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest)))


def wander(rng: np.random.Generator, n: int, every: int) -> Array:
    """Smooth noise of mean 0: normal values every `every` steps, joined by straight lines. float64 (n,)"""
    knots = rng.standard_normal(n // every + 2)
    share = np.arange(every) / every
    lines = knots[:-1, None] * (1 - share) + knots[1:, None] * share
    return lines.ravel()[:n]


def ramp(x: Array, start: float, end: float) -> Array:
    """0 before `start`, 1 after `end`, smooth between."""
    u = np.clip((x - start) / (end - start), 0.0, 1.0)
    return u * u * (3 - 2 * u)


@dataclass(frozen=True)
class Grid:
    """Quarter hours from `start`, a local midnight; `n` of them.

    Raises
    ------
    ValueError
        If the zone's offset at `start` is no multiple of a quarter hour.
    """

    start: int  # [us since 1970]
    n: int
    zone: str

    @classmethod
    def between(cls, first: date, end: int, zone: str) -> Grid:
        """The grid from local midnight of `first` that reaches at least a day past `end` [us since 1970]."""
        start = to_us(datetime(first.year, first.month, first.day, tzinfo=ZoneInfo(zone)))
        if start % QUARTER_US:
            raise ValueError(f"midnight of {first} in {zone} is no quarter hour of UTC")
        days = max(1, -(-(end - start) // (24 * HOUR_US)) + 1)
        return cls(start, int(days) * STEPS_PER_DAY, zone)

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """int64 (n + 1,): the quarter hours' edges [us since 1970]."""
        return self.start + np.arange(self.n + 1, dtype=np.int64) * QUARTER_US

    @cached_property
    def _local(self) -> NDArray[np.int64]:
        """int64 (n,): local minutes since 1970-01-01 00:00 local, at each step's start."""
        zone = ZoneInfo(self.zone)
        hours = self.n // STEPS_PER_HOUR + 1
        offset = np.array(
            [
                from_us(self.start + h * HOUR_US).astimezone(zone).utcoffset() // timedelta(minutes=1)  # type: ignore[operator]
                for h in range(0, hours, 6)
            ],
            dtype=np.int64,
        )
        change = np.flatnonzero(np.diff(offset))
        per_hour = np.repeat(offset, 6)[:hours]
        for i in change:  # find the hour of the change itself
            for h in range(int(i) * 6, min(int(i) * 6 + 6, hours)):
                at = from_us(self.start + h * HOUR_US).astimezone(zone)
                per_hour[h] = at.utcoffset() // timedelta(minutes=1)  # type: ignore[operator]
        return self.edges[:-1] // MINUTE_US + np.repeat(per_hour, STEPS_PER_HOUR)[: self.n]

    @cached_property
    def minute(self) -> Array:
        """float64 (n,): local minute of the day at the middle of each step."""
        return (self._local % 1440).astype(np.float64) + 7.5

    @cached_property
    def day(self) -> NDArray[np.int64]:
        """int64 (n,): index into `days`."""
        number = self._local // 1440
        return number - number[0]

    @cached_property
    def days(self) -> list[date]:
        """The local days of the grid."""
        first = date(1970, 1, 1) + timedelta(days=int(self._local[0] // 1440))
        return [first + timedelta(days=i) for i in range(int(self.day[-1]) + 1)]

    @cached_property
    def local_hour(self) -> NDArray[np.int64]:
        """int64 (n,): local hours since 1970-01-01 00:00 local."""
        return self._local // 60

    def step_of(self, at: int) -> int:
        """The step that holds an instant [us since 1970]; may lie outside the grid."""
        return (at - self.start) // QUARTER_US
