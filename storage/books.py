"""The two books: what became of every message and of every reading, by source.

Messages: received = decoded + repeated + rejected + dropped + pending.
Readings: decoded = stored + duplicate + conflict + missing + rejected + dropped + pending.

`received` is counted when a group is durable in the spool. What became of it is entered per batch into
a copy, which is committed with the rows and the spool position in one transaction and then replaces
the totals: so the books are those of the committed position, and what lies behind it is pending.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import msgspec

from metering.explain import ExplainedError
from storage.record import Position

STATE_VERSION = 1
MESSAGES = ("decoded", "repeated")
READINGS = ("stored", "duplicate", "conflict", "missing")
REASONED = ("rejected", "dropped")
_NOTHING: Mapping[str, int] = {}

Totals = dict[str, Any]  # outcome -> count, or reason -> count for `rejected` and `dropped`


class State(msgspec.Struct, frozen=True):
    """What is committed with each write.

    position : everything before it in the spool is stored
    books : `Books.to_state()`
    touched : (point as text, first, last observed_at [us since 1970]) still to be derived
    at : when it was made [us since 1970]
    """

    position: Position
    books: dict[str, Any]
    touched: list[tuple[str, int, int]] = []
    at: int = 0
    version: int = STATE_VERSION


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(State).decode
_version = msgspec.msgpack.Decoder(msgspec.defstruct("Version", [("version", int)])).decode


def encode_state(state: State) -> bytes:
    """The state as the blob that a store keeps."""
    return _encode(state)


def decode_state(blob: bytes) -> State:
    """The state of a blob.

    Raises
    ------
    ExplainedError
        If a newer version wrote it, or it is no such blob.
    """
    try:
        version = _version(blob).version
        if version > STATE_VERSION:
            raise ExplainedError(
                "the store's state",
                f"has version {version}, and this Meterhall reads up to {STATE_VERSION}",
                "run the newer Meterhall that wrote it",
            )
        return _decode(blob)
    except msgspec.MsgspecError as error:
        raise ExplainedError(
            "the store's state", f"cannot be read ({error})", "restore the data folder's backup"
        ) from None


class Books:
    """Totals since the data folder was made. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received: dict[str, int] = {}
        self._messages: dict[str, Totals] = {}
        self._readings: dict[str, Totals] = {}

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | None, pending: Mapping[str, int] = _NOTHING) -> Books:
        """The books at a start.

        Parameters
        ----------
        state : the committed totals (`State.books`), None in a new store
        pending : records of each source in the spool at or after the committed position (`Spool.pending`)
        """
        books = cls()
        state = state or {}
        books._messages = {source: _copied(totals) for source, totals in state.get("messages", {}).items()}
        books._readings = {source: _copied(totals) for source, totals in state.get("readings", {}).items()}
        books._received = {source: _sum(totals, MESSAGES) for source, totals in books._messages.items()}
        books.received(pending)
        return books

    def to_state(self) -> dict[str, Any]:
        """What is to be committed: what became of messages and readings. `received` follows from it and the spool."""
        with self._lock:
            return {
                "messages": {source: _copied(totals) for source, totals in self._messages.items()},
                "readings": {source: _copied(totals) for source, totals in self._readings.items()},
            }

    def copy(self) -> Books:
        """Books of their own with the same totals, to enter a batch into."""
        other = Books()
        with self._lock:
            other._received = dict(self._received)
            other._messages = {source: _copied(totals) for source, totals in self._messages.items()}
            other._readings = {source: _copied(totals) for source, totals in self._readings.items()}
        return other

    def replace(self, committed: Books) -> None:
        """Take over the outcomes of a copy that was committed; what was received meanwhile stays counted."""
        with self._lock:
            self._messages, self._readings = committed._messages, committed._readings

    def go_back(self, committed: Books, before: Mapping[str, int], after: Mapping[str, int]) -> None:
        """Take over the outcomes of books at another position of the spool; what is read again counts again.

        Parameters
        ----------
        before, after : records of each source in the spool behind the old and the new position, at one moment
        """
        with self._lock:
            for source in {*self._received, *before, *after}:
                done, again = self._messages.get(source, {}), committed._messages.get(source, {})
                change = _sum(again, MESSAGES) - _sum(done, MESSAGES) + after.get(source, 0) - before.get(source, 0)
                self._received[source] = self._received.get(source, 0) + change
            self._messages, self._readings = committed._messages, committed._readings

    def received(self, counts: Mapping[str, int]) -> None:
        """Messages of each source that are durable in the spool now."""
        with self._lock:
            for source, n in counts.items():
                self._received[source] = self._received.get(source, 0) + n

    def messages(
        self,
        source: str,
        *,
        decoded: int = 0,
        repeated: int = 0,
        rejected: Mapping[str, int] = _NOTHING,
        dropped: Mapping[str, int] = _NOTHING,
    ) -> None:
        """Enter what became of messages; `rejected` and `dropped` by reason."""
        with self._lock:
            _enter(self._messages.setdefault(source, {}), {"decoded": decoded, "repeated": repeated}, rejected, dropped)

    def readings(
        self,
        source: str,
        *,
        decoded: int = 0,
        stored: int = 0,
        duplicate: int = 0,
        conflict: int = 0,
        missing: int = 0,
        rejected: Mapping[str, int] = _NOTHING,
        dropped: Mapping[str, int] = _NOTHING,
    ) -> None:
        """Enter readings that came out of messages, and what became of them."""
        plain = {"decoded": decoded, "stored": stored, "duplicate": duplicate, "conflict": conflict, "missing": missing}
        with self._lock:
            _enter(self._readings.setdefault(source, {}), plain, rejected, dropped)

    def snapshot(self) -> dict[str, Any]:
        """Both books by source and in total, as `metering.health.Books` describes; balanced at every sample."""
        with self._lock:
            messages = {
                source: _message_row(self._received.get(source, 0), self._messages.get(source, {}))
                for source in sorted({*self._received, *self._messages})
            }
            readings = {source: _reading_row(totals) for source, totals in sorted(self._readings.items())}
        total = {
            "messages": _total(messages.values(), _message_row(0, {})),
            "readings": _total(readings.values(), _reading_row({})),
        }
        return {"messages": messages, "readings": readings, "total": total}

    def balance(self, pending: Mapping[str, int] | None = None) -> list[str]:
        """What does not balance, in sentences; empty when all does.

        Parameters
        ----------
        pending : `Spool.pending(position)` at the committed position, taken while nothing is under way:
            then the books are also compared with what the spool really holds
        """
        found, books = [], self.snapshot()
        for source, row in books["messages"].items():
            if row["pending"] < 0:
                found.append(f"messages of {source}: {-row['pending']} more have an outcome than were received")
            elif pending is not None and row["pending"] != (held := pending.get(source, 0)):
                found.append(f"messages of {source}: {row['pending']} have no outcome, but the spool holds {held}")
        for source in sorted(set(pending or ()) - set(books["messages"])):
            found.append(f"messages of {source}: the spool holds {(pending or {})[source]} that were never counted")
        for source, row in books["readings"].items():
            if row["pending"] < 0:
                found.append(f"readings of {source}: {-row['pending']} more have an outcome than were decoded")
            elif pending is not None and row["pending"]:
                found.append(f"readings of {source}: {row['pending']} were decoded and have no outcome")
        return found

    def metrics_text(self) -> str:
        """Both books in the Prometheus exposition format."""
        books = self.snapshot()
        lines = []
        for book, outcomes in (("messages", ("received", *MESSAGES)), ("readings", ("decoded", *READINGS))):
            name = f"meterhall_{book}_total"
            lines += [f"# HELP {name} {book.capitalize()} by source and what became of them.", f"# TYPE {name} counter"]
            for source, row in books[book].items():
                for outcome in outcomes:
                    lines.append(f'{name}{{source="{_label(source)}",outcome="{outcome}",reason=""}} {row[outcome]}')
                for outcome in REASONED:
                    for reason, n in sorted(row[outcome].items()):
                        lines.append(
                            f'{name}{{source="{_label(source)}",outcome="{outcome}",reason="{_label(reason)}"}} {n}'
                        )
        for book in ("messages", "readings"):
            name = f"meterhall_{book}_pending"
            lines += [f"# HELP {name} {book.capitalize()} that have no outcome yet.", f"# TYPE {name} gauge"]
            lines += [f'{name}{{source="{_label(source)}"}} {row["pending"]}' for source, row in books[book].items()]
        return "\n".join(lines) + "\n"


def _enter(totals: Totals, plain: Mapping[str, int], rejected: Mapping[str, int], dropped: Mapping[str, int]) -> None:
    for outcome, n in plain.items():
        if n:
            totals[outcome] = totals.get(outcome, 0) + n
    for outcome, reasons in (("rejected", rejected), ("dropped", dropped)):
        if reasons:
            counts = totals.setdefault(outcome, {})
            for reason, n in reasons.items():
                counts[reason] = counts.get(reason, 0) + n


def _copied(totals: Mapping[str, Any]) -> Totals:
    return {outcome: dict(n) if isinstance(n, Mapping) else n for outcome, n in totals.items()}


def _sum(totals: Mapping[str, Any], outcomes: tuple[str, ...]) -> int:
    plain = sum(totals.get(outcome, 0) for outcome in outcomes)
    return plain + sum(sum(totals.get(outcome, {}).values()) for outcome in REASONED)


def _message_row(received: int, totals: Totals) -> Totals:
    row: Totals = {"received": received, **{outcome: totals.get(outcome, 0) for outcome in MESSAGES}}
    row |= {outcome: dict(totals.get(outcome, {})) for outcome in REASONED}
    return row | {"pending": received - _sum(totals, MESSAGES)}


def _reading_row(totals: Totals) -> Totals:
    row: Totals = {outcome: totals.get(outcome, 0) for outcome in ("decoded", *READINGS)}
    row |= {outcome: dict(totals.get(outcome, {})) for outcome in REASONED}
    return row | {"pending": row["decoded"] - _sum(totals, READINGS)}


def _total(rows: Any, total: Totals) -> Totals:
    for row in rows:
        for outcome, n in row.items():
            if isinstance(n, int):
                total[outcome] += n
            else:
                for reason, count in n.items():
                    total[outcome][reason] = total[outcome].get(reason, 0) + count
    return total


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
