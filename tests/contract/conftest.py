"""The stores that the contract is run on, and what its tests write."""

from contextlib import contextmanager

import numpy as np
import pytest

from metering.reading import Origin, Point, ReadingBatch
from storage.opening import duckdb_url, open_store

# A kind of store: the URL of a fresh one in a folder. Add a kind here, and the whole suite runs on it.
KINDS = {"duckdb": lambda folder: duckdb_url(folder / "meterhall.duckdb")}


@pytest.fixture(params=KINDS)
def kind(request):
    """The URL of a fresh store in a folder."""
    return KINDS[request.param]


@pytest.fixture
def url(kind, tmp_path):
    """The URL of a store that does not exist yet."""
    return kind(tmp_path)


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
