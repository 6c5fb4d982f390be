"""Moves what is old from the hot table into sealed periods, sorted by point and time and packed.

A period is a range of time with at most `PERIOD_ROWS` rows, within one calendar month (UTC): a whole month
where that fits, else some days, or hours. One transaction each: killed at any moment, the store is whole.
"""
# ruff: noqa: S608  (the parts put together are names and expressions of ours; values are parameters)

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from metering.clock import DAY_US, HOUR_US
from storage.duckdb.schema import RAW, SINGLE

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

PERIOD_ROWS = 4_000_000
DIGITS = tuple(range(7))  # decimals tried for a value that is a decimal number
SINGLE_DIGITS = tuple(range(10))  # and for one that is the single-precision float nearest to a decimal number


@dataclass(frozen=True, slots=True)
class Period:
    """A range [start, end) to write anew, in place of the sealed periods that lie in it."""

    start: int
    end: int


def plan(con: duckdb.DuckDBPyConnection, cutoff: int, period_rows: int) -> list[Period]:
    """The periods to write: what is hot and older than `cutoff`, and small neighbours to be joined."""
    sealed = con.execute("SELECT start_at, end_at, sealed_rows FROM period ORDER BY start_at").fetchall()
    hours = con.execute(
        """SELECT observed_at - (observed_at % $2 + $2) % $2 AS hour, count(*) FROM hot
           WHERE observed_at < $1 GROUP BY hour ORDER BY hour""",
        [cutoff, HOUR_US],
    ).fetchall()
    return blocks_to_write(sealed, hours, cutoff, period_rows)


def blocks_to_write(
    sealed: list[tuple[int, int, int]], hours: list[tuple[int, int]], cutoff: int, period_rows: int
) -> list[Period]:
    """The periods to write, from those that are sealed (start, end, rows) and the hours with hot rows (start, rows)."""
    starts = [start for start, _, _ in sealed]
    late: set[int] = set()
    free: list[tuple[int, int, int]] = []  # (sealed periods before, hour, rows)
    for hour, n in hours:
        before = bisect_right(starts, hour)
        if before and hour < sealed[before - 1][1]:
            late.add(before - 1)
        else:
            free.append((before, hour, n))
    blocks = [_Block(start, end, n, is_new=False, changed=i in late) for i, (start, end, n) in enumerate(sealed)]
    for (before, day), group in groupby(free, lambda item: (item[0], item[1] // DAY_US * DAY_US)):
        start = max(day, sealed[before - 1][1]) if before else day
        end = min(day + DAY_US, starts[before]) if before < len(starts) else day + DAY_US
        blocks += _days_or_hours(start, end, [(hour, n) for _, hour, n in group], period_rows)
    blocks.sort(key=lambda block: block.start)
    return [Period(block.start, block.end) for block in _join(blocks, cutoff, period_rows) if block.changed]


@dataclass(slots=True)
class _Block:
    start: int
    end: int
    rows: int
    is_new: bool
    changed: bool


def _days_or_hours(start: int, end: int, hours: list[tuple[int, int]], period_rows: int) -> list[_Block]:
    blocks = [_Block(start, end, 0, is_new=True, changed=True)]
    for hour, n in hours:
        if blocks[-1].rows and blocks[-1].rows + n > period_rows:
            blocks[-1].end = hour
            blocks.append(_Block(hour, end, 0, is_new=True, changed=True))
        blocks[-1].rows += n
    return blocks


def _join(blocks: list[_Block], cutoff: int, period_rows: int) -> list[_Block]:
    """Join neighbours within a month: new ones at once, sealed ones when the month is over."""
    joined: list[_Block] = []
    for block in blocks:
        left = joined[-1] if joined else None
        if (
            left
            and left.rows + block.rows <= period_rows
            and _month_end(left.start) == _month_end(block.start)
            and (_month_end(block.start) <= cutoff or (left.is_new and block.is_new))
        ):
            left.end, left.rows, left.changed = block.end, left.rows + block.rows, True
        else:
            joined.append(block)
    return joined


def _month_end(at: int) -> int:
    month = np.datetime64(at, "us").astype("datetime64[M]")
    return int((month + 1).astype("datetime64[us]").astype(np.int64))


def seal(con: duckdb.DuckDBPyConnection, period: Period) -> None:
    """Write a period anew, from what was sealed of it and what is hot, within the caller's transaction."""
    span = [period.start, period.end]
    within = "observed_at >= $1 AND observed_at < $2"
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE moved AS SELECT point, count(*) AS n FROM hot WHERE {within} GROUP BY point",
        span,
    )
    con.execute(f"CREATE OR REPLACE TEMP TABLE block AS SELECT * FROM reading WHERE {within}", span)
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE packing AS SELECT point, {_digits()} AS digits FROM block GROUP BY point"
    )
    con.execute(f"DELETE FROM sealed WHERE {within}", span)
    con.execute(_PACK)
    con.execute(f"DELETE FROM hot WHERE {within}", span)
    con.execute("DELETE FROM period WHERE start_at >= $1 AND end_at <= $2", span)
    con.execute("INSERT INTO period SELECT $1, $2, count(*) FROM block", span)
    con.execute(_SUMMARY)
    con.execute("DELETE FROM sealed_point WHERE point IN (SELECT point FROM summary)")
    con.execute("INSERT INTO sealed_point SELECT * FROM summary")
    for name in ("moved", "block", "packing", "summary"):
        con.execute(f"DROP TABLE {name}")


def discount(con: duckdb.DuckDBPyConnection, point: NDArray[np.int32], at: NDArray[np.int64]) -> None:
    """Count sealed rows that were deleted: what is served in their place is hot until it is sealed."""
    if not len(point):
        return
    con.register("deleted", pa.table({"point": point, "observed_at": at}))
    con.execute(
        """UPDATE sealed_point SET sealed_rows = sealed_rows - d.n
           FROM (SELECT point, count(*) AS n FROM deleted GROUP BY point) d WHERE sealed_point.point = d.point"""
    )
    con.execute(
        """UPDATE period SET sealed_rows = sealed_rows - d.n
           FROM (SELECT start_at, count(*) AS n FROM period p JOIN deleted d
                 ON d.observed_at >= p.start_at AND d.observed_at < p.end_at GROUP BY start_at) d
           WHERE period.start_at = d.start_at"""
    )
    con.unregister("deleted")


def _digits() -> str:
    """The fewest decimals that give back every value of a point in this period, bit by bit; else RAW."""
    cases = []
    for k in DIGITS:
        ticks = f"round(value * pow(10.0, {k}))"
        cases.append(f"WHEN bool_and(abs({ticks}) < 9e15 AND {ticks} / pow(10.0, {k}) = value) THEN {k}")
    for k in SINGLE_DIGITS:
        ticks = f"round(value * pow(10.0, {k}))"
        single = f"TRY_CAST({ticks} / pow(10.0, {k}) AS FLOAT)::DOUBLE"
        cases.append(f"WHEN bool_and(abs({ticks}) < 9e15 AND coalesce({single} = value, false)) THEN {SINGLE + k}")
    return f"(CASE {' '.join(cases)} ELSE {RAW} END)::TINYINT"


_PACK = f"""
    INSERT INTO sealed
    SELECT b.point, b.observed_at, p.digits,
           CASE WHEN p.digits <> {RAW} THEN round(b.value * pow(10.0, p.digits % {SINGLE}))::BIGINT END,
           CASE WHEN p.digits = {RAW} THEN b.value END, b.quality, b.origin
    FROM block b JOIN packing p ON b.point = p.point ORDER BY b.point, b.observed_at"""

_SUMMARY = """
    CREATE OR REPLACE TEMP TABLE summary AS
    SELECT point, sum(n)::BIGINT, max(observed_at), arg_max(value, (observed_at, turn)),
           arg_max(quality, (observed_at, turn)), arg_max(origin, (observed_at, turn))
    FROM (
        SELECT b.point, coalesce(any_value(m.n), 0) AS n, max(b.observed_at) AS observed_at,
               arg_max(b.value, b.observed_at) AS value, arg_max(b.quality, b.observed_at) AS quality,
               arg_max(b.origin, b.observed_at) AS origin, 1 AS turn
        FROM block b LEFT JOIN moved m ON b.point = m.point GROUP BY b.point
        UNION ALL
        SELECT s.*, 0 FROM sealed_point s WHERE s.point IN (SELECT point FROM block)
    ) GROUP BY point"""
