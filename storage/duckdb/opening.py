"""Opens the database file: locked down, of a known version, and mended where a crash or a disk has hurt it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from metering.clock import from_us
from metering.explain import ExplainedError
from storage.duckdb import schema
from storage.duckdb.errors import first_line, is_damage
from storage.duckdb.rescue import rescue

log = logging.getLogger(__name__)

Settings = dict[str, str | bool | int]

_POSITION = re.compile(r"byte position (\d+)")
_CRASHES = {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL}


def settings(threads: int, memory_limit: str, wal_limit: str) -> Settings:
    """All settings, given in the connect call: the connection is locked, and refuses any later one."""
    return {
        "threads": threads,
        "memory_limit": memory_limit,
        "checkpoint_threshold": wal_limit,
        "default_block_size": "65536",  # of a new file; the smallest that packs integers, so less is left empty
        "enable_external_access": False,
        "autoload_known_extensions": False,
        "autoinstall_known_extensions": False,
        "allow_community_extensions": False,
        "lock_configuration": True,
    }


def open_database(path: Path, config: Settings, findings: list[str]) -> duckdb.DuckDBPyConnection:
    """A connection to the file, which is made if it is not there; appends to `findings` what was mended.

    A damaged write-ahead log is cut at its last whole entry, a copy of it kept aside: what it held beyond
    that, the spool still has. A damaged database file is set aside whole, and a new one started.

    Raises
    ------
    ExplainedError
        If another process holds the file, it may not be read or written, or a newer version wrote it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _finish_mending(path)
    _report_missing(path, findings)
    marker = Path(f"{path}.opening")
    if marker.exists() and path.exists() and _kills_its_reader(path, config):
        set_aside(path, "opening it ends the process", findings)
    marker.touch()
    con = _connect(path, config, findings)
    path.chmod(0o600)
    try:
        _prepare(con, path)
    except duckdb.Error as error:
        con.close()
        if not is_damage(error):
            raise
        set_aside(path, first_line(error), findings)
        con = duckdb.connect(str(path), config=config)
        _prepare(con, path)
    except ExplainedError:
        con.close()
        marker.unlink(missing_ok=True)
        raise
    marker.unlink(missing_ok=True)
    return con


def set_aside(path: Path, why: str, findings: list[str]) -> None:
    """Rename a damaged database and its log out of the way, and say what is lost with it."""
    aside, held = _free_name(path), _held(path)
    _move(path, aside)
    findings.append(
        f"{path.name} was damaged ({why}); set aside as {aside.name}, a new one started; {held}; "
        "the spool replays what it still has"
    )
    log.error("%s", findings[-1])


def mend(path: Path, config: Settings, why: str, findings: list[str]) -> None:
    """Put in the place of a damaged, closed database a new one with all that can be read of it; the old is kept.

    Killed at any moment, the next opening begins again or finishes it.
    """
    fresh = Path(f"{path}.new")
    for leftover in (fresh, Path(f"{fresh}.wal")):
        leftover.unlink(missing_ok=True)
    try:
        with (
            contextlib.closing(duckdb.connect(str(path), config=config)) as old,
            contextlib.closing(duckdb.connect(str(fresh), config=config)) as new,
        ):
            _prepare(new, fresh)
            lost = rescue(old, new)
            new.execute("CHECKPOINT")
    except duckdb.Error as error:
        log.error("%s: nothing could be saved: %s", path, error)
        set_aside(path, why, findings)
        return
    fresh.chmod(0o600)
    os.replace(fresh, f"{path}.mended")
    aside = _free_name(path)
    _move(path, aside)
    os.replace(f"{path}.mended", path)
    findings.append(
        f"{path.name} was damaged ({why}); what could be read is in a new one; {lost}; kept as {aside.name}"
    )
    log.error("%s", findings[-1])


def _finish_mending(path: Path) -> None:
    mended = Path(f"{path}.mended")
    if mended.exists():
        if path.exists():
            mended.unlink()
        else:
            os.replace(mended, path)


def _report_missing(path: Path, findings: list[str]) -> None:
    if path.exists() or not Path(f"{path}.summary").exists():
        return
    findings.append(f"{path.name} is missing, a new one started; {_held(path)}; the spool replays what it still has")
    log.error("%s", findings[-1])
    aside = _free_name(path)
    for suffix in (".wal", ".summary"):
        if Path(f"{path}{suffix}").exists():
            os.replace(f"{path}{suffix}", f"{aside}{suffix}")


def _held(path: Path) -> str:
    try:
        summary = json.loads(Path(f"{path}.summary").read_text())
        newest = from_us(summary["newest"]).isoformat() if summary["newest"] is not None else "never"
        return f"at its last checkpoint it held {int(summary['rows'])} readings, the newest of {newest}"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "what it held is not known"


def _move(path: Path, aside: Path) -> None:
    os.replace(path, aside)
    for suffix in (".wal", ".summary"):
        if Path(f"{path}{suffix}").exists():
            os.replace(f"{path}{suffix}", f"{aside}{suffix}")


def write_summary(path: Path, rows: int, newest: int | None) -> None:
    """Keep beside the file what it holds, for the report should it be damaged one day."""
    fresh = Path(f"{path}.summary.new")
    with contextlib.suppress(OSError):  # it only makes a report more exact; a full disk must not fail a checkpoint
        fresh.write_text(json.dumps({"rows": rows, "newest": newest}))
        os.replace(fresh, f"{path}.summary")


def _connect(path: Path, config: Settings, findings: list[str]) -> duckdb.DuckDBPyConnection:
    wal = Path(f"{path}.wal")
    cut_at = None
    for _ in range(1000):
        try:
            return duckdb.connect(str(path), config=config)
        except duckdb.Error as error:
            text = str(error)
            if "Could not set lock" in text:
                raise ExplainedError(
                    str(path), "is open in another process", "stop the other one; only one process may hold it"
                ) from None
            if isinstance(error, duckdb.IOException) and _system_says_no(path):
                raise ExplainedError(
                    str(path), first_line(error), "give the user of this process the right to read and write it"
                ) from None
            found = _POSITION.search(text)
            if "WAL" in text and wal.exists() and path.exists():
                position = int(found.group(1)) if found else 0
                if cut_at is not None and position >= cut_at:
                    position = 0  # cutting there did not help: its very start is wrong
                if cut_at == 0:
                    set_aside(path, first_line(error), findings)
                    cut_at = None
                    continue
                _cut_log(wal, position, first=cut_at is None, why=first_line(error), findings=findings)
                cut_at = position
                continue
            if "newer version" in text or "version number" in text:
                raise ExplainedError(
                    str(path), first_line(error), "open it with the Meterhall that wrote it, or a later one"
                ) from None
            if not path.exists() or cut_at == -1:
                raise
            set_aside(path, first_line(error), findings)
            cut_at = -1
    raise ExplainedError(str(path), "cannot be opened nor mended", f"move {path.name} and {wal.name} away")


def _prepare(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    has_meta = con.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'meta'").fetchone()
    assert has_meta
    if not has_meta[0]:
        others = con.execute("SELECT count(*) FROM duckdb_tables()").fetchone()
        if others and others[0]:
            raise ExplainedError(str(path), "is a database, but none of Meterhall's", "name another file")
        con.begin()
        con.execute(schema.TABLES)
        con.execute(schema.INTERVAL_TABLES)
        con.execute(schema.VIEWS)
        con.execute("INSERT INTO state VALUES (NULL)")
        con.execute("INSERT INTO meta VALUES ('version', ?)", [str(schema.VERSION)])
        con.commit()
        con.execute("CHECKPOINT")
        return
    row = con.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
    version = int(row[0]) if row else 0
    if version > schema.VERSION:
        raise ExplainedError(
            str(path),
            f"was written by a newer Meterhall (store version {version}, this one knows {schema.VERSION})",
            "upgrade Meterhall, or restore a backup of the older version",
        )
    if version < schema.VERSION:
        con.begin()
        for step in range(version, schema.VERSION):
            con.execute(schema.UPGRADES[step])
        con.execute("UPDATE meta SET value = $1 WHERE key = 'version'", [str(schema.VERSION)])
        con.commit()
        log.info("%s: brought from store version %d to %d", path, version, schema.VERSION)


def _cut_log(wal: Path, position: int, *, first: bool, why: str, findings: list[str]) -> None:
    size = wal.stat().st_size
    if first:
        aside = _free_name(wal)
        shutil.copyfile(wal, aside)
        what = f"was damaged at byte {position} of {size} and is cut there" if position else f"cannot be used ({why})"
        findings.append(f"{wal.name} {what}; kept as {aside.name}; the spool replays what it held beyond that")
        log.warning("%s (%s)", findings[-1], why)
    with wal.open("r+b") as file:
        file.truncate(position)
        os.fsync(file.fileno())


def _free_name(path: Path) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    name, n = Path(f"{path}.damaged-{stamp}"), 1
    while name.exists():
        n += 1
        name = Path(f"{path}.damaged-{stamp}-{n}")
    return name


def _kills_its_reader(path: Path, config: Settings) -> bool:
    """Whether opening the file crashes a process, tried in one of its own: ours did not outlive its last try."""
    code = (
        "import json, sys, duckdb\n"
        "con = duckdb.connect(sys.argv[1], config=json.loads(sys.argv[2]))\n"
        "con.execute('SELECT count(*), max(observed_at) FROM hot').fetchall()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path), json.dumps(config)], capture_output=True, check=False)
    return done.returncode in _CRASHES


def _system_says_no(path: Path) -> bool:
    try:
        with path.open("r+b"):
            return False
    except PermissionError:
        return True
    except OSError:
        return False
