"""Intervals: what was used when, replaced by measure and span."""
# ruff: noqa: S608  (the parts put together are names and expressions of ours; values are parameters)

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from metering.reading import IntervalSeries, Measure
from storage.duckdb.queries import plain
from storage.duckdb.schema import interval_table
from storage.duckdb.sealing import Period, month_end

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray


def replace(
    con: duckdb.DuckDBPyConnection, resolution: str, series: Sequence[IntervalSeries], span: tuple[int, int]
) -> dict[int, bool]:
    """Delete what each measure has in [span), and put what it has now; within the caller's transaction.

    Returns the measures' numbers, and whether each got a row.

    Raises
    ------
    ValueError
        If an interval starts outside the span, or a measure is given twice.
    """
    table = interval_table(resolution)
    start, end = span
    for item in series:
        if len(item) and not (start <= item.start[0] and item.start[-1] < end):
            raise ValueError(f"intervals of {item.measure} start outside the span [{start}, {end})")
    if len({item.measure for item in series}) != len(series):
        raise ValueError("a measure is given twice; join its intervals into one series")
    number = _numbers(con, [item.measure for item in series])
    con.register("replaced", pa.table({"measure": number}))
    con.execute(
        f"DELETE FROM {table} WHERE start_at >= $1 AND start_at < $2 AND measure IN (SELECT measure FROM replaced)",
        [start, end],
    )
    con.unregister("replaced")
    lengths = [len(item) for item in series]
    put = dict(zip(number.tolist(), map(bool, lengths), strict=True))
    if not sum(lengths):
        return put
    starts = np.concatenate([item.start for item in series])
    columns = {
        "measure": np.repeat(number, lengths),
        "start_at": starts,
        "length": np.concatenate([item.end for item in series]) - starts,
        "amount": np.concatenate([item.amount for item in series]),
        "coverage": np.concatenate([item.coverage for item in series]),
        "estimated": np.concatenate([item.estimated for item in series]),
        "quality": np.concatenate([item.quality for item in series]),
    }
    con.register("replacing", pa.table(columns))
    con.execute(f"INSERT INTO {table} SELECT * FROM replacing")
    con.unregister("replacing")
    if resolution == "15min":
        con.execute(
            """INSERT INTO unsorted_month SELECT month FROM (SELECT unnest($1::BIGINT[]) AS month)
               WHERE month NOT IN (SELECT starts FROM unsorted_month)""",
            [_months(starts)],
        )
    return put


def _months(at: NDArray[np.int64]) -> list[int]:
    months = np.unique(at.astype("datetime64[us]").astype("datetime64[M]"))
    return months.astype("datetime64[us]").astype(np.int64).tolist()


def unsorted_months(con: duckdb.DuckDBPyConnection, cutoff: int) -> list[Period]:
    """The months before `cutoff` whose quarter hours do not stand in the order of their measures."""
    rows = con.execute("SELECT starts FROM unsorted_month ORDER BY starts").fetchall()
    months = [Period(starts, month_end(starts)) for (starts,) in rows]
    return [month for month in months if month.end <= cutoff]


def sort_month(con: duckdb.DuckDBPyConnection, month: Period) -> None:
    """Write a month's quarter hours anew by measure, so that reading one skips the others; in a transaction."""
    span = [month.start, month.end]
    within = "FROM interval_15min WHERE start_at >= $1 AND start_at < $2"
    con.execute(f"CREATE OR REPLACE TEMP TABLE month AS SELECT * {within} ORDER BY measure, start_at", span)
    con.execute(f"DELETE {within}", span)
    con.execute("INSERT INTO interval_15min SELECT * FROM month")
    con.execute("DROP TABLE month")
    con.execute("DELETE FROM unsorted_month WHERE starts = $1", [month.start])


class Measures:
    """The numbers of the measures, and which of them have intervals, remembered. May be used from any thread.

    Measures are only ever added, each with the next number; `forget` when the file may be another one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Measure, int] = {}
        self._has: dict[int, bool] = {}
        self._written = 0  # times that something may have changed what is known

    def forget(self) -> None:
        """Know nothing."""
        with self._lock:
            self._known, self._has = {}, {}
            self._written += 1

    def numbers(self, con: duckdb.DuckDBPyConnection) -> dict[Measure, int]:
        """Measure -> number."""
        (count,) = con.execute("SELECT count(*) FROM measure").fetchall()[0]
        known = self._known
        if count != len(known):
            known = _read_numbers(con)
            with self._lock:
                self._known = known
        return known

    def written(self, put: Mapping[int, bool]) -> None:
        """A measure that got a row has intervals; of one whose rows went it is not known any more."""
        with self._lock:
            self._written += 1
            for number, some in put.items():
                if some:
                    self._has[number] = True
                else:
                    self._has.pop(number, None)

    def having(self, con: duckdb.DuckDBPyConnection) -> list[Measure]:
        """Every measure that has intervals, in any resolution; only what is not known yet is looked for."""
        known = self.numbers(con)
        with self._lock:
            written, has = self._written, dict(self._has)
        unknown = [number for number in known.values() if number not in has]
        if unknown:
            found = con.execute(
                """SELECT measure FROM interval_day WHERE measure IN (SELECT unnest($1::INTEGER[]))
                   UNION SELECT measure FROM interval_15min WHERE measure IN (SELECT unnest($1::INTEGER[]))""",
                [unknown],
            ).fetchall()
            there = {row[0] for row in found}
            has |= {number: number in there for number in unknown}
            with self._lock:
                if written == self._written:  # else something was written meanwhile: look again next time
                    self._has = has
        return [measure for measure, number in known.items() if has[number]]


def _read_numbers(con: duckdb.DuckDBPyConnection) -> dict[Measure, int]:
    rows = con.execute("SELECT site, scope, node, name, unit, id FROM measure ORDER BY id").fetchall()
    return {Measure(*row[:5]): row[5] for row in rows}


def _numbers(con: duckdb.DuckDBPyConnection, measures: Sequence[Measure]) -> NDArray[np.int32]:
    known = _read_numbers(con)
    new = [measure for measure in measures if measure not in known]
    if new:
        first = max(known.values(), default=-1) + 1
        known |= {measure: first + i for i, measure in enumerate(new)}
        site, scope, node, name, unit = zip(*new, strict=True)
        table = pa.table(
            {"id": np.arange(first, first + len(new), dtype=np.int32)}
            | {"site": site, "scope": scope, "node": node, "name": name, "unit": unit}
        )
        con.register("new_measures", table)
        con.execute("INSERT INTO measure SELECT * FROM new_measures")
        con.unregister("new_measures")
    return np.array([known[measure] for measure in measures], np.int32)


def fetch(
    con: duckdb.DuckDBPyConnection,
    known: Mapping[Measure, int],
    measures: Sequence[Measure],
    resolution: str,
    start: int,
    end: int,
) -> list[IntervalSeries]:
    """The intervals of each measure that start in [start, end), in time order; `known`: the measures' numbers."""
    table = interval_table(resolution)
    numbers = sorted({known[measure] for measure in measures if measure in known})
    found = con.execute(
        f"""SELECT measure, start_at, start_at + length AS end_at, amount, coverage, estimated, quality FROM {table}
            WHERE start_at >= $1 AND start_at < $2 AND measure IN (SELECT unnest($3::INTEGER[]))
            ORDER BY measure, start_at""",
        [start, end, numbers],
    ).fetchnumpy()
    columns = [plain(found[name]) for name in ("start_at", "end_at", "amount", "coverage", "estimated", "quality")]
    asked = [known.get(measure, -1) for measure in measures]
    first = np.searchsorted(plain(found["measure"]), asked, "left")
    last = np.searchsorted(plain(found["measure"]), asked, "right")
    return [
        IntervalSeries(measure, *(column[a:b] for column in columns))
        for measure, a, b in zip(measures, first.tolist(), last.tolist(), strict=True)
    ]
