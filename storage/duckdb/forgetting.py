"""Deletes old readings where a retention asks for it; intervals that were derived of them stay as they are."""
# ruff: noqa: S608  (the parts put together are names and expressions of ours; values are parameters)

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from metering.reading import IntervalSeries

if TYPE_CHECKING:
    import duckdb

FROZEN, FORGOTTEN = "frozen_before", "forgotten"
_AT = "step * step_us - step_shift"


def old_periods(con: duckdb.DuckDBPyConnection, before: int) -> list[int]:
    """The starts of sealed periods that hold something older."""
    return [
        row[0] for row in con.execute("SELECT starts FROM period WHERE starts < ? ORDER BY starts", [before]).fetchall()
    ]


def forget_sealed(con: duckdb.DuckDBPyConnection, starts: int, before: int, numbers: list[int] | None) -> int:
    """Delete a sealed period's readings older than `before`, of some points or all; returns how many."""
    which, values = _which(numbers)
    old = f"starts = $1 AND {_AT} < $2{which}"
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE forgotten AS SELECT point, count(*) AS n FROM sealed WHERE {old} GROUP BY point",
        [starts, before, *values],
    )
    row = con.execute("SELECT coalesce(sum(n), 0)::BIGINT FROM forgotten").fetchone()
    count = row[0] if row else 0
    if count:
        con.execute(f"DELETE FROM sealed WHERE {old}", [starts, before, *values])
        con.execute("UPDATE period SET sealed_rows = sealed_rows - $2 WHERE starts = $1", [starts, count])
        con.execute("DELETE FROM period WHERE starts = $1 AND sealed_rows = 0", [starts])
        con.execute(
            """UPDATE sealed_point SET sealed_rows = sealed_rows - f.n FROM forgotten f
               WHERE sealed_point.point = f.point"""
        )
        con.execute("DELETE FROM sealed_point WHERE sealed_rows = 0")
        _count(con, count)
    con.execute("DROP TABLE forgotten")
    return count


def forget_hot(con: duckdb.DuckDBPyConnection, before: int, numbers: list[int] | None) -> int:
    """Delete what is not sealed yet, and the values in conflict; returns how many readings."""
    which, values = _which(numbers, 2)
    row = con.execute(f"DELETE FROM hot WHERE observed_at < $1{which}", [before, *values]).fetchone()
    con.execute(f"DELETE FROM conflict WHERE observed_at < $1{which}", [before, *values])
    count = row[0] if row else 0
    _count(con, count)
    return count


def _which(numbers: list[int] | None, place: int = 3) -> tuple[str, list[list[int]]]:
    return ("", []) if numbers is None else (f" AND point IN (SELECT unnest(${place}::INTEGER[]))", [numbers])


def _count(con: duckdb.DuckDBPyConnection, count: int) -> None:
    if count:
        _put(con, FORGOTTEN, number(con, FORGOTTEN) + count)


def freeze(con: duckdb.DuckDBPyConnection, before: int) -> None:
    """From now on intervals that start before this stay as they are: the readings behind them are gone."""
    if before > number(con, FROZEN, -(1 << 62)):
        _put(con, FROZEN, before)


def number(con: duckdb.DuckDBPyConnection, key: str, default: int = 0) -> int:
    """A number of the table `meta`."""
    row = con.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchone()
    return int(row[0]) if row else default


def _put(con: duckdb.DuckDBPyConnection, key: str, value: int) -> None:
    con.execute("DELETE FROM meta WHERE key = ?", [key])
    con.execute("INSERT INTO meta VALUES (?, ?)", [key, str(value)])


def after(series: IntervalSeries, first: int) -> IntervalSeries:
    """The intervals that start at `first` or later."""
    kept = np.flatnonzero(series.start >= first)
    if len(kept) == len(series):
        return series
    columns = (series.start, series.end, series.amount, series.coverage, series.estimated, series.quality)
    return IntervalSeries(series.measure, *(column[kept] for column in columns))
