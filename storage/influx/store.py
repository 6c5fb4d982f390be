"""Readings and intervals in an InfluxDB of any version: rows on the server, the rest in a file beside the spool."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metering.explain import ExplainedError
from metering.reading import IntervalSeries, Measure, Origin, Point, Reading, ReadingBatch, Series
from storage.duckdb.arrivals import Seen, judge, order_of
from storage.duckdb.newest import FIRST_US as FIRST_YEAR
from storage.duckdb.newest import LAST_US as LAST_YEAR
from storage.duckdb.newest import Newest
from storage.influx import reading
from storage.influx.address import Address
from storage.influx.client import Client, Rejected, TooLarge
from storage.influx.derived import Derived
from storage.influx.line_protocol import (
    FIRST_US,
    LAST_US,
    Encoded,
    RawRows,
    Unwritable,
    device_key,
    encode_raw,
    field_of,
)
from storage.influx.local import Before, Intent, Local, encode_doubts, put
from storage.influx.noting import Notes
from storage.influx.sending import Refusal, Sender
from storage.notes import Note
from storage.store import Conflict, MakeState, Outcome, Rollup, StoreUnavailable, WriteResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

STORED, DUPLICATE, CONFLICT, REFUSED = (
    np.uint8(o) for o in (Outcome.STORED, Outcome.DUPLICATE, Outcome.CONFLICT, Outcome.REFUSED)
)
NEVER = np.iinfo(np.int64).min


class InfluxStore:
    """A Store (see `storage.store`) on a server's database, with one file of its own.

    One process writes through one such file. `findings` tells in words what had to be mended on opening.
    """

    def __init__(self, address: Address, local: Path, *, client: Client | None = None) -> None:
        """Open the local file; the server may be away: then writing and reading raise StoreUnavailable.

        Raises
        ------
        ExplainedError
            If the local file cannot be opened.
        """
        self.address = address
        self._client = client or Client(address)
        self._local = Local(local)
        self._writing = threading.RLock()
        self._memory = threading.Lock()
        self._derived = Derived(self._client, self._local)
        self._notes = Notes(self._client, self._local)
        self._places = _Places()
        self._closed = False
        self._load()
        self._is_ready = False
        try:
            self._make_ready()
        except StoreUnavailable:
            self._set_back(self._local.intent())

    @property
    def findings(self) -> list[str]:
        """What had to be mended, in words; empty if nothing."""
        return [self._local.note] if self._local.note else []

    # --- opening

    def _load(self) -> None:
        """Read into memory what the local file says."""
        newest = Newest()
        rows = self._local.rows("SELECT site, meter, quantity, phase FROM point ORDER BY id")
        newest.add(Point(*row) for row in rows)
        found = self._local.rows("SELECT id, n, at, value, quality, origin FROM point WHERE n > 0")
        if found:
            number, n, at, value, quality, origin = zip(*found, strict=True)
            known = self._local.origins(origin)
            origins = np.empty(len(found), object)
            origins[:] = [known.get(o, _unknown(o, t)) for o, t in zip(origin, at, strict=True)]
            numbers = np.array(number, np.int32)
            newest.put(numbers, np.array(at), np.array(value, float), np.array(quality, np.uint8), origins)
            newest.count[numbers] = n
        with self._memory:
            self._newest = newest
            self._device_at: dict[str, int] = {}
            for point, at_ in zip(newest.points, newest.at.tolist(), strict=False):
                place = self._places.of(point)
                if not place.refusal:
                    self._device_at[place.key] = max(self._device_at.get(place.key, NEVER), at_)
            self._contested = {row[0] for row in self._local.rows("SELECT DISTINCT point FROM conflict")}
        self._doubts = self._local.doubts()
        self._next_origin = self._local.next_origin()
        self._recent_origins: dict[Origin, int] = {}

    def _make_ready(self) -> None:
        """What needs the server once: take in what it has if the file is new, finish a write that was cut off."""
        if self._is_ready:
            return
        if self._local.get("adopted") is None:
            self._adopt()
        intent = self._local.intent()
        if intent is not None:
            if self._send(intent):
                self._set_back(intent)  # refused rows change the books, which only a new write can say
            else:
                self._commit(intent)
        self._is_ready = True

    def _adopt(self) -> None:
        held = reading.inventory(self._client)
        rows = [(i, *h.point, h.n, h.oldest, h.at, h.value, h.quality) for i, h in enumerate(held)]
        with self._local.transaction() as con:
            con.executemany("INSERT INTO point VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)", rows)
            put(con, {"adopted": b"1"})
        self._derived.adopt()
        if rows:
            self._load()

    # --- writing

    def write(self, batch: ReadingBatch, make_state: MakeState | None = None) -> WriteResult:
        """Store a batch, and its state in the local file; see `storage.store.Store.write`.

        What the server cannot hold or refuses has the outcome REFUSED, with the reason in `refusals`.
        """
        value = batch.value + 0.0
        for i in np.flatnonzero(~np.isfinite(value))[:1].tolist():
            raise ValueError(f"value[{i}] of {batch.points[batch.point[i]]} is {value[i]}; store finite values only")
        for i in np.flatnonzero((batch.at < FIRST_YEAR) | (batch.at > LAST_YEAR))[:1].tolist():
            raise ValueError(f"at[{i}] of {batch.points[batch.point[i]]} is {batch.at[i]}, in no year from 1 to 9999")
        with self._writing:
            self._make_ready()
            plan = _Plan(self, batch, value)
            result = plan.result()
            state = None if make_state is None else make_state(result)
            intent = plan.intent(state)
            if not len(plan.serve):
                self._commit(intent)
                return result
            try:
                self._local.intend(intent)
            except sqlite3.Error as error:
                raise StoreUnavailable(f"{self._local.path}: {error}") from error
            before = self._client.requests
            try:
                refused = self._send(intent)
                if refused:
                    plan.refuse(refused)
                    result = plan.result()
                    intent = plan.intent(None if make_state is None else make_state(result))
                self._commit(intent)
            except BaseException:
                self._set_back(intent if self._client.requests != before else None)
                raise
        return result

    def _send(self, intent: Intent) -> list[Refusal]:
        """Send an intent's rows; returns what the server refuses."""
        numbers = np.frombuffer(intent.point, np.int32)
        new = {number: Point(*parts) for number, parts in intent.points}
        places = {n: self._places.of(new.get(n) or self._newest.points[n]) for n in set(numbers.tolist())}
        keys = sorted({place.key for place in places.values()})
        index = {key: i for i, key in enumerate(keys)}
        listed = numbers.tolist()
        rows = RawRows(
            keys,
            np.array([index[places[n].key] for n in listed], np.int64),
            np.frombuffer(intent.at, np.int64),
            [places[n].field for n in listed],
            np.frombuffer(intent.value, np.float64),
            np.frombuffer(intent.quality, np.uint8),
            np.frombuffer(intent.origin, np.int64),
            np.frombuffer(intent.late, np.bool_),
        )

        def encode(some: NDArray[np.int64]) -> Encoded:
            return encode_raw(rows.pick(some))

        order = np.lexsort((rows.late, rows.batch, rows.at, rows.device))
        ordered = rows.pick(order)
        rows = ordered
        refused = Sender(self._client.write, encode, lambda row: ordered.field[row]).send(np.arange(len(order)))
        return [Refusal(int(order[refusal.row]), refusal.reason) for refusal in refused]

    def _commit(self, intent: Intent) -> None:
        """Enter a write that the server has into the local file and into memory."""
        point, at = np.frombuffer(intent.point, np.int32), np.frombuffer(intent.at, np.int64)
        value, quality = np.frombuffer(intent.value, np.float64), np.frombuffer(intent.quality, np.uint8)
        origin = np.frombuffer(intent.origin, np.int64)
        order = np.lexsort((at, point))
        last = order[np.append(point[order][1:] != point[order][:-1], True)] if len(order) else order
        doubts = self._doubts_without(intent) if self._doubts else self._doubts
        try:
            with self._local.transaction(sync=not len(point)) as con:
                con.executemany(
                    "INSERT INTO point (id, site, meter, quantity, phase) VALUES (?, ?, ?, ?, ?)",
                    [(number, *parts) for number, parts in intent.points],
                )
                con.executemany(
                    "INSERT INTO origin VALUES (?, ?, ?, ?, ?)", [(number, *rest) for number, rest in intent.origins]
                )
                columns = (c[last].tolist() for c in (at, value, quality, origin, point, at))
                con.executemany(
                    "UPDATE point SET at = ?, value = ?, quality = ?, origin = ? WHERE id = ? AND coalesce(at <= ?, 1)",
                    zip(*columns, strict=True),
                )
                con.executemany(
                    "UPDATE point SET n = n + ?2, oldest = min(coalesce(oldest, ?3), ?3) WHERE id = ?1", intent.stored
                )
                con.executemany(
                    "INSERT INTO conflict (point, at, value, quality, origin) VALUES (?, ?, ?, ?, ?)", intent.kept
                )
                values = {"intent": None, "doubts": encode_doubts(doubts)}
                put(con, values if intent.state is None else values | {"state": intent.state})
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._local.path}: {error}") from error
        known = {number: Origin(*rest) for number, rest in intent.origins}
        known |= self._local.origins({*origin[last].tolist()} - known.keys())
        with self._memory:
            newest = self._newest
            newest.add(Point(*parts) for _, parts in intent.points)
            origins = np.empty(len(last), object)
            origins[:] = [
                known.get(o, _unknown(o, t)) for o, t in zip(origin[last].tolist(), at[last].tolist(), strict=True)
            ]
            newest.put(point[last], at[last], value[last], quality[last], origins)
            for number, n, _ in intent.stored:
                newest.count[number] += n
            for number, when in zip(point[last].tolist(), at[last].tolist(), strict=True):
                key = self._places.of(newest.points[number]).key
                self._device_at[key] = max(self._device_at.get(key, NEVER), when)
            self._contested.update(row[0] for row in intent.kept)
        self._doubts = doubts
        if intent.origins:
            self._next_origin = intent.origins[-1][0] + 1
            self._recent_origins = {Origin(*rest): number for number, rest in intent.origins}

    def _doubts_without(self, intent: Intent) -> dict[tuple[Point, int], Before]:
        new = {number: Point(*parts) for number, parts in intent.points}
        numbers, ats = np.frombuffer(intent.point, np.int32), np.frombuffer(intent.at, np.int64)
        settled = {
            (new.get(n) or self._newest.points[n], at) for n, at in zip(numbers.tolist(), ats.tolist(), strict=True)
        }
        return {key: before for key, before in self._doubts.items() if key not in settled}

    def _set_back(self, intent: Intent | None) -> None:
        """Forget a write, but for what its rows may have changed on the server."""
        if intent is not None:
            new = {number: Point(*parts) for number, parts in intent.points}
            was = {(row[0], row[1]): (row[2], row[3], row[4]) for row in intent.was}
            columns = (intent.point, np.int32), (intent.at, np.int64), (intent.value, np.float64)
            doubts = dict(self._doubts)
            for n, at, value in zip(*(np.frombuffer(c, t).tolist() for c, t in columns), strict=True):
                key = new.get(n) or self._newest.points[n], at
                before = doubts.get(key) or Before([], was.get((n, at)))
                sent = before.sent if value in before.sent else [*before.sent, value]
                doubts[key] = Before(sent, before.was)
            self._doubts = doubts
        try:
            self._local.put({"intent": None, "doubts": encode_doubts(self._doubts)})
        except sqlite3.Error:
            self._is_ready = False  # the file still holds the intent

    def _seen(self, keys: Sequence[tuple[Point, int, int]]) -> tuple[Seen, dict[int, tuple[float, int, int]]]:
        """What is stored and kept at keys (point, its number, at), by index; and what is served there."""
        found = reading.look_up(self._client, [(point, at) for point, _, at in keys])
        kept = self._local.kept((number, at) for _, number, at in keys)
        served: dict[int, tuple[float, int, int]] = {}
        old: list[tuple[int, float]] = []
        for i, (point, number, at) in enumerate(keys):
            was: tuple[float, int, int] | None = found.get((point, at))
            doubt = self._doubts.get((point, at))
            if doubt is not None and (was is None or was[0] in doubt.sent):
                was = doubt.was
            values = kept.get((number, at))
            if values:
                was = values[-1]
                old += [(i, value) for value, _, _ in values]
            if was is not None:
                served[i] = was
        key = np.array(list(served), np.int64)
        value, quality, origin = (np.array([row[c] for row in served.values()]) for c in range(3))
        none = np.zeros(len(key), np.int64)
        seen = Seen(
            key,
            value.astype(np.float64),
            quality.astype(np.uint8),
            origin.astype(np.int64),  # type: ignore[arg-type]
            none,
            none.astype(bool),
            np.array([i for i, _ in old], np.int64),
            np.array([v for _, v in old], np.float64),
        )
        return seen, served

    # --- reading

    def state(self) -> bytes | None:
        """The state committed last, None in a new store."""
        return self._local.get("state")

    def points(self) -> list[Point]:
        """Every point that has a reading."""
        with self._memory:
            newest = self._newest
            return [point for point, n in zip(newest.points, newest.count.tolist(), strict=False) if n]

    def series(self, point: Point, start: int, end: int, *, margin: bool = False) -> Series:
        """Samples in [start, end) [us since 1970]; see `storage.store.Store.series`."""
        parts = [reading.series(self._client, point, start, end)]
        if margin:
            end = max(start, end)
            with self._memory:
                number = self._newest.number.get(point)
                newest = FIRST_US if number is None else int(self._newest.at[number])
            parts.insert(0, reading.neighbour(self._client, point, FIRST_US, start, last=True))
            parts.append(reading.neighbour(self._client, point, end, newest + 1, last=False))
        at, value, quality = (np.concatenate(c) for c in zip(*((p.at, p.value, p.quality) for p in parts), strict=True))
        return self._corrected(Series(point, at, value, quality))

    def _corrected(self, series: Series) -> Series:
        """With the value that is served where there are several: some servers bring old ones back."""
        with self._memory:
            number = self._newest.number.get(series.point)
            contested = number in self._contested
        if contested and len(series):
            rows = self._local.conflicts(number, int(series.at[0]), int(series.at[-1]) + 1)
            served = {at: (value, quality) for _, at, value, quality, _ in rows}
            for at, (value, quality) in served.items():
                i = int(np.searchsorted(series.at, at))
                if series.at[i] == at:
                    series.value[i], series.quality[i] = value, quality
        return series

    def latest(self, points: Iterable[Point] | None = None) -> dict[Point, Reading]:
        """The newest reading of each point (by observed_at), from memory."""
        with self._memory:
            newest = self._newest
            if points is None:
                numbers = np.flatnonzero(newest.count)
            else:
                known = [number for point in points if (number := newest.number.get(point)) is not None]
                numbers = np.array(known, np.int64)
                numbers = numbers[newest.count[numbers] > 0]
            return newest.readings(numbers)

    def last_seen(self) -> dict[str, int]:
        """Meter or vehicle -> observed_at of its newest reading [us since 1970], from memory."""
        with self._memory:
            return self._newest.seen()

    def origins(self, point: Point, start: int, end: int) -> list[tuple[int, Origin]]:
        """(observed_at, origin) of the samples in [start, end)."""
        rows = reading.batches(self._client, point, start, end)
        known = self._local.origins(number for _, number in rows)
        return [(at, known.get(number, _unknown(number, at))) for at, number in rows]

    def conflicts(self, point: Point | None, start: int, end: int) -> list[Conflict]:
        """All values of each point and time in [start, end) that has more than one, in order of arrival."""
        with self._memory:
            number = None if point is None else self._newest.number.get(point)
            points = self._newest.points
        if point is not None and number is None:
            return []
        rows = self._local.conflicts(number, start, end)
        known = self._local.origins(row[4] for row in rows)
        last = {row[:2]: i for i, row in enumerate(rows)}
        return [
            Conflict(points[n], at, value, quality, known.get(o, _unknown(o, at)), served=last[n, at] == i)
            for i, (n, at, value, quality, o) in enumerate(rows)
        ]

    def count(self, point: Point | None = None) -> int:
        """Stored readings, of one point or in all."""
        with self._memory:
            if point is None:
                return int(self._newest.count.sum())
            number = self._newest.number.get(point)
            return 0 if number is None else int(self._newest.count[number])

    def rollup(self, point: Point, start: int, end: int, step: int) -> Rollup:
        """Min, mean, max in steps of `step` [us]; see `storage.store.Store.rollup`. ValueError if step < 1."""
        if step < 1:
            raise ValueError(f"step is {step} us; give 1 or more")
        return reading.rollup(self._client, point, start, end, step)

    # --- intervals

    def write_intervals(self, resolution: str, series: Sequence[IntervalSeries], span: tuple[int, int]) -> None:
        """Replace, for each measure given, the intervals that start in [span)."""
        with self._writing:
            try:
                self._make_ready()
                self._derived.replace(resolution, series, span)
            except sqlite3.Error as error:
                raise StoreUnavailable(f"{self._local.path}: {error}") from error
            except (Rejected, TooLarge) as error:
                raise StoreUnavailable(f"{self.address} refuses intervals: {error}") from error

    def intervals(self, measures: Sequence[Measure], resolution: str, start: int, end: int) -> list[IntervalSeries]:
        """The stored intervals of each measure that start in [start, end); empty series where none."""
        return self._derived.fetch(measures, resolution, start, end)

    def measures(self) -> list[Measure]:
        """Every measure that has intervals."""
        return self._derived.measures()

    # --- notes

    def note(self, notes: Sequence[Note]) -> None:
        """Write rows for those who query the server; see `storage.notes`."""
        self._notes.note(notes)

    def note_exactly(self, kind: str, notes: Sequence[Note]) -> None:
        """The same, and those of this kind that are not among them are marked void."""
        try:
            self._notes.note_exactly(kind, notes)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._local.path}: {error}") from error

    # --- upkeep

    def checkpoint(self) -> None:
        """Make the local file durable; what was written is durable on the server since it was answered."""
        try:
            self._local.checkpoint()
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._local.path}: {error}") from error

    def maintain(self, now: int) -> None:
        """Nothing: the server tidies itself."""

    def statistics(self) -> dict[str, Any]:
        """Rows, points, conflicts, and the local file's bytes: for the page and `doctor`."""
        (oldest,) = self._local.rows("SELECT min(oldest) FROM point")[0]
        (conflicts,) = self._local.rows("SELECT count(*) FROM (SELECT DISTINCT point, at FROM conflict)")[0]
        with self._memory:
            written = self._newest.at[self._newest.count > 0]
            rows = int(self._newest.count.sum())
        return {
            "kind": "influxdb",
            "server": str(self.address),
            "rows": rows,
            "points": len(written),
            "oldest": oldest,
            "newest": int(written.max()) if len(written) else None,
            "conflicts": conflicts,
            "in_doubt": len(self._doubts),
            "bytes": self._local.path.stat().st_size,
            "findings": self.findings,
        }

    def forget(self, before: int, points: Sequence[Point] | None = None) -> int:
        """ExplainedError: the server forgets by its own retention."""
        raise ExplainedError(
            "retention",
            f"the readings are in {self.address}",
            "set the retention of its database or bucket, and leave raw_days = 0",
        )

    def backup(self, target: Path, meanwhile: Callable[[bytes | None], None]) -> None:
        """ExplainedError: the server is backed up by its own means."""
        raise ExplainedError(
            "backup",
            f"the readings are in {self.address}",
            "back that server up by its own means (influxd backup, influx backup), and the data folder as files",
        )

    def close(self) -> None:
        """Close the local file and the connections; a second time does nothing."""
        with self._writing:
            if not self._closed:
                self._closed = True
                self._local.close()
                self._client.close()


class _Place:
    """Where a point stands: its device's line key and its field; or why it cannot be written."""

    __slots__ = ("field", "key", "refusal")

    def __init__(self, point: Point) -> None:
        self.key = self.field = self.refusal = ""
        try:
            self.key, self.field = device_key(point), field_of(point)
        except Unwritable as error:
            self.refusal = str(error)


class _Places:
    """The places of points, each worked out once."""

    def __init__(self) -> None:
        self._of: dict[Point, _Place] = {}

    def of(self, point: Point) -> _Place:
        """The place of a point."""
        place = self._of.get(point)
        if place is None:
            place = self._of[point] = _Place(point)
        return place


class _Plan:
    """What is to be done with a batch: the outcome of each row, and which are sent."""

    def __init__(self, store: InfluxStore, batch: ReadingBatch, value: NDArray[np.float64]) -> None:
        self._store, self._batch, self._value = store, batch, value
        n = len(batch)
        self.outcome = np.full(n, STORED)
        self._refusals: dict[int, str] = {}
        self._served: dict[tuple[int, int], tuple[float, int, int]] = {}
        self._kept: list[tuple[int, int, float, int, int]] = []
        self.serve = np.empty(0, np.int64)  # rows that are sent
        newest = store._newest
        numbers, self._new = newest.numbers(batch.points)
        with store._memory:
            newest.reserve(len(newest.points) + len(self._new))
        self._number = numbers[batch.point]
        if n:
            self._refuse_unwritable()
            rows = np.flatnonzero(self.outcome != REFUSED)
            if len(rows):
                self._judge(rows)
        self._number_origins()

    def _refuse_unwritable(self) -> None:
        batch = self._batch
        for i in np.flatnonzero((batch.at < FIRST_US) | (batch.at > LAST_US)).tolist():
            self._refusals[i] = "its time is outside the years 1678 to 2261, which the server can hold"
        places = [self._store._places.of(point) for point in batch.points]
        for p, place in enumerate(places):
            if place.refusal:
                for i in np.flatnonzero(batch.point == p).tolist():
                    self._refusals[i] = place.refusal
        self.outcome[list(self._refusals)] = REFUSED

    def _judge(self, rows: NDArray[np.int64]) -> None:
        """As the embedded store does, but what is stored is read back from the server."""
        store, newest = self._store, self._store._newest
        point, at, value = self._number[rows], self._batch.at[rows], self._value[rows]
        order, same_key = order_of(point, at)
        last = newest.at[point]
        fresh = at > last
        doubtful = ~fresh
        repeated = np.flatnonzero(same_key)
        doubtful[order[repeated]] = True
        doubtful[order[repeated + 1]] = True
        known = (at == last) & (value == newest.value[point])
        doubtful &= ~known
        serve = ~(doubtful | known)
        self.outcome[rows[known]] = DUPLICATE
        judged = np.flatnonzero(doubtful)
        if len(judged):
            group = np.empty(len(rows), np.int64)
            group[order] = np.concatenate(([0], np.cumsum(~same_key)))
            _, first, key = np.unique(group[judged], return_index=True, return_inverse=True)
            unique = judged[first]
            asked = np.flatnonzero(~fresh[unique])
            names = self._batch.points
            of_batch = self._batch.point[rows]
            keys = [(names[of_batch[unique[k]]], int(point[unique[k]]), int(at[unique[k]])) for k in asked]
            seen, served = store._seen(keys)
            self._served = {keys[k][1:]: was for k, was in served.items()}
            seen = seen._replace(served_key=asked[seen.served_key], kept_key=asked[seen.kept_key])
            verdict = judge(key, value[judged], len(unique), seen)
            self.outcome[rows[judged]] = verdict.outcome
            serve[judged[verdict.serve]] = True
            for k in verdict.first_kept.tolist():
                which = unique[seen.served_key[k]]
                was = (seen.served_value[k], seen.served_quality[k], seen.served_origin[k])
                self._kept.append((int(point[which]), int(at[which]), float(was[0]), int(was[1]), int(was[2])))
            self._keep = rows[judged[verdict.keep]]
        else:
            self._keep = rows[:0]
        self.serve = rows[serve]

    def _number_origins(self) -> None:
        batch, store = self._batch, self._store
        accepted = (self.outcome == STORED) | (self.outcome == CONFLICT)
        used = np.bincount(batch.origin[accepted], minlength=len(batch.origins))
        numbers = np.zeros(len(batch.origins), np.int64)
        self._new_origins: dict[Origin, int] = {}
        for i in np.flatnonzero(used).tolist():
            origin = batch.origins[i]
            number = self._new_origins.get(origin, store._recent_origins.get(origin))
            if number is None:
                number = self._new_origins[origin] = store._next_origin + len(self._new_origins)
            numbers[i] = number
        self._origin = numbers[batch.origin]

    def result(self) -> WriteResult:
        """The outcome, so far."""
        return WriteResult(self.outcome, tuple(sorted(self._refusals.items())))

    def intent(self, state: bytes | None) -> Intent:
        """The plan as it is made durable."""
        batch, store, serve = self._batch, self._store, self.serve
        point, at = self._number[serve], batch.at[serve]
        origin = self._origin[serve]
        first = len(store._newest.points)
        stored = np.flatnonzero(self.outcome == STORED)
        counts: dict[int, tuple[int, int]] = {}
        if len(stored):
            order = stored[np.lexsort((batch.at[stored], self._number[stored]))]
            number = self._number[order]
            begins = np.flatnonzero(np.append(True, number[1:] != number[:-1]))
            lengths = np.diff(np.append(begins, len(order)))
            columns = (number[begins], lengths, batch.at[order[begins]])
            counts = {n: (k, t) for n, k, t in zip(*(c.tolist() for c in columns), strict=True)}
        keep = self._keep.tolist() if len(serve) else []
        kept = [
            (int(self._number[i]), int(batch.at[i]), float(self._value[i]), int(batch.quality[i]), int(self._origin[i]))
            for i in keep
        ]
        return Intent(
            [(first + i, tuple(new)) for i, new in enumerate(self._new)],
            [(number, tuple(origin_)) for origin_, number in self._new_origins.items()],
            point.astype(np.int32).tobytes(),
            at.tobytes(),
            self._value[serve].tobytes(),
            batch.quality[serve].tobytes(),
            origin.tobytes(),
            self._late(serve, at, origin).tobytes(),
            [(n, *rest) for n, rest in counts.items()],
            [*self._kept, *kept],
            [(*key, *was) for key, was in self._served.items()],
            state,
        )

    def _late(self, serve: NDArray[np.int64], at: NDArray[np.int64], origin: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Where another row may stand at the same device and time."""
        store, points = self._store, self._batch.points
        if not len(serve):
            return np.zeros(0, bool)
        place = [store._places.of(point).key for point in points]
        keys = {key: i for i, key in enumerate(dict.fromkeys(place))}
        device = np.array([keys[key] for key in place], np.int64)[self._batch.point[serve]]
        newest = np.array([store._device_at.get(key, NEVER) for key in keys], np.int64)
        late = at <= newest[device]
        order = np.lexsort((at, device))
        d, t, o = device[order], at[order], origin[order]
        same = (d[1:] == d[:-1]) & (t[1:] == t[:-1])
        group = np.concatenate(([0], np.cumsum(~same)))
        mixed = np.zeros(group[-1] + 1, bool)
        mixed[group[1:][same & (o[1:] != o[:-1])]] = True
        late[order[mixed[group]]] = True
        if store._doubts:
            of = self._batch.point[serve].tolist()
            late |= np.array([(points[p], t_) in store._doubts for p, t_ in zip(of, at.tolist(), strict=True)])
        return late

    def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Take rows out that the server does not take, and what they would have changed."""
        for row, reason in refusals:
            i = int(self.serve[row])
            key = int(self._number[i]), int(self._batch.at[i])
            at_key = (self._number == key[0]) & (self._batch.at == key[1])
            for j in np.flatnonzero(at_key & (self.outcome != REFUSED)).tolist():
                self.outcome[j] = REFUSED
                self._refusals[j] = reason
            self._kept = [kept for kept in self._kept if kept[:2] != key]
        self._keep = self._keep[self.outcome[self._keep] != REFUSED]
        self.serve = self.serve[self.outcome[self.serve] != REFUSED]


def _unknown(number: int, at: int) -> Origin:
    """The origin of rows that another collector wrote."""
    return Origin("another collector", at, "", f"batch {number}")
