"""Which kind of day a date is. The calendar is data, passed in; `meterhall.workcalendar` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

EPOCH_DAY = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Workdays:
    """Work days of a place: a table of dates, and Monday to Friday where the table says nothing.

    Attributes
    ----------
    table : True for a work day (a make-up Saturday too), False for a day off
    known_years : years with official data; a date of another year is provisional
    """

    table: Mapping[date, bool] = field(default_factory=dict)
    known_years: frozenset[int] = frozenset()

    def works(self, day: date) -> bool:
        """Is it a work day?"""
        return self.table.get(day, day.weekday() < 5)

    def provisional(self, day: date) -> bool:
        """Is that only Monday to Friday, for want of official data?"""
        return day.year not in self.known_years and day not in self.table

    def out_of_turn(self, day: date) -> bool:
        """A holiday on a weekday, or a make-up work day on a weekend."""
        return self.works(day) != (day.weekday() < 5)

    def of_days(self, days: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Is it a work day, for each of days since 1970-01-01; bool (n,)."""
        known, place = np.unique(days, return_inverse=True)
        works = [self.works(EPOCH_DAY + timedelta(days=int(day))) for day in known]
        return np.array(works, np.bool_)[place]


def alike(day: date, calendar: Workdays, count: int = 4, reach_days: int = 84) -> list[date]:
    """The latest days before `day` to compare it with, newest first.

    The same weekday of the last `count` weeks, those that were worked (or not) as `day` is. A holiday on a
    weekday or a make-up work day is compared with the latest days of its own kind, whatever their weekday:
    first others out of turn, then Sundays for a holiday and any work days for a make-up day.
    """
    works = calendar.works(day)
    if not calendar.out_of_turn(day):
        weeks = [day - timedelta(weeks=k) for k in range(1, count + 1)]
        same = [other for other in weeks if calendar.works(other) == works]
        return same or weeks
    before = [day - timedelta(days=k) for k in range(1, reach_days + 1)]
    kind = [other for other in before if calendar.works(other) == works]
    own = [other for other in kind if calendar.out_of_turn(other)]
    rest = [other for other in kind if other not in own and (works or other.weekday() == 6)]
    return (own + rest)[:count]
