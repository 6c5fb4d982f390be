"""Tells those who query the store what readings and intervals do not say: see `docs/influx-schema.md`.

Run by the background jobs beside a store that takes notes. Names and states each quarter hour, collector and what
needs somebody each minute, dates when they change, profiles of the days whose intervals changed.
"""

from __future__ import annotations

import math
import platform
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta

import numpy as np

from analytics.edges import day_start, local_date, local_edges
from analytics.profiles import profiles
from analytics.workdays import Workdays
from api.disk import disk_of
from api.periods import Period
from api.services import Services
from api.states import device_figures, vehicle_states
from meterhall import noting
from meterhall.derive import LONG_US, merge
from meterhall.node import Node
from metering.clock import DAY_US, MINUTE_US, QUARTER_US
from metering.reading import IntervalSeries, Measure
from metering.site import Meter
from storage.influx.line_protocol import carrier_of, printable
from storage.notes import Note, NoteStore

AGAIN_DAYS = 7  # of profiles at a start: what was derived just before a stop may not have been told
EPOCH_DAY = date(1970, 1, 1)
AT_ONCE, LONG_AT_ONCE = 240, 4  # measures whose intervals are read together: of days, of years
Range = tuple[int, int]


class Telling:
    """What is told to a store that takes notes."""

    def __init__(self, node: Node, services: Services, calendar_of: Callable[[str], Workdays]) -> None:
        assert isinstance(node.store, NoteStore)
        self._node, self._services, self._calendar_of = node, services, calendar_of
        self._notes: NoteStore = node.store
        self._own = printable(platform.node())
        self._told_states, self._told_day, self._told_collector, self._told_profiles = 0, 0, 0, 0
        self._todo: dict[Measure, list[Range]] | None = None

    def run(self, now: int) -> None:
        """Tell what is due.

        Raises
        ------
        StoreUnavailable
            If the server is away: what is due is told the next time.
        """
        if now - self._told_collector >= MINUTE_US:
            self._collector(now)
            self._told_collector = now
        if now // DAY_US != self._told_day:
            self._dates(now)
            self._told_day = now // DAY_US
        if now // QUARTER_US != self._told_states:
            self._notes.note_exactly("states", list(self._states(now)))
            self._told_states = now // QUARTER_US
        self._profiles(now)

    def _dates(self, now: int) -> None:
        installation = self._services.installation
        self._notes.note_exactly("facts", list(noting.dated_facts(installation)))
        self._notes.note_exactly("calendar", list(noting.calendar(installation, self._calendar_of, now)))

    def _states(self, now: int) -> Iterator[Note]:
        installation, services = self._services.installation, self._services
        meters = [device for device in installation.devices() if isinstance(device, Meter)]
        yield from noting.devices(installation, device_figures(services, meters), now)
        states = []
        for site in installation.sites:
            own = [vehicle for vehicle in installation.vehicles if vehicle.site == site.id]
            if own:
                today = Period(day_start(site.timezone, local_date(site.timezone, now)), now)
                states += vehicle_states(services, own, today)
        yield from noting.vehicles(states, now)
        yield from noting.places(installation, states, now)
        yield from noting.thresholds(self._node.settings.thresholds, now)

    def _collector(self, now: int) -> None:
        node, services = self._node, self._services
        waiting = node.ledger.events(open_only=True)
        self._notes.note_exactly("needs", list(noting.needs(waiting)))
        disk = disk_of(node.settings.data, node.store.statistics())
        more = {
            "spool_limit": node.settings.limits.spool_bytes,
            "disk_free": disk.free_bytes,
            "disk_total": disk.total_bytes,
            "needs": len(waiting),
        }
        seen = services.collector
        if seen is not None:
            rows = noting.collector(self._own, seen.books(), seen.lines(), seen.spool(), more, now)
            self._notes.note(list(rows))

    # Profiles

    def _profiles(self, now: int) -> None:
        """Those of the days whose quarters changed, each quarter hour: live readings change all of today's."""
        changed = self._node.deriver.take_changed()
        if self._todo is None:
            self._todo = {}
            for measure in self._node.store.measures():
                if measure.scope != "meter":
                    changed.setdefault(measure, []).append((now - AGAIN_DAYS * DAY_US, now))
        for measure, ranges in changed.items():
            self._todo[measure] = merge([*self._todo.get(measure, ()), *ranges], DAY_US)
        if now // QUARTER_US == self._told_profiles:
            return
        for span, measures in self._spans().items():
            few = LONG_AT_ONCE if span[1] - span[0] > LONG_US else AT_ONCE
            for lo in range(0, len(measures), few):
                self._notes.note(list(self._profiles_in(measures[lo : lo + few], span)))
        self._todo = {}  # only now: what could not be told is told the next time
        self._told_profiles = now // QUARTER_US

    def _spans(self) -> dict[Range, list[Measure]]:
        """What is to be told, by the local days it lies in."""
        assert self._todo is not None
        installation, out = self._services.installation, defaultdict[Range, list[Measure]](list)
        for measure, ranges in self._todo.items():
            if measure.node not in installation.by_id:
                continue
            zone = installation.timezone_of(measure.node)
            for start, end in ranges:
                span = start, end
                if end - start <= LONG_US:
                    edges = local_edges(zone, start, end)
                    span = int(edges[0]), int(edges[-1])
                out[span].append(measure)
        return out

    def _profiles_in(self, measures: Sequence[Measure], span: Range) -> Iterator[Note]:
        installation = self._services.installation
        for series in self._node.store.intervals(measures, "15min", *span):
            if len(series):
                yield from _profile_notes(series, installation.timezone_of(series.measure.node))


def _profile_notes(series: IntervalSeries, zone: str) -> Iterator[Note]:
    measure, found = series.measure, profiles(series, zone)
    tags = (
        ("site", measure.site),
        ("scope", measure.scope),
        ("node", measure.node),
        ("name", measure.name),
        ("carrier", carrier_of(measure)),
        ("unit", measure.unit),
    )
    for i, day in enumerate(found.day.tolist()):
        fields = {f"h{hour:02d}": float(found.rate[i, hour]) for hour in np.flatnonzero(np.isfinite(found.rate[i]))}
        for name, column in (("base", found.base), ("peak", found.peak), ("mean", found.mean)):
            if math.isfinite(column[i]):
                fields[name] = float(column[i])
        if fields:
            yield Note("profile_day", tags, day_start(zone, EPOCH_DAY + timedelta(days=day)), fields)
