"""What an installation says of its days: own dates, terms, opening hours, heating seasons. Spans hold both ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from metering.site import Name


@dataclass(frozen=True, slots=True)
class OwnDays:
    """Days that are worked, or off, whatever the official calendar says; `site` "" holds for all sites."""

    first: date
    last: date
    works: bool
    reason: str = ""
    site: str = ""


@dataclass(frozen=True, slots=True)
class Term:
    """A school term, a session: what a building (or a whole site) is open for."""

    place: str  # id of a site or building
    first: date
    last: date
    name: Name


@dataclass(frozen=True, slots=True)
class Opening:
    """Opening hours of a building from a date on: on these weekdays (0 is Monday), local time; else it is closed.

    A building without any is open by `Building.opens` and `closes` on work days.
    """

    building: str
    since: date
    weekdays: frozenset[int]
    opens: str
    closes: str


@dataclass(frozen=True, slots=True)
class HeatingSeason:
    """The days on which a site is heated, as decreed or as run; `source` says by whom."""

    site: str
    first: date
    last: date
    source: str


@dataclass(frozen=True, slots=True)
class Timetable:
    """Everything of calendar.toml.

    complete_years : years whose official days stand in the file; they are not provisional
    """

    own: tuple[OwnDays, ...] = ()
    terms: tuple[Term, ...] = ()
    openings: tuple[Opening, ...] = ()
    heating: tuple[HeatingSeason, ...] = ()
    complete_years: frozenset[int] = frozenset()

    def own_days(self, site: str) -> Mapping[date, OwnDays]:
        """A site's own dates; what names the site wins over what holds for all."""
        out: dict[date, OwnDays] = {}
        for row in sorted(self.own, key=lambda row: row.site != ""):
            if row.site in ("", site):
                out |= {row.first + timedelta(days=n): row for n in range((row.last - row.first).days + 1)}
        return out
