"""Tells those who query the store what readings and intervals do not say: see `docs/influx-schema.md`.

Run by the background jobs beside a store that takes notes. Names and states each quarter hour, collector and what
needs somebody each minute, dates when they change, profiles of the days whose intervals changed.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta

import numpy as np

from analytics.edges import day_start, local_date
from analytics.profiles import profiles
from analytics.workdays import Workdays
from api.disk import disk_of
from api.periods import Period
from api.services import Services
from api.states import device_figures, vehicle_states
from meterhall import noting
from meterhall.derive import merge
from meterhall.node import Node
from metering.clock import DAY_US, MINUTE_US, QUARTER_US
from metering.reading import Measure
from metering.site import Meter
from storage.influx.line_protocol import carrier_of, printable
from storage.notes import Note, NoteStore

AGAIN_DAYS = 7  # of profiles at a start: what was derived just before a stop may not have been told
EPOCH_DAY = date(1970, 1, 1)
AT_ONCE = 32  # measures whose intervals are read together
Range = tuple[int, int]


class Telling:
    """What is told to a store that takes notes."""

    def __init__(self, node: Node, services: Services, calendars: Mapping[str, Workdays]) -> None:
        assert isinstance(node.store, NoteStore)
        self._node, self._services, self._calendars = node, services, calendars
        self._notes: NoteStore = node.store
        self._own = printable(platform.node())
        self._told_states, self._told_day, self._told_collector = 0, 0, 0
        self._todo: dict[Measure, list[Range]] | None = None

    def run(self, now: int) -> None:
        """Tell what is due.

        Raises
        ------
        StoreUnavailable
            If the server is away: what is due is told the next time.
        """
        self._profiles(now)
        if now - self._told_collector >= MINUTE_US:
            self._collector(now)
            self._told_collector = now
        if now // DAY_US != self._told_day:
            self._dates(now)
            self._told_day = now // DAY_US
        if now // QUARTER_US != self._told_states:
            self._notes.note_exactly("states", list(self._states(now)))
            self._told_states = now // QUARTER_US

    def _dates(self, now: int) -> None:
        installation = self._services.installation
        self._notes.note_exactly("facts", list(noting.dated_facts(installation)))
        self._notes.note_exactly("calendar", list(noting.calendar(installation, self._calendars, now)))

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
        changed = self._node.deriver.take_changed()
        if self._todo is None:
            self._todo = {}
            for measure in self._node.store.measures():
                if measure.scope != "meter":
                    changed.setdefault(measure, []).append((now - AGAIN_DAYS * DAY_US, now))
        for measure, ranges in changed.items():
            self._todo[measure] = merge([*self._todo.get(measure, ()), *ranges], DAY_US)
        while self._todo:
            some = list(self._todo)[:AT_ONCE]
            self._notes.note(list(self._profiles_of(some)))
            for measure in some:
                del self._todo[measure]

    def _profiles_of(self, measures: Sequence[Measure]) -> Iterator[Note]:
        assert self._todo is not None
        installation = self._services.installation
        for measure in measures:
            if measure.node not in installation.by_id:
                continue
            zone = installation.timezone_of(measure.node)
            for start, end in self._todo[measure]:
                yield from self._profiles_in(measure, zone, start, end)

    def _profiles_in(self, measure: Measure, zone: str, start: int, end: int) -> Iterator[Note]:
        (series,) = self._node.store.intervals([measure], "15min", start - 2 * DAY_US, end + 2 * DAY_US)
        if not len(series):
            return
        found = profiles(series, zone)
        tags = (
            ("site", measure.site),
            ("scope", measure.scope),
            ("node", measure.node),
            ("name", measure.name),
            ("carrier", carrier_of(measure)),
            ("unit", measure.unit),
        )
        for i, day in enumerate(found.day.tolist()):
            at = day_start(zone, EPOCH_DAY + timedelta(days=day))
            whole = start - DAY_US <= at < end + DAY_US  # days at the rim are read in part only
            fields = {f"h{hour:02d}": float(found.rate[i, hour]) for hour in np.flatnonzero(np.isfinite(found.rate[i]))}
            for name, column in (("base", found.base), ("peak", found.peak), ("mean", found.mean)):
                if math.isfinite(column[i]):
                    fields[name] = float(column[i])
            if whole and fields:
                yield Note("profile_day", tags, at, fields)
