"""Everything of one machine, opened in the right order and closed in the other: the composition root."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from analytics.counters import Cadence
from api.live import LiveFeed
from collector.decoders import Decoders, build_decoders
from collector.pipeline import Pipeline
from devices.settings import Settings
from meterhall.derive import Deriver
from meterhall.replacing import finish
from metering.clock import now_us
from metering.explain import ExplainedError
from metering.reading import Point
from storage.books import Books, State, decode_state
from storage.files import OS_FILES, write_file
from storage.formats import note_formats, refuse_newer
from storage.ledger.ledger import Ledger
from storage.opening import duckdb_url, open_store
from storage.quarantine import Quarantine
from storage.spool import START, Spool
from storage.store import Store

LOCK_S = 0.5


class FolderInUse(ExplainedError):
    """Another Meterhall holds the data folder."""


@dataclass(frozen=True)
class Node:
    """What one machine holds: where things last, and what works on them."""

    settings: Settings
    store: Store
    spool: Spool
    books: Books
    quarantine: Quarantine
    ledger: Ledger
    decoders: Decoders
    deriver: Deriver
    live: LiveFeed
    pipeline: Pipeline
    admin_token: str
    findings: tuple[str, ...]  # what was damaged and mended at this start, in words


@contextlib.contextmanager
def open_node(settings: Settings, *, cadence_of: Callable[[Point], Cadence | None] | None = None) -> Iterator[Node]:
    """Open the data folder of a configuration; one process at a time.

    `cadence_of`: the expected spacing of a point's readings where it differs from the configured one.

    Raises
    ------
    ExplainedError
        If another Meterhall uses the folder, it cannot be written, or a newer version wrote it.
    """
    with contextlib.ExitStack() as closing:
        data = _own_folder(settings.data, closing)
        refuse_newer(data)
        finish(data)
        decoders = build_decoders(settings)
        url = settings.store_url or duckdb_url(data / "meterhall.duckdb")
        store = open_store(url, folder=data, memory_limit=f"{settings.limits.store_memory_mb}MB")
        closing.callback(store.close)
        blob = store.state()
        state = decode_state(blob) if blob else State(START, {})
        spool = Spool.open(data / "spool", max_bytes=settings.limits.spool_bytes, after=state.position)
        closing.callback(spool.close)
        books = Books.from_state(state.books, spool.pending(state.position))
        spool.on_append = books.received
        quarantine = Quarantine.open(data / "quarantine.sqlite", max_entries=settings.limits.quarantine_rows)
        closing.callback(quarantine.close)
        ledger = open_ledger(settings)
        closing.callback(ledger.close)
        note_formats(data)
        deriver = Deriver(settings.installation, store, rollover_of=decoders.rollovers.get, cadence_of=cadence_of)
        deriver.restore(state.touched)
        live = LiveFeed()
        pipeline = Pipeline(
            spool,
            store,
            books,
            quarantine,
            decoders.named,
            decoders.points,
            settings.installation,
            live,
            deriver,
            now_us,
            data,
        )
        token, token_note = _admin_token(data)
        findings = (
            *getattr(store, "findings", ()),
            *(str(damage) for damage in spool.damage),
            *(note for note in (quarantine.note, ledger.note, token_note) if note),
        )
        yield Node(
            settings,
            store,
            spool,
            books,
            quarantine,
            ledger,
            decoders,
            deriver,
            live,
            pipeline,
            token,
            findings,
        )


@contextlib.contextmanager
def hold_folder(data: Path) -> Iterator[None]:
    """The data folder for this process alone, as long as it lasts; ExplainedError if another one has it."""
    with contextlib.ExitStack() as closing:
        _own_folder(data, closing)
        yield


def open_ledger(settings: Settings) -> Ledger:
    """The ledger of a configuration: a file in the data folder, or the database it names.

    Raises
    ------
    ExplainedError
        If a newer version wrote it, another Meterhall uses it, or it cannot be opened.
    """
    if settings.ledger_url:
        return Ledger.open(settings.ledger_url, settings.ledger_password.reveal())
    return Ledger.open(f"sqlite:///{settings.data / 'ledger.sqlite'}")


def _own_folder(data: Path, closing: contextlib.ExitStack) -> Path:
    """The data folder, made if need be, private, and held by this process alone."""
    os.umask(0o077)  # the engines make files of their own beside those that we make
    try:
        OS_FILES.make_folder(data)
        lock = OS_FILES.lock(data)
        deadline = time.monotonic() + LOCK_S  # a command that only looks whether we run holds it for a moment
        while lock is None and time.monotonic() < deadline:
            time.sleep(0.05)
            lock = OS_FILES.lock(data)
    except OSError as error:
        raise ExplainedError(
            str(data), f"cannot be used: {error.strerror}", "give a folder that can be written"
        ) from None
    if lock is None:
        raise FolderInUse(
            str(data), "another Meterhall uses this data folder", "stop it first, or give this one a folder of its own"
        )
    closing.callback(os.close, lock)
    return data


def _admin_token(data: Path) -> tuple[str, str]:
    """The token that changing routes ask for, and what was wrong with its file, if anything.

    Written at the first start, mode 0600; one that is damaged is written anew, under the same name.
    """
    path = data / "admin.token"
    note = ""
    with contextlib.suppress(FileNotFoundError):
        token = path.read_bytes().decode("ascii", "replace").strip()
        if re.fullmatch(r"[A-Za-z0-9_-]{16,}", token):
            return token, ""
        note = f"{path} held no usable token; a new one was made: who uses the old one reads it there again"
        path.unlink()
    token = secrets.token_urlsafe(32)
    write_file(OS_FILES, path, f"{token}\n".encode())
    return token, note
