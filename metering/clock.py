"""Instants: aware UTC datetimes at the surface, int64 microseconds since 1970 inside arrays."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
QUARTER_US = 15 * MINUTE_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US


def to_us(at: datetime) -> int:
    """Microseconds since 1970 of an aware datetime, exactly.

    Raises
    ------
    ValueError
        If `at` has no time zone.
    """
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no time zone; give an offset, such as {at.isoformat()}+00:00")
    return (at - EPOCH) // timedelta(microseconds=1)


def from_us(us: int) -> datetime:
    """The aware UTC datetime of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=int(us))


def now_us() -> int:
    """The wall clock [us since 1970]; for stamps only, never for intervals or time-outs."""
    return time.time_ns() // 1000
