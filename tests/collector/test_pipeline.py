"""Spooled records become stored readings, once, with both books balanced, whatever happens on the way."""

import numpy as np
import pytest

from collector import ingest
from collector.pipeline import Named, Pipeline
from collector.points import PointTable
from devices.decoded import Decoded, Rejected
from metering.quantity import Carrier
from metering.reading import Point
from metering.site import Installation, Meter, Name, Site
from storage.books import Books, State, decode_state, encode_state
from storage.opening import open_store
from storage.quarantine import Quarantine
from storage.record import OVERSIZE, REPEATED, Record, Wire
from storage.spool import START, Spool
from storage.store import StoreUnavailable

PLANT = Installation(
    sites=(Site("s", Name("S"), "UTC"),),
    meters=(Meter("m", "s", "", Name("M"), Carrier.ELECTRICITY, "grid", "p", "c"),),
)
NOW = 1_767_225_600_000_000


class Plain:
    """A decoder of our own: `slot=value` pairs; `-` is not available."""

    slots = (("active_power", "total"), ("active_energy_import", "total"))
    profile = "plain@1"

    def glance(self, payload, received_at):
        return None

    def decode(self, payload, received_at, retained):
        if payload == b"kill":
            raise SystemExit("the process dies")
        if payload == b"bug":
            raise ZeroDivisionError
        if payload == b"?":
            raise Rejected("malformed", "a question mark")
        values, missing, refused = [], 0, []
        for slot, text in enumerate(payload.decode().split()):
            if text == "-":
                missing += 1
            elif text == "x":
                refused.append(("range", "x"))
            else:
                values.append((slot, received_at, float(text), False))
        return Decoded(values, missing, refused)


class Ears:
    def __init__(self):
        self.heard, self.touched = [], []

    listeners = 1

    def publish(self, rows):
        self.heard += rows

    def wants(self, point):
        return True

    def touch(self, point, start, end):
        self.touched.append((point, start, end))

    def pending(self):
        return [(str(point), start, end) for point, start, end in self.touched]


class Bench:
    """Everything a pipeline works on, in a folder; `reopen` is a restart."""

    def __init__(self, folder):
        self.folder = folder
        self.open()

    def open(self):
        self.store = open_store(f"duckdb:///{self.folder / 'store.duckdb'}")
        blob = self.store.state()
        self.state = decode_state(blob) if blob else None
        position = self.state.position if self.state else START
        self.spool = Spool.open(self.folder / "spool", after=position)
        self.books = Books.from_state(self.state.books if self.state else None, self.spool.pending(position))
        self.spool.on_append = self.books.received
        self.quarantine = Quarantine.open(self.folder / "quarantine.sqlite")
        self.ears = Ears()
        points = PointTable()
        first = points.add_all([Point("s", "m", *slot) for slot in Plain.slots])
        named = {
            (Wire.MQTT, "b", "t"): Named(Plain(), first),
            (Wire.INGEST, "", ingest.KEY): Named(ingest.BatchDecoder(points), 0),
        }
        self.pipeline = Pipeline(
            self.spool, self.store, self.books, self.quarantine, named, points, PLANT, self.ears, self.ears,
            lambda: NOW, self.folder,
        )  # fmt: skip

    def close(self):
        self.store.close()
        self.spool.close()
        self.quarantine.close()

    def reopen(self):
        self.close()
        self.open()

    def take(self, *payloads, flags=0, start=0):
        records = [
            Record(Wire.MQTT, "b", "t", payload, NOW + (start + i) * 1000, flags, i + 1)
            for i, payload in enumerate(payloads)
        ]
        self.spool.append(records)

    def run(self):
        while self.pipeline.run_once():
            pass

    def balance(self):
        return self.books.balance(self.spool.pending(self.pipeline.position))


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_each_message_and_reading_has_one_outcome(bench):
    bench.take(b"1 10", b"2 -", b"?", b"x 30", b"bug")
    bench.take(b"9 9", flags=REPEATED)
    bench.take(b"9 9", flags=OVERSIZE)
    bench.spool.append([Record(Wire.MQTT, "b", "elsewhere", b"1", NOW)])
    bench.run()
    snapshot = bench.books.snapshot()
    assert snapshot["messages"]["b"] == {
        "received": 8,
        "decoded": 3,
        "repeated": 1,
        "rejected": {"malformed": 1, "decoder_error": 1, "oversize": 1, "unknown_device": 1},
        "dropped": {},
        "pending": 0,
    }
    assert snapshot["readings"]["b"] == {
        "decoded": 6,
        "stored": 4,
        "duplicate": 0,
        "conflict": 0,
        "missing": 1,
        "rejected": {"range": 1},
        "dropped": {},
        "pending": 0,
    }
    assert bench.balance() == []
    assert bench.quarantine.counts()["reasons"] == {
        "decoder_error": 1, "malformed": 1, "oversize": 1, "range": 1, "unknown_device": 1,
    }  # fmt: skip


def test_a_reading_is_traced_through_all_its_steps(bench):
    bench.take(b"1500 42.5")
    spooled = next(iter(bench.spool.read(START)))[1][0]
    assert spooled.payload == b"1500 42.5"
    bench.run()
    power, energy = Point("s", "m", "active_power"), Point("s", "m", "active_energy_import")
    series = bench.store.series(energy, NOW, NOW + 1)
    assert series.at.tolist() == [NOW]
    assert series.value.tolist() == [42.5]
    assert bench.ears.heard == [(power, NOW, 1500.0, 0), (energy, NOW, 42.5, 0)]
    assert sorted(bench.ears.touched) == sorted([(power, NOW, NOW), (energy, NOW, NOW)])
    ((_, origin),) = bench.store.origins(energy, NOW, NOW + 1)
    assert (origin.source, origin.received_at, origin.profiles) == ("b", NOW, "plain@1")
    raw = next(iter(bench.spool.read(START)))[1][0]
    assert raw == spooled, "the raw record is still where the origin says"


def test_repeats_and_conflicts_are_told_apart(bench):
    bench.take(b"1 10", b"2 20")
    bench.take(b"1 11")
    bench.take(b"1 10")
    bench.run()
    readings = bench.books.snapshot()["readings"]["b"]
    assert (readings["stored"], readings["duplicate"], readings["conflict"]) == (4, 3, 1)
    assert bench.store.series(Point("s", "m", "active_energy_import"), 0, NOW + 10**9).value.tolist() == [11.0, 20.0]


def test_what_the_spool_holds_at_a_restart_is_stored_once_and_the_books_go_on(bench):
    bench.take(b"1 10", b"2 20")
    bench.run()
    bench.take(b"3 30", start=10)
    bench.reopen()
    assert bench.balance() == []
    assert bench.books.snapshot()["total"]["messages"]["pending"] == 1
    bench.run()
    bench.reopen()
    bench.run()
    assert bench.books.snapshot()["total"]["messages"]["received"] == 3
    assert bench.store.count() == 6
    assert bench.balance() == []
    assert bench.state.touched, "what was not derived yet is remembered"


def test_a_record_that_kills_the_process_is_put_aside_after_three_deaths_and_the_others_flow(bench):
    bench.take(b"1 10", b"kill", b"3 30")
    deaths = 0
    while True:
        try:
            bench.run()
            break
        except SystemExit:
            deaths += 1
            bench.reopen()
    assert deaths == 3
    assert bench.store.count() == 4
    assert bench.quarantine.counts()["reasons"] == {"poison": 1}
    assert bench.balance() == []


def test_being_killed_again_and_again_while_the_store_writes_puts_nothing_aside(bench, monkeypatch):
    bench.take(b"1 10", b"2 20")
    for _ in range(6):
        with monkeypatch.context() as patch:
            patch.setattr(bench.store, "write", lambda *_: (_ for _ in ()).throw(SystemExit("kill -9")))
            with pytest.raises(SystemExit):
                bench.run()
        bench.reopen()
    bench.run()
    assert bench.store.count() == 4
    assert bench.quarantine.counts()["reasons"] == {}


def test_a_store_that_takes_nothing_loses_nothing(bench, monkeypatch):
    bench.take(b"1 10")
    real, refusals = bench.store.write, iter([True, True, False])

    def write(batch, make_state=None):
        if next(refusals):
            raise StoreUnavailable("disk full")
        return real(batch, make_state)

    monkeypatch.setattr(bench.store, "write", write)
    monkeypatch.setattr("collector.pipeline.RETRY_S", 0.0)
    bench.run()
    assert bench.store.count() == 2
    assert bench.balance() == []
    assert bench.pipeline.note == ""


def test_an_ingested_batch_names_its_own_points(bench):
    rows = [(Point("s", "m", "active_power", "l1"), NOW, 7.0), (Point("s", "other", "water_volume"), NOW, 1.5)]
    payload = ingest.encode_batch(rows, [("range", "row 2")])
    bench.spool.append([Record(Wire.INGEST, "ingest", ingest.KEY, payload, NOW)])
    bench.run()
    assert {point: reading.value for point, reading in bench.store.latest().items()} == {p: v for p, _, v in rows}
    assert bench.books.snapshot()["readings"]["ingest"]["rejected"] == {"range": 1}
    assert bench.balance() == []


def test_many_records_are_stored_in_order_of_arrival(bench):
    for start in range(0, 5_000, 500):
        bench.take(*(b"%d %d" % (i, i) for i in range(start, start + 500)), start=start)
    bench.run()
    series = bench.store.series(Point("s", "m", "active_energy_import"), 0, 1 << 62)
    assert np.array_equal(series.value, np.arange(5_000))
    assert bench.balance() == []


def test_a_store_that_lost_what_it_had_gets_it_from_the_spool_again_and_the_books_balance(bench, monkeypatch):
    bench.take(b"1 10", b"2 20")
    bench.run()
    bench.take(b"3 30", start=10)
    begun = encode_state(State(START, bench.books.to_state()))
    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "state", lambda: begun)
        patch.setattr(bench.store, "write", lambda *_: (_ for _ in ()).throw(StoreUnavailable("mended")))
        assert bench.pipeline.run_once()
    assert bench.pipeline.position == START
    bench.run()
    assert bench.store.count() == 6
    assert bench.balance() == []
    messages = bench.books.snapshot()["messages"]["b"]
    assert (messages["received"], messages["decoded"], messages["pending"]) == (5, 5, 0), "two were read twice"


def test_a_store_found_behind_when_it_is_tidied_keeps_its_records_in_the_spool(bench, monkeypatch):
    bench.take(b"1 10")
    bench.run()
    behind = bench.store.state()
    bench.take(b"2 20", start=5)
    bench.run()
    released = []
    monkeypatch.setattr(bench.spool, "release", released.append)
    monkeypatch.setattr(bench.store, "state", lambda: behind)  # as after a mending that lost the last batch
    monkeypatch.setattr("collector.pipeline.CHECKPOINT_S", 0.0)
    bench.pipeline._tidy(False)
    assert released == []
    monkeypatch.undo()
    bench.run()
    assert bench.balance() == []
    assert bench.store.count() == 4
