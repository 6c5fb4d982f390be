"""When a message was measured: the formats devices use, exactly, and without guessing units."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from devices.decoded import Rejected
from devices.payload.profile import NUMBER_TIMES, TEXT_TIMES, TimeRule
from metering.clock import MINUTE_US, SECOND_US, to_us

AHEAD_US = 10 * MINUTE_US  # how far a device's clock may run ahead of ours
EARLIEST_US = to_us(datetime(2000, 1, 1, tzinfo=UTC))
_PER_UNIT = {"unix_s": 1_000_000, "unix_ms": 1000, "unix_us": 1}
_CHINA = timezone(timedelta(hours=8))
_GBT_KEYS = ("Year", "Month", "Day", "Hour", "Minute", "Second")

_WHOLE_SECONDS = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)?", re.ASCII)
_SECONDS = {f"{second:02}": second * SECOND_US for second in range(60)}
_MAX_MINUTES = 256

TimeOf = Callable[[Any, int], int]


def time_reader(rule: TimeRule, zone: str, ahead_us: int = AHEAD_US) -> TimeOf:
    """(raw time, received_at [us]) -> observed_at [us since 1970].

    A time after `received_at + ahead_us` or before 2000 is rejected; a unit mistaken by 1000 lands
    there, and the detail says so.

    Raises
    ------
    Rejected
        (from the function returned) reason "time".
    """
    text = next((f for f in rule.formats if f in TEXT_TIMES), "")
    number = next((f for f in rule.formats if f in NUMBER_TIMES), "")
    per_unit = _PER_UNIT.get(number, 1)
    site_zone = ZoneInfo(zone)
    from_iso = datetime.fromisoformat
    minutes: dict[str, int] = {}  # text without its seconds -> start of that minute: most texts differ in seconds only

    def read(raw: Any, received_at: int) -> int:
        kind = type(raw)
        try:
            if kind is str and text:
                minute = minutes.get(raw[:17] + raw[19:])
                if minute is not None and (second := _SECONDS.get(raw[17:19])) is not None:
                    us = minute + second
                    if EARLIEST_US <= us <= received_at + ahead_us:
                        return us
                instant, certain = from_iso(raw), True
                if instant.tzinfo is None:
                    if text != "local":
                        raise Rejected(
                            "time", f'"{raw}" has no offset; if it is the site\'s local time: format = "local"'
                        )
                    instant, certain = _nearest(instant, site_zone, received_at)
                us = round(instant.timestamp() * 1e6)
                if certain and _WHOLE_SECONDS.fullmatch(raw):
                    if len(minutes) >= _MAX_MINUTES:
                        minutes.clear()
                    minutes[raw[:17] + raw[19:]] = us - _SECONDS[raw[17:19]]
            elif kind is int and number:
                us = raw * per_unit
            elif kind is float and number:
                us = round(raw * per_unit)
            elif kind is str and number:
                us = _from_digits(raw, per_unit)
            elif kind is dict and "gbt32960" in rule.formats:
                us = _from_gbt(raw)
            else:
                raise Rejected("time", f"{_brief(raw)} is not of the form {' or '.join(rule.formats)}")
        except (ValueError, OverflowError) as error:
            raise Rejected("time", f"{_brief(raw)} is no time: {error}") from None
        if us > received_at + ahead_us or us < EARLIEST_US:
            raise Rejected("time", _implausible(raw, us, received_at, ahead_us))
        return us

    return read


def _nearest(local: datetime, zone: ZoneInfo, received_at: int) -> tuple[datetime, bool]:
    """A local time with its zone, and whether it has but one meaning.

    In the hour that clocks go back it has two: the one nearer to arrival is taken.
    """
    first, second = local.replace(tzinfo=zone, fold=0), local.replace(tzinfo=zone, fold=1)
    if first.utcoffset() == second.utcoffset():
        return first, True
    return min(first, second, key=lambda meaning: abs(meaning.timestamp() * 1e6 - received_at)), False


def _from_digits(raw: str, per_unit: int) -> int:
    if len(raw) > 32 or not raw.replace(".", "", 1).isdecimal():
        raise ValueError("not digits")
    return round(float(raw) * per_unit) if "." in raw else int(raw) * per_unit


def _from_gbt(raw: dict[str, Any]) -> int:
    """GB/T 32960.3: year since 2000, month, day, hour, minute, second, GMT+8."""
    parts = [raw.get(key) for key in _GBT_KEYS]
    if not all(type(part) is int for part in parts):
        raise ValueError(f"needs whole numbers {', '.join(_GBT_KEYS)}")
    year, month, day, hour, minute, second = (int(part) for part in parts if part is not None)
    return to_us(datetime(2000 + year, month, day, hour, minute, second, tzinfo=_CHINA))


def _implausible(raw: Any, us: int, received_at: int, ahead_us: int) -> str:
    for factor, words in ((1000, "a unit 1000 times larger"), (1_000_000, "a unit 1000000 times larger")):
        if abs(us // factor - received_at) < 400 * 86_400 * SECOND_US:
            return f"{_brief(raw)} is far in the future; it fits {words.replace('larger', 'smaller')}: mend format"
        if abs(us * factor - received_at) < 400 * 86_400 * SECOND_US:
            return f"{_brief(raw)} is before 2000; it fits {words}: mend format"
    if us < EARLIEST_US:
        return f"{_brief(raw)} is before 2000; the device's clock is not set"
    ahead = (us - received_at) / SECOND_US
    return f"{_brief(raw)} is {ahead:.0f} s ahead of us; more than {ahead_us // SECOND_US} s is refused"


def _brief(raw: Any) -> str:
    return repr(raw)[:60]
