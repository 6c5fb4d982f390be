"""Real series of other buildings, replayed: shifted by whole weeks, on the same clock hours.

The source is two years of hours (`data/README.md`), taken as 104 weeks from Monday 2018-01-01 on its
own local clock (Europe/London) and repeated for ever; week 0 stands at Monday 2024-01-01 of the site's
local clock, so weekday, clock hour and season agree. The archive puts zero for missing readings and
clips at ten times the mean: both are gaps here. A gas boiler at rest is a true zero and stays one.

Where London puts its clock forward an hour is missing (a gap here); where it puts it back one hour
comes twice, of which the first is kept.
"""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from simulators.grid import STEPS_PER_HOUR, Array, Grid
from simulators.meter import corners

ARCHIVE = Path(__file__).parent / "data" / "replay_hourly.csv.gz"
ARCHIVE_ZONE = ZoneInfo("Europe/London")
FIRST_HOUR = datetime(2018, 1, 1)  # a Monday, on the archive's local clock
HOURS = 104 * 7 * 24
_EPOCH_HOUR = (date(2024, 1, 1) - date(1970, 1, 1)).days * 24  # where hour 0 stands on the site's clock
CLIP_AT_MEANS = 10.0


@dataclass(frozen=True)
class Archive:
    """The archive on its own local clock.

    Attributes
    ----------
    energy : float64 (HOURS,) each, NaN where the archive has no reading [kWh in the hour]
    climate : float64 (HOURS,) each, NaN where missing [degC, %, W/m2]
    """

    energy: dict[str, Array]
    climate: dict[str, Array]


def local_hour(text: str) -> int:
    """Hours since FIRST_HOUR on the archive's clock of a UTC time `YYYY-MM-DD HH:MM:SS`."""
    at = datetime.fromisoformat(text).replace(tzinfo=UTC).astimezone(ARCHIVE_ZONE).replace(tzinfo=None)
    return int((at - FIRST_HOUR).total_seconds()) // 3600


@lru_cache(maxsize=1)
def archive() -> Archive:
    """Read the archive; zeros and clipped values of electricity are gaps."""
    with gzip.open(ARCHIVE, "rt", encoding="ascii") as file:
        rows = csv.reader(file)
        names = next(rows)[1:]
        columns = np.full((len(names), HOURS), np.nan)
        seen = np.zeros(HOURS, dtype=bool)
        for ts, *values in rows:
            hour = local_hour(ts)
            if 0 <= hour < HOURS and not seen[hour]:
                seen[hour] = True
                columns[:, hour] = [float(value) for value in values]
    series = dict(zip(names, columns, strict=True))
    energy = {name: column for name, column in series.items() if name.endswith("_kwh")}
    for name, column in energy.items():
        clipped = column >= 0.98 * CLIP_AT_MEANS * np.nanmean(column)
        column[clipped | ((column == 0) & ("gas" not in name))] = np.nan
    return Archive(energy, {name: column for name, column in series.items() if name not in energy})


def fill(hours: Array) -> Array:
    """Values for the gaps, so that a counter can count on through them: the nearest weeks' mean, else 0."""
    filled = hours.copy()
    for week in range(1, 9):
        earlier, later = np.roll(hours, 168 * week), np.roll(hours, -168 * week)
        around = np.where(np.isnan(earlier), later, np.where(np.isnan(later), earlier, (earlier + later) / 2))
        filled = np.where(np.isnan(filled), around, filled)
    return np.nan_to_num(filled)


def spread(hours: Array) -> Array:
    """Quarter hours of hours: a smooth course, each hour's sum kept exactly. float64 (n, 4), sums to `hours`.

    The course is `meter.corners`' broken line through the hour's edges and its middle.
    """
    start, middle, end = corners(np.roll(hours, 1), hours, np.roll(hours, -1))
    quarters = np.stack(
        [0.75 * start + 0.25 * middle, 0.25 * start + 0.75 * middle, 0.75 * middle + 0.25 * end, 0 * hours], axis=1
    )
    quarters /= 4
    quarters[:, 3] = hours - quarters[:, :3].sum(axis=1)
    return quarters


def source_hour(grid: Grid) -> NDArray[np.int64]:
    """int64 (n,): the archive hour that each step of the grid replays."""
    return (grid.local_hour - _EPOCH_HOUR) % HOURS


def flow(name: str, grid: Grid) -> tuple[Array, NDArray[np.bool_]]:
    """A replayed meter on the grid: mean power of each quarter [W], and whether the archive has no reading there."""
    hours = archive().energy[name]
    hour = source_hour(grid)
    quarter = np.arange(grid.n) % STEPS_PER_HOUR
    return spread(fill(hours))[hour, quarter] * 4000.0, np.isnan(hours)[hour]


def climate(name: str, grid: Grid) -> tuple[Array, NDArray[np.bool_]]:
    """A replayed weather value at the grid's edges, float64 (n + 1,), and where it is missing, bool (n + 1,)."""
    hours = archive().climate[name]
    hour = source_hour(grid)
    last = (hour[-1] + 1) % HOURS
    at = np.append(hour, last)
    share = np.append(np.arange(grid.n) % STEPS_PER_HOUR, 0) / STEPS_PER_HOUR
    missing = np.isnan(hours)
    whole = fill(hours)
    following = (at + 1) % HOURS
    return whole[at] * (1 - share) + whole[following] * share, missing[at] | missing[following] & (share > 0)
