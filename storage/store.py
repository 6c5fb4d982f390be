"""The Store protocol: what every store of readings can do, and how one is opened.

Designed for DuckDB and InfluxDB alike; one contract suite runs on all (`tests/contract`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from metering.clock import DAY_US
from metering.reading import IntervalSeries, Measure, Origin, Point, Reading, ReadingBatch, Series

if TYPE_CHECKING:
    from numpy.typing import NDArray


FROZEN_US = 31 * DAY_US  # after what is forgotten: an interval's edges may need readings as far as this before it


class Outcome(IntEnum):
    """What became of one row of a batch."""

    STORED = 0
    DUPLICATE = 1  # the same value was already seen at that point and time
    CONFLICT = 2  # another value was there: this one is served now, the other kept aside
    REFUSED = 3  # the store's server does not take it: not stored, `WriteResult.refusals` says why


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of each row: uint8 (n,) of Outcome, in the batch's order.

    refusals : (row, reason) of each row that is REFUSED, by row
    """

    outcome: NDArray[np.uint8]
    refusals: tuple[tuple[int, str], ...] = ()


# Built from the result of the very write it is committed with: spool position and book totals.
MakeState = Callable[[WriteResult], bytes]


@dataclass(frozen=True, slots=True)
class Conflict:
    """A value that arrived for a point and time and is no longer (or not) served."""

    point: Point
    at: int  # observed_at [us since 1970]
    value: float
    quality: int
    origin: Origin
    served: bool  # True for the value that is served now


@dataclass(frozen=True, slots=True)
class Rollup:
    """Minimum, mean and maximum of a gauge in each step of a grid.

    start : int64 (m,) [us since 1970]; steps without a reading are absent
    lowest, mean, highest : float64 (m,) [point.of.unit]
    count : int64 (m,)
    """

    point: Point
    start: NDArray[np.int64]
    lowest: NDArray[np.float64]
    mean: NDArray[np.float64]
    highest: NDArray[np.float64]
    count: NDArray[np.int64]


class Store(Protocol):
    """Where readings and intervals last.

    Identity of a reading is (point, observed_at). Same value again: duplicate. Another value:
    conflict; the value whose first arrival is latest is served, the others can be listed; a value
    already seen at that time is a duplicate, whatever came between. Order within a batch counts.
    All methods may be called from any thread; `write` from one at a time.
    """

    def write(self, batch: ReadingBatch, make_state: MakeState | None = None) -> WriteResult:
        """Store a batch, and in the same transaction the state made from its result.

        Raises
        ------
        StoreUnavailable
            If nothing was stored; try the same batch again later.
        """
        ...

    def state(self) -> bytes | None:
        """The state committed last, None in a new store."""
        ...

    def points(self) -> list[Point]:
        """Every point that has a reading."""
        ...

    def series(self, point: Point, start: int, end: int, *, margin: bool = False) -> Series:
        """Samples in [start, end) [us since 1970].

        With `margin`, also the last sample before `start` and the first at or after `end`.
        """
        ...

    def latest(self, points: Iterable[Point] | None = None) -> dict[Point, Reading]:
        """The newest reading of each point (by observed_at), from memory."""
        ...

    def last_seen(self) -> dict[str, int]:
        """Meter or vehicle -> observed_at of its newest reading [us since 1970], from memory."""
        ...

    def origins(self, point: Point, start: int, end: int) -> list[tuple[int, Origin]]:
        """(observed_at, origin) of the samples in [start, end): where each reading came from."""
        ...

    def conflicts(self, point: Point | None, start: int, end: int) -> list[Conflict]:
        """All values of each point and time in [start, end) that has more than one, in order of arrival."""
        ...

    def count(self, point: Point | None = None) -> int:
        """Stored readings, of one point or in all."""
        ...

    def rollup(self, point: Point, start: int, end: int, step: int) -> Rollup:
        """Min, mean, max in steps of `step` [us] on the grid of multiples of `step` since 1970."""
        ...

    def write_intervals(self, resolution: str, series: Sequence[IntervalSeries], span: tuple[int, int]) -> None:
        """Replace, for each measure given, the intervals that start in [span): also deletes those that no longer hold.

        `resolution` is "15min" (UTC quarters) or "day" (the site's local days).
        """
        ...

    def intervals(self, measures: Sequence[Measure], resolution: str, start: int, end: int) -> list[IntervalSeries]:
        """The stored intervals of each measure that start in [start, end); empty series where none."""
        ...

    def measures(self) -> list[Measure]:
        """Every measure that has intervals."""
        ...

    def checkpoint(self) -> None:
        """Make everything written durable in the store's own files; after it spool segments may go."""
        ...

    def maintain(self, now: int) -> None:
        """Seal and tidy what is old; called when quiet, safe to be killed at any moment."""
        ...

    def forget(self, before: int, points: Sequence[Point] | None = None) -> int:
        """Delete the readings observed before an instant [us since 1970], of some points or of all; returns how many.

        Intervals stay. Where the readings of all points are forgotten, intervals that start before
        `before + FROZEN_US` are never written again: what they were derived of is no longer whole.
        How many were forgotten since the store was made stands in `statistics()["forgotten"]`.

        Raises
        ------
        StoreUnavailable
            If the rest was not deleted; call again later.
        ExplainedError
            If this kind of store forgets by its server's own retention.
        """
        ...

    def statistics(self) -> dict[str, Any]:
        """Rows, bytes, sealed periods: for the page and `doctor`."""
        ...

    def backup(self, target: Path, meanwhile: Callable[[bytes | None], None]) -> None:
        """Copy everything into a new file, whole and durable when this returns; reading goes on, writing waits.

        `meanwhile` is called with the state of the copy before anything more is written: what it sees of the
        spool then fits the copy.

        Raises
        ------
        StoreUnavailable
            If there is no copy (disk full).
        ExplainedError
            If this kind of store is backed up by its own server.
        """
        ...

    def close(self) -> None:
        """Checkpoint and close."""
        ...


class StoreUnavailable(Exception):
    """The store cannot take or give anything now (locked, disk full, server away); nothing of the call was stored."""
