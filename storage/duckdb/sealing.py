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

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

PERIOD_ROWS = 4_000_000
DIGITS = 7  # 0 to 6 decimals are tried for a value that is a decimal number
SINGLE_DIGITS = 10  # and 0 to 9 for one that is the single-precision float nearest to a decimal number
NO_DIGITS = 99


@dataclass(frozen=True, slots=True)
class Period:
    """A range [start, end) to write anew, in place of the sealed periods that lie in it."""

    start: int
    end: int


def plan(con: duckdb.DuckDBPyConnection, cutoff: int, period_rows: int) -> list[Period]:
    """The periods to write: what is hot and older than `cutoff`, and small neighbours to be joined."""
    sealed = con.execute("SELECT starts, ends, sealed_rows FROM period ORDER BY starts").fetchall()
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
            and month_end(left.start) == month_end(block.start)
            and (month_end(block.start) <= cutoff or (left.is_new and block.is_new))
        ):
            left.end, left.rows, left.changed = block.end, left.rows + block.rows, True
        else:
            joined.append(block)
    return joined


def month_end(at: int) -> int:
    """The end of the calendar month (UTC) of an instant [us since 1970]."""
    month = np.datetime64(at, "us").astype("datetime64[M]")
    return int((month + 1).astype("datetime64[us]").astype(np.int64))


def seal(con: duckdb.DuckDBPyConnection, period: Period) -> None:
    """Write a period anew, from what was sealed of it and what is hot, within the caller's transaction."""
    span = [period.start, period.end]
    hot = "FROM hot WHERE observed_at >= $1 AND observed_at < $2"
    sealed = "WHERE starts >= $1 AND ends <= $2"
    con.execute(f"CREATE OR REPLACE TEMP TABLE moved AS SELECT point, count(*) AS n {hot} GROUP BY point", span)
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE block AS SELECT point, observed_at, value, quality, origin {hot}
            UNION ALL SELECT point, observed_at, value, quality, origin FROM sealed_reading {sealed}""",
        span,
    )
    con.execute(_EXTENT)
    con.execute(_CHECK)
    con.execute(_PACKING)
    con.execute(f"DELETE FROM sealed {sealed}", span)
    con.execute(_PACK, span)
    con.execute(f"DELETE {hot}", span)
    con.execute(f"DELETE FROM period {sealed}", span)
    con.execute("INSERT INTO period SELECT $1, $2, count(*) FROM block", span)
    con.execute(_SUMMARY)
    con.execute("DELETE FROM sealed_point WHERE point IN (SELECT point FROM summary)")
    con.execute("INSERT INTO sealed_point SELECT * FROM summary")
    for name in ("moved", "block", "extent", "packing", "summary"):
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
           FROM (SELECT starts, count(*) AS n FROM period p JOIN deleted d
                 ON d.observed_at >= p.starts AND d.observed_at < p.ends GROUP BY starts) d
           WHERE period.starts = d.starts"""
    )
    con.unregister("deleted")


def _digits() -> str:
    """The decimals of a value, if they give it back bit by bit."""
    cases = [
        f"WHEN abs(value) < {9e15 / 10**k} AND round(value * 1e{k}) / 1e{k} = value THEN {k}" for k in range(DIGITS)
    ]
    return f"CASE {' '.join(cases)} ELSE {NO_DIGITS} END"


def _single_digits() -> str:
    """The decimals of a value that is a single-precision float, if they give it back bit by bit."""
    cases = [f"WHEN coalesce(TRY_CAST(value AS FLOAT)::DOUBLE <> value, true) THEN {NO_DIGITS}"]
    cases += [
        f"WHEN abs(value) < {9e15 / 10**k} AND (round(value * 1e{k}) / 1e{k})::FLOAT::DOUBLE = value THEN {k}"
        for k in range(SINGLE_DIGITS)
    ]
    return f"CASE {' '.join(cases)} ELSE {NO_DIGITS} END"


# What a point's rows span. `rising`: it looks like a counter.
_EXTENT = f"""
    CREATE OR REPLACE TEMP TABLE extent AS
    SELECT *, n > 1 AND lowest = first AND highest = last AS rising,
           CASE WHEN digits < {NO_DIGITS} THEN powers[digits + 1]
                WHEN single_digits < {NO_DIGITS} THEN powers[single_digits + 1] ELSE 0.0 END::DOUBLE AS scale,
           digits = {NO_DIGITS} AND single_digits < {NO_DIGITS} AS single
    FROM (
        SELECT point, count(*) AS n, max({_digits()}) AS digits, max({_single_digits()}) AS single_digits,
               min(value) AS lowest, max(value) AS highest,
               arg_min(value, observed_at) AS first, arg_max(value, observed_at) AS last,
               min(observed_at) AS first_at, max(observed_at) AS last_at,
               CASE WHEN bool_and(observed_at % 1000000 = 0) THEN 1000000
                    WHEN bool_and(observed_at % 1000 = 0) THEN 1000 ELSE 1 END::BIGINT AS step_us,
               min(origin)::BIGINT AS first_origin, max(origin)::BIGINT AS last_origin
        FROM block GROUP BY point
    ), (SELECT [{", ".join(f"1e{k}" for k in range(SINGLE_DIGITS))}]::DOUBLE[] AS powers)"""

# Every value must come back bit by bit from the scale that its point got, else the point's values stay as they are.
_CHECK = """
    UPDATE extent SET scale = 0, single = false WHERE point IN (
        SELECT b.point FROM block b JOIN extent e ON b.point = e.point
        WHERE scale > 0 AND (abs(value * scale) > 9e15 OR value <> CASE
            WHEN single THEN (round(value * scale) / scale)::FLOAT::DOUBLE ELSE round(value * scale) / scale END))"""

# Each point goes on where the one before it ended, one mean step further: so time, counters and origins rise
# over the seams as they do within a point, and their differences stay small.
_PACKING = """
    CREATE OR REPLACE TEMP TABLE packing AS
    WITH scaled AS (
        SELECT *, (last_at - first_at) // step_us AS steps, last_origin - first_origin AS origins,
               round(lowest * scale)::BIGINT AS low, round(highest * scale)::BIGINT AS high, greatest(n - 1, 1) AS gaps
        FROM extent
    ), grown AS (
        SELECT *, steps + greatest(steps // gaps, 1) AS grows, origins + origins // gaps AS origin_grows,
               CASE WHEN rising AND high - low < 1000000000000 THEN high - low + (high - low) // gaps ELSE 0 END
               AS tick_grows
        FROM scaled
    )
    SELECT point, scale, single, step_us, row_number() OVER before AS place,
           ((sum(grows) OVER before - grows) * step_us - first_at)::BIGINT AS step_shift,
           (CASE WHEN tick_grows > 0 THEN sum(tick_grows) OVER before - tick_grows ELSE 0 END - low)::BIGINT
           AS tick_shift,
           (sum(origin_grows) OVER before - origin_grows - first_origin)::BIGINT AS origin_shift
    FROM grown WINDOW before AS (ORDER BY tick_grows > 0, point ROWS UNBOUNDED PRECEDING)"""

_PACK = """
    INSERT INTO sealed
    SELECT $1, $2, b.point, (observed_at + step_shift) // step_us, step_us, step_shift,
           CASE WHEN scale > 0 THEN round(value * scale)::BIGINT + tick_shift END, scale, single, tick_shift,
           CASE WHEN scale = 0 THEN value END, quality, origin + origin_shift, origin_shift
    FROM block b JOIN packing p ON b.point = p.point ORDER BY place, observed_at"""

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
