"""The one job that turns stored readings into intervals: counters of meters, then buildings and sites.

Readings that come in `touch` their point and time. `run_once` recomputes what those readings can have
changed, no more: from the last reading before them at which the curve is certain (`verdicts.settled`) to
the first such one after them. The result is byte for byte that of one computation over everything.

The store keeps quarter hours ("15min") and local days ("day"). Days of a zone whose days begin on UTC
quarters are sums of quarters; other days have their own edges on the curve.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from analytics import facts as dated
from analytics.counters import Cadence, Curve, splice
from analytics.edges import aligned, grid_edges, local_edges
from analytics.facts import END, MIRROR
from analytics.intervals import aggregate, empty, intervals
from analytics.nodes import Part, combine, node_parts
from meterhall.curves import FIRST, LAST, TOGETHER, Curves, Range
from metering.clock import DAY_US, HOUR_US, to_us
from metering.explain import Finding
from metering.quantity import QUANTITIES, Kind, Phase
from metering.reading import IntervalSeries, Measure, Point
from metering.site import Device, Installation, Meter, Vehicle
from storage.store import Store

LONG_US = 50 * 366 * DAY_US  # of a span without bounds only the days with readings are of interest
RECALL_DAYS = 7
FINDINGS_KEPT = 200  # per counter


class _Fresh(NamedTuple):
    """Quarters computed in this run."""

    start: int
    end: int
    series: IntervalSeries
    day_edges: np.ndarray  # the local days these quarters lie in
    days: IntervalSeries | None  # of a zone whose days cut quarters; else they are sums
    findings: tuple[Finding, ...]

    @property
    def whole(self) -> bool:
        """Were all quarters there can be computed?"""
        return self.start <= FIRST and self.end >= LAST

    @property
    def day_span(self) -> Range:
        return (FIRST, LAST) if self.whole else (int(self.day_edges[0]), int(self.day_edges[-1]))


def merge(ranges: Iterable[Range], gap: int = 0) -> list[Range]:
    """Ranges in order, those that overlap or lie at most `gap` apart as one."""
    out: list[Range] = []
    for start, end in sorted(ranges):
        if out and start <= out[-1][1] + gap:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def few(ranges: Sequence[Range], most: int = 8) -> list[Range]:
    """The same ranges merged over ever wider gaps until few are left: one long read is quicker than many short ones."""
    gap = HOUR_US
    out = merge(ranges, gap)
    while len(out) > most:
        gap *= 4
        out = merge(out, gap)
    return out


class Deriver:
    """Keeps the intervals in the store up to date with its readings.

    Parameters
    ----------
    installation : what is configured; a reading of an unknown device is not derived
    store : where readings are and intervals go
    rollover_of : value at which a point's counter wraps to zero [raw unit], None if not known (from its profile)
    cadence_of : expected spacing of a point's readings [us], or (valid_from, cadence) rows, or None: the
        device's own (`device_cadence`), else the median spacing of each UTC day
    tick_of : step of a point's counter [raw unit]; a step back of as much is noise
    """

    def __init__(
        self,
        installation: Installation,
        store: Store,
        *,
        rollover_of: Callable[[Point], float | None] | None = None,
        cadence_of: Callable[[Point], Cadence | None] | None = None,
        tick_of: Callable[[Point], float] | None = None,
    ) -> None:
        self.installation, self.store = installation, store
        self._curves = Curves(store, rollover_of, cadence_of, tick_of)
        self._lock, self._running = threading.Lock(), threading.Lock()
        self._touched: dict[Point, list[Range]] = {}
        self._working: dict[Point, list[Range]] = {}
        self._findings: dict[Measure, list[Finding]] = {}
        self._recalled = False
        self._since: dict[Measure, int] | None = None  # start of each measure's first interval
        self._changed: dict[Measure, list[Range]] = {}  # quarters of buildings and sites, until somebody takes them

    # What is to be done

    def touch(self, point: Point, start_us: int, end_us: int) -> None:
        """Readings of `point` observed in [start_us, end_us] have come in; both ends included. Thread-safe."""
        if not self.wants(point):
            return
        with self._lock:
            rows = self._touched.setdefault(point, [])
            if rows and rows[-1][0] <= start_us <= rows[-1][1] + HOUR_US:
                rows[-1] = (rows[-1][0], max(rows[-1][1], end_us))
            else:
                rows.append((start_us, end_us))
                if len(rows) > 16:
                    self._touched[point] = merge(rows, HOUR_US)

    @staticmethod
    def wants(point: Point) -> bool:
        """Is anything derived from this point's readings?"""
        return point.phase == Phase.TOTAL and QUANTITIES[point.quantity].kind is Kind.COUNTER

    def pending(self) -> list[tuple[str, int, int]]:
        """What is not derived yet, to be kept with the store's state: (point's text form, start, end)."""
        with self._lock:
            both = [*self._working.items(), *self._touched.items()]
        return [(str(point), start, end) for point, rows in both for start, end in merge(rows)]

    def restore(self, rows: Iterable[Sequence[str | int]]) -> None:
        """Take up what `pending` said before a restart."""
        for text, start, end in rows:
            self.touch(Point.parse(str(text)), int(start), int(end))

    def rebuild(self, start: int | None = None, end: int | None = None) -> int:
        """Recompute everything, or what lies in [start, end]; returns the interval rows written."""
        for point in self.store.points():
            self.touch(point, FIRST if start is None else start, LAST if end is None else end)
        return self.run_once(0)

    def reload(self, installation: Installation) -> None:
        """Take a changed configuration; devices whose facts or cadence differ are derived anew, as are the nodes."""
        with self._running:
            before, self.installation = self.installation, installation
            tree = [(m.id, m.parent, m.building, m.role, m.carrier) for m in installation.meters]
            moved = tree != [(m.id, m.parent, m.building, m.role, m.carrier) for m in before.meters]
            zones = {s.id: s.timezone for s in installation.sites} != {s.id: s.timezone for s in before.sites}
        if moved:
            parts = node_parts(installation, self._first_intervals().keys())
            gone = [m for m in self.store.measures() if m.scope != "meter" and m not in parts]
            for resolution in ("15min", "day") if gone else ():
                self.store.write_intervals(resolution, [empty(node) for node in gone], (FIRST, LAST))
        for point in self.store.points():
            if moved or zones or installation.by_id.get(point.meter) != before.by_id.get(point.meter):
                self.touch(point, FIRST, LAST)

    def take_changed(self) -> dict[Measure, list[Range]]:
        """Ranges in which the quarters of buildings and sites were written since this was last asked."""
        with self._lock:
            changed, self._changed = self._changed, {}
        return changed

    def findings(self) -> list[tuple[Measure, Finding]]:
        """What was decided about counters (resets, swaps, spikes...) in what this process has derived, by time."""
        rows = [(measure, finding) for measure, found in list(self._findings.items()) for finding in found]
        return sorted(rows, key=lambda row: (int(row[1].data["at"]), row[0]))

    def recall(self, now: int, days: int = RECALL_DAYS) -> None:
        """Judge the counters of the last days again, for `findings`: nothing is written. Once after a start."""
        begin = now - days * DAY_US
        recent = [
            (self._device_of(point), point)
            for point, reading in self.store.latest().items()
            if self.wants(point) and to_us(reading.observed_at) >= begin and point.meter in self.installation.by_id
        ]
        for device, series in self._curves.many(recent, begin):
            curve = self._curves.curve(device, series)
            self._keep_findings(self._measures_of(series.point)[0], begin, LAST, curve.findings)
        self._recalled = True

    # Doing it

    def run_once(self, now: int) -> int:
        """Recompute what was touched; returns the interval rows written. What fails stays pending.

        `now` [us since 1970] is not used by the arithmetic: intervals depend on readings alone. The first run
        after a start also recalls what was found of late (`recall`), if `now` is given.
        """
        with self._running:
            if now and not self._recalled:
                self.recall(now)
            with self._lock:
                self._working, self._touched = self._touched, {}
            try:
                written = self._derive(self._working)
            except BaseException:
                with self._lock:
                    for point, rows in self._working.items():
                        self._touched.setdefault(point, []).extend(rows)
                    self._working = {}
                self._since = None
                raise
            with self._lock:
                self._working = {}
            return written

    def _derive(self, touched: dict[Point, list[Range]]) -> int:
        if not touched:
            return 0
        available = {point for point in self.store.points() if point.meter in self.installation.by_id}
        jobs: dict[Measure, list[tuple[Point, Range]]] = defaultdict(list)
        for point, rows in touched.items():
            if point in available:
                for measure in self._measures_of(point):
                    jobs[measure] += [(point, span) for span in few(rows)]
        fresh: dict[Measure, list[_Fresh]] = {}
        todo = list(jobs.items())
        for some in (todo[i : i + TOGETHER] for i in range(0, len(todo), TOGETHER)):
            spans = [(self._device(measure), *row) for measure, rows in some for row in rows]
            with self._curves.reading_ahead(spans), ThreadPoolExecutor(2 if len(some) > 8 else 1) as pool:
                done = pool.map(lambda job: self._meter(job[0], job[1], available), some)
                fresh |= {measure: rows for (measure, _), rows in zip(some, done, strict=True) if rows}
        return self._write(fresh)

    def _device(self, measure: Measure) -> Device:
        return self._device_of(Point(measure.site, measure.node, measure.name))

    def _device_of(self, point: Point) -> Device:
        found = self.installation.by_id[point.meter]
        assert isinstance(found, Meter | Vehicle)
        return found

    def _measures_of(self, point: Point) -> list[Measure]:
        """The outgoing counters that a raw counter can serve."""
        device = self.installation.by_id[point.meter]
        assert isinstance(device, Meter | Vehicle)
        names = [point.quantity]
        if point.quantity in MIRROR and any(fact.kind == "sign" for fact in device.facts):
            names.append(MIRROR[point.quantity])
        return [Measure(point.site, "meter", point.meter, name, QUANTITIES[name].unit) for name in names]

    def _meter(self, measure: Measure, rows: list[tuple[Point, Range]], available: set[Point]) -> list[_Fresh]:
        """Quarters of one counter around the touched times."""
        device = self._device(measure)
        windows = [self._curves.window(device, point, *span) for point, span in rows]
        sources = dated.sources(device.facts, measure.name)
        out = []
        for start, end in merge((window.start, window.end) for window in windows):
            whole = [window for window in windows if window.valid_from <= start and end <= window.valid_to]
            if len(sources) == 1 and whole:
                window = whole[0]
                curve = self._curves.curve(device, window.series)
            else:
                curve = self._spliced(device, measure, sources, available, start, end)
            lo, hi = (int(curve.start[0]), int(curve.end[-1])) if len(curve) else (start, start)
            lo, hi = max(start, lo), min(end, hi)
            series = intervals(curve, grid_edges(lo, hi), measure) if lo < hi else empty(measure)
            if end - start > LONG_US:
                edges = self._days(device, lo, hi) if lo < hi else self._days(device, start, start)
            else:
                edges = self._days(device, start, end)
            days = None
            if not aligned(edges):  # its days have their own edges on the curve
                around = self._spliced(device, measure, sources, available, int(edges[0]), int(edges[-1]))
                days = intervals(around, edges, measure)
            kept = [f for f in curve.findings if start <= int(f.data["at"]) < end]
            out.append(_Fresh(start, end, series, edges, days, tuple(kept)))
        return out

    def _spliced(
        self,
        device: Device,
        measure: Measure,
        sources: Sequence[dated.Source],
        available: set[Point],
        start: int,
        end: int,
    ) -> Curve:
        """The curve of a counter over [start, end), from whichever raw counters serve it there."""
        parts = []
        for source in sources:
            point = Point(measure.site, measure.node, source.quantity)
            if point in available and source.start < end and start < source.end:
                window = self._curves.window(device, point, max(start, source.start, FIRST), min(end, source.end, LAST))
                parts.append((source.start, source.end, self._curves.curve(device, window.series)))
        return splice(parts)

    def _days(self, device: Device, start: int, end: int) -> np.ndarray:
        return local_edges(self.installation.timezone_of(device.id), start, end, "day")

    # Writing it

    def _write(self, fresh: dict[Measure, list[_Fresh]]) -> int:
        since = self._first_intervals()
        nodes = node_parts(self.installation, since.keys())
        groups: dict[Range, list[IntervalSeries]] = defaultdict(list)
        for measure, rows in fresh.items():
            for row in rows:
                groups[(row.start, row.end)].append(row.series)
                self._keep_findings(measure, row.start, row.end, row.findings)
        written = self._put("15min", groups)
        moved = {measure: span for measure, rows in fresh.items() if (span := self._move_first(since, measure, rows))}

        day_groups: dict[Range, list[IntervalSeries]] = defaultdict(list)
        todo: dict[Range, list[_Fresh]] = defaultdict(list)
        for row in (row for rows in fresh.values() for row in rows):
            if row.days is not None:
                day_groups[row.day_span].append(row.days)
            elif row.whole or (row.start <= row.day_edges[0] and row.day_edges[-1] <= row.end):
                day_groups[row.day_span].append(aggregate(row.series, row.day_edges))
            else:
                todo[row.day_span].append(row)
        for span, rows in todo.items():
            quarters = self.store.intervals([row.series.measure for row in rows], "15min", *span)
            day_groups[span] += [aggregate(q, row.day_edges) for q, row in zip(quarters, rows, strict=True)]
        written += self._put("day", day_groups)
        return written + self._nodes(fresh, day_groups, nodes, moved)

    def _move_first(self, since: dict[Measure, int], measure: Measure, rows: Sequence[_Fresh]) -> Range | None:
        """Bring the start of a counter's first interval up to date; what lies between the old one and the new."""
        before = after = since.get(measure)
        for row in rows:
            if len(row.series):
                after = min(int(row.series.start[0]), END if after is None else after)
            if after is not None and row.start <= after < row.end:
                first = row.series
                if not len(first):
                    (first,) = self.store.intervals([measure], "15min", row.end, LAST)
                after = int(first.start[0]) if len(first) else None
        if after is None:
            since.pop(measure, None)
        else:
            since[measure] = after
        if before is None or after is None or before == after:
            return None
        return min(before, after), max(before, after)

    def _nodes(
        self,
        fresh: dict[Measure, list[_Fresh]],
        day_groups: dict[Range, list[IntervalSeries]],
        before: dict[Measure, tuple[Part, ...]],
        moved: dict[Measure, Range],
    ) -> int:
        """Buildings and sites over the spans in which one of their meters changed, or is a part of them anew."""
        assert self._since is not None
        since = self._since
        parts = node_parts(self.installation, since.keys())
        also: dict[Measure, list[Range]] = defaultdict(list)  # of a node
        for node, now in parts.items():
            if node in before and before[node] != now:
                also[node].append((FIRST, LAST))
            also[node] += [moved[part.measure] for part in now if part.measure in moved]
        for node in before.keys() - parts.keys():
            for resolution in ("15min", "day"):
                self.store.write_intervals(resolution, [empty(node)], (FIRST, LAST))
        also_days = {node: [self._day_span(node.node, span) for span in spans] for node, spans in also.items() if spans}
        quarters = {m: [(row.start, row.end, row.series) for row in rows] for m, rows in fresh.items()}
        days: dict[Measure, list[tuple[int, int, IntervalSeries]]] = defaultdict(list)
        for (start, end), rows in day_groups.items():
            for series in rows:
                days[series.measure].append((start, end, series))
        written = self._sum_nodes("15min", parts, quarters, since, also)
        return written + self._sum_nodes("day", parts, days, since, also_days)

    def _day_span(self, node: str, span: Range) -> Range:
        if span[1] - span[0] > LONG_US:
            return span
        edges = local_edges(self.installation.timezone_of(node), *span)
        return int(edges[0]), int(edges[-1])

    def _sum_nodes(
        self,
        resolution: str,
        nodes: dict[Measure, tuple[Part, ...]],
        known: dict[Measure, list[tuple[int, int, IntervalSeries]]],
        since: dict[Measure, int],
        also: dict[Measure, list[Range]],
    ) -> int:
        wanted: dict[Range, list[Measure]] = defaultdict(list)
        for node, parts in nodes.items():
            spans = [row[:2] for part in parts for row in known.get(part.measure, ())]
            for span in merge([*spans, *also.get(node, ())]):
                wanted[span].append(node)
        groups: dict[Range, list[IntervalSeries]] = {}
        for span, found in wanted.items():
            needed = {part.measure for node in found for part in nodes[node]}
            have: dict[Measure, IntervalSeries] = {}
            for measure in needed:
                for start, end, series in known.get(measure, ()):
                    if start <= span[0] and span[1] <= end:
                        have[measure] = _cut(series, *span)
            missing = sorted(needed - have.keys())
            if missing:
                have.update((s.measure, s) for s in self.store.intervals(missing, resolution, *span))
            groups[span] = [
                combine(node, [(have[part.measure], part.sign) for part in nodes[node]], since) for node in found
            ]
        if resolution == "15min":
            with self._lock:
                for span, found in wanted.items():
                    for node in found:
                        self._changed[node] = few([*self._changed.get(node, ()), span])
        return self._put(resolution, groups)

    def _put(self, resolution: str, groups: dict[Range, list[IntervalSeries]]) -> int:
        for span, series in groups.items():
            for lo in range(0, len(series), 64):
                self.store.write_intervals(resolution, series[lo : lo + 64], span)
        return sum(len(series) for rows in groups.values() for series in rows)

    def _first_intervals(self) -> dict[Measure, int]:
        """Start of each counter's first quarter; read from the store once."""
        if self._since is None:
            measures = [m for m in self.store.measures() if m.scope == "meter" and m.node in self.installation.by_id]
            self._since = {}
            for days in self.store.intervals(measures, "day", FIRST, LAST) if measures else ():
                if len(days):
                    begin, end = int(days.start[0]) - DAY_US, int(days.end[0]) + DAY_US
                    (first,) = self.store.intervals([days.measure], "15min", max(begin, FIRST), end)
                    self._since[days.measure] = int(first.start[0]) if len(first) else int(days.start[0])
        return self._since

    def _keep_findings(self, measure: Measure, start: int, end: int, found: Iterable[Finding]) -> None:
        """Replace what was found in [start, end)."""
        kept = [f for f in self._findings.get(measure, ()) if not start <= int(f.data["at"]) < end]
        kept += [f for f in found if start <= int(f.data["at"]) < end]
        kept.sort(key=lambda finding: int(finding.data["at"]))
        self._findings[measure] = kept[-FINDINGS_KEPT:]


def _cut(series: IntervalSeries, start: int, end: int) -> IntervalSeries:
    lo, hi = np.searchsorted(series.start, [start, end])
    if lo == 0 and hi == len(series):
        return series
    if lo >= hi:
        return empty(series.measure)
    return IntervalSeries(
        series.measure,
        series.start[lo:hi],
        series.end[lo:hi],
        series.amount[lo:hi],
        series.coverage[lo:hi],
        series.estimated[lo:hi],
        series.quality[lo:hi],
    )
