"""The stores that the contract is run on, and what its tests write.

`influxdb` is a private InfluxDB 1.x, or the server that INFLUX_URL names (see `tests.influx`); `influxdb3` is a
stand-in for InfluxDB 3 Core (see `tests.influx_standin`), since no package of it can be installed.
"""

from contextlib import contextmanager

import numpy as np
import pytest

from metering.reading import Origin, Point, ReadingBatch
from storage.influx import line_protocol
from storage.opening import duckdb_url, open_store
from tests.influx import InfluxDB1, drop_database, fresh_database, named_server
from tests.influx_standin import StandIn

# The kinds of store, each with the first and last time that it can hold [us since 1970]. The suite runs on all.
KINDS = {
    "duckdb": (-62_135_596_800_000_000, 4_102_444_800_000_000),
    "influxdb": (line_protocol.FIRST_US, line_protocol.LAST_US),
    "influxdb3": (line_protocol.FIRST_US, line_protocol.LAST_US),
}


@pytest.fixture(params=["duckdb", *(pytest.param(name, marks=pytest.mark.slow) for name in KINDS if name != "duckdb")])
def kind(request):
    """A kind of store."""
    return request.param


@pytest.fixture
def span(kind):
    """The first and last time that a store can hold."""
    return KINDS[kind]


@pytest.fixture(scope="session")
def influxdb(tmp_path_factory):
    """Root of the URLs of databases on an InfluxDB, and what their names begin with."""
    named = named_server()
    if named:
        yield named
        return
    server = InfluxDB1(tmp_path_factory.mktemp("influxdb")).start()
    yield f"influxdb://127.0.0.1:{server.port}", "meterhall_test"
    server.stop()


@pytest.fixture
def url(kind, tmp_path, request):
    """The URL of a store that does not exist yet."""
    if kind == "duckdb":
        yield duckdb_url(tmp_path / "meterhall.duckdb")
        return
    if kind == "influxdb3":
        server = StandIn(3, stale=True)
        yield f"{server.root}/meterhall?local={tmp_path / 'influx.sqlite'}"
        server.stop()
        return
    root, prefix = request.getfixturevalue("influxdb")
    url = fresh_database(root, tmp_path, prefix=prefix)
    yield url
    drop_database(url)


@pytest.fixture
def store(url):
    """A new store."""
    with opened(url) as it:
        yield it


@contextmanager
def opened(url, **settings):
    """The store of a URL, closed at the end."""
    store = open_store(url, **settings)
    try:
        yield store
    finally:
        store.close()


def point(n=0, quantity="active_power"):
    """One of many points."""
    return Point("plant", f"meter-{n}", quantity)


ORIGIN = Origin("mqtt demo", 1_700_000_000_000_000, "shelly_em@1", "00000001:0")


def batch(rows, origins=(ORIGIN,)):
    """A batch of rows (point, at, value[, quality[, index of the origin]])."""
    full = [(*row, *(0, 0)[len(row) - 3 :]) for row in rows]
    points = list(dict.fromkeys(row[0] for row in full))
    number = {p: i for i, p in enumerate(points)}
    columns = list(zip(*full, strict=True)) or [()] * 5
    return ReadingBatch(
        tuple(points),
        np.array([number[p] for p in columns[0]], np.int32),
        np.array(columns[1], np.int64),
        np.array(columns[2], np.float64),
        np.array(columns[3], np.uint8),
        np.array(columns[4], np.int32),
        tuple(origins),
    )


def samples(series):
    """A series as a list of (at, value)."""
    return list(zip(series.at.tolist(), series.value.tolist(), strict=True))
