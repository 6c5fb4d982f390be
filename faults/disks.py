"""Calls that fail and disks that are full, under the spool and under the store."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faults.report import Row
from faults.rig import Rig
from faults.torn import records_of
from faults.waiting import TooLate, wait_until
from storage.files import Files
from storage.spool import Spool, SpoolUnavailable

MB = 1 << 20
FAULTS = ("EIO", "ENOSPC", "short")
RESUME_S = 10.0


class Failing(Files):
    """The operating system's files, but the n-th changing call fails, or `times` calls from it on."""

    def __init__(self, n: int, fault: str, times: int = 1) -> None:
        self.n, self.fault, self.times, self.calls = n, fault, times, 0

    def _call(self, name: str, *arguments: Any) -> Any:
        self.calls += 1
        if self.n <= self.calls < self.n + self.times:
            if self.fault == "short" and name == "write":
                fd, data = arguments
                return super().write(fd, bytes(data)[: len(data) // 2])
            number = errno.ENOSPC if self.fault == "ENOSPC" else errno.EIO
            raise OSError(number, os.strerror(number))
        return getattr(super(), name)(*arguments)

    def create(self, path: Path) -> int:
        """Create, or fail."""
        return int(self._call("create", path))

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Write, in part or not at all."""
        return int(self._call("write", fd, data))

    def fdatasync(self, fd: int) -> None:
        """Sync, or fail."""
        self._call("fdatasync", fd)

    def fsync(self, fd: int) -> None:
        """Sync, or fail."""
        self._call("fsync", fd)

    def sync_folder(self, path: Path) -> None:
        """Sync, or fail."""
        self._call("sync_folder", path)

    def truncate(self, fd: int, size: int) -> None:
        """Cut, or fail."""
        self._call("truncate", fd, size)

    def rename(self, old: Path, new: Path) -> None:
        """Rename, or fail."""
        self._call("rename", old, new)

    def unlink(self, path: Path) -> None:
        """Unlink, or fail."""
        self._call("unlink", path)


def calls_in_process(folder: Path) -> Row:
    """Each changing call of the spool fails once, and a run of five of them, for every n and each fault."""
    row = Row("failing calls, in-process", "calls")
    logging.disable(logging.CRITICAL)
    try:
        rehearsal = Failing(0, "EIO")
        _spool_through(folder / "rehearsal", rehearsal, row)
        for fault in FAULTS:
            for times in (1, 5):
                for n in range(1, rehearsal.calls + 1):
                    place = folder / f"{fault}-{times}-{n}"
                    _spool_through(place, Failing(n, fault, times), row)
                    shutil.rmtree(place)
                    row.count += 1
    finally:
        logging.disable(logging.NOTSET)
    return row


def _spool_through(folder: Path, files: Failing, row: Row) -> None:
    """Append groups as the intake does, each until it is durable; then what is read must be those, once each."""
    where = f"call {files.n} ({files.fault}, {files.times} times)"
    try:
        spool = Spool.open(folder, files=files, segment_bytes=2000)
    except OSError:
        spool = Spool.open(folder, files=files, segment_bytes=2000)
    sent = []
    for number in range(12):
        messages = [(i, number * 5 + i) for i in range(5)]
        for _ in range(20):
            try:
                spool.append(records_of(messages))
                break
            except SpoolUnavailable:
                continue
        else:
            row.missed.append(f"{where}: group {number} was never taken")
        sent.append([record.payload for record in records_of(messages)])
    files.n = 0
    spool.close()
    again = Spool.open(folder)
    found = [[record.payload for record in records] for _, records in again.read()]
    pending = sum(again.pending().values())
    again.close()
    row.lost += sum(1 for group in sent if group not in found)
    row.doubled += len(found) - len({group[0] for group in found if group})
    row.invented += sum(1 for group in found if group not in sent)
    row.expect(pending == 60, f"{where}: {pending} records are pending of 60")


@contextmanager
def small_disk(place: Path, size_mb: int) -> Iterator[Path]:
    """A file system of its own in memory, of this size. PermissionError where that is not allowed."""
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=700", "none", str(place)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise PermissionError(done.stderr.decode(errors="replace").strip() or "mount is not allowed")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    filler = disk / "filler"
    fd = os.open(filler, os.O_CREAT | os.O_WRONLY)
    try:
        for size in (MB, 4096, 1):
            try:
                while os.write(fd, bytes(size)):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    finally:
        os.close(fd)
    return filler


def disk_full(folder: Path, *, under: str, seed: int, full_s: float = 6.0) -> Row:
    """No room under the spool, or the store, for a while, under load; then there is room again, without a restart."""
    row = Row(f"disk full under the {under}", "times", count=1)
    disk = folder / "disk"
    try:
        with small_disk(disk, 64):
            configuration: dict[str, Any] = {}
            if under == "store":
                configuration["store_url"] = f"duckdb://{disk}/meterhall.duckdb"
            with Rig(folder, seed=seed, devices=100, configuration=configuration) as rig:
                if under == "spool":
                    rig.product.data.mkdir(mode=0o700, parents=True)
                    (rig.product.data / "spool").symlink_to(disk, target_is_directory=True)
                rig.product.start().wait_live()
                rig.product.wait_connected()
                rig.publish("--rate", 400)
                time.sleep(2.0)
                filler = fill(disk)
                slowest, began = 0.0, time.monotonic()
                pending = received = 0
                while time.monotonic() - began < full_s:
                    asked = time.monotonic()
                    row.expect(rig.product.alive(5.0), "the API did not answer while the disk was full")
                    slowest = max(slowest, time.monotonic() - asked)
                    totals = rig.product.totals().get("messages", {})
                    pending, received = totals.get("pending", pending), totals.get("received", received)
                    time.sleep(0.2)
                status = rig.product.get("/health/ready")[1]
                row.notes["ready said"] = status[:160].decode(errors="replace")
                row.expect(
                    b'"ok"' not in status.split(b",")[0], "nothing was said of the full disk: was it full at all?"
                )
                row.notes["/health/live at the slowest [s]"] = round(slowest, 3)
                row.notes["pending while full"] = pending
                filler.unlink()
                freed, seen = time.monotonic(), received
                try:
                    wait_until(lambda: _moves(rig, under, seen), 60, "it goes on when there is room", every_s=0.05)
                    row.recovered(time.monotonic() - freed)
                    row.expect(
                        (row.recovery_s or 0) <= RESUME_S,
                        f"resumed after {row.recovery_s:.1f} s; the target is {RESUME_S:g} s",
                    )
                except TooLate as late:
                    row.missed.append(str(late))
                time.sleep(1.0)
                row.expect(rig.end_publishers() == 0, "the publisher did not get all its acknowledgements")
                if under == "store":
                    rig.product.wait_drained(rig.ledger.messages)
                    rig.product.stop()
                    shutil.copy(disk / "meterhall.duckdb", rig.product.data / "meterhall.duckdb")
                    if (disk / "meterhall.duckdb.wal").exists():
                        shutil.copy(disk / "meterhall.duckdb.wal", rig.product.data / "meterhall.duckdb.wal")
                    row.add(rig.examine())
                else:
                    row.add(rig.settle())
    except PermissionError as refused:
        return Row(row.scenario, skipped=f"a small file system cannot be mounted here (needs root): {refused}")
    return row


def _moves(rig: Rig, under: str, seen: int) -> bool:
    totals = rig.product.totals().get("messages", {})
    if under == "spool":
        return bool(totals) and totals["received"] > seen
    return bool(totals) and totals["pending"] < 400
