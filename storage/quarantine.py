"""The quarantine: each payload that was rejected, why, and its first 4 KiB; listed, looked at, replayed.

An SQLite file of bounded size. An entry is known by its place in the spool, so a group that is
processed again after a crash makes no second one.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metering.explain import ExplainedError
from storage.record import Record, Wire
from storage.sqlite import damage_of, private, readable_rows, set_aside
from storage.store import StoreUnavailable

log = logging.getLogger(__name__)

KEPT = 4096  # bytes of each payload
FORMAT = 1  # of the file: PRAGMA user_version
COLUMNS = (
    "id", "position", "wire", "source", "key", "payload", "size",
    "received_at", "flags", "tag", "reason", "detail", "replayed",
)  # fmt: skip
SCHEMA = """
CREATE TABLE entry (
    id INTEGER PRIMARY KEY AUTOINCREMENT, position TEXT NOT NULL UNIQUE, wire INTEGER NOT NULL, source TEXT NOT NULL,
    key TEXT NOT NULL, payload BLOB NOT NULL, size INTEGER NOT NULL, received_at INTEGER NOT NULL,
    flags INTEGER NOT NULL, tag INTEGER NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL,
    replayed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE gone (reason TEXT PRIMARY KEY, n INTEGER NOT NULL);
"""
PUT = f"INSERT OR IGNORE INTO entry ({', '.join(COLUMNS[1:])}) VALUES ({', '.join('?' * 12)})"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Entry:
    """One rejected payload.

    position : its place in the spool, `00000007:81920/3`
    payload : its first 4 KiB
    size : its whole length [bytes]
    """

    id: int
    position: str
    wire: Wire
    source: str
    key: str
    payload: bytes
    size: int
    received_at: int  # [us since 1970]
    flags: int
    tag: int
    reason: str
    detail: str
    replayed: bool

    @property
    def whole(self) -> bool:
        """Whether the payload is here in full, so that it can be replayed."""
        return self.size == len(self.payload)

    @property
    def text(self) -> str:
        """The payload as text for a page: what is not printable is written as an escape."""
        return readable(self.payload)

    @property
    def hex(self) -> str:
        """The payload in hexadecimal, a space between bytes."""
        return self.payload.hex(" ")

    def record(self) -> Record:
        """The record to put into the spool again."""
        return Record(self.wire, self.source, self.key, self.payload, self.received_at, self.flags, 0)


def readable(payload: bytes) -> str:
    """Bytes as text without control, direction or other unprintable characters, which become escapes."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode()
        for c in payload.decode("utf-8", "backslashreplace")
    )


class Quarantine:
    """Rejected payloads. May be used from any thread."""

    def __init__(self, con: sqlite3.Connection, max_entries: int, max_bytes: int) -> None:
        """Use `Quarantine.open`."""
        self.note = ""  # what was damaged at the start, in words
        self._con, self._lock = con, threading.Lock()
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._entries, self._bytes = con.execute(
            "SELECT count(*), coalesce(sum(length(payload)), 0) FROM entry"
        ).fetchone()

    @classmethod
    def open(cls, path: Path | str, *, max_entries: int = 20_000, max_bytes: int = 64 << 20) -> Quarantine:
        """Open the file, or make it. A damaged one is set aside and what can be read of it taken over.

        Parameters
        ----------
        max_entries, max_bytes : beyond either the oldest go, and their going is counted

        Raises
        ------
        ExplainedError
            If a newer version of Meterhall wrote it.
        """
        path = Path(path)
        note, rescued = "", list[tuple[Any, ...]]()
        damage = damage_of(path)
        if damage:
            aside = set_aside(path)
            rescued = readable_rows(aside, "entry", COLUMNS)
            note = (
                f"the quarantine was damaged ({damage}): {len(rescued)} entries were read, the file is kept as {aside}"
            )
            log.error(note)
        private(path)
        con = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        con.execute("PRAGMA journal_mode=WAL")
        con.execute("PRAGMA synchronous=FULL")
        found = con.execute("PRAGMA user_version").fetchone()[0]
        if found > FORMAT:
            con.close()
            raise ExplainedError(
                str(path),
                f"has format {found}, and this Meterhall knows formats up to {FORMAT}",
                "run the newer Meterhall that wrote it, or restore a backup of its time",
            )
        if found == 0:
            con.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version={FORMAT}; COMMIT;")
        if rescued:
            with _transaction(con):
                marks = ", ".join("?" * len(COLUMNS))
                con.executemany(f"INSERT OR IGNORE INTO entry ({', '.join(COLUMNS)}) VALUES ({marks})", rescued)  # noqa: S608
        quarantine = cls(con, max_entries, max_bytes)
        quarantine.note = note
        return quarantine

    def put(self, record: Record, *, position: str, reason: str, detail: str) -> None:
        """Keep one rejected payload; see `put_all`."""
        self.put_all([(record, position, reason, detail)])

    def put_all(self, refused: Sequence[tuple[Record, str, str, str]]) -> int:
        """Keep rejected payloads, durable when this returns; returns how many are new.

        Parameters
        ----------
        refused : (record, position, reason, detail) each; `position` names its place in the spool, and the
            number within its group: what is here already is passed over

        Raises
        ------
        StoreUnavailable
            If the file cannot be written now (disk full): nothing was kept, try again later.
        """
        rows = [
            (
                position, int(record.wire), _clean(record.source), _clean(record.key), bytes(record.payload[:KEPT]),
                len(record.payload), record.received_at, record.flags, record.tag, reason, _clean(detail[:KEPT]), 0,
            )
            for record, position, reason, detail in refused
        ]  # fmt: skip
        if not rows:
            return 0
        with self._lock:
            before = self._con.total_changes
            try:
                with _transaction(self._con):
                    self._con.executemany(PUT, rows)
                    new = self._con.total_changes - before
                    if new:
                        self._trim()
            except sqlite3.DatabaseError as error:
                self._measure()
                raise StoreUnavailable(f"the quarantine cannot be written: {error}") from error
            self._measure()
        return new

    def _measure(self) -> None:
        counted = self._con.execute("SELECT count(*), coalesce(sum(length(payload)), 0) FROM entry")
        self._entries, self._bytes = counted.fetchone()

    def _trim(self) -> None:
        self._measure()
        while self._entries > self._max_entries or self._bytes > self._max_bytes:
            over = max(self._entries - self._max_entries, 100 if self._bytes > self._max_bytes else 0)
            oldest = f"SELECT id FROM entry ORDER BY id LIMIT {over}"  # noqa: S608
            self._con.execute(
                f"INSERT INTO gone SELECT reason, count(*) FROM entry WHERE id IN ({oldest}) GROUP BY reason "  # noqa: S608
                "ON CONFLICT (reason) DO UPDATE SET n = n + excluded.n"
            )
            self._con.execute(f"DELETE FROM entry WHERE id IN ({oldest})")  # noqa: S608
            self._measure()

    def entries(
        self, *, limit: int = 100, before: int | None = None, source: str | None = None, reason: str | None = None
    ) -> list[Entry]:
        """Newest first, with ids below `before`."""
        where, values = ["1"], list[Any]()
        for clause, value in (("id < ?", before), ("source = ?", source), ("reason = ?", reason)):
            if value is not None:
                where.append(clause)
                values.append(value)
        sql = f"SELECT {', '.join(COLUMNS)} FROM entry WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"  # noqa: S608
        with self._lock:
            return [_entry(row) for row in self._con.execute(sql, (*values, limit))]

    def get(self, entry_id: int) -> Entry | None:
        """One entry; None if there is none."""
        with self._lock:
            row = self._con.execute(f"SELECT {', '.join(COLUMNS)} FROM entry WHERE id = ?", (entry_id,)).fetchone()  # noqa: S608
        return _entry(row) if row else None

    def count(self) -> int:
        """How many there are."""
        return int(self._entries)

    def counts(self) -> dict[str, Any]:
        """`{"entries": n, "bytes": n, "reasons": {reason: n}, "gone": {reason: n}}`; `gone` made room."""
        with self._lock:
            reasons = dict(self._con.execute("SELECT reason, count(*) FROM entry GROUP BY reason ORDER BY reason"))
            gone = dict(self._con.execute("SELECT reason, n FROM gone ORDER BY reason"))
        return {"entries": self._entries, "bytes": self._bytes, "reasons": reasons, "gone": gone}

    def mark_replayed(self, entry_id: int) -> bool:
        """Note that an entry was put into the spool again; False if there is none."""
        with self._lock, _transaction(self._con):
            return self._con.execute("UPDATE entry SET replayed = 1 WHERE id = ?", (entry_id,)).rowcount == 1

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._con.close()


@contextlib.contextmanager
def _transaction(con: sqlite3.Connection):  # type: ignore[no-untyped-def]
    con.execute("BEGIN IMMEDIATE")
    try:
        yield
        con.execute("COMMIT")
    except BaseException:
        if con.in_transaction:
            con.execute("ROLLBACK")
        raise


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _entry(row: tuple[Any, ...]) -> Entry:
    values = dict(zip(COLUMNS, row, strict=True))
    return Entry(**{**values, "wire": Wire(values["wire"]), "replayed": bool(values["replayed"])})
