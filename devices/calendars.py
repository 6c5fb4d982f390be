"""Reading calendar.toml: own dates, terms, opening hours, heating seasons; every mistake named."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

from devices.tables import Document, Table
from metering.explain import ExplainedError
from metering.site import Building, Installation, Name, Site
from metering.timetable import HeatingSeason, Opening, OwnDays, Term, Timetable

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TABLES = ("work_days", "days_off", "complete_years", "days", "term", "hours", "heating")
LONGEST_DAYS = 400  # of a span: what is longer is a slip of the pen


def read_timetable(folder: Path, installation: Installation, problems: list[ExplainedError]) -> Timetable:
    """The timetable of a folder's calendar.toml, empty without one. Mistakes go to `problems`."""
    path = folder / "calendar.toml"
    if not path.exists():
        return Timetable()
    document = Document(path, problems)
    document.only(TABLES)
    own = [*_dates(document, "work_days", True), *_dates(document, "days_off", False)]
    own += [row for table in document.tables("days") if (row := _own(table, installation))]
    _once(document, own)
    terms = [term for table in document.tables("term") if (term := _term(table, installation))]
    openings = [each for table in document.tables("hours") if (each := _opening(table, installation))]
    heating = [season for table in document.tables("heating") if (season := _heating(table, installation))]
    return Timetable(tuple(own), tuple(terms), tuple(openings), tuple(heating), _years(document))


def check_countries(document: Document, sites: tuple[Site, ...]) -> None:
    """Every site names a country whose calendar is known: an ISO 3166 code, with a subdivision if wanted."""
    for table in document.tables("site"):
        country = table.values.get("country")
        if isinstance(country, str) and country != "CN" and not is_known_country(country):
            table.wrong("country", f'is "{country}"', 'write an ISO 3166 code such as "CN", "DE" or "DE-BY"')


def is_known_country(code: str) -> bool:
    """Is there a calendar of that country, and subdivision?"""
    import holidays

    country, _, part = code.partition("-")
    known = holidays.list_supported_countries()
    return country in known and (not part or part in known[country])


def _dates(document: Document, key: str, works: bool) -> list[OwnDays]:
    rows = document.root.get(key, [])
    line = next((n for n, text in enumerate(document.text.splitlines(), 1) if text.split("=")[0].strip() == key), None)
    if not isinstance(rows, list):
        document.wrong(key, f"is {rows!r}", f"write {key} = [2026-10-10, 2026-10-11]", line=line)
        return []
    wrong = [row for row in rows if type(row) is not date]
    for row in wrong:
        document.wrong(key, f"has {row!r}", "write dates such as 2026-10-10, without quotes", line=line)
    return [OwnDays(row, row, works) for row in rows if row not in wrong]


def _years(document: Document) -> frozenset[int]:
    rows = document.root.get("complete_years", [])
    if not isinstance(rows, list) or not all(type(row) is int and 1990 <= row <= 2200 for row in rows):
        document.wrong("complete_years", f"is {rows!r}", "write the years: complete_years = [2027]")
        return frozenset()
    return frozenset(rows)


def _once(document: Document, own: list[OwnDays]) -> None:
    """A date is a work day or a day off, not both at one site."""
    for i, row in enumerate(own):
        for other in own[:i]:
            if (
                row.works != other.works
                and row.site == other.site
                and max(row.first, other.first) <= min(row.last, other.last)
            ):
                both = max(row.first, other.first)
                document.wrong("days", f"say both work and off of {both}", "give a date once for each site")
                return


def _own(table: Table, installation: Installation) -> OwnDays | None:
    span = _span(table, single=True)
    works, reason = table.flag("work"), table.text("reason")
    site = _place(table, "site", "", (Site,), installation)
    if not table.has("work"):
        table.wrong("work", "is missing", "say work = true for a work day, work = false for a day off")
    table.done()
    return OwnDays(*span, works, reason, site) if span else None


def _term(table: Table, installation: Installation) -> Term | None:
    span = _span(table)
    name = Name(table.text("name"), table.text("name_zh", ""))
    place = _place(table, "building", "", (Building,), installation) or _place(
        table, "site", None, (Site,), installation
    )
    table.pass_over("site")
    table.done()
    return Term(place, *span, name) if span else None


def _opening(table: Table, installation: Installation) -> Opening | None:
    building = _place(table, "building", None, (Building,), installation)
    since = _date(table, "from")
    named = table.texts("days")
    for word in named:
        if word not in WEEKDAYS:
            table.wrong("days", f'names "{word}"', f"use {', '.join(WEEKDAYS)}")
    if not named:
        table.wrong("days", "is missing", 'name the weekdays it is open: days = ["mon", "tue"]')
    opens, closes = table.clock("opens", "00:00"), table.clock("closes", "24:00")
    if opens >= closes:
        table.wrong("closes", f'is "{closes}", not after opens "{opens}"', "split hours past midnight at midnight")
    table.done()
    weekdays = frozenset(WEEKDAYS.index(word) for word in named if word in WEEKDAYS)
    return Opening(building, since, weekdays, opens, closes) if since else None


def _heating(table: Table, installation: Installation) -> HeatingSeason | None:
    span = _span(table)
    site = _place(table, "site", None, (Site,), installation)
    source = table.text("source", words="a text in quotes: who says so, and where it stands")
    table.done()
    return HeatingSeason(site, *span, source) if span else None


def _place(
    table: Table,
    key: str,
    default: str | None,
    kinds: tuple[type[Site] | type[Building], ...],
    installation: Installation,
) -> str:
    """An id of a site or building; `default` None: it must be named, unless there is one site only."""
    if default is None and key == "site" and len(installation.sites) == 1:
        default = installation.sites[0].id
    name = table.text(key, default) if default is not None else table.text(key)
    found = installation.by_id.get(name)
    if name and not isinstance(found, kinds) and installation.sites:
        known = [thing.id for thing in (installation.sites if Site in kinds else installation.buildings)]
        table.wrong(key, f'is "{name}"', f"name one of: {', '.join(known[:8]) or 'none yet'}")
    return name


def _date(table: Table, key: str) -> date | None:
    value = table.values.get(key)
    table.pass_over(key)
    if value is None:
        table.wrong(key, "is missing", f"add: {key} = 2026-09-01")
    elif not isinstance(value, date) or isinstance(value, datetime):
        table.wrong(key, f"is {value!r}", "write a date such as 2026-09-01, without quotes")
    else:
        return value
    return None


def _span(table: Table, single: bool = False) -> tuple[date, date] | None:
    """`from` and `to`, both included; a `single` day needs no `to`."""
    first = _date(table, "from")
    last = first if single and not table.has("to") else _date(table, "to")
    table.pass_over("to")
    if first is None or last is None:
        return None
    if not 0 <= (last - first).days < LONGEST_DAYS:
        table.wrong("to", f"is {last}, {(last - first).days} days after from", f"use 0 to {LONGEST_DAYS - 1} days")
        return None
    return first, last
