"""The few file operations that durability stands on, as one object: tests pass one that fails, tears and forgets."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)
_fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has none


class Files:
    """The operating system's files. Every method raises OSError as the system does."""

    def make_folder(self, path: Path) -> None:
        """Make the folder and its parents, for the owner alone (0700)."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_mode & 0o777 != 0o700:
            path.chmod(0o700)

    def lock(self, folder: Path) -> int | None:
        """Lock the folder for this process; None if another holds it. Undone by `close`, or by the process's end."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return None
            raise
        return fd

    def create(self, path: Path) -> int:
        """Create a file that must not exist (0600) and open it for appending."""
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o600)

    def open(self, path: Path) -> int:
        """Open a file for reading."""
        return os.open(path, os.O_RDONLY)

    def close(self, fd: int) -> None:
        """Close a file or a lock."""
        os.close(fd)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Append; returns how many bytes were taken, which can be fewer than given."""
        return os.write(fd, data)

    def read(self, fd: int, length: int, offset: int) -> bytes:
        """Bytes at an offset; fewer only at the end of the file."""
        data = os.pread(fd, length, offset)
        while 0 < len(data) < length:
            more = os.pread(fd, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def fdatasync(self, fd: int) -> None:
        """Make the file's bytes and length durable."""
        _fdatasync(fd)

    def fsync(self, fd: int) -> None:
        """Make the whole file durable."""
        os.fsync(fd)

    def sync_folder(self, path: Path) -> None:
        """Make the folder's entries durable."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file to a size."""
        os.ftruncate(fd, size)

    def rename(self, old: Path, new: Path) -> None:
        """Rename, in the place of what is there."""
        os.replace(old, new)

    def link(self, old: Path, new: Path) -> None:
        """Give the file a second name."""
        os.link(old, new)

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        os.unlink(path)

    def names(self, folder: Path) -> list[str]:
        """The names in a folder, sorted; empty if there is no such folder."""
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []

    def size(self, path: Path) -> int:
        """Bytes of a file."""
        return path.stat().st_size


def attempt(call: Callable[..., None], *arguments: object) -> bool:
    """Do what is good to have and not needed for correctness; False, and a line in the log, if the system refuses."""
    try:
        call(*arguments)
    except FileNotFoundError:
        return False
    except OSError as error:
        log.warning("%s: %s", getattr(call, "__name__", call), error)
        return False
    return True


def write_all(files: Files, fd: int, data: bytes) -> None:
    """Append all of `data`: a short count is gone on from, until the system says what is wrong."""
    taken = files.write(fd, data)
    while taken < len(data):
        more = files.write(fd, memoryview(data)[taken:])
        if more <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken += more


def write_file(files: Files, path: Path, data: bytes) -> None:
    """Put a small file in place, whole or not at all, and durable when this returns."""
    fresh = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        files.unlink(fresh)
    fd = files.create(fresh)
    try:
        write_all(files, fd, data)
        files.fsync(fd)
    finally:
        files.close(fd)
    files.rename(fresh, path)
    files.sync_folder(path.parent)


OS_FILES = Files()
