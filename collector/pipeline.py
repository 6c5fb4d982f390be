"""The way of a reading, in one place: spool, acknowledge, decode, name, check, store, derive.

`collector.intake` does the first two steps; this module does the rest, in one thread, in columns:
it reads commit groups from the spool, decodes each record, names its points, checks the batch and
writes it to the store together with the spool position and the totals of both books. So a crash at
any moment repeats work but never loses or doubles a reading.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from collector.checks import Checks
from collector.marker import Marker
from collector.points import PointTable
from devices.decoded import Decoder, Form, Rejected
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
PACE_S = 0.2  # from one transaction's begin to the next one's, while fewer than FULL_PACE records come in one
FULL_PACE = 5000
CHECKPOINT_S = 60.0
POISON_DEATHS = 2  # one by one, after the first in a batch: three in all


class WentBack(Exception):
    """The store was mended and is at another position: the spool is read from there."""


Group = tuple[Position, list[Record]]  # the position after it, and its records
Touched = list[tuple[Point, int, int]]


class Named(NamedTuple):
    """A decoder, and the number of the point of its first slot."""

    decoder: Decoder
    first_point: int


DecoderKey = tuple[int, str, str]  # (wire, source, key) of a record


class Live(Protocol):
    """Who is told of stored values as they come."""

    @property
    def listeners(self) -> int:
        """How many listen; nothing is published to nobody."""
        ...

    def publish(self, rows: Sequence[tuple[Point, int, float, int]]) -> None:
        """(point, observed_at, value, quality) of newly stored readings."""
        ...


class Derivation(Protocol):
    """Who recomputes what new readings touch."""

    def wants(self, point: Point) -> bool:
        """Is anything derived from this point's readings?"""
        ...

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


class Sheet:
    """Records of one form in one commit group, to be read together: lists a record long."""

    __slots__ = ("at", "first_point", "number", "origin", "raws", "records")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.number: list[int] = []
        self.raws: list[Any] = []
        self.at: list[int] = []
        self.first_point: list[int] = []
        self.origin: list[int] = []


class Rows(NamedTuple):
    """Decoded values in columns; `record` is the number of each one's record in the batch, for the order."""

    record: NDArray[np.int32]
    point: NDArray[np.int32]
    at: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]
    origin: NDArray[np.int32]
    received: NDArray[np.int64]


@dataclass
class Columns:
    """One batch while it is gathered."""

    read: list[Rows] = field(default_factory=list)
    records: int = 0  # of the groups before
    origins: list[Origin] = field(default_factory=list)
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


_EMPTY = (np.int32, np.int64, np.float64, np.uint8, np.int32)  # point, at, value, quality, origin


class Values:
    """What the records of one commit group say, on its way into the batch's columns."""

    def __init__(self, columns: Columns, position: Position) -> None:
        self.columns, self.text = columns, str(position)
        self._origins: dict[tuple[str, str], int] = {}
        self._rows: list[list[tuple[int, int, float, bool]]] = []  # slot, at, value, suspect
        self._of: list[tuple[int, int, int, int]] = []  # number, first point, origin, received_at

    def origin_of(self, source: str, profile: str, received_at: int) -> int:
        """The number of a record's origin; one a source and profile of the group."""
        number = self._origins.get((source, profile))
        if number is None:
            origins = self.columns.origins
            number = self._origins[source, profile] = len(origins)
            origins.append(Origin(source, received_at, profile, self.text))
        return number

    def add(self, rows: list[tuple[int, int, float, bool]], number: int, named: Named, record: Record) -> None:
        """The values of one record."""
        if rows:
            self._rows.append(rows)
            origin = self.origin_of(record.source, named.decoder.profile, record.received_at)
            self._of.append((number, named.first_point, origin, record.received_at))

    def add_table(self, form: Form, sheet: Sheet, value: NDArray[np.float64], good: NDArray[np.bool_]) -> None:
        """The values (n, k) of those records of a sheet that are good."""
        columns, records = self.columns, sheet.records
        number, first_point = np.array(sheet.number, np.int32), np.array(sheet.first_point, np.int32)
        at, origin = np.array(sheet.at, np.int64), np.array(sheet.origin, np.int32)
        received = np.array([record.received_at for record in records], np.int64)
        if not good.all():
            number, first_point, at, origin = number[good], first_point[good], at[good], origin[good]
            received, value = received[good], value[good]
            records = [record for record, whole in zip(records, good.tolist(), strict=True) if whole]
        sources = [record.source for record in records]
        columns.decoded.update(sources)
        if form.missing:
            columns.missing.update({source: n * form.missing for source, n in Counter(sources).items()})
        point = first_point[:, np.newaxis] + form.slots
        self._keep(number, len(form.slots), point.ravel(), at, value.ravel(), None, origin, received)

    def keep(self) -> None:
        """The group is done: what came one by one becomes columns, too."""
        if not self._rows:
            return
        counts = np.fromiter(map(len, self._rows), np.int64, len(self._rows))
        slot, at, value, suspect = zip(*chain.from_iterable(self._rows), strict=True)
        number, first_point, origin, received = np.array(self._of, np.int64).T
        quality = np.array(suspect, np.uint8) * np.uint8(Quality.SUSPECT)
        point = np.array(slot, np.int32) + np.repeat(first_point, counts).astype(np.int32)
        at, value = np.array(at, np.int64), np.array(value, np.float64)
        self._keep(number, counts, point, at, value, quality, origin, received)

    def _keep(
        self,
        number: NDArray[Any],
        counts: NDArray[np.int64] | int,
        point: NDArray[np.int32],
        at: NDArray[np.int64],
        value: NDArray[np.float64],
        quality: NDArray[np.uint8] | None,
        origin: NDArray[Any],
        received: NDArray[np.int64],
    ) -> None:
        """Repeat what is said once a record for each of its values."""
        if len(point):
            record = np.repeat((number + self.columns.records).astype(np.int32), counts)
            at = at if len(at) == len(point) else np.repeat(at, counts)
            quality = np.zeros(len(point), np.uint8) if quality is None else quality
            origin, received = np.repeat(origin.astype(np.int32), counts), np.repeat(received, counts)
            self.columns.read.append(Rows(record, point, at, value, quality, origin, received))


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
        self._derived = np.zeros(0, np.bool_)
        blob = store.state()
        self.position = decode_state(blob).position if blob else START
        self._marker = Marker(folder / "processing", self.position)
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pipeline", daemon=True)
        self._checkpointed = time.monotonic()
        self._committed = self._records = 0
        self.note = ""  # what is wrong, in words; empty when all is well

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

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
            begun = time.monotonic()
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
            elif self._records < FULL_PACE:  # little comes: few large transactions, for they cost by the piece
                self._stop.wait(max(0.0, begun + PACE_S - time.monotonic()))

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
            columns.records += len(records)
            at = after
        if careful:
            self._marker.decoded()
        with contextlib.suppress(WentBack):
            self._commit(columns, end)
        self._marker.done()
        self._records = columns.records
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
        values = Values(columns, at)
        self._decode_carefully(record, number, values)
        values.keep()

    def _decode(self, records: Sequence[Record], position: Position, columns: Columns) -> None:
        """Steps decode and name, for one commit group: what looks alike is read together, the rest one by one."""
        sheets: dict[Form, Sheet] = {}
        values, decoders = Values(columns, position), self._decoders
        form: Form | None = None
        for number, record in enumerate(records):
            wire, source, key, payload, received_at, flags, _ = record
            named = decoders.get((wire, source, key))
            seen = None
            if named is not None and not flags:
                try:
                    seen = named.decoder.glance(payload, received_at)
                except Exception:  # a fault of ours: `decode` will say it
                    log.exception("cannot glance at a record of %s", key)
            if seen is None or named is None:
                self._decode_carefully(record, number, values)
                continue
            if seen[0] is not form:
                form = seen[0]
                sheet = sheets.get(form)
                if sheet is None:
                    sheet = sheets[form] = Sheet()
                add_record, add_number, add_raw = sheet.records.append, sheet.number.append, sheet.raws.append
                add_at, add_point, add_origin = sheet.at.append, sheet.first_point.append, sheet.origin.append
            add_record(record)
            add_number(number)
            add_raw(seen[1])
            add_at(seen[2])
            add_point(named.first_point)
            add_origin(values.origin_of(source, named.decoder.profile, received_at))
        for form, sheet in sheets.items():
            self._read(form, sheet, values)
        values.keep()

    def _read(self, form: Form, sheet: Sheet, values: Values) -> None:
        """Read the records of a sheet; those in doubt go the careful way."""
        try:
            value, good = form.read(sheet.raws)
        except Exception:  # a fault of ours must not stop the others
            log.exception("records that look alike cannot be read together")
            good = np.zeros(len(sheet.raws), np.bool_)
            value = np.empty((len(good), len(form.slots)))
        records = sheet.records
        for i in np.flatnonzero(~good).tolist():
            self._decode_carefully(records[i], sheet.number[i], values)
        values.add_table(form, sheet, value, good)

    def _decode_carefully(self, record: Record, number: int, values: Values) -> None:
        """One record: to values, or to what became of it instead."""
        columns, place = values.columns, f"{values.text}/{number}"
        wire, source, key, payload, received_at, flags, _ = record
        if flags & REPEATED:
            columns.repeated[source] += 1
            return
        if flags & OVERSIZE:
            columns.refuse(record, place, "oversize", "longer than limits.payload_bytes")
            return
        named = self._decoders.get((wire, source, key)) or self._decoders.get((wire, "", key))
        if named is None:
            columns.refuse(record, place, "unknown_device", f"no configured device sends {key}")
            return
        decoder = named.decoder
        try:
            decoded = decoder.decode(payload, received_at, flags & RETAINED != 0)
        except Rejected as refusal:
            columns.refuse(record, place, refusal.reason, refusal.detail)
            return
        except Exception as error:  # a fault of ours must not stop the others
            log.exception("cannot decode a record of %s", key)
            columns.refuse(record, place, "decoder_error", repr(error))
            return
        columns.decoded[source] += 1
        if decoded.missing:
            columns.missing[source] += decoded.missing
        for reason, detail in decoded.rejected:
            columns.refused_values[source][reason] += 1
            columns.refused.append(Refused(record, f"{place}/{reason}", reason, detail))
        values.add(decoded.values, number, named, record)

    def _batch(self, columns: Columns) -> ReadingBatch:
        """Step check: the gathered rows as one checked batch, in order of arrival."""
        points, parts = self._points.all(), columns.read
        if not parts:
            return ReadingBatch(points, *(np.empty(0, kind) for kind in _EMPTY), ())
        rows = parts[0] if len(parts) == 1 else Rows(*map(np.concatenate, zip(*parts, strict=True)))
        if np.any(rows.record[1:] < rows.record[:-1]):
            order = np.argsort(rows.record, kind="stable")
            rows = Rows(*(column[order] for column in rows))
        self._checks.check(points, rows.point, rows.at, rows.value, rows.received, rows.quality)
        return ReadingBatch(points, rows.point, rows.at, rows.value, rows.quality, rows.origin, tuple(columns.origins))

    def _commit(self, columns: Columns, end: Position) -> None:
        """Step store: rows, spool position and books in one transaction, repeated until the store takes it."""
        batch = self._batch(columns)
        ranges: Touched = []
        books = self._books

        def make_state(result: WriteResult) -> bytes:
            nonlocal books, ranges
            ranges = touched(batch, result, self._wanted(batch.points))
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
                if self._go_back():
                    raise WentBack from refusal
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

    def _go_back(self) -> bool:
        """Take the store's position and books if they are not ours: it lost something, or holds more than it said."""
        try:
            blob = self._store.state()
        except StoreUnavailable:
            return False
        state = decode_state(blob) if blob else State(START, self._books.to_state())
        if state.position == self.position:
            return False
        log.error("the spool is read again from %s; the store is no longer at %s", state.position, self.position)
        books = Books.from_state(state.books)
        while True:  # as of one moment, while the spool grows
            end = self._spool.end
            before, after = self._spool.pending(self.position), self._spool.pending(state.position)
            if self._spool.end == end:
                break
        self._books.go_back(books, before, after)
        self.position = state.position
        return True

    def _wanted(self, points: tuple[Point, ...]) -> NDArray[np.bool_]:
        """For each point: is anything derived from it?"""
        if len(self._derived) < len(points):
            more = [self._derivation.wants(point) for point in points[len(self._derived) :]]
            self._derived = np.append(self._derived, np.array(more, np.bool_))
        return self._derived

    def _publish(self, batch: ReadingBatch, result: WriteResult) -> None:
        """Step derive begins: tell who listens what is new."""
        if not self._live.listeners:
            return
        rows = np.flatnonzero(result.outcome != Outcome.DUPLICATE)
        newest = np.full(len(batch.points), -1, np.int64)
        newest[batch.point[rows]] = rows  # the last of each point is enough for a live view
        last = newest[newest >= 0]
        columns = (batch.point[last], batch.at[last], batch.value[last], batch.quality[last])
        self._live.publish(
            [
                (batch.points[point], at, value, quality)
                for point, at, value, quality in zip(*(column.tolist() for column in columns), strict=True)
            ]
        )

    def _tidy(self, busy: bool) -> None:
        """From time to time: make the store's files durable, then let go of what the spool no longer needs."""
        elapsed = time.monotonic() - self._checkpointed
        if elapsed < CHECKPOINT_S or (busy and elapsed < 5 * CHECKPOINT_S) or not self._committed:
            return
        self._checkpointed, self._committed = time.monotonic(), 0
        if self._go_back():  # mended meanwhile: what it lacks must not be let go of
            return
        try:
            self._store.checkpoint()
            self._spool.release(self.position)
            if not busy:
                self._store.maintain(self._now())
        except StoreUnavailable as refusal:
            log.error("the store cannot be tidied now: %s", refusal)


def touched(batch: ReadingBatch, result: WriteResult, wanted: NDArray[np.bool_]) -> Touched:
    """(point, first, last observed_at) of what a batch changed, of the points that are wanted."""
    rows = np.flatnonzero((result.outcome != Outcome.DUPLICATE) & wanted[batch.point])
    point, at = batch.point[rows], batch.at[rows]
    first, last = np.full(len(wanted), np.iinfo(np.int64).max), np.full(len(wanted), np.iinfo(np.int64).min)
    np.minimum.at(first, point, at)
    np.maximum.at(last, point, at)
    changed = np.flatnonzero(first <= last)
    return [
        (batch.points[p], a, b)
        for p, a, b in zip(changed.tolist(), first[changed].tolist(), last[changed].tolist(), strict=True)
    ]


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
        stored, duplicate, conflict, *others = (int(n) for n in outcomes)
        refused = {"store_refused": sum(others)} if any(others) else {}
        decoded = stored + duplicate + conflict + sum(others)
        books.readings(source, decoded=decoded, stored=stored, duplicate=duplicate, conflict=conflict, rejected=refused)
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
