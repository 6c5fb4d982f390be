"""One writing connection and a cursor for each reading thread; opened anew when the engine gave up."""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import duckdb

from metering.explain import ExplainedError
from storage.duckdb.errors import first_line, is_damage, is_ours
from storage.duckdb.opening import Settings, mend, open_database
from storage.store import StoreUnavailable

log = logging.getLogger(__name__)

_PATIENCE_S = 60.0


class Connections:
    """The file's connections. `findings` are the words on what was mended at each opening."""

    def __init__(self, path: Path, config: Settings) -> None:
        self.path = path
        self.findings: list[str] = []
        self._config = config
        self._gate = threading.Condition()
        self._readers = 0
        self._local = threading.local()
        self._cursors: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()
        self._generation = 0
        self._broken = False
        self._damage = ""
        self._writer: duckdb.DuckDBPyConnection | None = open_database(path, config, self.findings)

    @property
    def writer(self) -> duckdb.DuckDBPyConnection:
        """The writing connection; StoreUnavailable if there is none."""
        if self._writer is None:
            raise StoreUnavailable(f"{self.path} is closed")
        return self._writer

    @property
    def broken(self) -> bool:
        """Whether the engine has given up; `reopen` mends it."""
        return self._broken

    @property
    def closed(self) -> bool:
        """Whether there is no connection."""
        return self._writer is None

    @contextlib.contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """This thread's cursor, for one statement or one transaction of reading."""
        with self._gate:
            if self._writer is None:
                raise StoreUnavailable(f"{self.path} is closed")
            self._readers += 1
        cursor = None
        try:
            cursor = self._cursor()
            yield cursor
        except duckdb.Error as error:
            if is_ours(error):
                raise
            self.note(error)
            raise StoreUnavailable(str(error)) from error
        finally:
            if cursor is not None:
                with contextlib.suppress(duckdb.Error):
                    cursor.abort()  # an unfinished result keeps its transaction open, and no checkpoint could run
            with self._gate:
                self._readers -= 1
                self._gate.notify_all()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        found: tuple[int, duckdb.DuckDBPyConnection] | None = getattr(self._local, "cursor", None)
        if found is None or found[0] != self._generation:
            cursor = self.writer.cursor()
            self._local.cursor = found = (self._generation, cursor)
            with self._gate:
                self._cursors.add(cursor)
        return found[1]

    def roll_back(self, error: BaseException) -> None:
        """End the writer's transaction, if there still is one."""
        self.note(error)
        with contextlib.suppress(duckdb.Error):
            self.writer.rollback()

    def note(self, error: BaseException) -> None:
        """Remember an error after which the engine does nothing more until it is opened again."""
        if is_damage(error) and not self._damage:
            log.error("%s is damaged, and is mended before the next write: %s", self.path, error)
            self._damage = first_line(error)
            self._broken = True
        elif isinstance(error, duckdb.FatalException) or "invalidated" in str(error):
            log.error("%s: the engine gave up: %s", self.path, error)
            self._broken = True

    def reopen(self) -> None:
        """Close everything and open the file again, mended if it is damaged.

        Raises StoreUnavailable if it cannot be opened now.
        """
        with self._gate:
            if not self._gate.wait_for(lambda: self._readers == 0, _PATIENCE_S):
                raise StoreUnavailable(f"{self.path}: readers have not ended in {_PATIENCE_S:g} s")
            self._shut()
            try:
                if self._damage:
                    mend(self.path, self._config, self._damage, self.findings)
                self._writer = open_database(self.path, self._config, self.findings)
            except (duckdb.Error, OSError, ExplainedError) as error:
                raise StoreUnavailable(str(error)) from error
            self._broken, self._damage = False, ""
        log.info("%s: opened again", self.path)

    def close(self) -> None:
        """Close all connections, when the readers have ended."""
        with self._gate:
            self._gate.wait_for(lambda: self._readers == 0, _PATIENCE_S)
            self._shut()

    def _shut(self) -> None:
        self._generation += 1
        for cursor in list(self._cursors):
            cursor.close()
        self._cursors.clear()
        if self._writer is not None:
            with contextlib.suppress(duckdb.Error):
                self._writer.close()
            self._writer = None
