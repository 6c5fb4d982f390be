"""What days are: the calendar of a site, day by day."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from analytics.daykinds import Day
from analytics.edges import local_date
from api import wording
from api.asking import refusals, thing_of
from api.day_schemas import CalendarOut, DayOut
from api.deps import READ, TheServices
from api.errors import Refused
from metering.site import Building, Name, Site

router = APIRouter(prefix="/api/v1", tags=["calendar"], dependencies=[READ])
MOST_DAYS = 3_700
FIRST, LAST = date(1971, 1, 1), date(2199, 12, 31)


@router.get("/calendar", responses=refusals(404))
def get_calendar(
    services: TheServices,
    site: Annotated[str | None, Query(max_length=128, description="default: the only site, or the first")] = None,
    building: Annotated[str | None, Query(max_length=128, description="with its terms and opening hours")] = None,
    start: Annotated[str | None, Query(max_length=10, description="first day; default: 1 January of this year")] = None,
    end: Annotated[str | None, Query(max_length=10, description="the day after the last; default: a year on")] = None,
) -> CalendarOut:
    """Each day of [start, end): what it is, who says so, and whether that is provisional."""
    home = thing_of(services, Building, building) if building is not None else None
    named = site or (home.site if home else None)
    if named is None:
        named = services.installation.sites[0].id if services.installation.sites else ""
    place = thing_of(services, Site, named)
    if home is not None and home.site != place.id:
        raise Refused("building", f"is none of {place.id}", "leave site out")
    first = _date(start, "start") if start else local_date(place.timezone, services.now()).replace(month=1, day=1)
    last = _date(end, "end") if end else _year_on(first)
    if not 0 < (last - first).days <= MOST_DAYS:
        raise Refused("end", f"is {(last - first).days} days after start", f"ask for 1 to {MOST_DAYS} days")
    calendar = services.calendar_of(place.id)
    days = [calendar.day(first + timedelta(days=n), home) for n in range((last - first).days)]
    return CalendarOut(
        site=place.id,
        building=home.id if home else None,
        country=place.country,
        tz=place.timezone,
        provisional_years=calendar.provisional_years(first, last - timedelta(days=1)),
        work_days=sum(day.works for day in days),
        rows=[_day(day) for day in days],
    )


def _year_on(day: date) -> date:
    return date(day.year + 1, day.month, min(day.day, 28)) if day.day > 28 else day.replace(year=day.year + 1)


def _date(text: str, where: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise Refused(where, f"is {text[:64]!r}", "write a date such as 2026-11-24") from None
    if not FIRST <= day <= LAST:
        raise Refused(where, f"is {text}", f"ask for days from {FIRST} to {LAST}")
    return day


def _day(day: Day) -> DayOut:
    def said(name: Name | None) -> object:
        return wording.name(name) if name is not None and name.en else None

    return DayOut(
        date=day.date.isoformat(),
        kind=day.kind,
        works=day.works,
        source=day.source,
        provisional=day.provisional,
        name=said(day.name),  # type: ignore[arg-type]
        term=said(day.term),  # type: ignore[arg-type]
        heating=day.heating,
        opens=day.opens or None,
        closes=day.closes or None,
    )
