"""Backups of a data folder, running or stopped: one moment of store, spool, books, quarantine and ledger.

The store stands still while it is copied (readings go on into the spool meanwhile), and the spool is
held as it is when the store's copy is done: what was acknowledged before the backup began is in one of
the two, and the position in the store's state says where the other goes on.
"""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from meterhall.node import Node
from metering.clock import from_us, now_us
from metering.explain import ExplainedError
from storage.books import State, decode_state
from storage.copying import copy_bytes, sha256_of, sync_tree
from storage.files import OS_FILES, write_file
from storage.formats import KNOWN, refuse_unknown
from storage.recovery import NEWEST, newest_note
from storage.spool import START
from storage.sqlite import copy_sqlite
from storage.store import StoreUnavailable

log = logging.getLogger("meterhall.backup")

MANIFEST = "backup.json"  # written last: a folder without it is no backup
FORMAT = 1
FOLDER = "backups"  # in the data folder: where a running server puts them
MOST = 3  # kept there; who asks for more takes some away first
SPARE_BYTES = 16 << 20
Told = Callable[[int, int], None]  # bytes copied, of how many


def make_backup(node: Node, target: Path, told: Told = lambda done, of: None) -> dict[str, Any]:
    """Copy the data folder of an open node into a folder that is made for it; returns the manifest.

    A ledger on PostgreSQL is not in it: pg_dump copies that one.

    Raises
    ------
    ExplainedError
        If the folder is there already and not empty, the disk has not enough room, or something could not be
        copied: the folder is removed again.
    """
    refuse_used(target)
    names = ("quarantine.sqlite",) if node.settings.ledger_url else ("quarantine.sqlite", "ledger.sqlite")
    parts = tuple(node.settings.data / name for name in names)
    total = _size_of(node, parts)
    try:
        OS_FILES.make_folder(target)
        free = shutil.disk_usage(target).free
        if free < total + SPARE_BYTES:
            raise ExplainedError(
                str(target), f"has {free:,} bytes free, and the backup takes {total:,}", "choose a larger disk"
            )
        manifest = _copy(node, target, parts, _Counter(told, total))
    except (OSError, sqlite3.Error, StoreUnavailable) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise ExplainedError(
            str(target), f"holds no backup: {error}", "look at the disk's space and rights, and begin again"
        ) from None
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return manifest


def refuse_used(target: Path) -> None:
    """ExplainedError if a folder to be made is there already and holds something."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ExplainedError(str(target), "is there already, and not empty", "name a folder that is not there yet")


class _Counter:
    """Adds up what was copied."""

    def __init__(self, told: Told, total: int) -> None:
        self._told, self._total, self._done = told, total, 0
        told(0, total)

    def __call__(self, size: int) -> None:
        self._done += size
        self._told(min(self._done, self._total), self._total)


def _size_of(node: Node, parts: Iterable[Path]) -> int:
    statistics = node.store.statistics()
    store = int(statistics.get("bytes", 0)) + int(statistics.get("wal_bytes", 0))
    spool = sum(size for _, size in node.spool.extents())
    return store + spool + sum(path.stat().st_size for path in parts if path.exists())


def _copy(node: Node, target: Path, parts: Iterable[Path], count: _Counter) -> dict[str, Any]:
    began = now_us()
    blob: bytes | None = None
    extents: list[tuple[Path, int]] = []
    statistics: dict[str, Any] = {}

    def meanwhile(state: bytes | None) -> None:
        nonlocal blob, extents, statistics
        blob, extents, statistics = state, node.spool.extents(), node.store.statistics()

    with node.spool.keeping():
        node.store.backup(target / "meterhall.duckdb", meanwhile)
        count(int(statistics.get("bytes", 0)) + int(statistics.get("wal_bytes", 0)))
        OS_FILES.make_folder(target / "spool")
        sums = {
            f"spool/{path.name}": copy_bytes(path, target / "spool" / path.name, size, told=count)
            for path, size in extents
        }
    if extents:
        write_file(OS_FILES, target / "spool" / NEWEST, newest_note(int(extents[-1][0].name.partition(".")[0])))
    for source in (node.spool.folder / "instance", *sorted((node.spool.folder / "damaged").glob("*.*"))):
        copy = target / "spool" / source.relative_to(node.spool.folder)
        OS_FILES.make_folder(copy.parent)
        copy_bytes(source, copy)
    for path in parts:
        if path.exists():
            copy_sqlite(path, target / path.name)
            count((target / path.name).stat().st_size)
    _copy_configuration(node.settings.folder, target / "configuration")
    for path in sorted(each for each in target.rglob("*") if each.is_file()):
        name = str(path.relative_to(target))
        if name not in sums:
            sums[name] = sha256_of(path)
    state = decode_state(blob) if blob else State(START, {})
    manifest = {
        "format": FORMAT,
        "meterhall": version("meterhall"),
        "formats": dict(KNOWN),
        "began_at": from_us(began).isoformat(),
        "ended_at": from_us(now_us()).isoformat(),
        "spool_instance": node.spool.instance.hex(),
        "position": str(state.position),
        "books": state.books,
        "readings": node_count(statistics),
        "sha256": sums,
    }
    write_file(OS_FILES, target / MANIFEST, json.dumps(manifest, indent=1).encode() + b"\n")
    sync_tree(target)
    return manifest


def node_count(statistics: dict[str, Any]) -> int:
    """Readings of a store, by its statistics."""
    return int(statistics.get("rows", 0))


def _copy_configuration(folder: Path, target: Path) -> None:
    """The TOML files beside the data, for whoever finds the backup: they hold no secrets, and restore leaves them."""
    for path in (*sorted(folder.glob("*.toml")), *sorted(folder.glob("profiles/*.toml"))):
        copy = target / path.relative_to(folder)
        OS_FILES.make_folder(copy.parent)
        copy_bytes(path, copy)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a backup says of itself.

    Raises
    ------
    ExplainedError
        If the folder is no whole backup, or a newer version made it.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        wanted, formats = int(manifest["format"]), {str(k): int(v) for k, v in manifest["formats"].items()}
        sums = manifest["sha256"]
        names = all(isinstance(name, str) and not Path(name).is_absolute() and ".." not in Path(name).parts
                    for name in sums)  # fmt: skip
    except FileNotFoundError:
        raise ExplainedError(
            str(folder),
            f"is no whole backup: there is no {MANIFEST} in it",
            "name a folder that `meterhall backup` made",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExplainedError(str(path), f"cannot be read ({error!r})", "use another backup") from None
    if wanted > FORMAT or not names:
        raise ExplainedError(str(folder), "was made by a newer Meterhall", "restore it with that version")
    refuse_unknown(str(folder), formats)
    return dict(manifest)


def verify(folder: Path, manifest: dict[str, Any], told: Told = lambda done, of: None) -> None:
    """Compare every file of a backup with its checksum.

    Raises
    ------
    ExplainedError
        Naming each file that is missing or not as it was written.
    """
    sums: dict[str, str] = manifest["sha256"]
    wrong = [name for name in sums if not (folder / name).is_file()]
    count = _Counter(told, sum((folder / name).stat().st_size for name in sums if name not in wrong))
    wrong += [name for name, wanted in sums.items() if name not in wrong and sha256_of(folder / name, count) != wanted]
    if wrong:
        raise ExplainedError(
            str(folder), f"is damaged: {', '.join(sorted(wrong))} not as written", "use another backup"
        )


@dataclass(frozen=True, slots=True)
class BackupState:
    """A backup that the running server makes or made.

    name : its folder in `backups/` of the data folder
    """

    name: str
    state: Literal["running", "done", "failed"]
    done_bytes: int = 0
    total_bytes: int = 0
    note: str = ""
    readings: int | None = None


class Backups:
    """The backups of a running server: one at a time, each in a folder of its own inside the data folder."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.folder = node.settings.data / FOLDER
        self._lock = threading.Lock()
        self._last: BackupState | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> BackupState:
        """Begin one, in a thread of its own.

        Raises
        ------
        ExplainedError
            If one is under way, or as many are kept as there is room for.
        """
        with self._lock:
            if self._last and self._last.state == "running":
                raise ExplainedError("backup", f"{self._last.name} is under way", "wait until it is done")
            kept = sum(1 for path in self.folder.glob(f"*/{MANIFEST}")) if self.folder.exists() else 0
            if kept >= MOST:
                raise ExplainedError(str(self.folder), f"holds {kept} backups", "move them to another disk first")
            name = f"{from_us(now_us()):%Y%m%dT%H%M%S%fZ}"
            self._last = BackupState(name, "running")
            self._thread = threading.Thread(target=self._run, args=(name,), name="backup", daemon=True)
            self._thread.start()
            return self._last

    def list(self) -> list[BackupState]:
        """Those kept, newest first, and the last one asked for."""
        with self._lock:
            last = self._last
        found = {last.name: last} if last else {}
        for path in sorted(self.folder.glob(f"*/{MANIFEST}")) if self.folder.exists() else ():
            if path.parent.name not in found:
                found[path.parent.name] = BackupState(path.parent.name, "done")
        return [found[name] for name in sorted(found, reverse=True)]

    def wait(self, timeout_s: float) -> None:
        """Let the one under way end."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self, name: str) -> None:
        def told(done: int, of: int) -> None:
            with self._lock:
                self._last = BackupState(name, "running", done, of)

        try:
            OS_FILES.make_folder(self.folder)
            manifest = make_backup(self._node, self.folder / name, told)
        except ExplainedError as problem:
            log.error("%s", problem)
            self._end(state="failed", note=str(problem))
        except Exception as error:
            log.exception("the backup failed")
            self._end(state="failed", note=repr(error))
        else:
            log.info("backup %s: %s readings", name, f"{manifest['readings']:,}")
            self._end(state="done", readings=manifest["readings"])

    def _end(self, **change: Any) -> None:
        with self._lock:
            assert self._last
            self._last = replace(self._last, **change)
