"""What a building runs under, hour by hour: local clock, kind of day, outdoor temperature and its memory."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from analytics.workdays import EPOCH_DAY, Workdays
from metering.clock import HOUR_US

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
MARGIN_DAYS = 20  # days either side whose kind (work or off) a day's features look at
NEAR_DAYS = 15  # a long break is felt this far
LONG_BREAK = 4  # days off in a row
BRIDGE_HOURS = 6  # a gap in the temperature this long is bridged by a straight line
DAY_FEATURES = (
    "weekday", "work", "out_of_turn", "day_of_year", "winter", "spring", "temperature", "hottest", "temperature_72h",
    "day_before_off", "day_after_off", "length_of_break", "from_long_break", "from_new_year", "half_year_on",
)  # fmt: skip


class Hours(NamedTuple):
    """Hours on the local clock.

    start : int64 (n,) [hours since 1970, UTC]; day : int64 (n,), local days since 1970; hour : int64 (n,) 0..23
    """

    start: I64
    day: I64
    hour: I64


class Conditions(NamedTuple):
    """Hours and the days they lie in.

    Attributes
    ----------
    hours : the n hours
    temperature, mean_24h, mean_72h : float64 (n,), outdoor, of the hour and the hours up to it [degC]
    measured : bool (n,), the temperature was measured or bridged; elsewhere it is the climate of that season
    days : int64 (d,), the local days in order; place : int64 (n,), index of each hour's day
    works : bool (d,); kind : int64 (d,), 0..6 Monday to Sunday, a holiday as Sunday, a make-up day as Friday
    features : float64 (d, DAY_FEATURES)
    """

    hours: Hours
    temperature: F64
    mean_24h: F64
    mean_72h: F64
    measured: NDArray[np.bool_]
    days: I64
    place: I64
    works: NDArray[np.bool_]
    kind: I64
    features: F64


@lru_cache(maxsize=64)
def zone_of(name: str) -> tzinfo:
    """The zone of an IANA name, or of a fixed offset such as `+08:00` or `UTC+8`.

    Raises
    ------
    ValueError
        If there is no such zone.
    """
    fixed = re.fullmatch(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d{2}))?", name)
    if fixed:
        minutes = int(fixed[2]) * 60 + int(fixed[3] or 0)
        return timezone(timedelta(minutes=minutes if fixed[1] == "+" else -minutes))
    try:
        return UTC if name in ("UTC", "Z") else ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone; give an IANA name such as Asia/Shanghai, or an offset") from error


@lru_cache(maxsize=200_000)
def _offset(zone: str, hour: int) -> int:
    offset = datetime.fromtimestamp(hour * 3600, zone_of(zone)).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


@lru_cache(maxsize=20_000)
def _offsets(zone: str, utc_day: int) -> tuple[int, int]:
    return _offset(zone, utc_day * 24), _offset(zone, utc_day * 24 + 23)


def local_clock(zone: str, start: int) -> tuple[int, int]:
    """(local day since 1970, clock hour) of an hour since 1970."""
    first, last = _offsets(zone, start // 24)
    offset = first if first == last else _offset(zone, start)
    return divmod((start * 3600 + offset) // 3600, 24)


def local_hours(zone: str, start: I64) -> Hours:
    """The local day and clock hour of each hour.

    start : int64 (n,) [hours since 1970, UTC]
    """
    utc_day, place = np.unique(start // 24, return_inverse=True)
    ends = np.array([_offsets(zone, day) for day in utc_day.tolist()], np.int64).reshape(-1, 2)
    first, last = ends[:, 0], ends[:, 1]
    offset = first[place]
    for i in np.flatnonzero((first != last)[place]).tolist():
        offset[i] = _offset(zone, int(start[i]))
    local = (start * 3600 + offset) // 3600
    return Hours(start, local // 24, local % 24)


def hour_numbers(time: NDArray[Any]) -> I64:
    """Hours since 1970 of instants; int64 (n,).

    time : (n,) datetime64 of any unit, or int64 [us since 1970]
    """
    array = np.asarray(time)
    if array.dtype.kind == "M":
        array = array.astype("datetime64[us]").astype(np.int64)
    return np.asarray(array, np.int64) // HOUR_US


def conditions(
    zone: str, start: I64, temperature: F64 | None = None, calendar: Workdays | None = None, climate: F64 | None = None
) -> Conditions:
    """The conditions of hours.

    Parameters
    ----------
    start : int64 (n,), strictly increasing [hours since 1970, UTC]
    temperature : float64 (n,), NaN where not measured [degC]
    climate : float64 (12, 24), the usual temperature of a month and clock hour, where none was measured [degC]
    """
    hours = local_hours(zone, start)
    days, place = np.unique(hours.day, return_inverse=True)
    air, measured = _filled(hours, temperature, climate)
    mean_24h, mean_72h = _trailing(start, air, 24), _trailing(start, air, 72)
    calendar = calendar or Workdays()
    works, kind, features = _days(days, place, air, mean_72h, calendar)
    return Conditions(hours, air, mean_24h, mean_72h, measured, days, place.astype(np.int64), works, kind, features)


def climate_of(hours: Hours, temperature: F64 | None) -> F64:
    """The mean temperature of each month and clock hour; float64 (12, 24) [degC], 0 where never measured."""
    out = np.zeros((12, 24))
    if temperature is None or not np.isfinite(temperature).any():
        return out
    known = np.isfinite(temperature)
    cell = (months(hours.day)[known] % 12) * 24 + hours.hour[known]
    count = np.bincount(cell, minlength=288)
    total = np.bincount(cell, temperature[known], 288)
    mean = float(temperature[known].mean())
    return np.asarray((total + mean) / (count + 1), np.float64).reshape(12, 24)


def months(days: I64) -> I64:
    """Months since 1970 of local days since 1970; int64 (n,)."""
    return days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _filled(hours: Hours, temperature: F64 | None, climate: F64 | None) -> tuple[F64, NDArray[np.bool_]]:
    usual = np.zeros((12, 24)) if climate is None else climate
    air = usual[months(hours.day) % 12, hours.hour]
    if temperature is None:
        return air, np.zeros(len(air), np.bool_)
    known = np.isfinite(temperature) & (np.abs(np.nan_to_num(temperature)) < 70.0)
    if not known.any():
        return air, known
    where = np.flatnonzero(known)
    after = np.minimum(np.searchsorted(where, np.arange(len(air))), len(where) - 1)
    before = np.maximum(after - 1, 0)
    near = hours.start[where[after]] - hours.start[where[before]] <= BRIDGE_HOURS + 1
    near &= (hours.start >= hours.start[where[before]]) & (hours.start <= hours.start[where[after]])
    line = np.interp(hours.start, hours.start[where], temperature[where])
    return np.where(known | near, line, air), known | near


def _trailing(start: I64, value: F64, length: int) -> F64:
    """The mean of the hours up to and with each one, over `length` hours; float64 (n,)."""
    if not len(start):
        return value.copy()
    grid = np.interp(np.arange(start[0] - length, start[-1] + 1), start, value)
    grid[:length] = value[:24].mean()
    total = np.concatenate([[0.0], np.cumsum(grid)])
    at = start - start[0] + length
    return np.asarray((total[at + 1] - total[at + 1 - length]) / length, np.float64)


def _days(
    days: I64, place: NDArray[np.intp], air: F64, mean_72h: F64, calendar: Workdays
) -> tuple[NDArray[np.bool_], I64, F64]:
    if not len(days):
        return np.zeros(0, np.bool_), np.zeros(0, np.int64), np.zeros((0, len(DAY_FEATURES)))
    span = np.arange(days[0] - MARGIN_DAYS, days[-1] + MARGIN_DAYS + 1)
    working = _works(calendar, int(span[0]), len(span))
    at = days - span[0]
    weekday = (span + 3) % 7
    turned = working != (weekday < 5)
    kind = np.where(turned, np.where(working, 4, 6), weekday)
    length, near = _breaks(working)
    year = span.astype("datetime64[D]").astype("datetime64[Y]")
    of_year = (span.astype("datetime64[D]") - year).astype(np.int64).astype(np.float64)
    left = ((year + 1).astype("datetime64[D]") - span.astype("datetime64[D]")).astype(np.int64)
    new_year = np.minimum(np.minimum(of_year, left), NEAR_DAYS)
    new_year = np.where(of_year < 100, new_year, -new_year)
    count = np.maximum(np.bincount(place, minlength=len(days)), 1)
    mean = np.bincount(place, air, len(days)) / count
    memory = np.bincount(place, mean_72h, len(days)) / count
    hottest = np.full(len(days), -np.inf)
    np.maximum.at(hottest, place, air)
    angle = 2 * np.pi * of_year / 365.25
    columns = [
        weekday[at], working[at], turned[at], of_year[at], np.cos(angle)[at], np.sin(angle)[at], mean, hottest, memory,
        ~working[at - 1], ~working[at + 1], length[at], near[at], new_year[at], ((of_year + 183) % 366)[at],
    ]  # fmt: skip
    return working[at], kind[at], np.stack([np.asarray(c, np.float64) for c in columns], 1)


def _works(calendar: Workdays, first: int, count: int) -> NDArray[np.bool_]:
    working = (np.arange(first, first + count) + 3) % 7 < 5
    start = EPOCH_DAY + timedelta(days=first)
    last = start + timedelta(days=count)
    for day, works in calendar.table.items():
        if start <= day < last:
            working[(day - start).days] = works
    return working


def _breaks(working: NDArray[np.bool_]) -> tuple[F64, F64]:
    """(length of the run of days off that a day lies in, days from the nearest long one, signed); float64 (d,) each."""
    length = np.zeros(len(working))
    near = np.full(len(working), float(NEAR_DAYS))
    edges = np.flatnonzero(np.diff(np.concatenate([[True], working, [True]]).astype(np.int8)))
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        length[begin:end] = end - begin
        if end - begin >= LONG_BREAK:
            lo, hi = max(begin - NEAR_DAYS, 0), min(end + NEAR_DAYS, len(working))
            away = np.concatenate([np.arange(lo - begin, 0), np.zeros(end - begin), np.arange(1, hi - end + 1)])
            near[lo:hi] = np.where(np.abs(away) < np.abs(near[lo:hi]), away, near[lo:hi])
    return length, near


def day_of(number: int) -> date:
    """The date of a local day since 1970."""
    return EPOCH_DAY + timedelta(days=int(number))
