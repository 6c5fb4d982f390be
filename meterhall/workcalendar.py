"""The calendar of a site: official Chinese work days, a site's own dates, Monday to Friday where neither is known."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path

import chinese_calendar

from analytics.workdays import Workdays
from metering.explain import ExplainedError

FIRST_YEAR, LAST_YEAR = 2004, 2100  # what is asked of chinesecalendar; it raises where it has no data


@lru_cache(maxsize=8)
def official(country: str) -> Workdays:
    """The official work days of a country, as far as they are published. Only China's are known, others: Mon-Fri.

    chinesecalendar raises NotImplementedError for a year without data: such a year is not among `known_years`.
    """
    table: dict[date, bool] = {}
    years: set[int] = set()
    if country.upper() == "CN":
        for year in range(FIRST_YEAR, LAST_YEAR):
            day, rows = date(year, 1, 1), {}
            try:
                while day.year == year:
                    rows[day] = bool(chinese_calendar.is_workday(day))
                    day += timedelta(days=1)
            except NotImplementedError:
                if years:
                    break
                continue
            table.update(rows)
            years.add(year)
    return Workdays(table, frozenset(years))


def read_overrides(path: Path) -> dict[date, bool]:
    """A site's own dates: a TOML file with the lists `work_days` and `days_off`.

    Raises
    ------
    ExplainedError
        If the file is no TOML, or names something that is no date, or a date twice.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ExplainedError(str(path), f"cannot be read ({error})", "mend the file, or remove it") from error
    out: dict[date, bool] = {}
    for key, works in (("work_days", True), ("days_off", False)):
        rows = document.get(key, [])
        if not isinstance(rows, list):
            raise ExplainedError(f"{path}: {key}", f"is {rows!r}", f"write {key} = [2026-10-10, 2026-10-11]")
        for row in rows:
            if type(row) is not date:
                raise ExplainedError(f"{path}: {key}", f"has {row!r}", "write dates such as 2026-10-10, without quotes")
            if row in out and out[row] != works:
                raise ExplainedError(f"{path}: {key}", f"has {row}, also given the other way", "give a date once")
            out[row] = works
    return out


def site_calendar(country: str = "CN", overrides: Mapping[date, bool] | None = None) -> Workdays:
    """The work days of a site: the official ones, with its own dates before them."""
    known = official(country)
    return Workdays({**known.table, **(overrides or {})}, known.known_years) if overrides else known
