"""What a day is at a site, and why: official calendar, the site's own dates, term, heating season, opening hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Literal, NamedTuple

from analytics.workdays import Workdays
from metering.site import Building, Name
from metering.timetable import OwnDays, Timetable

DayKind = Literal["work", "make_up", "weekend", "holiday", "closed"]
DaySource = Literal["official", "site", "weekday"]


class Day(NamedTuple):
    """One day.

    kind : work; make_up: worked on a weekend; weekend; holiday; closed: off by the site's own calendar
    source : who says so: the official calendar, the site's own, or only the weekday
    provisional : no official data of that year; name : of the holiday, or the site's reason
    term : the term it lies in, of the building or the site; heating : whether it is heated, None where nothing is said
    opens, closes : local times, "" where closed
    """

    date: date
    kind: DayKind
    works: bool
    source: DaySource
    provisional: bool
    name: Name
    term: Name | None
    heating: bool | None
    opens: str
    closes: str


@dataclass(frozen=True)
class Official:
    """The official days of a country; weekend : weekdays off, 0 is Monday."""

    workdays: Workdays = field(default_factory=Workdays)
    names: Mapping[date, Name] = field(default_factory=dict)
    weekend: frozenset[int] = frozenset({5, 6})


@dataclass(frozen=True)
class SiteCalendar:
    """The calendar of a site."""

    site: str
    official: Official = field(default_factory=Official)
    timetable: Timetable = field(default_factory=Timetable)

    @cached_property
    def own(self) -> Mapping[date, OwnDays]:
        """The site's own dates."""
        return self.timetable.own_days(self.site)

    @cached_property
    def workdays(self) -> Workdays:
        """Work days, with the site's own dates before the official ones."""
        known = self.official.workdays
        own = {day: row.works for day, row in self.own.items()}
        years = known.known_years | self.timetable.complete_years
        return Workdays({**known.table, **own}, years) if own or years != known.known_years else known

    def provisional_years(self, first: date, last: date) -> list[int]:
        """The years of [first, last] that have no official data."""
        return [y for y in range(first.year, last.year + 1) if y not in self.workdays.known_years]

    def day(self, day: date, building: Building | None = None) -> Day:
        """What a day is, at the site or at one of its buildings."""
        works, free = self.workdays.works(day), day.weekday() in self.official.weekend
        own = self.own.get(day)
        known = day.year in self.workdays.known_years
        if works:
            kind: DayKind = "make_up" if free else "work"
        elif own is not None and not free and self.official.workdays.works(day):
            kind = "closed"
        else:
            kind = "weekend" if free and day not in self.official.names else "holiday"
        source: DaySource = "site" if own is not None else "official" if known else "weekday"
        name = Name(own.reason) if own is not None else self.official.names.get(day, Name(""))
        opens, closes = self._hours(day, works, building)
        return Day(
            day, kind, works, source, own is None and not known, name, self._term(day, building), self._heating(day),
            opens, closes,
        )  # fmt: skip

    def _term(self, day: date, building: Building | None) -> Name | None:
        places = (self.site,) if building is None else (building.id, self.site)
        rows = [term for term in self.timetable.terms if term.place in places and term.first <= day <= term.last]
        return min(rows, key=lambda term: places.index(term.place)).name if rows else None

    def _heating(self, day: date) -> bool | None:
        rows = [season for season in self.timetable.heating if season.site == self.site]
        return any(season.first <= day <= season.last for season in rows) if rows else None

    def _hours(self, day: date, works: bool, building: Building | None) -> tuple[str, str]:
        if building is None:
            return "", ""
        rows = [row for row in self.timetable.openings if row.building == building.id and row.since <= day]
        if not rows:
            return (building.opens, building.closes) if works else ("", "")
        since = max(row.since for row in rows)
        own = self.own.get(day)
        for row in rows:
            if row.since == since and day.weekday() in row.weekdays and not (own is not None and not own.works):
                return row.opens, row.closes
        return "", ""
