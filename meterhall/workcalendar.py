"""The calendar of a site: official work days, a site's own dates, Monday to Friday where neither is known."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from functools import lru_cache

import chinese_calendar

from analytics.daykinds import Official, SiteCalendar
from analytics.workdays import Workdays
from devices.calendars import is_known_country
from devices.settings import Settings
from metering.site import Name

FIRST_YEAR, LAST_YEAR = 2004, 2100  # what is asked of chinesecalendar; it raises where it has no data
LAST_LAWFUL = 2045  # what is asked of `holidays`: it works holidays out from the law as it is now
ESTIMATED = "estimated"  # says `holidays` of a day that is fixed by an observation: such a year is provisional


@lru_cache(maxsize=16)
def official(country: str) -> Official:
    """The official days of a country, by its ISO 3166 code, with a subdivision if wanted ("DE-BY").

    China's, with make-up work days, come from chinesecalendar, which raises NotImplementedError for a year that is not
    decreed; other countries' from `holidays`. A year without data, or with estimated days, is not among `known_years`.
    A country that neither knows has Monday to Friday, provisional throughout.
    """
    if country.upper() == "CN":
        return _chinese()
    return _lawful(*country.upper().partition("-")[::2]) if is_known_country(country.upper()) else Official()


def _chinese() -> Official:
    table: dict[date, bool] = {}
    names: dict[date, Name] = {}
    years: set[int] = set()
    said = {each.value: Name(each.value, each.chinese) for each in chinese_calendar.Holiday}
    for year in range(FIRST_YEAR, LAST_YEAR):
        rows: dict[date, bool] = {}
        try:
            for day in _days(year):
                off, name = chinese_calendar.get_holiday_detail(day)
                rows[day] = not off
                if name in said:
                    names[day] = said[name]
        except NotImplementedError:
            if years:
                break
            continue
        table.update(rows)
        years.add(year)
    return Official(Workdays(table, frozenset(years)), {day: name for day, name in names.items() if day in table})


def _lawful(country: str, part: str) -> Official:
    import holidays

    years = range(FIRST_YEAR, LAST_LAWFUL)
    language = "en_US" if "en_US" in holidays.country_holidays(country).supported_languages else None
    found = holidays.country_holidays(country, subdiv=part or None, years=years, language=language)
    names = {day: Name(name) for day, name in found.items() if day.year in years}
    guessed = {day.year for day, name in names.items() if ESTIMATED in name.en}
    weekend = frozenset(found.weekend)
    table = {day: found.is_working_day(day) for year in years for day in _days(year)}
    usual = {day: works for day, works in table.items() if works != (day.weekday() < 5)}
    known = frozenset(years) - guessed
    return Official(Workdays(usual, known), names, weekend)


def _days(year: int) -> list[date]:
    first = date(year, 1, 1)
    return [first + timedelta(days=n) for n in range((date(year + 1, 1, 1) - first).days)]


def site_calendars(settings: Settings) -> Mapping[str, SiteCalendar]:
    """The calendar of each site, by its id."""
    return {
        site.id: SiteCalendar(site.id, official(site.country), settings.timetable)
        for site in settings.installation.sites
    }
