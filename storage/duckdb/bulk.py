"""The samples of many points at once: one read of the table instead of a few for each point."""
# ruff: noqa: S608  (the parts put together are names and expressions of ours; values are parameters)

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from metering.clock import DAY_US
from metering.reading import Point, Series
from storage.duckdb.queries import plain

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

NEAR_US = 2 * DAY_US  # how far back the sample before the span is looked for

# The readings of the points in `asked` in [$1, $2).
_HOT = """SELECT h.point, h.observed_at, h.value, h.quality FROM hot h SEMI JOIN asked a ON h.point = a.point
    WHERE h.observed_at >= $1 AND h.observed_at < $2"""
_SEALED = """SELECT s.point, s.observed_at, s.value, s.quality
    FROM sealed_reading s SEMI JOIN asked a ON s.point = a.point
    WHERE s.ends > $1 AND s.starts < $2 AND s.observed_at >= $1 AND s.observed_at < $2"""
_WITHIN = f"SELECT * FROM ({_HOT} UNION ALL {_SEALED}) ORDER BY point, observed_at"
_BEFORE = f"""SELECT point, max(observed_at) AS observed_at, arg_max(value, observed_at) AS value,
    arg_max(quality, observed_at) AS quality FROM ({_HOT} UNION ALL {_SEALED}) GROUP BY point ORDER BY point"""


def many_series(
    con: duckdb.DuckDBPyConnection, points: list[Point], numbers: NDArray[np.int32], start: int, end: int
) -> tuple[list[Series], NDArray[np.bool_]]:
    """Samples of each point in [start, end), with the last one before `start` where it is near.

    Returns
    -------
    series : one a point
    alone : bool (n,), of which points no sample before `start` is near: there may be an older one
    """
    con.register("asked", pa.table({"point": numbers}))
    con.begin()  # so that both parts see the same rows
    try:
        before = con.execute(_BEFORE, [start - NEAR_US, start]).fetchnumpy()
        within = con.execute(_WITHIN, [start, end]).fetchnumpy()
    finally:
        con.rollback()
        con.unregister("asked")
    point, at = plain(within["point"]), plain(within["observed_at"])
    value, quality = plain(within["value"]), plain(within["quality"])
    earlier = plain(before["point"])
    slot = np.searchsorted(earlier, numbers)
    near = slot < len(earlier)
    near[near] = earlier[slot[near]] == numbers[near]
    low, high = np.searchsorted(point, numbers), np.searchsorted(point, numbers, side="right")
    b_at, b_value, b_quality = (plain(before[name]) for name in ("observed_at", "value", "quality"))
    found: list[Series] = []
    for i, point_of in enumerate(points):
        a, b = int(low[i]), int(high[i])
        columns = at[a:b], value[a:b], quality[a:b]
        if near[i]:
            k = int(slot[i])
            firsts = (b_at[k : k + 1], b_value[k : k + 1], b_quality[k : k + 1])
            columns = tuple(np.concatenate(pair) for pair in zip(firsts, columns, strict=True))
        found.append(Series(point_of, *columns))
    return found, ~near
