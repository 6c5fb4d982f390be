"""Saves from a database file with damaged blocks what can still be read, and counts what cannot."""

from __future__ import annotations

# ruff: noqa: S608  (the parts put together are names of ours)
import contextlib

import duckdb
import msgspec

from metering.clock import from_us
from metering.explain import ExplainedError
from storage.books import decode_state, encode_state
from storage.duckdb.errors import is_ours
from storage.record import Position

TABLES = (
    "state",
    "point",
    "origin",
    "conflict",
    "measure",
    "unsorted_month",
    "interval_15min",
    "interval_day",
    "hot",
    "sealed",
)
CHUNK = 122_880  # rows of a row group: what one damaged block can take with it


def rescue(old: duckdb.DuckDBPyConnection, new: duckdb.DuckDBPyConnection) -> str:
    """Copy every readable row into the new, empty database; returns what was lost, in words."""
    lost = {table: _copy(old, new, table) for table in TABLES}
    sealed_before = _periods(old)
    # Rows whose point is not known any more cannot be served; an origin can be unknown.
    nameless = 0
    for table in ("hot", "sealed", "conflict"):
        [(gone,)] = new.execute(f"DELETE FROM {table} WHERE point NOT IN (SELECT id FROM point)").fetchall()
        nameless += gone
        new.execute(
            f"""INSERT INTO origin
                SELECT DISTINCT {_ORIGIN[table]} AS id, 'not known: lost with a damaged file', 0, '', '' FROM {table}
                WHERE {_ORIGIN[table]} NOT IN (SELECT id FROM origin)"""
        )
    new.execute("INSERT INTO period SELECT starts, ends, count(*) FROM sealed GROUP BY starts, ends")
    new.execute(
        """INSERT INTO sealed_point
           SELECT point, count(*), max(observed_at), arg_max(value, observed_at), arg_max(quality, observed_at),
                  arg_max(origin, observed_at) FROM sealed_reading GROUP BY point"""
    )
    new.execute("INSERT INTO state SELECT NULL WHERE (SELECT count(*) FROM state) = 0")
    if nameless or any(lost[table] for table in ("point", "conflict", "hot", "sealed")):
        _rewind(new)
    return _words(lost, nameless, sealed_before, _periods(new))


def _rewind(new: duckdb.DuckDBPyConnection) -> None:
    """Let the spool be read from its beginning: it may still hold what was lost; what is there is not stored twice."""
    [(blob,)] = new.execute("SELECT blob FROM state").fetchall()
    try:
        state = blob and encode_state(msgspec.structs.replace(decode_state(bytes(blob)), position=Position(0, 0)))
    except ExplainedError:
        state = None
    new.execute("UPDATE state SET blob = ?", [state])


_ORIGIN = {"hot": "origin", "sealed": "(origin - origin_shift)::INTEGER", "conflict": "origin"}


def _copy(old: duckdb.DuckDBPyConnection, new: duckdb.DuckDBPyConnection, table: str) -> int:
    """Copy a table, a row group at a time; returns how many rows could not be read."""
    new.execute(f"DELETE FROM {table}")
    [(last,)] = old.execute(f"SELECT coalesce(max(rowid), -1) FROM {table}").fetchall()
    lost = 0
    for first in range(0, last + 1, CHUNK):
        rows = f"FROM {table} WHERE rowid >= {first} AND rowid < {first + CHUNK}"
        try:
            chunk = old.sql(f"SELECT * {rows}").to_arrow_table()
        except duckdb.Error as error:
            if is_ours(error) or isinstance(error, duckdb.ResourceInUseException):
                raise
            [(count,)] = old.execute(f"SELECT count(*) {rows}").fetchall()
            lost += count
            continue
        new.register("chunk", chunk)
        new.execute(f"INSERT INTO {table} SELECT * FROM chunk")
        new.unregister("chunk")
    return lost


def _periods(con: duckdb.DuckDBPyConnection) -> dict[tuple[int, int], int]:
    with contextlib.suppress(duckdb.Error):  # its own block may be the damaged one
        return {(a, b): n for a, b, n in con.execute("SELECT starts, ends, sealed_rows FROM period").fetchall()}
    return {}


def _words(
    lost: dict[str, int],
    nameless: int,
    before: dict[tuple[int, int], int],
    after: dict[tuple[int, int], int],
) -> str:
    parts = []
    for (starts, ends), n in sorted(before.items()):
        gone = n - after.get((starts, ends), 0)
        if gone > 0:
            parts.append(f"{gone} readings of {from_us(starts):%Y-%m-%d %H:%M} to {from_us(ends):%Y-%m-%d %H:%M} UTC")
    if not before and lost["sealed"]:
        parts.append(f"{lost['sealed']} readings of closed periods")
    if lost["hot"]:
        parts.append(f"{lost['hot']} of the latest readings")
    if nameless:
        parts.append(f"{nameless} readings whose point is not known any more (those above included)")
    for table, words in (
        ("conflict", "values in conflict"),
        ("origin", "origins"),
        ("interval_15min", "quarter-hour intervals, which can be derived again"),
        ("interval_day", "day intervals, which can be derived again"),
        ("measure", "measures, which can be derived again"),
        ("state", "state: the spool is replayed from its beginning"),
    ):
        if lost[table]:
            parts.append(f"{lost[table]} {words}")
    return "lost: " + "; ".join(parts) if parts else "nothing is lost"
