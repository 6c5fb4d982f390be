"""What an InfluxDB, or the way to it, may do: nothing is lost, nothing doubled, and the books stay right."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from metering.reading import Origin, Point, ReadingBatch
from storage.influx.address import parse_address
from storage.influx.client import Client
from storage.influx.store import InfluxStore
from storage.store import Outcome, StoreUnavailable
from tests.influx_standin import StandIn

pytestmark = pytest.mark.slow

STORED, DUPLICATE, CONFLICT, REFUSED = Outcome
A, B = Point("plant", "meter-1", "active_power"), Point("plant", "meter-1", "voltage", "l1")
EVER = (-(2**60), 2**60)
S = 1_000_000
ORIGIN = Origin("mqtt demo", 5, "shelly_em@1", "00000001:0")


@pytest.fixture
def start():
    """A function that starts a stand-in."""
    started = []

    def begin(*args, **settings):
        started.append(StandIn(*args, **settings))
        return started[-1]

    yield begin
    for server in started:
        server.stop()


class Away:
    """A server that is not there."""

    root = "influxdb://127.0.0.1:1"


def opened(server, folder, **times):
    """A store on a stand-in."""
    address = parse_address(f"{server.root}/meterhall")
    return InfluxStore(address, folder / "influx.sqlite", client=Client(address, **times))


def batch(rows, origin=ORIGIN):
    """A batch of (point, at [s], value)."""
    points = tuple(dict.fromkeys(row[0] for row in rows))
    n = len(rows)
    return ReadingBatch(
        points,
        np.array([points.index(row[0]) for row in rows], np.int32),
        np.array([row[1] * S for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
        np.zeros(n, np.uint8),
        np.zeros(n, np.int32),
        (origin,),
    )


def outcomes(result):
    """The outcomes of a result."""
    return [Outcome(o) for o in result.outcome.tolist()]


def samples(series):
    """A series as a list of (at [s], value)."""
    return list(zip((series.at // S).tolist(), series.value.tolist(), strict=True))


# --- the server is away, or lies

FIRST = [(A, 10, 1.0), (A, 20, 2.0), (A, 30, 3.0)]
SECOND = [(A, 20, 9.0), (A, 40, 4.0), (A, 15, 1.5), (B, 20, 230.0), (A, 30, 3.0), (A, 40, 5.0)]
EXPECTED = [CONFLICT, STORED, STORED, STORED, DUPLICATE, CONFLICT]
FAULTS = {
    "401": ("status", 401),
    "403": ("status", 403),
    "404": ("status", 404),
    "500": ("status", 500),
    "503": ("status", 503),
    "500 after storing": ("stored, then status", 500),
    "reset": ("reset",),
    "reset after storing": ("stored, then reset",),
    "reset after storing a part": ("partly stored, then reset",),
    "hanging": ("hang",),
    "dripping": ("drip",),
}


@pytest.mark.parametrize("again", ["the same batch", "one by one", "after a restart", "after a start without server"])
@pytest.mark.parametrize("name", FAULTS)
def test_after_a_fault_the_same_readings_come_to_what_they_would_have_without(start, tmp_path, name, again):
    server = start(2)
    fault = FAULTS[name]
    times = {"write_s": 0.4} if name in ("hanging", "dripping") else {}
    store = opened(server, tmp_path, **times)
    store.write(batch(FIRST), lambda result: b"first")
    server.faults, server.lasting = [fault], True
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            store.write(batch(SECOND), lambda result: b"second")
    assert (store.state(), store.count()) == (b"first", 3)
    server.faults = []
    server.released.set()
    if again.startswith("after a"):
        store.close()
        if again.endswith("server"):
            opened(Away, tmp_path).close()
        store = opened(server, tmp_path)
    if again == "one by one":
        got = [o for row in SECOND for o in outcomes(store.write(batch([row]), lambda result: b"second"))]
    else:
        got = outcomes(store.write(batch(SECOND), lambda result: b"second"))
    assert got == EXPECTED
    check_second(store)
    store.close()


def check_second(store):
    assert (store.state(), store.count(), store.count(A), store.count(B)) == (b"second", 6, 5, 1)
    assert samples(store.series(A, *EVER)) == [(10, 1.0), (15, 1.5), (20, 9.0), (30, 3.0), (40, 5.0)]
    assert samples(store.series(B, *EVER)) == [(20, 230.0)]
    assert [(c.at // S, c.value, c.served) for c in store.conflicts(A, *EVER)] == [
        (20, 2.0, False),
        (20, 9.0, True),
        (40, 4.0, False),
        (40, 5.0, True),
    ]
    assert store.latest([A])[A].value == 5.0
    assert store.statistics()["in_doubt"] == 0


def test_a_server_that_is_not_there_is_no_error_at_the_start_and_nothing_is_in_doubt(start, tmp_path):
    store = opened(Away, tmp_path)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="refused"):
            store.write(batch(FIRST), lambda result: b"first")
    assert (store.state(), store.points(), store.statistics()["in_doubt"]) == (None, [], 0)
    store.close()
    store = opened(start(3), tmp_path)
    assert outcomes(store.write(batch(FIRST), lambda result: b"first")) == [STORED] * 3
    store.close()


def test_a_connection_that_the_server_closed_in_the_meantime_is_no_fault(start, tmp_path):
    server = start(2)
    store = opened(server, tmp_path)
    store.write(batch(FIRST))
    server.faults = [("stored, then reset",)]
    assert outcomes(store.write(batch(SECOND), lambda result: b"second")) == EXPECTED
    check_second(store)
    store.close()


def test_asked_to_wait_it_asks_nothing_until_the_time_has_passed(start, tmp_path):
    server = start(2)
    store = opened(server, tmp_path)
    server.faults = [("status", 429, {"Retry-After": "1"})]
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="wait"):
        store.write(batch(FIRST))
    while time.monotonic() - began < 10:
        try:
            result = store.write(batch(FIRST))
            break
        except StoreUnavailable:
            time.sleep(0.02)
    assert time.monotonic() - began >= 1
    assert [status for _, status in server.writes] == ["status", 204]
    assert outcomes(result) == [STORED] * 3
    store.close()


def test_what_is_too_large_is_sent_in_parts(start, tmp_path):
    server = start(3, most_bytes=20_000)
    store = opened(server, tmp_path)
    rows = [(A, i, float(i)) for i in range(3000)]
    assert (store.write(batch(rows)).outcome == STORED).all()
    assert samples(store.series(A, *EVER)) == [(i, float(i)) for i in range(3000)]
    assert {status for _, status in server.writes} == {413, 204}
    store.close()


def test_an_answer_that_breaks_off_is_no_answer(start, tmp_path):
    server = start(2)
    store = opened(server, tmp_path)
    store.write(batch(FIRST))
    server._statement = lambda *_: {"error": "timeout"}
    with pytest.raises(StoreUnavailable, match="timeout"):
        store.series(A, *EVER)
    store.close()


# --- bad rows


def many(n=5000):
    """Rows of several points and meters, one a line."""
    return [(Point("plant", f"meter-{i % 50}", "active_power"), i, float(i)) for i in range(n)]


@pytest.mark.parametrize(("dialect", "most"), [(1, 15), (2, 15), (3, 3)])
@pytest.mark.parametrize(("place", "reason"), [(0, "not liked"), (3777, "field type conflict"), (4999, "not liked")])
def test_one_bad_row_of_5000_is_found_in_few_requests_and_the_others_are_stored(
    start, tmp_path, dialect, most, place, reason
):
    server = start(dialect)
    server.bad = lambda measurement, tags, field, value: reason if value == place and field != "batch" else None
    store = opened(server, tmp_path)
    result = store.write(batch(many()), lambda result: str(len(result.refusals)).encode())
    assert [(row, reason in why) for row, why in result.refusals] == [(place, True)]
    assert np.flatnonzero(result.outcome != STORED).tolist() == [place]
    assert len(server.writes) <= most
    assert len(server.rows) == store.count() == 4999
    assert store.state() == b"1"
    store.close()


@pytest.mark.parametrize("dialect", [1, 2, 3])
def test_several_bad_rows_are_all_found(start, tmp_path, dialect):
    server = start(dialect)
    bad = {7, 8, 234, 400, 401, 999}
    server.bad = lambda measurement, tags, field, value: (
        "unable to parse" if field != "batch" and value in bad else None
    )
    store = opened(server, tmp_path)
    result = store.write(batch(many(1000)))
    assert {row for row, _ in result.refusals} == bad
    assert len(server.rows) == store.count() == 994
    store.close()


@pytest.mark.parametrize("dialect", [1, 2, 3])
def test_a_field_that_another_program_wrote_as_text_keeps_only_itself_out(start, tmp_path, dialect):
    server = start(dialect)
    server.kinds["raw", "voltage_l1"] = "string"
    store = opened(server, tmp_path)
    rows = [row for i in range(50) for row in ((A, i, 1.0), (B, i, 230.0))]
    result = store.write(batch(rows))
    assert {row for row, _ in result.refusals} == set(range(1, 100, 2))
    assert all("voltage_l1" in why for _, why in result.refusals)
    assert len(samples(store.series(A, *EVER))) == 50
    assert store.points() == [A]
    store.close()


def test_a_refusal_of_the_request_as_a_whole_puts_no_reading_away(start, tmp_path):
    server = start(2)
    store = opened(server, tmp_path)
    server.faults, server.lasting = [("status", 422, {})], True
    with pytest.raises(StoreUnavailable, match="as told"):
        store.write(batch(FIRST))
    server.faults = []
    assert outcomes(store.write(batch(FIRST))) == [STORED] * 3
    store.close()


def test_what_no_server_can_hold_is_refused_before_it_is_sent(start, tmp_path):
    server = start(3)
    store = opened(server, tmp_path)
    odd = [Point("plant", meter, "active_power") for meter in ("a\nb", "a\\", "", "a\rb", "x" * 5000)]
    result = store.write(batch([*((p, 1, 1.0) for p in odd), (A, 1, 1.0), (A, -62_000_000_000, 1.0)]))
    assert outcomes(result) == [REFUSED] * 5 + [STORED, REFUSED]
    assert [row for row, _ in result.refusals] == [0, 1, 2, 3, 4, 6]
    assert len(server.rows) == store.count() == 1
    store.close()


# --- crashes

CHILD = """
import os, runpy, sys
from pathlib import Path
from storage.influx.store import InfluxStore

tests = runpy.run_path(sys.argv[1])
class Server:
    root = sys.argv[2]
store = tests["opened"](Server, Path(sys.argv[3]))
setattr(InfluxStore, sys.argv[4], lambda *_: os.kill(os.getpid(), 9))
store.write(tests["batch"](tests["SECOND"]), lambda result: b"second")
"""


@pytest.mark.parametrize("before", ["_send", "_commit"])
@pytest.mark.parametrize("away", [False, True])
def test_killed_before_sending_or_before_the_state_the_write_is_finished_once(start, tmp_path, before, away):
    server = start(2)
    store = opened(server, tmp_path)
    store.write(batch(FIRST), lambda result: b"first")
    store.close()
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, __file__, server.root, str(tmp_path), before],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    if away:
        store = opened(Away, tmp_path)
        assert (store.state(), store.count()) == (b"first", 3)
        store.close()
        store = opened(server, tmp_path)
        assert outcomes(store.write(batch(SECOND), lambda result: b"second")) == EXPECTED
    else:
        store = opened(server, tmp_path)
    check_second(store)
    store.close()


def test_a_damaged_local_file_is_set_aside_and_what_the_server_has_is_taken_in(start, tmp_path):
    server = start(2)
    store = opened(server, tmp_path)
    store.write(batch(FIRST), lambda result: b"first")
    store.close()
    path = tmp_path / "influx.sqlite"
    path.write_bytes(b"x" * 5000)
    store = opened(server, tmp_path)
    assert "damaged" in store.findings[0]
    assert (store.state(), store.count(), store.points()) == (None, 3, [A])
    assert store.latest()[A].value == 3.0
    assert outcomes(store.write(batch([*FIRST, (A, 50, 5.0), (A, 20, 8.0)]))) == [DUPLICATE] * 3 + [STORED, CONFLICT]
    store.close()


def test_a_long_range_is_read_in_parts_where_the_server_opens_few_files(start, tmp_path):
    server = start(3, file_limit=20)
    store = opened(server, tmp_path)
    rows = [(A, i * 600, float(i)) for i in range(200)]
    store.write(batch(rows))
    got = store.series(A, 600 * S, 199 * 600 * S, margin=True)
    assert samples(got) == [(i * 600, float(i)) for i in range(200)]
    hours = store.rollup(A, 0, 200 * 600 * S, 3600 * S)
    assert hours.count.sum() == 200
    assert len(hours.start) == len(set(hours.start.tolist())) == 34
    store.close()
