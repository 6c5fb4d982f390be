"""Everything that is read from the readings' tables. Values of a caller are parameters, never part of the text."""
# ruff: noqa: S608  (the parts put together are names and expressions of ours; values are parameters)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from metering.clock import DAY_US
from metering.reading import Origin, Point, Series
from storage.duckdb.arrivals import Seen
from storage.duckdb.newest import FIRST_US, Newest
from storage.store import Conflict, Rollup

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

# The readings of point $1 in [$2, $3).
_READINGS = """(
    SELECT observed_at, value, quality, origin FROM hot WHERE point = $1 AND observed_at >= $2 AND observed_at < $3
    UNION ALL
    SELECT observed_at, value, quality, origin FROM sealed_reading
    WHERE point = $1 AND ends > $2 AND starts < $3 AND observed_at >= $2 AND observed_at < $3
)"""
_NEAR_US = 40 * DAY_US  # where a neighbour is looked for first


def no_series(point: Point) -> Series:
    """A series without samples."""
    return Series(point, np.empty(0, np.int64), np.empty(0), np.empty(0, np.uint8))


def series(con: duckdb.DuckDBPyConnection, point: Point, number: int, start: int, end: int) -> Series:
    """Samples in [start, end)."""
    found = con.execute(
        f"SELECT observed_at, value, quality FROM {_READINGS} ORDER BY observed_at", [number, start, end]
    ).fetchnumpy()
    return Series(point, plain(found["observed_at"]), plain(found["value"]), plain(found["quality"]))


def series_with_margin(
    con: duckdb.DuckDBPyConnection, point: Point, number: int, start: int, end: int, newest: int
) -> Series:
    """Samples in [start, end), and the ones next to it on either side; `newest` is the time of the point's last."""
    end = max(start, end)
    con.begin()  # so that all three parts see the same rows
    try:
        before = _nearest(con, number, start - _NEAR_US, start, "DESC")
        if before is None:
            before = _nearest(con, number, FIRST_US, start - _NEAR_US, "DESC")
        after = None
        if newest >= end:
            after = _nearest(con, number, end, end + _NEAR_US, "ASC")
            if after is None:
                after = _nearest(con, number, end + _NEAR_US, newest + 1, "ASC")
        first, last = start if before is None else before, end if after is None else after + 1
        return series(con, point, number, first, last)
    finally:
        con.rollback()


def _nearest(con: duckdb.DuckDBPyConnection, number: int, start: int, end: int, order: str) -> int | None:
    row = con.execute(
        f"SELECT {'max' if order == 'DESC' else 'min'}(observed_at) FROM {_READINGS}", [number, start, end]
    ).fetchone()
    return row[0] if row else None


def origins(con: duckdb.DuckDBPyConnection, number: int, start: int, end: int) -> list[tuple[int, Origin]]:
    """(observed_at, origin) of the samples of a point in [start, end)."""
    rows = con.execute(
        f"""SELECT r.observed_at, o.source, o.received_at, o.profiles, o.position
            FROM {_READINGS} r JOIN origin o ON o.id = r.origin
            ORDER BY r.observed_at""",
        [number, start, end],
    ).fetchall()
    return [(at, Origin(*rest)) for at, *rest in rows]


def conflicts(
    con: duckdb.DuckDBPyConnection, points: list[Point], number: int | None, start: int, end: int
) -> list[Conflict]:
    """All values of each point and time in [start, end) that has more than one."""
    rows = con.execute(
        """SELECT c.point, c.observed_at, c.value, c.quality, o.source, o.received_at, o.profiles, o.position,
                  c.arrival = max(c.arrival) OVER (PARTITION BY c.point, c.observed_at)
           FROM conflict c JOIN origin o ON o.id = c.origin
           WHERE ($1::INTEGER IS NULL OR c.point = $1::INTEGER) AND c.observed_at >= $2 AND c.observed_at < $3
           ORDER BY c.point, c.observed_at, c.arrival""",
        [number, start, end],
    ).fetchall()
    return [Conflict(points[row[0]], row[1], row[2], row[3], Origin(*row[4:8]), served=row[8]) for row in rows]


def rollup(con: duckdb.DuckDBPyConnection, point: Point, number: int, start: int, end: int, step: int) -> Rollup:
    """Min, mean and max in steps of `step` on the grid of multiples since 1970."""
    found = con.execute(
        f"""SELECT observed_at - (observed_at % $4 + $4) % $4 AS start_at, min(value) AS lowest, avg(value) AS mean,
                   max(value) AS highest, count(*) AS n
            FROM {_READINGS} GROUP BY start_at ORDER BY start_at""",
        [number, start, end, step],
    ).fetchnumpy()
    columns = (plain(found[name]) for name in ("start_at", "lowest", "mean", "highest", "n"))
    return Rollup(point, *columns)


def look_up(
    con: duckdb.DuckDBPyConnection,
    key: NDArray[np.int64],
    point: NDArray[np.int32],
    at: NDArray[np.int64],
    *,
    kept: bool,
) -> Seen:
    """What the store has at some points and times; `key` numbers them. `kept`: the conflict table too."""
    served, kept_values = [_NONE_SERVED], _NONE_KEPT
    if len(key):
        low, high = int(at.min()), int(at.max())
        asked = pa.table({"key": key, "point": point, "observed_at": at})
        served.append(_ask(con, asked, _HOT, [low, high]))
        if kept:
            kept_values = _ask(con, asked, _KEPT, [low, high])
        # Period by period: a row group is skipped when none of the points asked for in that period is in it.
        periods = con.execute("SELECT starts, ends FROM period ORDER BY starts").fetchnumpy()
        starts, ends = plain(periods["starts"]), plain(periods["ends"])
        place = np.searchsorted(starts, at, "right") - 1
        place[place >= 0] = np.where(at < ends[place], place, -1)[place >= 0] if len(starts) else -1
        for i in np.unique(place[place >= 0]).tolist():
            served.append(_ask(con, asked.filter(pa.array(place == i)), _SEALED, [int(starts[i])]))
    columns = {name: np.concatenate([plain(part[name]) for part in served]) for name in _NONE_SERVED}
    return Seen(
        served_key=columns["key"],
        served_value=columns["value"],
        served_quality=columns["quality"],
        served_origin=columns["origin"],
        served_row=columns["row"],
        served_is_sealed=columns["is_sealed"],
        kept_key=plain(kept_values["key"]),
        kept_value=plain(kept_values["value"]),
    )


def _ask(con: duckdb.DuckDBPyConnection, asked: pa.Table, sql: str, parameters: list[int]) -> dict[str, Any]:
    con.register("asked", asked)
    try:
        return con.execute(sql, parameters).fetchnumpy()
    finally:
        con.unregister("asked")


_HOT = """
    SELECT a.key, h.value, h.quality, h.origin, h.rowid AS row, false AS is_sealed
    FROM hot h JOIN asked a ON h.point = a.point AND h.observed_at = a.observed_at
    WHERE h.observed_at BETWEEN $1 AND $2"""
_SEALED = """
    SELECT a.key, s.value, s.quality, s.origin, s.sealed_row AS row, true AS is_sealed
    FROM sealed_reading s JOIN asked a ON s.point = a.point AND s.observed_at = a.observed_at
    WHERE s.starts = $1"""
_KEPT = """
    SELECT a.key, c.value FROM conflict c JOIN asked a ON c.point = a.point AND c.observed_at = a.observed_at
    WHERE c.observed_at BETWEEN $1 AND $2"""
_NONE_SERVED: dict[str, Any] = {
    "key": np.empty(0, np.int64),
    "value": np.empty(0),
    "quality": np.empty(0, np.uint8),
    "origin": np.empty(0, np.int32),
    "row": np.empty(0, np.int64),
    "is_sealed": np.empty(0, bool),
}
_NONE_KEPT: dict[str, Any] = {"key": np.empty(0, np.int64), "value": np.empty(0)}


def delete_rows(con: duckdb.DuckDBPyConnection, table: str, row: NDArray[np.int64]) -> None:
    """Delete rows of a table by their row id."""
    if len(row):
        con.register("victims", pa.table({"row": row}))
        con.execute(f"DELETE FROM {table} WHERE rowid IN (SELECT row FROM victims)")
        con.unregister("victims")


def all_points(con: duckdb.DuckDBPyConnection) -> list[Point]:
    """Every point by its number."""
    return [Point(*row) for row in con.execute("SELECT site, meter, quantity, phase FROM point ORDER BY id").fetchall()]


def next_numbers(con: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """The next arrival of a conflict, and the next origin."""
    row = con.execute(
        """SELECT (SELECT coalesce(max(arrival) + 1, 0) FROM conflict),
                  (SELECT coalesce(max(id) + 1, 0) FROM origin)"""
    ).fetchone()
    assert row
    return row[0], row[1]


def fill_newest(con: duckdb.DuckDBPyConnection, newest: Newest) -> None:
    """Count and newest row of each point: the sealed ones from their summary, the hot ones by reading them."""
    for sql in (_SEALED_NEWEST, _HOT_NEWEST):
        found = con.execute(sql).fetchnumpy()
        numbers = plain(found["point"])
        if not len(numbers):
            continue
        newest.count[numbers] += plain(found["n"])
        origin = np.empty(len(numbers), object)
        names = [found[name].tolist() for name in ("source", "received_at", "profiles", "position")]
        origin[:] = [Origin(*row) for row in zip(*names, strict=True)]
        columns = (plain(found[name]) for name in ("observed_at", "value", "quality"))
        newest.put(numbers, *columns, origin)


_SEALED_NEWEST = """
    SELECT point, sealed_rows AS n, observed_at, value, quality, source, received_at, profiles, position
    FROM sealed_point JOIN origin o ON o.id = origin"""
_HOT_NEWEST = """
    SELECT point, n, h.observed_at, h.value, h.quality, source, received_at, profiles, position
    FROM (SELECT point, count(*) AS n, max(observed_at) AS observed_at, arg_max(value, observed_at) AS value,
                 arg_max(quality, observed_at) AS quality, arg_max(origin, observed_at) AS origin
          FROM hot GROUP BY point) h JOIN origin o ON o.id = h.origin"""


def read_small_tables(con: duckdb.DuckDBPyConnection) -> None:
    """Read what nothing works without: an error shows now, not at the first write."""
    con.execute("SELECT blob FROM state").fetchall()
    con.execute("SELECT * FROM period").fetchall()
    con.execute("SELECT * FROM measure").fetchall()


def oldest(con: duckdb.DuckDBPyConnection) -> int | None:
    """The time of the oldest reading, None if there is none."""
    [(found,)] = con.execute(
        """SELECT least((SELECT min(observed_at) FROM hot), (SELECT min(observed_at) FROM sealed_reading
                         WHERE starts = (SELECT min(starts) FROM period)))"""
    ).fetchall()
    return found


def statistics(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Rows of each table, periods, bytes in use."""
    row = con.execute(
        """SELECT (SELECT count(*) FROM hot), (SELECT count(*) FROM sealed), (SELECT count(*) FROM period),
                  (SELECT count(*) FROM conflict), (SELECT count(DISTINCT (point, observed_at)) FROM conflict),
                  (SELECT count(*) FROM interval_15min), (SELECT count(*) FROM interval_day)"""
    ).fetchone()
    used = con.execute("SELECT used_blocks * block_size FROM pragma_database_size()").fetchone()
    assert row
    assert used
    names = (
        "rows_hot",
        "rows_sealed",
        "periods",
        "values_in_conflict",
        "conflicts",
        "intervals_15min",
        "intervals_day",
    )
    return {**dict(zip(names, row, strict=False)), "bytes_used": used[0]}


def plain(column: Any) -> Any:
    """A column without nulls as a plain array."""
    return np.ascontiguousarray(column.data) if isinstance(column, np.ma.MaskedArray) else column
