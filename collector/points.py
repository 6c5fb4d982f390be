"""The points of one run, numbered: hot paths carry numbers, not names."""

from __future__ import annotations

import threading

from metering.reading import Point


class PointTable:
    """Points in the order they became known; only grows."""

    def __init__(self) -> None:
        self._points: list[Point] = []
        self._index: dict[Point, int] = {}
        self._frozen: tuple[Point, ...] = ()
        self._lock = threading.Lock()

    def add(self, point: Point) -> int:
        """The number of a point, a new one if it was not known."""
        number = self._index.get(point)
        if number is None:
            with self._lock:
                number = self._index.setdefault(point, len(self._points))
                if number == len(self._points):
                    self._points.append(point)
        return number

    def add_all(self, points: list[Point]) -> int:
        """Give new, consecutive numbers to points; the first one's number. For a decoder's slots."""
        with self._lock:
            first = len(self._points)
            for point in points:
                self._index.setdefault(point, len(self._points))
                self._points.append(point)
        return first

    def all(self) -> tuple[Point, ...]:
        """Every point by its number; the same object until a point is added."""
        if len(self._frozen) != len(self._points):
            self._frozen = tuple(self._points)
        return self._frozen
