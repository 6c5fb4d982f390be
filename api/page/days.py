"""The calendar of a site: a year at a glance, what is out of turn and who says so."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from analytics.daykinds import Day
from api.page.times import day_said, local, month_said
from api.page.view import Clause, View

FIRST_YEAR, LAST_YEAR = 1990, 2150
NOTABLE = ("holiday", "make_up", "closed")


def year_page(view: View, wanted: str) -> dict[str, Any]:
    """What `calendar.html` shows."""
    words, this_year = view.words, local(view.now, view.zone).year
    year = int(wanted) if wanted.isdecimal() and FIRST_YEAR <= int(wanted) <= LAST_YEAR else this_year
    if view.site is None:
        return {"sentence": [Clause(words("empty.buildings"))], "months": [], "year": year, "rows": [], "more": []}
    calendar = view.services.calendar_of(view.site.id)
    first = date(year, 1, 1)
    days = [calendar.day(first + timedelta(days=n)) for n in range((date(year + 1, 1, 1) - first).days)]
    today = local(view.now, view.zone).date()
    return {
        "year": year,
        "sentence": [Clause(sentence(view, year, days) + words("stop"))],
        "steps": [(each, view.link("/calendar", year=str(each))) for each in (year - 1, year + 1)],
        "weekdays": [words(f"weekday_letter.{n}") for n in range(7)],
        "months": [month(view, days, number, today) for number in range(1, 13)],
        "rows": [row(view, day) for day in days if out_of_turn(day)],
        "more": spans(view, year),
    }


def sentence(view: View, year: int, days: list[Day]) -> str:
    """ "2026 has 249 work days; 6 of them are made up at a weekend"."""
    work, made_up = sum(day.works for day in days), sum(day.kind == "make_up" for day in days)
    key = "calendar.provisional" if any(day.provisional for day in days) else "calendar.sentence"
    return view.words(key, year=year, work=work, made_up=made_up)


def out_of_turn(day: Day) -> bool:
    """Is it other than its weekday says?"""
    return day.kind in NOTABLE and not (day.kind == "holiday" and day.date.weekday() > 4)


def month(view: View, days: list[Day], number: int, today: date) -> dict[str, Any]:
    """One month, as weeks of seven cells."""
    mine = [day for day in days if day.date.month == number]
    cells: list[dict[str, Any] | None] = [None] * mine[0].date.weekday()
    for day in mine:
        notable = out_of_turn(day)
        cells.append({
            "number": day.date.day,
            "kind": day.kind if notable or not day.works else "work",
            "mark": view.words("calendar.mark_work" if day.works else "calendar.mark_off") if notable else "",
            "said": said(view, day),
            "heating": bool(day.heating),
            "today": day.date == today,
        })  # fmt: skip
    cells += [None] * (-len(cells) % 7)
    name = month_said(mine[0].date, view.language)
    return {"name": name, "weeks": [cells[i : i + 7] for i in range(0, len(cells), 7)]}


def said(view: View, day: Day) -> str:
    """A day's kind, with its name."""
    kind = view.words(f"day_kind.{day.kind}")
    name = day.name.in_language(view.language)
    return f"{kind}{view.words('colon')}{name}" if name else kind


def row(view: View, day: Day) -> tuple[str, str, str]:
    """A day out of turn: when, what, who says so."""
    return (
        day_said(day.date, view.language, year=True), said(view, day), view.words(f"day_source.{day.source}")
    )  # fmt: skip


def spans(view: View, year: int) -> list[tuple[str, str]]:
    """Terms and heating seasons that touch the year."""
    assert view.site is not None
    timetable = view.services.calendar_of(view.site.id).timetable
    by_id, out = view.services.installation.by_id, []

    def between(first: date, last: date) -> str:
        return view.words(
            "fit.from_to", start=day_said(first, view.language, year=True, named=False),
            end=day_said(last, view.language, year=True, named=False),
        )  # fmt: skip

    for season in timetable.heating:
        if season.site == view.site.id and season.first.year <= year <= season.last.year:
            text = f"{between(season.first, season.last)}{view.words('calendar.says', source=season.source)}"
            out.append((view.words("calendar.heating"), text))
    for term in timetable.terms:
        thing = by_id.get(term.place)
        here = thing is not None and (thing.id == view.site.id or getattr(thing, "site", "") == view.site.id)
        if here and term.first.year <= year <= term.last.year:
            name = term.name.in_language(view.language)
            out.append((f"{view.name(thing)}{view.words('colon')}{name}", between(term.first, term.last)))  # type: ignore[arg-type]
    return out
