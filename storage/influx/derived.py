"""Intervals on the server: written over and over on a shared grid; one that no longer holds is marked void.

Which measures have how many is kept in the local file, since asking the server would read everything.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from metering.reading import IntervalSeries, Measure
from storage.influx import reading
from storage.influx.client import Client
from storage.influx.line_protocol import (
    FIRST_US,
    LAST_US,
    interval_line,
    interval_measurement,
    measure_tags,
    series_key,
)
from storage.influx.local import Local

MOST_LINES = 5000  # in one request
UNSURE = -1  # intervals of a measure: count them anew

_TAGS = ("site", "scope", "node", "name", "unit")


class Derived:
    """The intervals of a server."""

    def __init__(self, client: Client, local: Local) -> None:
        self._client, self._local = client, local
        self._lock = threading.Lock()
        self._known: dict[tuple[Measure, str], tuple[int, int, int]] = {}  # n, first start, last start
        self._load()

    def _load(self) -> None:
        rows = self._local.rows("SELECT site, scope, node, name, unit, resolution, n, first, last FROM measure")
        with self._lock:
            self._known = {(Measure(*row[:5]), row[5]): row[6:] for row in rows}  # type: ignore[misc]

    def adopt(self) -> None:
        """Take in what the server has."""
        found: dict[tuple[Measure, str], tuple[int, int, int]] = {}
        by = ", ".join(f'"{tag}"' for tag in _TAGS)
        during = f"time >= {FIRST_US * 1000} AND time < {(LAST_US + 1) * 1000}"
        for resolution in ("15min", "day"):
            table = interval_measurement(resolution)
            where = f'FROM "{table}" WHERE "void" = 0 AND {during} GROUP BY {by}'
            for piece in self._client.query(f'SELECT count("amount") {where}'):
                measure = Measure(*(piece.tags[tag] for tag in _TAGS))
                if piece.values[0][1]:
                    found[measure, resolution] = (piece.values[0][1], FIRST_US, LAST_US)
            for selector, place in (("first", 1), ("last", 2)):
                for piece in self._client.query(f'SELECT {selector}("amount") {where}'):
                    key = Measure(*(piece.tags[tag] for tag in _TAGS)), resolution
                    if key in found:
                        row = list(found[key])
                        row[place] = piece.values[0][0] // 1000
                        found[key] = (row[0], row[1], row[2])
        if found:
            self._note(found)

    def replace(self, resolution: str, series: Sequence[IntervalSeries], span: tuple[int, int]) -> None:
        """Replace, for each measure given, the intervals that start in [span).

        Raises
        ------
        ValueError
            If an interval starts outside the span, a measure is given twice, or there is no such resolution.
        """
        table = interval_measurement(resolution)
        start, end = span
        for item in series:
            if len(item) and not (start <= item.start[0] and item.start[-1] < end):
                raise ValueError(f"intervals of {item.measure} start outside the span [{start}, {end})")
        if len({item.measure for item in series}) != len(series):
            raise ValueError("a measure is given twice; join its intervals into one series")
        have = self._existing(resolution, [item.measure for item in series], span)
        lines: list[str] = []
        before: dict[tuple[Measure, str], tuple[int, int, int]] = {}
        after: dict[tuple[Measure, str], tuple[int, int, int]] = {}
        for item in series:
            key = series_key(table, measure_tags(item.measure))
            old = have[item.measure]
            gone = ~np.isin(old.start, item.start)
            lines += _lines(key, item, np.ones(len(item), bool), void=False)
            lines += _lines(key, old, gone, void=True)
            n, first, last = self._counted(item.measure, resolution)
            if len(item):
                first, last = min(first, int(item.start[0])), max(last, int(item.start[-1]))
            if gone.any() or len(item) != len(old):
                before[item.measure, resolution] = (UNSURE, first, last)
                after[item.measure, resolution] = (n - len(old) + len(item), first, last)
        self._note(before)
        for i in range(0, len(lines), MOST_LINES):
            self._client.write("\n".join(lines[i : i + MOST_LINES]).encode())
        self._note(after)

    def _existing(
        self, resolution: str, measures: Sequence[Measure], span: tuple[int, int]
    ) -> dict[Measure, IntervalSeries]:
        """What measures have in a span; only what may be there is asked for."""
        spans = []
        for measure in measures:
            _, first, last = self._counted(measure, resolution)
            spans.append((max(span[0], first), min(span[1], last + 1)))
        return reading.intervals(self._client, measures, resolution, spans)

    def _counted(self, measure: Measure, resolution: str) -> tuple[int, int, int]:
        """Number, first and last start of a measure's intervals."""
        with self._lock:
            n, first, last = self._known.get((measure, resolution), (0, LAST_US, FIRST_US))
        if n == UNSURE:
            (found,) = reading.intervals(self._client, [measure], resolution, [(first, last + 1)]).values()
            n = len(found)
            self._note({(measure, resolution): (n, first, last)})
        return n, first, last

    def _note(self, known: dict[tuple[Measure, str], tuple[int, int, int]]) -> None:
        if not known:
            return
        with self._local.transaction() as con:
            con.executemany(
                "INSERT OR REPLACE INTO measure VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(*measure, resolution, *row) for (measure, resolution), row in known.items()],
            )
        with self._lock:
            self._known |= known

    def fetch(self, measures: Sequence[Measure], resolution: str, start: int, end: int) -> list[IntervalSeries]:
        """The intervals of each measure that start in [start, end), in the order asked."""
        interval_measurement(resolution)
        distinct = list(dict.fromkeys(measures))
        found = self._existing(resolution, distinct, (start, end))
        return [found[measure] for measure in measures]

    def measures(self) -> list[Measure]:
        """Every measure that has intervals, in any resolution."""
        with self._lock:
            known = list(self._known)
        return list(dict.fromkeys(key[0] for key in known if self._counted(*key)[0]))


def _lines(key: str, series: IntervalSeries, which: np.ndarray, *, void: bool) -> list[str]:
    columns = (series.start, series.end, series.amount, series.coverage, series.estimated, series.quality)
    return [
        interval_line(key, *row, void=void) for row in zip(*(column[which].tolist() for column in columns), strict=True)
    ]
