"""Moves everything from one store into another: readings with their origins and conflicts, intervals, state.

Oldest first, a week at a time; how far it has come is noted after each week, so that it can be stopped at any moment
and goes on there. At the end all of it is read back and compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from metering.clock import DAY_US
from metering.explain import ExplainedError
from metering.reading import Origin, Point, ReadingBatch
from storage.files import OS_FILES, write_file
from storage.store import Store

WEEK_US = 7 * DAY_US
ROWS = 20_000  # in one batch
MEASURES = 64
RESOLUTIONS = ("15min", "day")

Told = Callable[[str, int, int], None]  # what is being done, how far, of how much


@dataclass
class Report:
    """What was moved, and what differs afterwards."""

    readings: int = 0
    conflicts: int = 0
    intervals: int = 0
    compared: int = 0
    refused: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Is all of it there, value by value?"""
        return not self.refused and not self.differing

    def words(self) -> str:
        """For a person."""
        lines = [
            f"{self.readings} readings, {self.conflicts} values of conflicts and {self.intervals} intervals written; "
            f"{self.compared} readings and intervals compared."
        ]
        lines += [f"refused: {words}" for words in self.refused[:20]]
        lines += [f"differs: {words}" for words in self.differing[:20]]
        more = len(self.refused) + len(self.differing) - len(lines) + 1
        return "\n".join([*lines, *([f"and {more} more"] if more > 0 else [])])


def migrate(source: Store, target: Store, progress: Path, told: Told = lambda *_: None) -> Report:
    """Move everything; `progress` is the file that notes how far it has come, and goes when all is there.

    Raises
    ------
    ExplainedError
        If the target holds readings that no migration begun here has put there.
    StoreUnavailable
        If one of them is away: begin again later, it goes on where it was.
    """
    report = Report()
    done = _begin(target, progress)
    statistics = source.statistics()
    if statistics["rows"]:
        first, last = statistics["oldest"] // WEEK_US * WEEK_US, statistics["newest"] + 1
        weeks = range(first, last, WEEK_US)
        points = sorted(source.points())
        for number, start in enumerate(weeks):
            told("Readings", number, len(weeks))
            if done is None or start > done:
                _move_readings(source, target, points, start, start + WEEK_US, report)
                target.checkpoint()
                write_file(OS_FILES, progress, json.dumps({"readings": start}).encode())
        span = first - WEEK_US, last + WEEK_US
        _move_intervals(source, target, span, report, told)
        state = source.state()
        if state is not None:
            target.write(_batch([], {}, {}), lambda result: state)
        target.checkpoint()
        for number, start in enumerate(weeks):
            told("Comparing", number, len(weeks))
            for point in points:
                _compare_readings(source, target, point, start, start + WEEK_US, report)
        _compare_intervals(source, target, span, report)
    if report.is_whole:
        progress.unlink(missing_ok=True)
    return report


def _begin(target: Store, progress: Path) -> int | None:
    """The start of the last week that is there already."""
    if progress.exists():
        found = json.loads(progress.read_bytes()).get("readings")
        return None if found is None else int(found)
    if target.count():
        raise ExplainedError(
            "the target",
            f"holds {target.count()} readings already",
            "give an empty database or a file that is not there",
        )
    write_file(OS_FILES, progress, b"{}")
    return None


Row = tuple[Point, int, float, int, Origin]


def _move_readings(source: Store, target: Store, points: list[Point], start: int, end: int, report: Report) -> None:
    rows: list[Row] = []
    for point in points:
        series = source.series(point, start, end)
        if not len(series):
            continue
        origins = dict(source.origins(point, start, end))
        several: dict[int, list[Row]] = {}
        for c in source.conflicts(point, start, end):
            several.setdefault(c.at, []).append((point, c.at, c.value, c.quality, c.origin))
        for at, value, quality in zip(series.at.tolist(), series.value.tolist(), series.quality.tolist(), strict=True):
            rows += several.get(at) or [(point, at, value, quality, origins[at])]
        report.readings += len(series)
        report.conflicts += sum(map(len, several.values()))
        if len(rows) >= ROWS:
            _write(target, rows, report)
            rows = []
    if rows:
        _write(target, rows, report)


def _write(target: Store, rows: list[Row], report: Report) -> None:
    points = {point: i for i, point in enumerate(dict.fromkeys(row[0] for row in rows))}
    origins = {origin: i for i, origin in enumerate(dict.fromkeys(row[4] for row in rows))}
    result = target.write(_batch(rows, points, origins))
    report.refused += [f"{rows[i][0]} at {rows[i][1]} us: {reason}" for i, reason in result.refusals]


def _batch(rows: list[Row], points: dict[Point, int], origins: dict[Origin, int]) -> ReadingBatch:
    return ReadingBatch(
        tuple(points),
        np.array([points[row[0]] for row in rows], np.int32),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
        np.array([row[3] for row in rows], np.uint8),
        np.array([origins[row[4]] for row in rows], np.int32),
        tuple(origins),
    )


def _move_intervals(source: Store, target: Store, span: tuple[int, int], report: Report, told: Told) -> None:
    measures = source.measures()
    for number, lo in enumerate(range(0, len(measures), MEASURES)):
        told("Intervals", number, -(-len(measures) // MEASURES))
        for resolution in RESOLUTIONS:
            series = source.intervals(measures[lo : lo + MEASURES], resolution, *span)
            target.write_intervals(resolution, series, span)
            report.intervals += sum(map(len, series))


def _compare_readings(source: Store, target: Store, point: Point, start: int, end: int, report: Report) -> None:
    a, b = source.series(point, start, end), target.series(point, start, end)
    report.compared += len(a)
    if not all(np.array_equal(getattr(a, c), getattr(b, c)) for c in ("at", "value", "quality")):
        report.differing.append(f"{point}: {len(a)} readings in the week from {start} us, {len(b)} in the target")


def _compare_intervals(source: Store, target: Store, span: tuple[int, int], report: Report) -> None:
    measures = source.measures()
    columns = ("start", "end", "amount", "coverage", "estimated", "quality")
    for resolution in RESOLUTIONS:
        for lo in range(0, len(measures), MEASURES):
            some = measures[lo : lo + MEASURES]
            pairs = zip(*(store.intervals(some, resolution, *span) for store in (source, target)), strict=True)
            for a, b in pairs:
                report.compared += len(a)
                if not all(np.array_equal(getattr(a, c), getattr(b, c)) for c in columns):
                    report.differing.append(f"{a.measure}, {resolution}: {len(a)} intervals, {len(b)} in the target")
