"""Reading long series in bounded bites, and rolling gauges up on local edges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from api.facts import Stretch, applied, stretches
from api.periods import Period, edges, zone_of
from metering.clock import DAY_US, HOUR_US, MINUTE_US, QUARTER_US, SECOND_US
from metering.reading import Point, Series
from metering.site import Device
from storage.store import Rollup, Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

BITE_ROWS = 20_000  # about so many rows are read at once
STEP_US = {"1min": MINUTE_US, "15min": QUARTER_US}
Aggregate = Literal["1min", "15min", "hour", "day"]


def bites(store: Store, point: Point, start: int, end: int) -> Iterator[Series]:
    """The samples of [start, end) in bounded pieces, in time order, empty ones left out.

    The span of a piece follows the density of the data, so that one never holds much more than `BITE_ROWS`.
    """
    span, at = HOUR_US, start
    while at < end:
        until = min(at + span, end)
        series = store.series(point, at, until)
        if len(series):
            yield series
        at = until
        if len(series) < BITE_ROWS // 4:
            span = min(span * 4, 40_000 * DAY_US)
        elif len(series) > BITE_ROWS * 2:
            span = max(span // 4, SECOND_US)


def with_facts(device: Device, series: Series) -> Series:
    """The series as the dated facts have it."""
    return replace(series, value=applied(device, series))


def rolled_up(
    store: Store, device: Device, point: Point, period: Period, aggregate: Aggregate, tz: str, facts: bool
) -> Rollup:
    """Minimum, mean and maximum of a gauge in UTC minutes or quarters, or in hours or days of a zone.

    A step without a reading is absent. Where a dated fact begins inside a step, both sides count with their own.
    """
    if aggregate == "hour" or aggregate == "day":
        cuts: NDArray[np.int64] | None = edges(aggregate, period, zone_of(tz))
        step = _grid(cuts)
    else:
        cuts, step = None, STEP_US[aggregate]
    parts = []
    plain = Stretch(period.start, period.end, 1.0, 0.0, ())
    for piece in stretches(device, point.quantity, *period) if facts else [plain]:
        rollup = store.rollup(point, piece.start, piece.end, step)
        if (piece.factor, piece.offset) != (1.0, 0.0):
            low, mean, high = (
                values * piece.factor + piece.offset for values in (rollup.lowest, rollup.mean, rollup.highest)
            )
            rollup = replace(rollup, lowest=np.minimum(low, high), mean=mean, highest=np.maximum(low, high))
        parts.append(rollup)
    return _merged(point, parts, cuts)


def _grid(cuts: NDArray[np.int64] | None) -> int:
    """The coarsest of quarter, minute, second on which all inner edges lie."""
    if cuts is None or len(cuts) < 3:
        return QUARTER_US
    return next(step for step in (QUARTER_US, MINUTE_US, SECOND_US) if not np.any(cuts[1:-1] % step))


def _merged(point: Point, parts: list[Rollup], cuts: NDArray[np.int64] | None) -> Rollup:
    start, lowest, mean, highest, count = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("start", "lowest", "mean", "highest", "count")
    )
    if cuts is not None:
        start = cuts[np.clip(np.searchsorted(cuts, start, "right") - 1, 0, len(cuts) - 2)]
    if not len(start):
        return Rollup(point, start, lowest, mean, highest, count)
    first = np.flatnonzero(np.append(True, start[1:] != start[:-1]))
    if len(first) == len(start):
        return Rollup(point, start, lowest, mean, highest, count)
    total = np.add.reduceat(count, first)
    return Rollup(
        point,
        start[first],
        np.minimum.reduceat(lowest, first),
        np.add.reduceat(mean * count, first) / total,
        np.maximum.reduceat(highest, first),
        total,
    )
