"""The embedded store: readings and intervals in one DuckDB file, held by one process."""
# ruff: noqa: S608  (the parts put together are names and expressions of ours; values are parameters)

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from metering.clock import DAY_US, now_us
from metering.reading import IntervalSeries, Measure, Origin, Point, Reading, ReadingBatch, Series
from storage.copying import copy_apart
from storage.duckdb import bulk, forgetting, intervals, queries, sealing
from storage.duckdb.arrivals import DUPLICATE, STORED, Seen, Verdict, judge, order_of
from storage.duckdb.connections import Connections
from storage.duckdb.errors import is_damage, is_ours
from storage.duckdb.looking import last_day
from storage.duckdb.newest import FIRST_US, LAST_US, Newest
from storage.duckdb.opening import settings, write_summary
from storage.store import FROZEN_US, Conflict, MakeState, Rollup, StoreUnavailable, WriteResult

if TYPE_CHECKING:
    from numpy.typing import NDArray


class DuckDBStore:
    """A Store (see `storage.store`) in one file.

    Rows go to a hot table as they come; `maintain` moves days older than `seal_after_us` into sealed
    periods, sorted by point and time. `findings` tells in words what had to be mended on opening.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int = 2,
        memory_limit: str = "1GB",
        wal_limit: str = "128MB",
        seal_after_us: int = 2 * DAY_US,
        period_rows: int = sealing.PERIOD_ROWS,
    ) -> None:
        """Open the file, or make it.

        Raises
        ------
        ExplainedError
            If another process holds it, it may not be read or written, or a newer version wrote it.
        """
        self.path = path
        self._seal_after_us = seal_after_us
        self._period_rows = period_rows
        self._writing = threading.RLock()
        self._memory = threading.Lock()
        self._connections = Connections(path, settings(threads, memory_limit, wal_limit))
        self._doubtful = False  # what memory says may differ from the file: load it again
        self._measures = intervals.Measures()
        self._reopened = False  # and the file may have gone back to an earlier state
        try:
            self._load()
        except duckdb.Error as error:
            if not is_damage(error):
                self._connections.close()
                raise
            self._connections.note(error)
            self._connections.reopen()
            self._load()
        self._blob = self._tried = (
            self.state()
        )  # committed last; and what a failed commit may have written all the same

    @property
    def findings(self) -> list[str]:
        """What had to be mended, in words; empty if nothing."""
        return self._connections.findings

    # --- writing

    def write(self, batch: ReadingBatch, make_state: MakeState | None = None) -> WriteResult:
        """Store a batch; see `storage.store.Store.write`.

        Negative zero is stored as zero. ValueError if a value is not finite or a time not in the years 1 to 9999.
        """
        value = batch.value + 0.0
        for i in np.flatnonzero(~np.isfinite(value))[:1].tolist():
            raise ValueError(f"value[{i}] of {batch.points[batch.point[i]]} is {value[i]}; store finite values only")
        for i in np.flatnonzero((batch.at < FIRST_US) | (batch.at > LAST_US))[:1].tolist():
            raise ValueError(f"at[{i}] of {batch.points[batch.point[i]]} is {batch.at[i]}, in no year from 1 to 9999")
        with self._writing:
            with self._transaction(with_state=make_state is not None) as con:
                numbers, new_points = self._newest.numbers(batch.points)
                with self._memory:
                    self._newest.reserve(len(self._newest.points) + len(new_points))
                rows = _Rows(numbers[batch.point], batch.at, value, batch.quality)
                outcome, serve, changes = self._judge(con, rows)
                origin, known_origins, new_origins = self._number_origins(batch, outcome)
                if new_points:
                    _insert(con, "point", _point_table(len(self._newest.points), new_points))
                if new_origins:
                    _insert_origins(con, self._next_origin, new_origins)
                if changes is not None:
                    self._apply(con, changes, rows, origin)
                if len(serve):
                    _insert(con, "hot", rows.table(serve, origin))
                result = WriteResult(outcome)
                if make_state is not None:
                    self._tried = make_state(result)
                    con.execute("UPDATE state SET blob = ?", [self._tried])
            self._blob = self._tried
            self._next_origin += len(new_origins)
            self._recent_origins = known_origins
            if changes is not None:
                self._next_arrival += changes.kept
            with self._memory:
                self._newest.add(new_points)
                self._remember(batch, rows, outcome, serve)
        return result

    @contextlib.contextmanager
    def _transaction(self, *, with_state: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._writing:
            if self._connections.broken:
                self._connections.reopen()
                self._measures.forget()
                self._doubtful = self._reopened = True
            if self._reopened and with_state:  # who commits a state is told, whoever met the damage
                self._refuse_if_rewound()
            con = self._connections.writer
            try:
                if self._doubtful:
                    self._load()
                con.begin()
                yield con
                con.commit()
            except duckdb.Error as error:
                self._connections.roll_back(error)
                if is_ours(error):
                    raise
                self._doubtful = True
                raise StoreUnavailable(str(error)) from error
            except BaseException as error:
                self._connections.roll_back(error)
                raise

    def _refuse_if_rewound(self) -> None:
        """After the file was opened again: if it lost what was committed, who writes has to go back as well."""
        found, expected = self.state(), (self._blob, self._tried)
        self._blob, self._tried, self._reopened = found, found, False
        if found not in expected:
            raise StoreUnavailable(f"{self.path} was mended and lacks what was stored last; it is taken from the spool")

    def _judge(
        self, con: duckdb.DuckDBPyConnection, rows: _Rows
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64], _Changes | None]:
        """Outcome of each row, the rows to serve sorted by (point, at), and the changes to what is stored."""
        point, at, value, n = rows.point, rows.at, rows.value, len(rows.point)
        outcome = np.full(n, STORED)
        if n == 0:
            return outcome, np.empty(0, np.int64), None
        order, same_key = order_of(point, at)
        last = self._newest.at[point]
        fresh = at > last
        doubtful = ~fresh
        repeated = np.flatnonzero(same_key)
        doubtful[order[repeated]] = True
        doubtful[order[repeated + 1]] = True
        # The newest reading once more is the commonest repeat: memory alone tells.
        known = (at == last) & (value == self._newest.value[point])
        outcome[known] = DUPLICATE
        doubtful &= ~known
        serve = ~(doubtful | known)
        judged = np.flatnonzero(doubtful)
        changes = None
        if len(judged):
            key, unique = _keys(order, same_key, judged, n)
            keys = np.flatnonzero(~fresh[unique])  # only these can be stored already
            seen = queries.look_up(con, keys, point[unique[keys]], at[unique[keys]], kept=self._next_arrival > 0)
            verdict = judge(key, value[judged], len(unique), seen)
            outcome[judged] = verdict.outcome
            serve[judged[verdict.serve]] = True
            if len(verdict.keep):
                changes = _Changes(verdict, seen, judged[verdict.keep], point[unique], at[unique])
        return outcome, order[serve[order]], changes

    def _number_origins(
        self, batch: ReadingBatch, outcome: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int32], dict[Origin, int], list[Origin]]:
        """The origin's number of each row that needs one, the numbers of those origins, and the new ones."""
        used = np.bincount(batch.origin[outcome != DUPLICATE], minlength=len(batch.origins))
        numbers = np.zeros(len(batch.origins), np.int32)
        known, new = {}, []
        for i in np.flatnonzero(used).tolist():
            origin = batch.origins[i]
            number = known.get(origin, self._recent_origins.get(origin))
            if number is None:
                number = self._next_origin + len(new)
                new.append(origin)
            numbers[i] = known[origin] = number
        return numbers[batch.origin], known or self._recent_origins, new

    def _apply(self, con: duckdb.DuckDBPyConnection, changes: _Changes, rows: _Rows, origin: NDArray[np.int32]) -> None:
        """Take rows that are no longer served away, and keep every value that was there."""
        verdict, seen = changes.verdict, changes.seen
        first = verdict.first_kept
        key = seen.served_key[first]
        kept = pa.table(
            {
                "arrival": np.arange(self._next_arrival, self._next_arrival + len(first) + len(changes.keep)),
                "point": np.append(changes.key_point[key], rows.point[changes.keep]),
                "observed_at": np.append(changes.key_at[key], rows.at[changes.keep]),
                "value": np.append(seen.served_value[first], rows.value[changes.keep]),
                "quality": np.append(seen.served_quality[first], rows.quality[changes.keep]),
                "origin": np.append(seen.served_origin[first], origin[changes.keep]),
            }
        )
        _insert(con, "conflict", kept)
        row, is_sealed = seen.served_row[verdict.demote], seen.served_is_sealed[verdict.demote]
        queries.delete_rows(con, "hot", row[~is_sealed])
        queries.delete_rows(con, "sealed", row[is_sealed])
        sealed_key = seen.served_key[verdict.demote][is_sealed]
        sealing.discount(con, changes.key_point[sealed_key], changes.key_at[sealed_key])

    def _remember(self, batch: ReadingBatch, rows: _Rows, outcome: NDArray[np.uint8], serve: NDArray[np.int64]) -> None:
        if not len(serve):
            return
        oldest = int(rows.at[serve].min())
        self._oldest_written = oldest if self._oldest_written is None else min(self._oldest_written, oldest)
        newest = self._newest
        point = rows.point[serve]
        last = serve[np.append(point[1:] != point[:-1], True)]
        origins = np.empty(len(batch.origins), object)
        origins[:] = batch.origins
        newest.put(rows.point[last], rows.at[last], rows.value[last], rows.quality[last], origins[batch.origin[last]])
        stored = np.bincount(rows.point[outcome == STORED], minlength=1)
        newest.count[: len(stored)] += stored

    # --- what memory holds

    def _load(self) -> None:
        """Read points, newest readings and the next numbers from the file; damage of what all stands on shows here."""
        con = self._connections.writer
        newest = Newest()
        newest.add(queries.all_points(con))
        next_arrival, next_origin = queries.next_numbers(con)
        queries.fill_newest(con, newest)
        queries.read_small_tables(con)
        with self._memory:
            self._newest = newest
            self._next_arrival, self._next_origin = next_arrival, next_origin
            self._recent_origins: dict[Origin, int] = {}
            self._oldest: int | None = None  # of what was there; read when it is first asked for
            self._oldest_written: int | None = None  # of what was written since
            self._doubtful = False

    # --- reading

    def state(self) -> bytes | None:
        """The state committed last, None in a new store."""
        with self._connections.reading() as con:
            row = con.execute("SELECT blob FROM state").fetchone()
        return None if row is None or row[0] is None else bytes(row[0])

    def points(self) -> list[Point]:
        """Every point that has a reading."""
        with self._memory:
            newest = self._newest
            return [point for point, n in zip(newest.points, newest.count.tolist(), strict=False) if n]

    def series(self, point: Point, start: int, end: int, *, margin: bool = False) -> Series:
        """Samples in [start, end) [us since 1970]; see `storage.store.Store.series`."""
        number = self._number(point)
        if number is None:
            return queries.no_series(point)
        with self._memory:
            newest = int(self._newest.at[number])
        with self._connections.reading() as con:
            if margin:
                return queries.series_with_margin(con, point, number, start, end, newest)
            return queries.series(con, point, number, start, end)

    def many_series(self, points: Sequence[Point], start: int, end: int) -> list[Series]:
        """`series` with margin, of many points at once."""
        with self._memory:
            known = [(p, n) for p in points if (n := self._newest.number.get(p)) is not None]
            newest = {p: int(self._newest.at[n]) for p, n in known}
            count = {p: int(self._newest.count[n]) for p, n in known}
        found = {p: queries.no_series(p) for p in points}
        if known:
            numbers = np.array([n for _, n in known], np.int32)
            with self._connections.reading() as con:
                some, alone = bulk.many_series(con, [p for p, _ in known], numbers, start, end)
            found.update((series.point, series) for series in some)
            for series, lonely in zip(some, alone.tolist(), strict=True):
                if (lonely and count[series.point] > len(series)) or newest[series.point] >= end:
                    found[series.point] = self.series(series.point, start, end, margin=True)
        return [found[p] for p in points]

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
        number = self._number(point)
        if number is None:
            return []
        with self._connections.reading() as con:
            return queries.origins(con, number, start, end)

    def conflicts(self, point: Point | None, start: int, end: int) -> list[Conflict]:
        """All values of each point and time in [start, end) that has more than one, in order of arrival."""
        number = None if point is None else self._number(point)
        if point is not None and number is None:
            return []
        with self._connections.reading() as con:
            return queries.conflicts(con, self._newest.points, number, start, end)

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
        number = self._number(point)
        with self._connections.reading() as con:
            return queries.rollup(con, point, -1 if number is None else number, start, end, step)

    def _number(self, point: Point) -> int | None:
        with self._memory:
            return self._newest.number.get(point)

    # --- intervals

    def write_intervals(self, resolution: str, series: Sequence[IntervalSeries], span: tuple[int, int]) -> None:
        """Replace, for each measure given, the intervals that start in [span)."""
        if series:
            with self._transaction() as con:
                frozen = forgetting.number(con, forgetting.FROZEN, span[0])
                if span[0] < frozen:
                    series = [forgetting.after(each, frozen) for each in series]
                put = intervals.replace(con, resolution, series, (max(span[0], frozen), max(span[1], frozen)))
            self._measures.written(put)

    def intervals(self, measures: Sequence[Measure], resolution: str, start: int, end: int) -> list[IntervalSeries]:
        """The stored intervals of each measure that start in [start, end); empty series where none."""
        with self._connections.reading() as con:
            return intervals.fetch(con, self._measures.numbers(con), measures, resolution, start, end)

    def measures(self) -> list[Measure]:
        """Every measure that has intervals."""
        with self._connections.reading() as con:
            return self._measures.having(con)

    # --- upkeep

    def checkpoint(self) -> None:
        """Make everything written durable in the database file itself."""
        with self._writing:
            try:
                self._connections.writer.execute("CHECKPOINT")
            except duckdb.Error as error:
                self._connections.note(error)
                raise StoreUnavailable(str(error)) from error
            with self._memory:
                written = self._newest.at[self._newest.count > 0]
                rows = int(self._newest.count.sum())
            write_summary(self.path, rows, int(written.max()) if len(written) else None)

    def maintain(self, now: int) -> None:
        """Seal what is old, a period a transaction, then checkpoint; safe to be killed at any moment."""
        cutoff = (now - self._seal_after_us) // DAY_US * DAY_US
        with self._transaction() as con:
            periods = sealing.plan(con, cutoff, self._period_rows)
            months = intervals.unsorted_months(con, cutoff)
        for period in periods:
            with self._transaction() as con:
                sealing.seal(con, period)
        for month in months:
            with self._transaction() as con:
                intervals.sort_month(con, month)
        if periods or months:
            self.checkpoint()

    def forget(self, before: int, points: Sequence[Point] | None = None) -> int:
        """Delete old readings, a period a transaction; see `storage.store.Store.forget`."""
        numbers = None if points is None else [n for point in points if (n := self._number(point)) is not None]
        if numbers == []:
            return 0
        with self._transaction() as con:
            if points is None:
                forgetting.freeze(con, before + FROZEN_US)
            periods = forgetting.old_periods(con, before)
        count = 0
        for starts in periods:
            with self._transaction() as con:
                count += forgetting.forget_sealed(con, starts, before, numbers)
        with self._transaction() as con:
            count += forgetting.forget_hot(con, before, numbers)
        if count:
            with self._writing:
                self._load()
        return count

    def statistics(self) -> dict[str, Any]:
        """Rows hot and sealed, bytes, periods, conflicts: for the page and `doctor`."""
        with self._connections.reading() as con:
            found = queries.statistics(con)
            found["rows_last_day"] = last_day(con, now_us())
            found["forgotten"] = forgetting.number(con, forgetting.FORGOTTEN)
            if self._oldest is None:
                self._oldest = queries.oldest(con)
        with self._memory:
            written = self._newest.at[self._newest.count > 0]
            found |= {
                "kind": "duckdb",
                "rows": int(self._newest.count.sum()),
                "points": len(written),
                "oldest": min((at for at in (self._oldest, self._oldest_written) if at is not None), default=None),
                "newest": int(written.max()) if len(written) else None,
            }
        wal = Path(f"{self.path}.wal")
        found |= {
            "bytes": self.path.stat().st_size,
            "wal_bytes": wal.stat().st_size if wal.exists() else 0,
            "findings": list(self.findings),
        }
        return found

    def backup(self, target: Path, meanwhile: Callable[[bytes | None], None]) -> None:
        """Copy the file as it stands after a checkpoint; see `storage.store.Store.backup`."""
        with self._writing:
            self.checkpoint()
            copy_apart(self.path, target)
            wal = Path(f"{self.path}.wal")
            if wal.exists() and wal.stat().st_size:  # a reader's transaction kept the checkpoint from ending
                copy_apart(wal, Path(f"{target}.wal"))
            meanwhile(self.state())

    def close(self) -> None:
        """Checkpoint and close; a second time does nothing."""
        with self._writing:
            if self._connections.closed:
                return
            with contextlib.suppress(StoreUnavailable):  # the log keeps what a full disk does not let move
                self.checkpoint()
            self._connections.close()


class _Rows:
    """A batch's columns by the store's numbers."""

    __slots__ = ("at", "point", "quality", "value")

    def __init__(
        self, point: NDArray[np.int32], at: NDArray[np.int64], value: NDArray[np.float64], quality: NDArray[np.uint8]
    ) -> None:
        self.point, self.at, self.value, self.quality = point, at, value, quality

    def table(self, rows: NDArray[np.int64], origin: NDArray[np.int32]) -> pa.Table:
        return pa.table(
            {
                "point": self.point[rows],
                "observed_at": self.at[rows],
                "value": self.value[rows],
                "quality": self.quality[rows],
                "origin": origin[rows],
            }
        )


class _Changes:
    """A verdict that changes stored rows; `keep` are rows of the batch."""

    __slots__ = ("keep", "kept", "key_at", "key_point", "seen", "verdict")

    def __init__(
        self,
        verdict: Verdict,
        seen: Seen,
        keep: NDArray[np.int64],
        key_point: NDArray[np.int32],
        key_at: NDArray[np.int64],
    ) -> None:
        self.verdict, self.seen, self.keep = verdict, seen, keep
        self.kept = len(verdict.first_kept) + len(keep)
        self.key_point, self.key_at = key_point, key_at


def _keys(
    order: NDArray[np.int64], same_key: NDArray[np.bool_], rows: NDArray[np.int64], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the distinct keys of some rows: the key of each, and one row of each key."""
    group = np.empty(n, np.int64)
    group[order] = np.concatenate(([0], np.cumsum(~same_key)))
    _, first, key = np.unique(group[rows], return_index=True, return_inverse=True)
    return key, rows[first]


def _insert(con: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    con.register("incoming", rows)
    try:
        con.execute(f"INSERT INTO {table} SELECT * FROM incoming")
    finally:
        con.unregister("incoming")


def _point_table(first: int, points: Sequence[Point]) -> pa.Table:
    site, meter, quantity, phase = zip(*points, strict=True)
    return pa.table(
        {"id": np.arange(first, first + len(points), dtype=np.int32)}
        | {"site": site, "meter": meter, "quantity": quantity, "phase": phase}
    )


def _insert_origins(con: duckdb.DuckDBPyConnection, first: int, origins: Sequence[Origin]) -> None:
    if len(origins) <= 4:  # the usual few: half the cost of a table
        for number, origin in enumerate(origins, first):
            con.execute("INSERT INTO origin VALUES ($1, $2, $3, $4, $5)", [number, *origin])
        return
    source, received_at, profiles, position = zip(*origins, strict=True)
    table = pa.table(
        {"id": np.arange(first, first + len(origins), dtype=np.int32)}
        | {"source": source, "received_at": np.array(received_at, np.int64), "profiles": profiles, "position": position}
    )
    _insert(con, "origin", table)
