"""Small SQLite files that must never stop a start: a damaged one is set aside, what can be read of it is taken over."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def damage_of(path: Path) -> str | None:
    """What is wrong with an SQLite file, None if it is sound or not there.

    Raises
    ------
    sqlite3.OperationalError
        If it cannot be looked at now (locked, no permission, disk full), which is no damage.
    """
    if not path.exists():
        return None
    if path.stat().st_size == 0:
        return "the file is empty"
    try:
        with contextlib.closing(sqlite3.connect(path)) as con:
            found = con.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return str(error)
        raise
    return None if found == "ok" else str(found)


def set_aside(path: Path) -> Path:
    """Move an SQLite file and its log into `damaged/` beside it; returns where it is now."""
    folder = path.parent / "damaged"
    folder.mkdir(mode=0o700, exist_ok=True)
    number = 1 + max(
        (int(old.stem.rpartition("-")[2]) for old in folder.glob(f"{path.stem}-*{path.suffix}")), default=0
    )
    aside = folder / f"{path.stem}-{number}{path.suffix}"
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            os.replace(path.with_name(path.name + suffix), aside.with_name(aside.name + suffix))
    return aside


def readable_rows(path: Path, table: str, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Rows of a damaged file that can still be read: from the front and from the back, up to the damage."""
    rows: dict[int, tuple[Any, ...]] = {}
    for order in ("ASC", "DESC"):
        try:
            with contextlib.closing(sqlite3.connect(path)) as con:
                for row in con.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY rowid {order}"):  # noqa: S608
                    rows[row[0]] = row
        except sqlite3.DatabaseError as error:
            log.warning("%s: %s cannot be read further: %s", path, table, error)
    return [rows[key] for key in sorted(rows)]


def private(path: Path) -> None:
    """Make sure that a file exists and that it is for the owner alone (0600)."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    if path.stat().st_mode & 0o777 != 0o600:
        path.chmod(0o600)


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy an SQLite file as it is at one moment, also while it is being written; durable when this returns.

    Raises
    ------
    sqlite3.Error
        If it cannot be read, or the copy cannot be written (disk full).
    """
    private(target)
    with contextlib.closing(sqlite3.connect(source)) as con, contextlib.closing(sqlite3.connect(target)) as copy:
        con.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, no log beside it
    fd = os.open(target, os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
