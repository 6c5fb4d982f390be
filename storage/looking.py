"""Looks at a stopped data folder without changing anything in it: what the next start would find."""

from __future__ import annotations

import errno
import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metering.explain import ExplainedError
from storage.books import Books, decode_state
from storage.files import Files
from storage.frame import FIRST, Frame
from storage.record import Position
from storage.recovery import Damages, recover
from storage.segment import Segment
from storage.spool import START


class ReadOnlyFiles(Files):
    """Refuses every call that changes something."""

    def _refuse(self, *_: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    make_folder = create = write = truncate = rename = link = unlink = _refuse  # type: ignore[assignment]


@dataclass
class Seen:
    """What was seen of a stopped data folder.

    store : see `storage.duckdb.looking.look`; empty if there is no file
    books : the committed books and what waits in the spool; None if they cannot be read
    """

    store: dict[str, Any] = field(default_factory=dict)
    spool_damage: list[str] = field(default_factory=list)
    spool_bytes: int = 0
    pending: int = 0
    newest_received: int | None = None  # [us since 1970]
    books: Books | None = None
    problems: list[str] = field(default_factory=list)


def look_at(data: Path) -> Seen:
    """Everything that can be seen without opening the folder for work."""
    from storage.duckdb.looking import look

    seen = Seen()
    if (data / "meterhall.duckdb").exists():
        seen.store = look(data / "meterhall.duckdb")
    blob = seen.store.get("state")
    try:
        state = decode_state(blob) if blob else None
    except ExplainedError as problem:
        seen.problems.append(str(problem))
        state = None
    position = state.position if state else START
    pending: dict[str, int] = {}
    if (data / "spool").is_dir():
        files = ReadOnlyFiles()
        with _silent():
            try:
                found = recover(data / "spool", files, damages := Damages(data / "spool", files), position)
            except (ExplainedError, OSError) as problem:
                seen.problems.append(str(problem))
            else:
                seen.spool_damage = sorted(damages.words.values())
                seen.newest_received = max((each.newest for each in found.segments if each.frames), default=None)
                seen.spool_bytes = sum(each.size for each in found.segments)
                for segment in found.segments:
                    for source, n in _waiting(segment, files, position).items():
                        pending[source] = pending.get(source, 0) + n
    seen.pending = sum(pending.values())
    if state is not None or not seen.store:
        seen.books = Books.from_state(state.books if state else None, pending)
    return seen


def _waiting(segment: Segment, files: Files, position: Position) -> Counter[str]:
    """Records of each source in a segment at or after a position."""
    start = max(FIRST, position.offset) if segment.number == position.segment else FIRST
    counts: Counter[str] = Counter()
    if segment.number >= position.segment:
        for item in segment.stretch(files, start, segment.end, check=False):
            counts.update(item.sources if isinstance(item, Frame) else item.lost)
    return counts


@contextmanager
def _silent() -> Iterator[None]:
    """What recovery reports goes into the answer, not into a log."""
    loggers = [logging.getLogger(name) for name in ("storage.recovery", "storage.files", "storage.segment")]
    before = [each.disabled for each in loggers]
    for each in loggers:
        each.disabled = True
    try:
        yield
    finally:
        for each, was in zip(loggers, before, strict=True):
            each.disabled = was
