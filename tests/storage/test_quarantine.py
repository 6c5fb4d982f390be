"""The quarantine on a real file."""

import contextlib
import signal
import sqlite3
import subprocess
import sys

import pytest

from metering.explain import ExplainedError
from storage.quarantine import KEPT, Quarantine, readable
from storage.record import RETAINED, Record, Wire
from storage.store import StoreUnavailable

T = 1_790_000_000_000_000


def record(i, payload=b"not json", source="broker"):
    return Record(Wire.MQTT, source, f"tele/m{i}", payload, T + i, RETAINED, i)


def refused(first, count, reason="malformed", **more):
    return [(record(i, **more), f"00000001:64/{i}", reason, f"why {i}") for i in range(first, first + count)]


@pytest.fixture
def quarantine(tmp_path):
    quarantine = Quarantine.open(tmp_path / "quarantine.sqlite", max_entries=50, max_bytes=100_000)
    yield quarantine
    quarantine.close()


def test_a_rejected_payload_is_kept_with_its_reason(quarantine):
    quarantine.put(record(1), position="00000001:64/1", reason="malformed", detail="line 1: no value")
    (entry,) = quarantine.entries()
    assert (entry.source, entry.key, entry.received_at, entry.reason) == ("broker", "tele/m1", T + 1, "malformed")
    assert (entry.payload, entry.detail, entry.position) == (b"not json", "line 1: no value", "00000001:64/1")
    assert entry.whole and not entry.replayed and quarantine.get(entry.id) == entry
    assert entry.record() == record(1)._replace(tag=0)
    assert quarantine.get(99) is None and quarantine.count() == 1


def test_only_the_first_4_kib_are_kept_and_the_length_is_known(quarantine):
    quarantine.put(record(1, b"x" * 10_000), position="1", reason="oversize", detail="")
    (entry,) = quarantine.entries()
    assert entry.payload == b"x" * KEPT and entry.size == 10_000 and not entry.whole


def test_a_group_that_is_processed_again_makes_no_second_entry(quarantine):
    assert quarantine.put_all(refused(0, 5)) == 5
    assert quarantine.put_all(refused(0, 7)) == 2
    assert quarantine.put_all([]) == 0
    assert quarantine.count() == 7 == len(quarantine.entries())


def test_entries_come_newest_first_in_pages_by_source_and_reason(quarantine):
    quarantine.put_all(refused(0, 10))
    quarantine.put_all(refused(10, 10, "range", source="line-1"))
    keys = [entry.key for entry in quarantine.entries(limit=3)]
    assert keys == ["tele/m19", "tele/m18", "tele/m17"]
    before = quarantine.entries(limit=3)[-1].id
    assert [entry.key for entry in quarantine.entries(limit=2, before=before)] == ["tele/m16", "tele/m15"]
    assert len(quarantine.entries(reason="malformed")) == 10 == len(quarantine.entries(source="line-1"))
    assert quarantine.entries(reason="malformed", source="line-1") == []
    assert quarantine.counts()["reasons"] == {"malformed": 10, "range": 10}


def test_the_oldest_make_room_and_their_going_is_counted(quarantine):
    quarantine.put_all(refused(0, 30))
    quarantine.put_all(refused(30, 40, "range"))
    counts = quarantine.counts()
    assert counts["entries"] == 50 and counts["gone"] == {"malformed": 20}
    assert quarantine.entries(limit=100)[-1].key == "tele/m20"
    quarantine.put_all(refused(100, 49, "big", payload=b"y" * KEPT))
    counts = quarantine.counts()
    assert counts["bytes"] <= 100_000 and counts["entries"] + sum(counts["gone"].values()) == 119


def test_a_replayed_entry_is_marked(quarantine):
    quarantine.put_all(refused(0, 2))
    newest, oldest = quarantine.entries()
    assert quarantine.mark_replayed(newest.id) and not quarantine.mark_replayed(999)
    assert quarantine.get(newest.id).replayed and not quarantine.get(oldest.id).replayed


def test_what_a_page_shows_holds_no_control_or_direction_characters():
    assert readable(b'{"a": 1}\n') == '{"a": 1}\n'
    shown = readable("<b>\x00\x1b[2J\u202eevil 电表\r".encode() + b"\xff\xfe")
    assert shown == "<b>\\x00\\x1b[2J\\u202eevil 电表\\r\\xff\\xfe"
    assert readable(b"\xed\xa0\x80") == "\\xed\\xa0\\x80"


def test_odd_texts_are_kept_rather_than_refused(quarantine):
    odd = Record(Wire.INGEST, "in\ud800", "k\x00\ud800", bytearray(b"\x00"), T)
    quarantine.put(odd, position="p", reason="r", detail="d\udfff" * 5000)
    (entry,) = quarantine.entries()
    assert entry.key == "k\x00\\ud800" and entry.hex == "00" and entry.text == "\\x00"


def test_entries_outlive_the_process(tmp_path):
    path = tmp_path / "quarantine.sqlite"
    first = Quarantine.open(path)
    first.put_all(refused(0, 3))
    first.close()
    assert path.stat().st_mode & 0o777 == 0o600
    again = Quarantine.open(path)
    assert again.count() == 3 and again.note == ""
    again.close()


CHILD = """
import os, sys
from storage.quarantine import Quarantine
from storage.record import Record
quarantine = Quarantine.open(sys.argv[1])
for i in range(quarantine.count() // 3 * 3, 10**6, 3):
    quarantine.put_all([(Record(1, "b", f"{j}", b"x", 1), f"{j}", "r", "d") for j in range(i, i + 3)])
    os.write(1, b"%d\\n" % (i + 3))
"""


@pytest.mark.slow
def test_kill_9_keeps_what_was_put_whole_batches_once_each(tmp_path):
    path, most = tmp_path / "quarantine.sqlite", 0
    for round_ in range(4):
        child = subprocess.Popen([sys.executable, "-c", CHILD, path], stdout=subprocess.PIPE)
        for _ in range(5 + round_ * 3):
            most = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = [line for line in child.communicate()[0].split(b"\n") if line]
        most = max([most, *map(int, rest[:-1])])
    quarantine = Quarantine.open(path)
    keys = [int(entry.key) for entry in reversed(quarantine.entries(limit=10**6))]
    assert keys == list(range(len(keys))) and len(keys) % 3 == 0 and len(keys) >= most > 20
    quarantine.close()


@pytest.mark.parametrize("how", ["noise", "cut", "emptied", "header"])
def test_a_damaged_file_is_set_aside_and_never_stops_a_start(tmp_path, how):
    path = tmp_path / "quarantine.sqlite"
    first = Quarantine.open(path)
    first.put_all(refused(0, 300, payload=b"z" * 500))
    first.close()
    data = bytearray(path.read_bytes())
    if how == "noise":
        data[len(data) // 2 : len(data) // 2 + 20_000] = b"\xa5" * 20_000
    elif how == "cut":
        del data[len(data) // 3 :]
    elif how == "emptied":
        data.clear()
    else:
        data[:100] = bytes(100)
    path.write_bytes(data)
    again = Quarantine.open(path)
    assert "damaged" in again.note and (tmp_path / "damaged" / "quarantine-1.sqlite").read_bytes() == data
    kept = {entry.key for entry in again.entries(limit=1000)}
    assert kept <= {f"tele/m{i}" for i in range(300)}
    if how == "noise":
        assert len(kept) > 100, "what stands before and after the damage is taken over"
    assert again.put_all(refused(1000, 2)) == 2
    again.close()


def test_a_disk_that_refuses_is_told_and_nothing_is_half_kept(tmp_path):
    quarantine = Quarantine.open(tmp_path / "quarantine.sqlite")
    quarantine.put_all(refused(0, 3))
    pages = quarantine._con.execute("PRAGMA page_count").fetchone()[0]
    quarantine._con.execute(f"PRAGMA max_page_count={pages + 2}")
    with pytest.raises(StoreUnavailable, match="full"):
        quarantine.put_all(refused(3, 100, payload=b"z" * KEPT))
    assert quarantine.count() == 3 == len(quarantine.entries())
    quarantine._con.execute("PRAGMA max_page_count=1000000")
    assert quarantine.put_all(refused(3, 100, payload=b"z" * KEPT)) == 100
    quarantine.close()


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "quarantine.sqlite"
    Quarantine.open(path).close()
    with contextlib.closing(sqlite3.connect(path)) as con:
        con.execute("PRAGMA user_version = 2")
    before = path.read_bytes()
    with pytest.raises(ExplainedError, match=r"format 2.*run the newer Meterhall"):
        Quarantine.open(path)
    assert path.read_bytes() == before
