"""Events of a folder's files as they happen, through Linux' inotify: to hit the moment of a rename or a truncation."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

MODIFY, MOVED_TO, CREATE, DELETE = 0x2, 0x80, 0x100, 0x200
NAMES = {MODIFY: "write", MOVED_TO: "rename", CREATE: "create", DELETE: "delete"}
_EVENT = struct.Struct("iIII")


class FileEvent(NamedTuple):
    """What happened to which file; `shrunk`: it is smaller than when it was last seen."""

    kind: str
    name: str
    shrunk: bool


class Watch:
    """Watches folders; a context manager."""

    def __init__(self, *folders: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify cannot be used")
        self._folders: dict[int, Path] = {}
        self._sizes: dict[Path, int] = {}
        for folder in folders:
            mask = MODIFY | MOVED_TO | CREATE | DELETE
            number = self._libc.inotify_add_watch(self._fd, os.fsencode(folder), mask)
            if number >= 0:
                self._folders[number] = folder
                for path in folder.iterdir():
                    self._sizes[path] = path.stat().st_size if path.is_file() else 0

    def until(self, wanted: Callable[[FileEvent], bool], timeout_s: float) -> FileEvent | None:
        """The first wanted event, as soon as it happens; None after the time is up."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._fd], [], [], left)[0]:
                return None
            data, at = os.read(self._fd, 65_536), 0
            while at < len(data):
                number, mask, _, length = _EVENT.unpack_from(data, at)
                name = data[at + 16 : at + 16 + length].rstrip(b"\0").decode(errors="replace")
                at += 16 + length
                event = self._event(number, mask, name)
                if event is not None and wanted(event):
                    return event
        return None

    def _event(self, number: int, mask: int, name: str) -> FileEvent | None:
        kind = next((words for bit, words in NAMES.items() if mask & bit), None)
        folder = self._folders.get(number)
        if kind is None or folder is None:
            return None
        path, size = folder / name, 0
        with contextlib.suppress(OSError):
            size = path.stat().st_size
        shrunk = size < self._sizes.get(path, 0)
        self._sizes[path] = size
        return FileEvent(kind, name, shrunk)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
