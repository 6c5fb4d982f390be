"""Copies of files that are durable when the call returns, and the checksums that tell whether one still is whole."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from storage.files import OS_FILES, Files, write_all
from storage.store import StoreUnavailable

CHUNK = 1 << 20
_COPY = """
import os, shutil, sys
with open(sys.argv[1], "rb") as source, open(sys.argv[2], "xb") as target:
    os.fchmod(target.fileno(), 0o600)
    shutil.copyfileobj(source, target, 1 << 20)
    target.flush()
    os.fsync(target.fileno())
"""


def copy_apart(source: Path, target: Path) -> None:
    """Copy a file that this process holds a lock on, in a process of its own.

    POSIX drops all of a process's locks on a file when it closes any descriptor of it: a copy made here would
    let another program open the database beside us.

    Raises
    ------
    StoreUnavailable
        If there is no copy (disk full).
    """
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _COPY, str(source), str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        target.unlink(missing_ok=True)
        raise StoreUnavailable(f"{source} cannot be copied: {(done.stderr.splitlines() or ['no reason given'])[-1]}")


def copy_bytes(
    source: Path,
    target: Path,
    size: int | None = None,
    *,
    told: Callable[[int], None] | None = None,
    files: Files = OS_FILES,
) -> str:
    """Copy the first `size` bytes of a file (all of it) into a new one (0600); returns their SHA-256.

    `told` is called with the bytes of each chunk that was copied. OSError as the system raises it; also if the
    file has fewer bytes.
    """  # fmt: skip
    left = files.size(source) if size is None else size
    digest, at = hashlib.sha256(), 0
    reading = files.open(source)
    try:
        writing = files.create(target)
        try:
            while at < left:
                data = files.read(reading, min(CHUNK, left - at), at)
                if not data:
                    raise OSError(f"{source} ends at byte {at} of {left}")
                write_all(files, writing, data)
                digest.update(data)
                at += len(data)
                if told is not None:
                    told(len(data))
            files.fsync(writing)
        finally:
            files.close(writing)
    finally:
        files.close(reading)
    return digest.hexdigest()


def sha256_of(path: Path, told: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            digest.update(data)
            if told is not None:
                told(len(data))
    return digest.hexdigest()


def sync_tree(folder: Path) -> None:
    """Make the entries of a folder and of those in it durable."""
    for path, _, _ in os.walk(folder):
        OS_FILES.sync_folder(Path(path))
