"""Looks at a database file without changing it: for checks of a stopped installation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from storage.duckdb import schema
from storage.duckdb.opening import first_line, settings


def look(path: Path) -> dict[str, Any]:
    """What a closed database holds, read-only.

    Returns
    -------
    `{"version", "state": bytes | None, "rows", "bytes"}`, or `{"problem": words}` if it cannot be read as it is:
    the next start mends it, or says what to do. `problem` is `"in use"` if another process holds it.
    """
    config = settings(2, "512MB", "128MB")
    try:
        con = duckdb.connect(str(path), read_only=True, config=config)
    except duckdb.Error as error:
        return {"problem": "in use" if "Could not set lock" in str(error) else first_line(error)}
    try:
        version = con.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
        if version is None or int(version[0]) > schema.VERSION:
            return {"problem": f"store format {version and version[0]}; this Meterhall knows up to {schema.VERSION}"}
        state = con.execute("SELECT blob FROM state").fetchone()
        rows = con.execute("SELECT (SELECT count(*) FROM hot) + (SELECT count(*) FROM sealed)").fetchone()
        blob = bytes(state[0]) if state and state[0] is not None else None
        return {
            "version": int(version[0]),
            "state": blob,
            "rows": rows[0] if rows else 0,
            "bytes": path.stat().st_size,
            "rows_last_day": last_day(con),
        }
    except duckdb.Error as error:
        return {"problem": first_line(error)}
    finally:
        con.close()


def last_day(con: duckdb.DuckDBPyConnection, now: int = 1 << 62) -> tuple[int, int]:
    """Readings of the last day that has some (up to `now` [us since 1970]), and how long they span [us]."""
    row = con.execute(
        """SELECT count(*), coalesce(max(observed_at) - min(observed_at), 0) FROM hot
           WHERE observed_at <= $1 AND observed_at >
                 (SELECT max(observed_at) FROM hot WHERE observed_at <= $1) - 86400000000""",
        [now],
    ).fetchone()
    return (row[0], row[1]) if row else (0, 0)
