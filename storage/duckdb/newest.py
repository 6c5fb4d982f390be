"""The newest reading of each point, in columns, by the point's number in the store."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from metering.clock import to_us
from metering.reading import Point, Reading, reading_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER = np.iinfo(np.int64).min
FIRST_US = to_us(datetime.min.replace(tzinfo=UTC))  # the years 1 to 9999: what a datetime can hold
LAST_US = to_us(datetime.max.replace(tzinfo=UTC))


class Newest:
    """Points by number, with count and newest row of each; the numbers run from 0 without a hole."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.number: dict[Point, int] = {}
        self.at = np.full(64, NEVER, np.int64)
        self.value = np.zeros(64)
        self.quality = np.zeros(64, np.uint8)
        self.origin = np.empty(64, object)
        self.count = np.zeros(64, np.int64)
        self._asked: tuple[tuple[Point, ...], NDArray[np.int32]] = ((), np.empty(0, np.int32))

    def numbers(self, points: tuple[Point, ...]) -> tuple[NDArray[np.int32], list[Point]]:
        """The number of each point, and the points that are new: they get the next numbers, once `add` is called."""
        if points is self._asked[0]:  # batches of one pipeline share their points, while none is added
            return self._asked[1], []
        known: dict[Point, int] = self.number
        new: dict[Point, int] = {}
        numbers = np.empty(len(points), np.int32)
        for i, point in enumerate(points):
            number = known.get(point)
            if number is None:
                number = new.setdefault(point, len(self.points) + len(new))
            numbers[i] = number
        if not new:
            self._asked = (points, numbers)
        return numbers, list(new)

    def add(self, points: Iterable[Point]) -> None:
        """Give points the next numbers."""
        for point in points:
            self.number[point] = len(self.points)
            self.points.append(point)
        self.reserve(len(self.points))

    def reserve(self, size: int) -> None:
        """Make the columns long enough for numbers below `size`."""
        short = size - len(self.at)
        if short > 0:
            short = max(short, len(self.at))
            self.at = np.append(self.at, np.full(short, NEVER, np.int64))
            self.value = np.append(self.value, np.zeros(short))
            self.quality = np.append(self.quality, np.zeros(short, np.uint8))
            self.origin = np.append(self.origin, np.empty(short, object))
            self.count = np.append(self.count, np.zeros(short, np.int64))

    def put(
        self,
        number: NDArray[np.int32],
        at: NDArray[np.int64],
        value: NDArray[np.float64],
        quality: NDArray[np.uint8],
        origin: NDArray[np.object_],
    ) -> None:
        """Take in one row a point; a row as old as the one that is there takes its place."""
        newer = at >= self.at[number]
        number = number[newer]
        self.at[number], self.value[number] = at[newer], value[newer]
        self.quality[number], self.origin[number] = quality[newer], origin[newer]

    def seen(self) -> dict[str, int]:
        """Meter or vehicle -> the newest time of any of its points [us since 1970]."""
        newest: dict[str, int] = {}
        for point, at in zip(self.points, self.at[: len(self.points)].tolist(), strict=True):
            if at > newest.get(point.meter, NEVER):
                newest[point.meter] = at
        return newest

    def readings(self, numbers: NDArray[np.int64]) -> dict[Point, Reading]:
        """The newest reading of each point that has one."""
        columns = (self.at[numbers], self.value[numbers], self.quality[numbers], self.origin[numbers])
        return {
            (point := self.points[number]): reading_of(point, at, value, quality, origin.received_at, origin.source)
            for number, at, value, quality, origin in zip(
                numbers.tolist(), *(column.tolist() for column in columns), strict=True
            )
        }
