"""What a server cannot keep in one transaction with its rows: one SQLite file beside the spool.

State (spool position, books), the points with their counts and newest readings, origins, conflicts. A write goes in
three steps: the **intent** is made durable here; the rows are sent; what it changes here is committed and the intent
removed. A crash between them finds the intent and sends the rows again: the same points, the same values.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from metering.explain import ExplainedError
from metering.reading import Origin, Point
from storage.sqlite import damage_of, private, set_aside

log = logging.getLogger(__name__)
VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, blob BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS point (id INTEGER PRIMARY KEY, site TEXT NOT NULL, meter TEXT NOT NULL,
    quantity TEXT NOT NULL, phase TEXT NOT NULL, n INTEGER NOT NULL DEFAULT 0, oldest INTEGER,
    at INTEGER, value REAL, quality INTEGER, origin INTEGER);
CREATE TABLE IF NOT EXISTS origin (id INTEGER PRIMARY KEY, source TEXT NOT NULL, received_at INTEGER NOT NULL,
    profiles TEXT NOT NULL, position TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS conflict (arrival INTEGER PRIMARY KEY, point INTEGER NOT NULL, at INTEGER NOT NULL,
    value REAL NOT NULL, quality INTEGER NOT NULL, origin INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS conflict_key ON conflict (point, at);
CREATE TABLE IF NOT EXISTS measure (site TEXT, scope TEXT, node TEXT, name TEXT, unit TEXT, resolution TEXT,
    n INTEGER NOT NULL, first INTEGER, last INTEGER, PRIMARY KEY (site, scope, node, name, unit, resolution))
    WITHOUT ROWID;
"""


class Before(msgspec.Struct, array_like=True, frozen=True):
    """What a point had at a time before rows were sent there of which nothing is known: None is nothing."""

    sent: list[float]
    was: tuple[float, int, int] | None  # value, quality, origin


class Doubt(msgspec.Struct, array_like=True, frozen=True):
    """A `Before` with its key, as it is kept."""

    point: tuple[str, str, str, str]
    at: int
    before: Before


Doubts = dict[tuple[Point, int], Before]


class Intent(msgspec.Struct, array_like=True):
    """A write that is about to be made. Columns are the bytes of arrays, of the rows that are sent.

    points, origins : new ones, with their numbers
    point : int32, at : int64, value : float64, quality : uint8, origin : int64, late : bool
    stored : (point, rows newly stored, the earliest of them)
    kept : values that enter the conflict table, in order: (point, at, value, quality, origin)
    was : what the points of late rows had: (point, at, value, quality, origin)
    """

    points: list[tuple[int, tuple[str, str, str, str]]]
    origins: list[tuple[int, tuple[str, int, str, str]]]
    point: bytes
    at: bytes
    value: bytes
    quality: bytes
    origin: bytes
    late: bytes
    stored: list[tuple[int, int, int]]
    kept: list[tuple[int, int, float, int, int]]
    was: list[tuple[int, int, float, int, int]]
    state: bytes | None


class Local:
    """The file. Methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it. A damaged file is set aside; `note` says so.

        Raises
        ------
        ExplainedError
            If it cannot be opened, or a newer version wrote it.
        """
        self.path, self.note = path, ""
        self._lock = threading.RLock()
        try:
            damage = damage_of(path)
            if damage:
                self.note = (
                    f"{path} was damaged ({damage}) and is kept as {set_aside(path)}; readings still in the spool are "
                    "written again, values of conflicts are in the old file"
                )
                log.error(self.note)
            private(path)
            self._con = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
            self._con.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._con.execute("PRAGMA journal_mode=WAL")
            self._con.execute("PRAGMA synchronous=FULL")
            version = self._con.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise ExplainedError(str(path), f"has the format {version}", "use the Meterhall that wrote it")
            with self.transaction():
                for statement in _SCHEMA.split(";"):
                    self._con.execute(statement)
                self._con.execute(f"PRAGMA user_version={VERSION}")
                self._con.execute(
                    "INSERT OR IGNORE INTO meta VALUES ('first_origin', ?)", [str(secrets.randbits(20) << 32).encode()]
                )
        except sqlite3.OperationalError as error:
            what = "is open in another process" if "locked" in str(error) else f"cannot be opened: {error}"
            raise ExplainedError(
                str(path), what, "stop the other Meterhall that uses it, or make it readable and writable"
            ) from None

    @contextlib.contextmanager
    def transaction(self, *, sync: bool = True) -> Iterator[sqlite3.Connection]:
        """All or nothing. Without `sync` a power cut may take it back, but never what came before it."""
        with self._lock:
            if not sync:
                self._con.execute("PRAGMA synchronous=NORMAL")
            try:
                self._con.execute("BEGIN IMMEDIATE")
                try:
                    yield self._con
                except BaseException:
                    self._con.execute("ROLLBACK")
                    raise
                self._con.execute("COMMIT")
            finally:
                if not sync:
                    self._con.execute("PRAGMA synchronous=FULL")

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self._lock:
            return self._con.execute(statement, parameters).fetchall()

    # --- small values

    def get(self, key: str) -> bytes | None:
        """A value by its name."""
        found = self.rows("SELECT blob FROM meta WHERE key = ?", [key])
        return None if not found or found[0][0] is None else bytes(found[0][0])

    def put(self, values: dict[str, bytes | None]) -> None:
        """Set values, None to remove them; durable when this returns."""
        with self.transaction() as con:
            put(con, values)

    # --- writes

    def intent(self) -> Intent | None:
        """The write that was about to be made when the process ended."""
        blob = self.get("intent")
        return None if blob is None else msgspec.msgpack.decode(blob, type=Intent)

    def intend(self, intent: Intent) -> None:
        """Make a write's intent durable."""
        self.put({"intent": msgspec.msgpack.encode(intent)})

    def doubts(self) -> Doubts:
        """Keys of which is not known whether rows sent there arrived."""
        blob = self.get("doubts")
        found = [] if blob is None else msgspec.msgpack.decode(blob, type=list[Doubt])
        return {(Point(*doubt.point), doubt.at): doubt.before for doubt in found}

    def next_origin(self) -> int:
        """The next origin's number: those of two collectors do not meet."""
        first = int(self.get("first_origin") or b"0")
        last = self.rows("SELECT max(id) FROM origin")[0][0]
        return first if last is None else int(last) + 1

    # --- conflicts and origins

    def kept(self, keys: Iterable[tuple[int, int]]) -> dict[tuple[int, int], list[tuple[float, int, int]]]:
        """Values (value, quality, origin) in the conflict table of some keys (point, at), in order of arrival."""
        found = {}
        with self._lock:
            for key in keys:
                rows = self._con.execute(
                    "SELECT value, quality, origin FROM conflict WHERE point = ? AND at = ? ORDER BY arrival", key
                ).fetchall()
                if rows:
                    found[key] = rows
        return found

    def conflicts(self, point: int | None, start: int, end: int) -> list[tuple[int, int, float, int, int]]:
        """(point, at, value, quality, origin) in [start, end), by point, time and arrival."""
        where = "" if point is None else "AND point = ?"
        return self.rows(
            f"SELECT point, at, value, quality, origin FROM conflict WHERE at >= ? AND at < ? {where} "  # noqa: S608
            "ORDER BY point, at, arrival",
            [start, end, *([] if point is None else [point])],
        )

    def origins(self, numbers: Iterable[int]) -> dict[int, Origin]:
        """Origins by number."""
        found = {}
        with self._lock:
            for number in set(numbers):
                row = self._con.execute(
                    "SELECT source, received_at, profiles, position FROM origin WHERE id = ?", [number]
                ).fetchone()
                if row:
                    found[number] = Origin(*row)
        return found

    def checkpoint(self) -> None:
        """Make all of it durable in the file itself."""
        with self._lock:
            self._con.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._con.close()


def put(con: sqlite3.Connection, values: dict[str, bytes | None]) -> None:
    """Set values within a transaction."""
    for key, value in values.items():
        if value is None:
            con.execute("DELETE FROM meta WHERE key = ?", [key])
        else:
            con.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [key, value])


def encode_doubts(doubts: Doubts) -> bytes | None:
    """Doubts as they are kept; None for none."""
    if not doubts:
        return None
    return msgspec.msgpack.encode([Doubt(tuple(point), at, before) for (point, at), before in doubts.items()])
