"""Which days are worked: official make-up work days where they are known, Monday to Friday where not; school terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import chinese_calendar
import numpy as np
from numpy.typing import NDArray

# School terms as (month, day) spans, both included; the winter break follows the lunar new year only roughly.
TERMS = (((2, 20), (7, 5)), ((9, 1), (12, 31)), ((1, 1), (1, 20)))


@dataclass(frozen=True)
class Workdays:
    """The calendar of a row of local days.

    Attributes
    ----------
    work, school : bool (d,), offices open; lessons held
    provisional : bool (d,), no official data for that year: Monday to Friday is assumed
    weekday : int64 (d,), 0 is Monday
    day_of_year : float64 (d,)
    """

    work: NDArray[np.bool_]
    school: NDArray[np.bool_]
    provisional: NDArray[np.bool_]
    weekday: NDArray[np.int64]
    day_of_year: NDArray[np.float64]


def is_workday(day: date, country: str) -> tuple[bool, bool]:
    """(worked, provisional) of a day; the official calendar is known for China, for years already decreed."""
    if country == "CN":
        try:
            return bool(chinese_calendar.is_workday(day)), False
        except NotImplementedError:
            pass
    return day.weekday() < 5, True


def workdays(days: Sequence[date], country: str) -> Workdays:
    """The calendar of these local days."""
    rows = [is_workday(day, country) for day in days]
    work = np.array([worked for worked, _ in rows], dtype=bool)
    term = np.array([any(first <= (day.month, day.day) <= last for first, last in TERMS) for day in days], dtype=bool)
    return Workdays(
        work=work,
        school=work & term,
        provisional=np.array([provisional for _, provisional in rows], dtype=bool),
        weekday=np.array([day.weekday() for day in days], dtype=np.int64),
        day_of_year=np.array([day.timetuple().tm_yday for day in days], dtype=np.float64),
    )
