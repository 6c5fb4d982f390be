"""Moving from one store to another."""

import threading

import numpy as np
import pytest

from meterhall.migrate import migrate
from metering.clock import DAY_US, HOUR_US
from metering.explain import ExplainedError
from metering.reading import IntervalSeries, Measure, Origin, Point, ReadingBatch
from storage.opening import duckdb_url, open_store
from storage.store import StoreUnavailable
from tests.influx import InfluxDB1, fresh_database

pytestmark = pytest.mark.slow

POINTS = tuple(Point("plant", f"meter-{i}", q) for i in range(3) for q in ("active_power", "active_energy_import"))
DAY0 = 1_700_000_000_000_000
EVER = (-(2**60), 2**60)
M = Measure("plant", "meter", "meter-1", "active_energy_import", "kWh")
Q = HOUR_US // 4


@pytest.fixture(scope="module")
def influxdb(tmp_path_factory):
    server = InfluxDB1(tmp_path_factory.mktemp("influxdb")).start()
    yield f"influxdb://127.0.0.1:{server.port}"
    server.stop()


def fill(store, days=30):
    """Readings every three hours, some conflicts, some intervals, a state."""
    rng = np.random.default_rng(1)
    at = np.arange(DAY0, DAY0 + days * DAY_US, 3 * HOUR_US)
    n = len(at) * len(POINTS)
    batch = ReadingBatch(
        POINTS,
        np.repeat(np.arange(len(POINTS)), len(at)).astype(np.int32),
        np.tile(at, len(POINTS)),
        rng.normal(size=n),
        (rng.random(n) < 0.1).astype(np.uint8),
        (np.arange(n) % 2).astype(np.int32),
        (Origin("a", 1, "p@1", "1:0"), Origin("b", 2, "p@2", "1:9")),
    )
    store.write(batch, lambda result: b"the state")
    again = np.arange(0, n, 50)
    for value in (7.0, 8.0):
        store.write(
            ReadingBatch(
                POINTS, batch.point[again], batch.at[again], np.full(len(again), value), batch.quality[again],
                batch.origin[again], batch.origins,
            )
        )  # fmt: skip
    start = np.arange(DAY0 // Q * Q, DAY0 + days * DAY_US, Q)
    k = len(start)
    store.write_intervals(
        "15min",
        [
            IntervalSeries(
                M, start, start + Q, np.arange(k), np.linspace(0, 1, k), np.zeros(k, np.int64), np.zeros(k, np.uint8)
            )
        ],
        (int(start[0]), int(start[-1]) + 1),
    )


def everything(store):
    """All that can be asked."""
    return (
        store.state(),
        {p: tuple(getattr(store.series(p, *EVER), c).tolist() for c in ("at", "value", "quality")) for p in POINTS},
        {p: store.origins(p, *EVER) for p in POINTS},
        [(c.point, c.at, c.value, c.quality, c.origin, c.served) for p in POINTS for c in store.conflicts(p, *EVER)],
        [s.amount.tolist() + s.coverage.tolist() for s in store.intervals([M], "15min", *EVER)],
        {p: store.count(p) for p in POINTS},
        {p: (r.observed_at, r.value, r.source) for p, r in store.latest().items()},
        store.measures(),
    )


def test_there_and_back_again_nothing_differs(influxdb, tmp_path):
    first = open_store(duckdb_url(tmp_path / "first.duckdb"))
    fill(first)
    second = open_store(fresh_database(influxdb, tmp_path))
    report = migrate(first, second, tmp_path / "progress")
    assert report.is_whole
    assert report.compared == first.count() + report.intervals
    assert everything(second) == everything(first)
    third = open_store(duckdb_url(tmp_path / "third.duckdb"))
    assert migrate(second, third, tmp_path / "progress").is_whole
    assert everything(third) == everything(first)
    assert not (tmp_path / "progress").exists()
    for store in (first, second, third):
        store.close()


def test_interrupted_it_goes_on_and_nothing_is_doubled(influxdb, tmp_path):
    first = open_store(duckdb_url(tmp_path / "first.duckdb"))
    fill(first)
    second = open_store(fresh_database(influxdb, tmp_path))
    real, calls = second.write, threading.Semaphore(3)

    def write(batch, make_state=None):
        result = real(batch, make_state)
        if not calls.acquire(blocking=False):
            raise StoreUnavailable("cut off")
        return result

    second.write = write
    with pytest.raises(StoreUnavailable):
        migrate(first, second, tmp_path / "progress")
    second.write = real
    report = migrate(first, second, tmp_path / "progress")
    assert report.is_whole
    assert report.readings < first.count()
    assert everything(second) == everything(first)
    with pytest.raises(ExplainedError, match="already"):
        migrate(first, second, tmp_path / "progress")
    first.close()
    second.close()


def test_what_was_lost_on_the_way_is_told(influxdb, tmp_path):
    first = open_store(duckdb_url(tmp_path / "first.duckdb"))
    fill(first)
    second = open_store(fresh_database(influxdb, tmp_path))
    second._send = lambda intent: []
    report = migrate(first, second, tmp_path / "progress")
    assert not report.is_whole
    assert "0 in the target" in report.words()
    first.close()
    second.close()
