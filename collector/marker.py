"""What the pipeline was working on when the process died: finds a record that kills it.

A few bytes in a mapped file: written without a system call, and still there after kill -9. A batch
that was under way at a death is decoded record by record the next time; a record on which the
process then dies again twice is put into quarantine, so at most three restarts are lost to it.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

from storage.record import Position

_FORM = struct.Struct("<8sqqqqqqq")  # magic, begin (2), end (2), record (1), deaths of batch, of record
_MAGIC = b"mhproc1\0"
BATCH = -1  # no single record is to blame


class Marker:
    """The mark of the work under way.

    Parameters
    ----------
    path : the marker file; created if it is not there
    committed : the position that the store committed last: a mark elsewhere is an old one
    """

    def __init__(self, path: Path, committed: Position) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(fd).st_size != _FORM.size:
                os.ftruncate(fd, _FORM.size)
            self._map = mmap.mmap(fd, _FORM.size)
        finally:
            os.close(fd)
        magic, begin, begin_at, end, end_at, record, deaths, record_deaths = _FORM.unpack(self._map[:])
        self._begin, self._end = Position(begin, begin_at), Position(end, end_at)
        self._deaths = self._record_deaths = 0
        self._blamed = BATCH
        died = magic == _MAGIC and self._begin == committed and self._end > self._begin
        if died:
            self._deaths = deaths + 1
            self._blamed = record
            self._record_deaths = record_deaths + 1 if record != BATCH else 0
        else:
            self._end = self._begin

    @property
    def suspected_end(self) -> Position | None:
        """Where the batch ends during which the process died; None if it did not."""
        return self._end if self._deaths else None

    def deaths_of(self, record: int) -> int:
        """How often the process died over this record of the suspected batch, taken one by one."""
        return self._record_deaths if record == self._blamed else 0

    def begin(self, begin: Position, end: Position) -> None:
        """The batch of the groups in [begin, end) is under way."""
        self._begin, self._end = begin, end
        self._write(BATCH, 0)

    def record(self, number: int) -> None:
        """The `number`-th record of the suspected batch is being decoded."""
        self._write(number, self.deaths_of(number))

    def decoded(self) -> None:
        """All records were decoded: a death from now on is none's fault, not the last one's."""
        self._write(BATCH, 0)

    def done(self) -> None:
        """The batch is committed."""
        self._deaths = self._record_deaths = 0
        self._blamed = BATCH
        self._end = self._begin
        self._write(BATCH, 0)

    def _write(self, record: int, record_deaths: int) -> None:
        _FORM.pack_into(self._map, 0, _MAGIC, *self._begin, *self._end, record, self._deaths, record_deaths)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()
