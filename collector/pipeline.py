"""The way of a reading, in one place: spool, acknowledge, decode, name, check, store, derive.

`collector.intake` does the first two steps; this module does the rest, in one thread, in columns:
it reads commit groups from the spool, decodes each record, names its points, checks the batch and
writes it to the store together with the spool position and the totals of both books. So a crash at
any moment repeats work but never loses or doubles a reading.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from collector.checks import Checks
from collector.marker import Marker
from collector.points import PointTable
from devices.decoded import Decoder, Rejected
from metering.quantity import Quality
from metering.reading import Origin, Point, ReadingBatch
from metering.site import Installation
from storage.books import Books, State, decode_state, encode_state
from storage.quarantine import Quarantine
from storage.record import OVERSIZE, REPEATED, RETAINED, Position, Record
from storage.spool import START, Spool
from storage.store import Outcome, Store, StoreUnavailable, WriteResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger("meterhall.pipeline")

STAGES = ("spool", "acknowledge", "decode", "name", "check", "store", "derive")
MOST_RECORDS = 20_000  # records in one store transaction
RETRY_S = 1.0
CHECKPOINT_S = 60.0
POISON_DEATHS = 2  # one by one, after the first in a batch: three in all

Group = tuple[Position, list[Record]]  # the position after it, and its records
Touched = list[tuple[Point, int, int]]


class Named(NamedTuple):
    """A decoder, and the number of the point of its first slot."""

    decoder: Decoder
    first_point: int


DecoderKey = tuple[int, str, str]  # (wire, source, key) of a record


class Live(Protocol):
    """Who is told of stored values as they come."""

    def publish(self, rows: Sequence[tuple[Point, int, float, int]]) -> None:
        """(point, observed_at, value, quality) of newly stored readings."""
        ...


class Derivation(Protocol):
    """Who recomputes what new readings touch."""

    def touch(self, point: Point, start: int, end: int) -> None:
        """Readings of this point in [start, end] are new or changed."""
        ...

    def pending(self) -> list[tuple[str, int, int]]:
        """Ranges touched and not yet derived, points as text."""
        ...


class Refused(NamedTuple):
    """A message, or one value of it, that cannot be a reading."""

    record: Record
    place: str  # spool position and number in its batch: the same after a crash
    reason: str
    detail: str


@dataclass
class Columns:
    """One batch while it is gathered: lists a record long, but for `rows`."""

    rows: list[list[tuple[int, int, float, bool]]] = field(default_factory=list)  # slot, at, value, suspect
    first_point: list[int] = field(default_factory=list)
    origin: list[int] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    origin_of: dict[tuple[str, str, int], int] = field(default_factory=dict)
    decoded: Counter[str] = field(default_factory=Counter)  # messages, by source
    repeated: Counter[str] = field(default_factory=Counter)
    rejected: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    dropped: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    missing: Counter[str] = field(default_factory=Counter)  # values, by source
    refused_values: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    refused: list[Refused] = field(default_factory=list)

    def refuse(self, record: Record, place: str, reason: str, detail: str) -> None:
        """Reject a whole message."""
        self.rejected[record.source][reason] += 1
        self.refused.append(Refused(record, place, reason, detail))


class Pipeline:
    """Takes spooled records through decode, name, check and store.

    Parameters
    ----------
    spool, store, books, quarantine : where things last
    decoders : (wire, source, key) -> decoder and its first point
    points : the points' numbers; a decoder's slots are consecutive in it
    live, derivation : who is told of what was stored
    now : the wall clock [us since 1970]
    folder : where the marker lies that tells a poison record after a crash
    """

    def __init__(
        self,
        spool: Spool,
        store: Store,
        books: Books,
        quarantine: Quarantine,
        decoders: Mapping[DecoderKey, Named],
        points: PointTable,
        installation: Installation,
        live: Live,
        derivation: Derivation,
        now: Callable[[], int],
        folder: Path,
    ) -> None:
        self._spool, self._store, self._books, self._quarantine = spool, store, books, quarantine
        self._decoders, self._points = decoders, points
        self._live, self._derivation, self._now = live, derivation, now
        self._checks = Checks(installation)
        blob = store.state()
        self.position = decode_state(blob).position if blob else START
        self._marker = Marker(folder / "processing", self.position)
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pipeline", daemon=True)
        self._checkpointed = time.monotonic()
        self._committed = 0
        self.note = ""  # what is wrong, in words; empty when all is well

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the spool."""
        self._wake.set()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Finish the batch under way and stop; what is not stored stays in the spool."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                busy = self.run_once()
            except Exception as error:
                log.exception("records at %s stay in the spool and are tried again", self.position)
                self.note = f"storing fails and is tried again: {error!r}"
                self._stop.wait(RETRY_S)
                continue
            self._tidy(busy)
            if not busy:
                self._wake.wait(1.0)

    def run_once(self) -> bool:
        """Process one batch of what the spool holds; False if it holds nothing more."""
        groups = list(self._gather())
        if not groups:
            return False
        careful = self._marker.suspected_end is not None
        end = groups[-1][0]
        self._marker.begin(self.position, end)
        columns, at, number = Columns(), self.position, 0
        for after, records in groups:
            if not records:
                self._count_damage(at, after, columns)
            elif careful:
                for record in records:
                    self._decode_alone(record, number, at, columns)
                    number += 1
            else:
                self._decode(records, at, columns)
            at = after
        self._commit(columns, end)
        self._marker.done()
        return True

    def _gather(self) -> Iterator[Group]:
        """The groups of one batch; after a death, exactly those of the batch that was under way."""
        until, count = self._marker.suspected_end, 0
        for group in self._spool.read(self.position):
            yield group
            count += len(group[1])
            if group[0] >= until if until is not None else count >= MOST_RECORDS or self._stop.is_set():
                return

    def _count_damage(self, start: Position, end: Position, columns: Columns) -> None:
        for source, count in self._spool.losses(start, end).items():
            columns.dropped[source]["damaged"] += count

    def _decode_alone(self, record: Record, number: int, at: Position, columns: Columns) -> None:
        """A record of a batch over which the process died: if it is this one, it is put aside."""
        if self._marker.deaths_of(number) >= POISON_DEATHS:
            columns.refuse(record, f"{at}/{number}", "poison", "the process died three times while working on it")
            return
        self._marker.record(number)
        self._decode([record], at, columns, first=number)

    def _decode(self, records: Sequence[Record], position: Position, columns: Columns, first: int = 0) -> None:
        """Steps decode and name: raw records to rows, each with the points its decoder names."""
        decoders, text = self._decoders, str(position)
        add_rows, add_point = columns.rows.append, columns.first_point.append
        add_received, add_origin = columns.received.append, columns.origin.append
        decoded: dict[str, int] = columns.decoded
        for number, record in enumerate(records, first):
            wire, source, key, payload, received_at, flags, _ = record
            if flags & (REPEATED | OVERSIZE):
                if flags & REPEATED:
                    columns.repeated[source] += 1
                else:
                    columns.refuse(record, f"{text}/{number}", "oversize", "longer than limits.payload_bytes")
                continue
            named = decoders.get((wire, source, key)) or decoders.get((wire, "", key))
            if named is None:
                columns.refuse(record, f"{text}/{number}", "unknown_device", f"no configured device sends {key}")
                continue
            decoder = named.decoder
            try:
                values, missing, rejected = decoder.decode(payload, received_at, flags & RETAINED != 0)
            except Rejected as refusal:
                columns.refuse(record, f"{text}/{number}", refusal.reason, refusal.detail)
                continue
            except Exception as error:  # a fault of ours must not stop the others
                log.exception("cannot decode a record of %s", key)
                columns.refuse(record, f"{text}/{number}", "decoder_error", repr(error))
                continue
            decoded[source] += 1
            if missing:
                columns.missing[source] += missing
            for reason, detail in rejected:
                columns.refused_values[source][reason] += 1
                columns.refused.append(Refused(record, f"{text}/{number}/{reason}", reason, detail))
            if values:
                add_rows(values)
                add_point(named.first_point)
                add_received(received_at)
                origin_key = (source, decoder.profile, position.offset)
                origin = columns.origin_of.get(origin_key)
                if origin is None:
                    origin = columns.origin_of[origin_key] = len(columns.origins)
                    columns.origins.append(Origin(source, received_at, decoder.profile, text))
                add_origin(origin)

    def _batch(self, columns: Columns) -> ReadingBatch:
        """Step check: the gathered rows as one checked batch."""
        counts = np.fromiter(map(len, columns.rows), np.int64, len(columns.rows))
        n = int(counts.sum())
        slot, at, value, suspect = zip(*chain.from_iterable(columns.rows), strict=True) if n else ((), (), (), ())
        points = self._points.all()
        point = np.fromiter(slot, np.int32, n) + np.repeat(np.array(columns.first_point, np.int32), counts)
        observed = np.fromiter(at, np.int64, n)
        values = np.fromiter(value, np.float64, n)
        quality = np.fromiter(suspect, np.uint8, n)
        quality *= np.uint8(Quality.SUSPECT)
        if n:
            received = np.repeat(np.array(columns.received, np.int64), counts)
            self._checks.check(points, point, observed, values, received, quality)
        origin = np.repeat(np.array(columns.origin, np.int32), counts)
        return ReadingBatch(points, point, observed, values, quality, origin, tuple(columns.origins))

    def _commit(self, columns: Columns, end: Position) -> None:
        """Step store: rows, spool position and books in one transaction, repeated until the store takes it."""
        batch = self._batch(columns)
        ranges: Touched = []
        books = self._books

        def make_state(result: WriteResult) -> bytes:
            nonlocal books, ranges
            ranges = touched(batch, result)
            books = self._books.copy()
            enter(books, columns, batch, result)
            to_derive = [*self._derivation.pending(), *((str(point), start, stop) for point, start, stop in ranges)]
            return encode_state(State(position=end, books=books.to_state(), touched=to_derive, at=self._now()))

        while True:
            try:
                self._quarantine.put_all(columns.refused)
                result = self._store.write(batch, make_state)
                break
            except StoreUnavailable as refusal:
                if self.note != str(refusal):
                    log.error("the store takes nothing; readings wait in the spool: %s", refusal)
                self.note = str(refusal)
                if self._stop.wait(RETRY_S):
                    raise
        if self.note:
            log.warning("the store is back")
            self.note = ""
        self._books.replace(books)
        self.position = end
        self._committed += len(batch)
        for point, start, stop in ranges:
            self._derivation.touch(point, start, stop)
        self._publish(batch, result)

    def _publish(self, batch: ReadingBatch, result: WriteResult) -> None:
        """Step derive begins: tell who listens what is new."""
        rows = np.flatnonzero(result.outcome != Outcome.DUPLICATE)
        points = batch.points
        newest = {int(batch.point[i]): int(i) for i in rows}  # the last of each point is enough for a live view
        self._live.publish(
            [(points[p], int(batch.at[i]), float(batch.value[i]), int(batch.quality[i])) for p, i in newest.items()]
        )

    def _tidy(self, busy: bool) -> None:
        """From time to time: make the store's files durable, then let go of what the spool no longer needs."""
        elapsed = time.monotonic() - self._checkpointed
        if elapsed < CHECKPOINT_S or (busy and elapsed < 5 * CHECKPOINT_S) or not self._committed:
            return
        self._checkpointed, self._committed = time.monotonic(), 0
        try:
            self._store.checkpoint()
            self._spool.release(self.position)
            if not busy:
                self._store.maintain(self._now())
        except StoreUnavailable as refusal:
            log.error("the store cannot be tidied now: %s", refusal)


def touched(batch: ReadingBatch, result: WriteResult) -> Touched:
    """(point, first, last observed_at) of what a batch changed."""
    changed = result.outcome != Outcome.DUPLICATE
    point, at = batch.point[changed], batch.at[changed]
    if not len(point):
        return []
    order = np.lexsort((at, point))
    point, at = point[order], at[order]
    first = np.flatnonzero(np.append(True, point[1:] != point[:-1]))
    last = np.append(first[1:], len(point)) - 1
    return [(batch.points[p], int(a), int(b)) for p, a, b in zip(point[first], at[first], at[last], strict=True)]


def enter(books: Books, columns: Columns, batch: ReadingBatch, result: WriteResult) -> None:
    """Enter a batch into both books."""
    messages = {*columns.decoded, *columns.repeated, *columns.rejected, *columns.dropped}
    for source in messages:
        books.messages(
            source,
            decoded=columns.decoded[source],
            repeated=columns.repeated[source],
            rejected=columns.rejected.get(source, {}),
            dropped=columns.dropped.get(source, {}),
        )
    for source, outcomes in outcomes_by_source(batch, result.outcome).items():
        stored, duplicate, conflict = (int(n) for n in outcomes)
        decoded = stored + duplicate + conflict
        books.readings(source, decoded=decoded, stored=stored, duplicate=duplicate, conflict=conflict)
    for source, count in columns.missing.items():
        books.readings(source, decoded=count, missing=count)
    for source, reasons in columns.refused_values.items():
        books.readings(source, decoded=sum(reasons.values()), rejected=reasons)


def outcomes_by_source(batch: ReadingBatch, outcome: NDArray[np.uint8]) -> dict[str, NDArray[np.int64]]:
    """For each source: rows stored, duplicate, conflict."""
    sources = sorted({origin.source for origin in batch.origins})
    number = {source: i for i, source in enumerate(sources)}
    of_origin = np.array([number[origin.source] for origin in batch.origins], np.int64)
    kinds = len(Outcome)
    counts = np.bincount(of_origin[batch.origin] * kinds + outcome, minlength=len(sources) * kinds)
    return {source: counts[i * kinds : (i + 1) * kinds] for source, i in number.items()} if len(batch) else {}
