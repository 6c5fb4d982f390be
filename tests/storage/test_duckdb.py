"""The embedded store: what it does beyond the contract of all stores."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count, pairwise
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.clock import DAY_US, HOUR_US, QUARTER_US, to_us
from metering.explain import ExplainedError
from metering.reading import IntervalSeries, Measure, Origin, Point, ReadingBatch
from storage.duckdb import schema
from storage.duckdb.sealing import blocks_to_write
from storage.duckdb.store import DuckDBStore
from storage.opening import duckdb_url, open_store
from storage.store import Outcome, StoreUnavailable

ROOT = Path(__file__).parents[2]
EVER = (-(2**60), 2**60)
T0 = 1_704_067_200_000_000  # 2024-01-01
POINTS = tuple(Point("plant", f"meter-{i}", "active_power") for i in range(20))

ORIGIN = Origin("mqtt demo", T0, "p@1", "00000001:0")


def rows(at, value=None, point=None, origins=(ORIGIN,), origin=None):
    at = np.asarray(at, np.int64)
    n = len(at)
    return ReadingBatch(
        POINTS,
        np.zeros(n, np.int32) if point is None else np.asarray(point, np.int32),
        at,
        np.arange(n) / 4 if value is None else np.asarray(value, np.float64),
        np.zeros(n, np.uint8),
        np.zeros(n, np.int32) if origin is None else np.asarray(origin, np.int32),
        tuple(origins),
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "meterhall.duckdb"


@pytest.fixture
def store(path):
    store = DuckDBStore(path)
    yield store
    store.close()


# --- opening


@pytest.mark.parametrize(
    "url", ["sqlite:///x.db", "duckdb://", "duckdb:///", "duckdb://host/x.duckdb", "/data/x.duckdb", ""]
)
def test_a_url_that_names_no_store_is_refused_with_the_mend(url):
    with pytest.raises(ExplainedError) as error:
        open_store(url)
    assert "duckdb:///" in error.value.mend


def test_a_url_may_hold_any_file_name(tmp_path):
    path = tmp_path / "Daten & Zähler 电表.duckdb"
    open_store(duckdb_url(path)).close()
    assert path.exists()
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_connection_is_locked_down(store, tmp_path):
    con = store._connections.writer
    for statement in (
        "SET threads = 1",
        f"COPY hot TO '{tmp_path / 'out.csv'}'",
        "SELECT * FROM read_text('/etc/hostname')",
        f"ATTACH '{tmp_path / 'other.duckdb'}'",
        "INSTALL httpfs",
        "LOAD httpfs",
    ):
        with pytest.raises(duckdb.Error):
            con.execute(statement)
    assert not (tmp_path / "out.csv").exists()


def test_a_store_of_a_newer_version_is_refused_with_the_mend_and_left_alone(path):
    DuckDBStore(path).close()
    with duckdb.connect(str(path)) as con:
        con.execute("UPDATE meta SET value = '99' WHERE key = 'version'")
    before = path.read_bytes()
    with pytest.raises(ExplainedError, match="newer") as error:
        DuckDBStore(path)
    assert "upgrade" in error.value.mend
    assert path.read_bytes() == before


def test_a_store_of_an_older_version_is_brought_up_to_this_one_on_opening(path, monkeypatch):
    store = DuckDBStore(path)
    store.write(rows([1, 2, 3]))
    store.close()
    monkeypatch.setattr(schema, "VERSION", 3)
    steps = {1: "CREATE TABLE one (x INTEGER)", 2: "ALTER TABLE one ADD COLUMN y INTEGER"}
    monkeypatch.setattr(schema, "UPGRADES", steps)
    for _ in range(2):
        store = DuckDBStore(path)
        assert store.count() == 3
        store.close()
    with duckdb.connect(str(path)) as con:
        assert con.execute("SELECT value FROM meta WHERE key = 'version'").fetchall() == [("3",)]
        assert con.execute("SELECT x, y FROM one").fetchall() == []


def test_a_database_of_somebody_else_is_refused_and_left_alone(path):
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE TABLE t AS SELECT 42 AS x")
    with pytest.raises(ExplainedError, match="none of Meterhall's"):
        DuckDBStore(path)
    with duckdb.connect(str(path)) as con:
        assert con.execute("SELECT x FROM t").fetchone() == (42,)


def test_a_store_that_another_process_holds_is_refused_with_the_mend(path):
    code = (
        "import sys\nfrom storage.opening import open_store\nstore = open_store(sys.argv[1])\n"
        "print('open', flush=True)\nsys.stdin.read()\nstore.close()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, duckdb_url(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        assert child.stdout.readline() == b"open\n"
        with pytest.raises(ExplainedError, match="another process"):
            DuckDBStore(path)
    finally:
        child.communicate()
    DuckDBStore(path).close()


def test_a_closed_store_says_so_and_closes_twice(store):
    store.write(rows([0]))
    store.close()
    store.close()
    for call in (lambda: store.write(rows([1])), lambda: store.series(POINTS[0], *EVER), store.state, store.checkpoint):
        with pytest.raises(StoreUnavailable):
            call()


# --- sealing


def test_sealed_rows_are_the_rows_bit_by_bit_and_leave_the_hot_table(store):
    random = np.random.default_rng(1)
    n = 3000
    at = np.sort(random.choice(40 * DAY_US, n, replace=False)) + T0
    kinds = [
        np.round(np.cumsum(random.random(n)), 2),  # a counter with two decimals
        np.cumsum(random.integers(0, 9, n)).astype(float),  # whole numbers
        np.float32(random.random(n) * 500).astype(float),  # single precision
        np.round(random.random(n) * 500, 1).astype(np.float32).astype(float),  # a decimal in single precision
        random.standard_normal(n) * 1e-7,  # neither
        np.where(random.random(n) < 0.5, 1e300, -5e-324),  # far out
        np.full(n, 0.1),
        np.linspace(9e15, 9.1e15, n),  # more digits than ticks may have
        np.cumsum(random.random(n)) * 1e12,
    ]
    origins = [Origin("line-1", T0 + i, "p@1", f"00000001:{i}") for i in range(50)]
    origin = np.sort(random.integers(0, 50, n))
    for i, values in enumerate(kinds):
        when = at if i % 2 else at // 1_000_000 * 1_000_000 + np.arange(n) * 1_000_000
        store.write(rows(when, values, np.full(n, i), origins, origin))
    before = [store.series(POINTS[i], *EVER) for i in range(len(kinds))]
    known = [store.origins(POINTS[i], *EVER) for i in range(len(kinds))]
    store.maintain(T0 + 200 * DAY_US)
    figures = store.statistics()
    assert (figures["rows_hot"], figures["rows_sealed"]) == (0, n * len(kinds))
    for i, old in enumerate(before):
        new = store.series(POINTS[i], *EVER)
        assert new.at.tobytes() == old.at.tobytes()
        assert new.value.tobytes() == old.value.tobytes()
        assert store.origins(POINTS[i], *EVER) == known[i]


FINITE = st.floats(allow_nan=False, allow_infinity=False)
SINGLE = st.floats(allow_nan=False, allow_infinity=False, width=32)
DECIMAL = st.decimals(-(10**9), 10**9, places=3).map(float)
READINGS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(-3 * DAY_US, 3 * DAY_US), FINITE | SINGLE | DECIMAL),
    min_size=1,
    max_size=30,
    unique_by=lambda row: row[:2],
)


def test_any_finite_value_survives_sealing(store):
    example = count()

    @settings(max_examples=12, deadline=None)
    @given(READINGS)
    def check(readings):
        site = str(next(example))
        points = tuple(Point(site, f"meter-{i}", "active_power") for i in range(4))
        point, at, value = zip(*readings, strict=True)
        store.write(replace(rows(at, value, point), points=points))
        store.maintain(400 * DAY_US)
        assert store.statistics()["rows_hot"] == 0
        for p in range(4):
            got = store.series(points[p], *EVER)
            expected = sorted((a, v) for q, a, v in readings if q == p)
            assert list(zip(got.at.tolist(), got.value.tolist(), strict=True)) == expected

    check()


def test_what_is_young_stays_hot(store):
    now = T0 + 10 * DAY_US + HOUR_US
    store.write(rows(T0 + np.arange(0, 10 * DAY_US, QUARTER_US)))
    store.maintain(now)
    figures = store.statistics()
    assert figures["rows_hot"] == 2 * 96
    assert figures["rows_sealed"] == 8 * 96


def test_a_quarter_hour_reading_takes_less_than_three_bytes(store):
    at = np.tile(T0 + np.arange(0, 28 * DAY_US, QUARTER_US), 20)
    point = np.repeat(np.arange(20), 28 * 96)
    random = np.random.default_rng(3)
    counter = np.round(np.cumsum(random.random((20, 28 * 96)), axis=1), 2)
    counter[10:] = np.round(random.random((10, 28 * 96)) * 5000, 1).astype(np.float32)
    for _ in range(8):  # enough that the file's own pages do not count
        store.write(rows(at, counter.ravel(), point))
        at = at + 31 * DAY_US
    store.maintain(T0 + 900 * DAY_US)
    figures = store.statistics()
    store_itself = 1_500_000  # an empty one's pages
    assert (figures["bytes_used"] - store_itself) / figures["rows_sealed"] < 3


MONTH = to_us(datetime(2024, 2, 1, tzinfo=UTC))


def test_a_month_is_one_period_when_it_is_over_and_fits():
    hours = [(T0 + h * HOUR_US, 10) for h in range(31 * 24)]
    assert [(p.start, p.end) for p in blocks_to_write([], hours, MONTH, 10_000)] == [(T0, MONTH)]
    days = [(T0 + d * DAY_US, T0 + (d + 1) * DAY_US, 240) for d in range(31)]
    assert [(p.start, p.end) for p in blocks_to_write(days, [], MONTH, 10_000)] == [(T0, MONTH)]
    assert blocks_to_write(days[:20], [], T0 + 20 * DAY_US, 10_000) == []
    assert blocks_to_write([(T0, MONTH, 7440)], [], MONTH, 10_000) == []


def test_a_day_with_too_many_rows_is_cut_into_hours():
    hours = [(T0 + h * HOUR_US, 60) for h in range(24)]
    found = blocks_to_write([], hours, MONTH, 100)
    assert [(p.start, p.end) for p in found] == [(T0 + h * HOUR_US, T0 + (h + 1) * HOUR_US) for h in range(24)]


@given(
    st.lists(
        st.tuples(st.integers(0, 80 * 24), st.integers(1, 500)), min_size=1, max_size=40, unique_by=lambda h: h[0]
    ),
    st.lists(st.tuples(st.integers(0, 80 * 24), st.integers(1, 500)), max_size=40, unique_by=lambda h: h[0]),
    st.integers(50, 2000),
)
def test_periods_never_overlap_cover_every_hour_and_come_to_rest(first, second, limit):
    cutoff = T0 + 90 * DAY_US
    sealed = {}
    for hours in (first, second, []):
        fresh = sorted((T0 + h * HOUR_US, n) for h, n in hours)
        periods = blocks_to_write(sorted((a, b, n) for (a, b), n in sealed.items()), fresh, cutoff, limit)
        for period in periods:
            inside = [key for key in sealed if period.start <= key[0] and key[1] <= period.end]
            n = sum(sealed.pop(key) for key in inside)
            n += sum(k for h, k in fresh if period.start <= h < period.end)
            sealed[period.start, period.end] = n
        spans = sorted(sealed)
        assert all(a[1] <= b[0] for a, b in pairwise(spans))
        assert sum(sealed.values()) >= sum(n for _, n in fresh)
        for h, _ in fresh:
            assert any(a <= h < b for a, b in spans)
    assert blocks_to_write(sorted((a, b, n) for (a, b), n in sealed.items()), [], cutoff, limit) == []


def test_quarter_hours_of_a_closed_month_are_put_in_the_order_of_their_measures(store):
    measures = [Measure("plant", "meter", f"meter-{i}", "active_energy_import", "kWh") for i in range(3)]

    def written(day, amount):
        start = T0 + day * DAY_US + np.arange(96) * QUARTER_US
        n = len(start)
        columns = (np.full(n, amount), np.ones(n), np.zeros(n, np.int64), np.zeros(n, np.uint8))
        return [IntervalSeries(measure, start, start + QUARTER_US, *columns) for measure in measures]

    def in_order():
        found = store._connections.writer.execute("SELECT measure, start_at FROM interval_15min").fetchall()
        return found == sorted(found)

    for day in range(31):
        store.write_intervals("15min", written(day, day), (T0 + day * DAY_US, T0 + (day + 1) * DAY_US))
    store.maintain(T0 + 31 * DAY_US)
    assert not in_order()
    before = store.intervals(measures, "15min", *EVER)
    store.maintain(T0 + 40 * DAY_US)
    assert in_order()
    after = store.intervals(measures, "15min", *EVER)
    assert [series.amount.tolist() for series in after] == [series.amount.tolist() for series in before]
    store.write_intervals("15min", written(3, 1000), (T0 + 3 * DAY_US, T0 + 4 * DAY_US))
    store.maintain(T0 + 40 * DAY_US)
    assert in_order()
    assert store.intervals(measures[:1], "15min", T0 + 3 * DAY_US, T0 + 4 * DAY_US)[0].amount.tolist() == [1000] * 96


def test_a_conflict_in_a_sealed_period_is_served_at_once_and_after_the_next_sealing(store):
    store.write(rows(T0 + np.arange(100) * DAY_US))
    store.maintain(T0 + 200 * DAY_US)
    assert (
        store.write(rows([T0 + 7 * DAY_US, T0 + 99 * DAY_US], [999.0, 888.0])).outcome.tolist()
        == [Outcome.CONFLICT] * 2
    )
    for _ in range(2):
        got = store.series(POINTS[0], *EVER)
        assert (got.value[7], got.value[99], len(got)) == (999.0, 888.0, 100)
        assert store.count(POINTS[0]) == 100
        assert store.latest()[POINTS[0]].value == 888.0
        store.maintain(T0 + 200 * DAY_US)


def test_after_opening_again_count_and_newest_are_those_of_hot_and_sealed_together(path):
    store = DuckDBStore(path)
    store.write(rows(T0 + np.arange(100) * DAY_US, point=np.arange(100) % 3))
    store.maintain(T0 + 50 * DAY_US)
    store.write(rows([T0 + 7 * DAY_US, T0 + 97 * DAY_US], [999.0, 888.0], [1, 1]))
    expected = (store.latest(), [store.count(p) for p in POINTS], store.points())
    store.close()
    store = DuckDBStore(path)
    assert (store.latest(), [store.count(p) for p in POINTS], store.points()) == expected
    store.close()


def test_measures_are_listed_while_others_write_their_intervals(store):
    measures = [Measure("plant", "meter", f"meter-{i}", "active_energy_import", "kWh") for i in range(40)]
    start = np.array([T0], np.int64)
    column = np.zeros(1, np.int64)
    stop = threading.Event()
    failures = []

    def look():
        try:
            while not stop.is_set():
                store.measures()
        except Exception as error:  # told below
            failures.append(error)

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(2):
        for measure in measures:
            row = IntervalSeries(measure, start, start + QUARTER_US, column, np.ones(1), column, np.zeros(1, np.uint8))
            store.write_intervals("15min", [row], (T0, T0 + QUARTER_US))
    stop.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert sorted(store.measures()) == sorted(measures)
