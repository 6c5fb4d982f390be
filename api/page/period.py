"""The period a page shows, and everything else that its address says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal
from urllib.parse import urlencode

from api.page.times import day_said, month_said, weekday
from api.page.wording import Words
from api.periods import Period, midnight, zone_of

PERIODS = ("day", "week", "month", "year", "custom")
COMPARES = ("before", "year", "expected", "none")
LONGEST_DAYS = 3 * 366
KEPT = ("site", "period", "date", "until", "compare", "lang", "theme")  # what links carry on
EARLIEST, LATEST = date(1971, 1, 1), date(2200, 1, 1)
Compare = Literal["before", "year", "expected", "none"]


def _day_of(text: str | None) -> date | None:
    try:
        day = date.fromisoformat(text or "")
    except ValueError:
        return None
    return day if EARLIEST <= day <= LATEST else None


def _add_months(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, 1)


@dataclass(frozen=True, slots=True)
class Span:
    """Local days [first, after) and the instants [start, end) they cover [us since 1970]."""

    first: date
    after: date
    start: int
    end: int

    @property
    def period(self) -> Period:
        """The same as the API has it."""
        return Period(self.start, self.end)

    @property
    def days(self) -> int:
        """How many local days."""
        return (self.after - self.first).days


@dataclass(frozen=True)
class Filters:
    """What the address says: period, first day, last day (custom only), comparison, language, theme.

    Wrong values are read as not given: an old or mistyped link still opens a page.
    """

    period: str
    anchor: date
    until: date
    compare: Compare
    today: date
    zone: str
    language: str
    given: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, query: Mapping[str, str], today: date, zone: str, language: str) -> Filters:
        """The filters of an address."""
        period = query.get("period", "day")
        period = period if period in PERIODS else "day"
        anchor = _day_of(query.get("date")) or today
        until = _day_of(query.get("until")) or anchor
        until = min(max(until, anchor), anchor + timedelta(days=LONGEST_DAYS))
        compare = query.get("compare", "before")
        kept = {
            key: query[key] for key in ("site", "period", "date", "until", "compare", "lang", "theme") if query.get(key)
        }
        return cls(period, anchor, until, compare if compare in COMPARES else "before", today, zone, language, kept)  # type: ignore[arg-type]

    def link(self, path: str, **changes: str | None) -> str:
        """A path with the address's filters kept, some changed, None taken out."""
        query = {**self.given, **changes}
        if query.get("period") not in (None, "custom"):
            query["until"] = None
        text = urlencode({key: value for key, value in query.items() if value})
        return f"{path}?{text}" if text else path

    def day_link(self, path: str, day: date) -> str:
        """A path at one day."""
        return self.link(path, period="day", date=day.isoformat())

    def _first_after(self) -> tuple[date, date]:
        day = self.anchor
        if self.period == "week":
            first = day - timedelta(days=day.weekday())
            return first, first + timedelta(days=7)
        if self.period == "month":
            return day.replace(day=1), _add_months(day, 1)
        if self.period == "year":
            return date(day.year, 1, 1), date(day.year + 1, 1, 1)
        if self.period == "custom":
            return day, self.until + timedelta(days=1)
        return day, day + timedelta(days=1)

    def _span(self, first: date, after: date) -> Span:
        zone = zone_of(self.zone)
        return Span(first, after, midnight(first, zone), midnight(after, zone))

    @property
    def span(self) -> Span:
        """The days shown."""
        return self._span(*self._first_after())

    @property
    def compared(self) -> Span | None:
        """The days compared with; like with like: weekdays against the same weekdays."""
        first, after = self._first_after()
        if self.compare in ("none", "expected"):
            return None
        if self.period == "month":
            months = -1 if self.compare == "before" else -12
            return self._span(_add_months(first, months), _add_months(first, months + 1))
        if self.period == "year":
            return self._span(date(first.year - 1, 1, 1), first)
        weeks = 52 if self.compare == "year" else -(-(after - first).days // 7)
        back = timedelta(weeks=weeks)
        return self._span(first - back, after - back)

    @property
    def is_now(self) -> bool:
        """Whether today is among the days shown."""
        first, after = self._first_after()
        return first <= self.today < after

    @property
    def is_future(self) -> bool:
        """Whether nothing shown has happened yet."""
        return self.today < self._first_after()[0]

    def stepped(self, direction: int) -> date:
        """The first day of the period before (-1) or after (+1)."""
        first, after = self._first_after()
        if direction > 0:
            return after
        if self.period == "month":
            return _add_months(first, -1)
        if self.period == "year":
            return date(first.year - 1, 1, 1)
        return first - (after - first)

    def step_link(self, path: str, direction: int) -> str:
        """The same page one period on."""
        first = self.stepped(direction)
        until = first + (self.until - self.anchor) if self.period == "custom" else None
        return self.link(path, date=first.isoformat(), until=until.isoformat() if until else None)

    def label(self, words: Words) -> str:
        """The period in words: "Today", "Tue 24 Nov", "This week", "November 2026"."""
        first, after = self._first_after()
        last = after - timedelta(days=1)
        if self.period == "day":
            if first == self.today:
                return words("period.today")
            if first == self.today - timedelta(days=1):
                return words("period.yesterday")
            return day_said(first, self.language, year=first.year != self.today.year)
        if self.is_now and self.period in ("week", "month", "year"):
            return words(f"period.this_{self.period}")
        if self.period == "month":
            return month_said(first, self.language)
        if self.period == "year":
            return f"{first.year}年" if self.language == "zh" else str(first.year)
        year = last.year != self.today.year
        dash = "至" if self.language == "zh" else " – "
        ends = day_said(first, self.language, named=False), day_said(last, self.language, named=False, year=year)
        return dash.join(ends)

    def label_within(self, words: Words) -> str:
        """The same inside a sentence: "today", "this week", "on Tue 24 Nov"."""
        label = self.label(words)
        if self.language == "zh":
            return label
        if self.is_now or label == words("period.yesterday"):
            return label[:1].lower() + label[1:]
        if self.period == "day":
            return f"on {label}"
        return f"in {label}" if self.period in ("month", "year") else f"from {label}".replace(" – ", " to ")

    def compared_label(self, words: Words) -> str:
        """What is compared with, in words: "last Tuesday", "last week", "the same Tuesday a year ago"."""
        span = self.compared
        if span is None:
            return ""
        if self.period == "day":
            name = weekday(span.first, self.language)
            if self.compare == "year":
                return words("compared.day_year", day=name)
            key = "compared.day_last" if self.is_now else "compared.day_before"
            return words(key, day=name)
        if self.period == "year" or self.compare == "year":
            return words("compared.year")
        if self.period == "custom":
            return words("compared.custom")
        return words(f"compared.{self.period}")

    def compare_choice(self, compare: str, words: Words) -> str:
        """The label of a comparison in the period bar."""
        if compare == "before":
            return words(f"choice.before_{self.period}")
        return words(f"choice.{compare}")
