"""Periods as people mean them: instants with offset, local days, half-open ranges."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from analytics.edges import day_start, grid_edges, local_edges, next_date
from analytics.edges import local_date as date_at
from api.errors import Refused
from metering.clock import QUARTER_US, from_us, to_us

if TYPE_CHECKING:
    from numpy.typing import NDArray

Resolution = Literal["15min", "hour", "day", "month", "year", "total"]
EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)


class Period(NamedTuple):
    """[start, end) [us since 1970]."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """[us]"""
        return self.end - self.start


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """The zone of an IANA name.

    Raises
    ------
    Refused
        If there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Refused("tz", f"is {name[:64]!r}", "give an IANA time zone, such as Asia/Shanghai or UTC") from None


def instant(text: str, zone: ZoneInfo, where: str) -> int:
    """The instant of an ISO 8601 text [us since 1970]: with an offset, or a date (midnight in `zone`).

    A blank before the offset is taken for the plus sign that a URL turned into it.

    Raises
    ------
    Refused
        If it is neither, or outside 1971 to 2200.
    """
    mend = "give ISO 8601 with an offset, such as 2026-11-24T08:00:00+08:00, or a date"
    tidy = text.strip()
    if len(tidy) > 6 and tidy[-6] == " ":
        tidy = f"{tidy[:-6]}+{tidy[-5:]}"
    try:
        if len(tidy) == 10:
            at = datetime.combine(date.fromisoformat(tidy), datetime.min.time(), zone)
        else:
            at = datetime.fromisoformat(tidy)
    except ValueError:
        raise Refused(where, f"is {text[:64]!r}", mend) from None
    if at.tzinfo is None:
        raise Refused(where, f"is {text[:64]!r}, without an offset", mend)
    try:
        us = to_us(at)
    except OverflowError:
        us = -1
    if not to_us(EARLIEST) <= us <= to_us(LATEST):
        raise Refused(where, f"is {text[:64]!r}", "give a time between 1971 and 2200")
    return us


def period_of(start: str | None, end: str | None, zone: ZoneInfo, now: int, default: timedelta) -> Period:
    """The half-open period asked for; without `end` until now, without `start` the `default` before `end`.

    Raises
    ------
    Refused
        If a text is no instant, or `end` is not after `start`.
    """
    until = now if end is None else instant(end, zone, "end")
    since = until - default // timedelta(microseconds=1) if start is None else instant(start, zone, "start")
    if until <= since:
        raise Refused("end", "is not after start", "give a half-open range: start <= t < end")
    return Period(since, until)


def iso(us: int, zone: ZoneInfo) -> str:
    """ISO 8601 with the zone's offset."""
    return from_us(us).astimezone(zone).isoformat()


def iso_column(at: NDArray[np.int64], zone: ZoneInfo) -> list[str]:
    """ISO 8601 with microseconds and offset of many instants in time order; fast where the offset does not change."""
    if not len(at):
        return []
    first, last = from_us(at[0]).astimezone(zone), from_us(at[-1]).astimezone(zone)
    offset = first.utcoffset() or timedelta()
    if offset != last.utcoffset() or last - first > timedelta(days=20) or offset.microseconds or offset.seconds % 60:
        return [from_us(us).astimezone(zone).isoformat(timespec="microseconds") for us in at.tolist()]
    suffix = first.isoformat()[-6:]
    local = (at + offset // timedelta(microseconds=1)).view("datetime64[us]")
    return [text + suffix for text in np.datetime_as_string(local).tolist()]


def midnight(day: date, zone: ZoneInfo) -> int:
    """Where a local day begins [us since 1970]."""
    return day_start(zone.key, day)


def local_date(us: int, zone: ZoneInfo) -> date:
    """The local day that an instant belongs to."""
    return date_at(zone.key, us)


def day_of(us: int, zone: ZoneInfo) -> Period:
    """The local day around an instant; 23 to 25 hours long."""
    day = local_date(us, zone)
    return Period(midnight(day, zone), midnight(day + timedelta(days=1), zone))


def week_of(us: int, zone: ZoneInfo) -> Period:
    """The local week around an instant, from Monday."""
    day = local_date(us, zone)
    monday = day - timedelta(days=day.weekday())
    return Period(midnight(monday, zone), midnight(monday + timedelta(days=7), zone))


def month_of(us: int, zone: ZoneInfo) -> Period:
    """The local month around an instant."""
    first = local_date(us, zone).replace(day=1)
    return Period(midnight(first, zone), midnight(next_date(first, "month"), zone))


def year_of(us: int, zone: ZoneInfo) -> Period:
    """The local year around an instant."""
    first = local_date(us, zone).replace(month=1, day=1)
    return Period(midnight(first, zone), midnight(next_date(first, "year"), zone))


def shifted(us: int, zone: ZoneInfo, days: int) -> int:
    """The same wall clock time so many local days later (or earlier)."""
    local = from_us(us).astimezone(zone)
    return to_us(datetime.combine(local.date() + timedelta(days=days), local.time(), zone).replace(fold=local.fold))


def quarter_before(us: int) -> int:
    """The last UTC quarter hour at or before an instant."""
    return us - us % QUARTER_US


def edges(resolution: Resolution, period: Period, zone: ZoneInfo) -> NDArray[np.int64]:
    """int64 (m + 1,), strictly increasing: the period cut at local hours, days, months or years [us since 1970].

    First and last are the period's own. Quarter hours are UTC quarter hours.
    """
    start, end = period
    if resolution == "total":
        return np.array([start, end], np.int64)
    found = grid_edges(start, end) if resolution == "15min" else local_edges(zone.key, start, end, resolution)
    within = found[(found > start) & (found < end)]
    return np.concatenate([[start], within, [end]]).astype(np.int64)
