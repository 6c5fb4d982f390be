"""How long the disk lasts: from what a reading takes, and how many come in a day."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from metering.clock import DAY_US, HOUR_US

ASSUMED_BYTES = 16.0  # of a reading with its intervals, where too few are there to tell
ENOUGH_ROWS = 1_000_000


class Disk(NamedTuple):
    """The disk of the data folder.

    readings_a_day : None where less than an hour is there to tell
    bytes_a_reading : on disk, with what is derived of it
    days_until_full : at that rate; None where it is not known, or nothing comes
    """

    free_bytes: int
    total_bytes: int
    store_bytes: int
    readings: int
    readings_a_day: float | None
    bytes_a_reading: float
    days_until_full: float | None
    forgotten: int  # readings that [retention] deleted since the store was made


def disk_of(folder: Path, statistics: Mapping[str, Any]) -> Disk:
    """The disk of a folder, and how long it lasts.

    Parameters
    ----------
    statistics : of the store: `rows`, `bytes`, `wal_bytes`, `bytes_used` (of the file, without what is free in it),
        `rows_last_day` (how many, over how long [us])

    Raises
    ------
    OSError
        If the folder is not there.
    """
    usage = shutil.disk_usage(folder)
    rows, size = int(statistics.get("rows", 0)), int(statistics.get("bytes", 0)) + int(statistics.get("wal_bytes", 0))
    used = int(statistics.get("bytes_used", size))
    each = used / rows if rows >= ENOUGH_ROWS else ASSUMED_BYTES
    count, span = statistics.get("rows_last_day", (0, 0))
    rate = count * DAY_US / span if span >= HOUR_US else None
    room = usage.free + max(0, size - used)
    days = room / (rate * each) if rate else None
    return Disk(usage.free, usage.total, size, rows, rate, each, days, int(statistics.get("forgotten", 0)))
