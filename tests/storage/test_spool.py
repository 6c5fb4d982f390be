"""The spool on a real disk."""

import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.explain import ExplainedError
from storage.frame import FIRST, Frame, pack, unpack, walk
from storage.record import OVERSIZE, REPEATED, RETAINED, Position, Record, Wire
from storage.spool import START, Spool, SpoolUnavailable, content_hash

T = 1_790_000_000_000_000


def records(first, count, source="broker", at=T):
    return [
        Record(Wire.MQTT, source, f"city/m{i}", b'{"power":%d}' % i, at + i, 0, i + 1)
        for i in range(first, first + count)
    ]


def everything(spool, position=START):
    return [record for _, group in spool.read(position) for record in group]


RECORD = st.builds(
    Record,
    wire=st.sampled_from(Wire),
    source=st.sampled_from(["broker", "line-1", "主表", ""]),
    key=st.text(max_size=20),
    payload=st.binary(max_size=40),
    received_at=st.integers(-(2**62), 2**62),
    flags=st.sampled_from([0, RETAINED, REPEATED, OVERSIZE | RETAINED]),
    tag=st.integers(0, 65535),
)


@settings(max_examples=150, deadline=None)
@given(group=st.lists(RECORD, min_size=1, max_size=30), offset=st.integers(0, 2**40))
def test_a_frame_gives_back_its_records_exactly_and_only_at_its_own_place(group, offset):
    import zstandard

    packed = pack(group, zstandard.ZstdCompressor(level=1))
    data = packed.frame(7, offset)

    def read(length, at):
        return data[at - offset : at - offset + length]

    (frame,) = walk(read, offset, offset + len(data), 7)
    assert isinstance(frame, Frame)
    assert unpack(frame, zstandard.ZstdDecompressor()) == group
    assert sum(frame.sources.values()) == frame.count == len(group)
    assert (frame.oldest, frame.newest) == (min(r.received_at for r in group), max(r.received_at for r in group))
    shifted = walk(lambda length, at: read(length, at - 1), offset + 1, offset + 1 + len(data), 7)
    assert not [found for found in shifted if isinstance(found, Frame)], "at another offset it is none"
    assert not [found for found in walk(read, offset, offset + len(data), 8) if isinstance(found, Frame)]


def test_what_was_appended_is_read_before_and_after_a_restart(tmp_path):
    spool = Spool.open(tmp_path / "spool")
    assert spool.append([]) == (START, 0) and everything(spool) == []
    first = spool.append(records(0, 5))
    second = spool.append(records(5, 3, "line-1"))
    assert first.position < second.position == spool.end and (first.count, second.count) == (5, 3)
    assert everything(spool) == records(0, 5) + records(5, 3, "line-1")
    assert everything(spool, first.position) == records(5, 3, "line-1")
    assert spool.pending() == {"broker": 5, "line-1": 3}
    assert spool.pending(first.position) == {"line-1": 3}
    assert spool.pending(START) == {"broker": 5, "line-1": 3}
    spool.close()
    again = Spool.open(tmp_path / "spool")
    assert everything(again) == records(0, 5) + records(5, 3, "line-1")
    third = again.append(records(8, 1)).position
    assert third > second.position
    assert [position for position, _ in again.read(first.position)] == [second.position, third]
    assert again.pending(second.position) == {"broker": 1}
    again.close()


def test_a_group_is_counted_as_received_before_anybody_can_read_it(tmp_path):
    spool, seen = Spool.open(tmp_path), []
    spool.on_append = lambda counts: seen.append((counts, everything(spool)))
    spool.append(records(0, 5))
    assert seen == [({"broker": 5}, [])] and len(everything(spool)) == 5
    spool.close()


def test_folder_and_files_are_for_the_owner_alone(tmp_path):
    os.umask(0o022)
    spool = Spool.open(tmp_path / "spool")
    spool.append(records(0, 5))
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
    names = [path for path in (tmp_path / "spool").iterdir() if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in names} == {0o600}
    spool.close()


def test_a_second_process_is_refused_and_touches_nothing(tmp_path):
    spool = Spool.open(tmp_path)
    spool.append(records(0, 5))
    (tmp_path / "00000009.spool.new").write_bytes(b"a start under way")
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()}
    code = "import sys; from storage.spool import Spool; Spool.open(sys.argv[1])"
    other = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert other.returncode != 0
    assert "another process is using this spool; stop the other" in other.stderr
    with pytest.raises(ExplainedError, match="another process"):
        Spool.open(tmp_path)
    assert before == {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()}
    spool.close()
    Spool.open(tmp_path).close()


def test_a_newer_format_is_refused_with_the_mend_and_left_alone(tmp_path):
    from google_crc32c import value as crc

    spool = Spool.open(tmp_path)
    spool.append(records(0, 5))
    spool.close()
    path = tmp_path / "00000001.spool"
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, 8, 2)
    struct.pack_into("<I", data, FIRST - 4, crc(bytes(data[: FIRST - 4])))
    path.write_bytes(data)
    with pytest.raises(ExplainedError, match="run the newer Meterhall"):
        Spool.open(tmp_path)
    assert path.read_bytes() == data


def test_segments_go_once_released_but_the_newest_stay_for_redeliveries(tmp_path):
    spool = Spool.open(tmp_path, segment_bytes=400, keep_segments=2)
    ends = [spool.append(records(i * 50, 50, at=T + i * 10**9)).position for i in range(20)]
    segments = spool.health().segments
    assert segments > 5
    assert spool.release(ends[9]) > 0
    assert everything(spool, ends[9]) == [r for i in range(10, 20) for r in records(i * 50, 50, at=T + i * 10**9)]
    spool.release(ends[-1])
    assert spool.health().segments == 2 and spool.health().pending_messages == 0
    assert spool.start > START
    kept = spool.recent("broker")
    assert kept[1000] == (content_hash("city/m999", b'{"power":999}'), T + 19 * 10**9 + 999)
    spool.close()
    again = Spool.open(tmp_path, after=ends[-1])
    assert not again.damage and again.pending(ends[-1]) == {} and again.recent("broker") == kept
    again.close()


def test_a_redelivery_is_known_by_packet_id_and_content_and_keeps_the_first_stamp(tmp_path):
    spool = Spool.open(tmp_path)
    first = Record(Wire.MQTT, "broker", "t", b"1", T, 0, 7)
    spool.append(
        [first, Record(Wire.MQTT, "other", "t", b"2", T, 0, 7), Record(Wire.MODBUS, "broker", "t", b"3", T, 0, 0)]
    )
    assert spool.recent("broker") == {7: (content_hash("t", b"1"), T)}
    spool.append([first._replace(received_at=T + 9, flags=REPEATED)])
    assert spool.recent("broker") == {7: (content_hash("t", b"1"), T)}
    spool.append([first._replace(received_at=T + 99, payload=b"4")])
    assert spool.recent("broker") == {7: (content_hash("t", b"4"), T + 99)}
    assert spool.recent("other") == {7: (content_hash("t", b"2"), T)} and spool.recent("nobody") == {}
    assert content_hash("a", b"b") != content_hash("ab", b"") and content_hash("t", b"1") == 1_776_048_815_627_068_601
    spool.close()


def test_a_full_spool_refuses_until_something_is_released(tmp_path):
    spool = Spool.open(tmp_path, segment_bytes=3000, max_bytes=20_000, keep_segments=1)
    rng, position, taken = random.Random(3), START, []
    while spool.health().bytes < 19_000:
        group = [Record(Wire.MQTT, "broker", f"{len(taken)}", rng.randbytes(500), T, 0, 1)]
        position = spool.append(group).position
        taken += group
    with pytest.raises(SpoolUnavailable, match="the spool is full"):
        spool.append([Record(Wire.MQTT, "broker", "last", rng.randbytes(1200), T, 0, 1)])
    assert not spool.accepting and "full" in spool.health().note and spool.health().bytes <= 20_000
    assert everything(spool) == taken
    spool.release(position)
    spool.append(records(0, 1))
    assert spool.accepting and everything(spool, position) == records(0, 1)
    spool.close()


def test_a_backlog_of_many_segments_is_read_in_order_while_more_is_appended(tmp_path):
    spool = Spool.open(tmp_path, segment_bytes=4000, sync=False)
    spool._most_handover_bytes = 20_000
    stop, problems = threading.Event(), []

    def append():
        for i in range(300):
            spool.append(records(i * 20, 20))
        stop.set()

    writer = threading.Thread(target=append)
    writer.start()
    position, seen, deadline = START, [], time.monotonic() + 30
    while (not stop.is_set() or position != spool.end) and time.monotonic() < deadline:
        for after, group in spool.read(position):
            position = after
            seen += group
            if len(seen) % 400 == 0:
                spool.release(position)
        health = spool.health(position)
        if health.pending_messages < 0:
            problems.append(health)
    writer.join()
    assert seen == records(0, 6000) and not problems
    assert spool.pending(position) == {} and spool.health().oldest_pending_us is None
    spool.close()


def test_health_tells_the_oldest_pending_record(tmp_path):
    spool = Spool.open(tmp_path)
    position = spool.append(records(0, 5)).position
    spool.append(records(100, 5))
    assert spool.health().oldest_pending_us == T
    health = spool.health(position)
    assert (health.pending_messages, health.oldest_pending_us, health.accepting) == (5, T + 100, True)
    spool.close()


def test_a_key_that_is_no_text_does_not_hold_up_its_group(tmp_path):
    spool = Spool.open(tmp_path)
    spool.append([Record(Wire.INGEST, "ingest", "bad \ud800 key", b"1", T), *records(0, 2)])
    spool.close()
    again = Spool.open(tmp_path)
    assert [record.key for record in everything(again)] == ["bad \\ud800 key", "city/m0", "city/m1"]
    again.close()


CHILD = """
import os, random, sys
from storage.record import Record
from storage.spool import Spool
folder, first = sys.argv[1], int(sys.argv[2])
rng = random.Random(first)
spool = Spool.open(folder, segment_bytes=20_000)
os.write(1, b"open\\n")
while True:
    size = rng.randint(1, 60)
    spool.append([Record(1, "broker", f"{first}/{i}/{size}", b"%d" % i, 10**15 + i, 0, 1) for i in range(size)])
    os.write(1, b"%d %d\\n" % (first, size))
    first += 1
"""


@pytest.mark.slow
def test_kill_9_at_any_moment_loses_no_group_that_was_reported_and_halves_none(tmp_path):
    reported, rng, working = [], random.Random(5), 0
    for first in range(100_000, 2_100_000, 100_000):
        child = subprocess.Popen([sys.executable, "-c", CHILD, tmp_path, str(first)], stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"open\n"
        deadline = time.monotonic() + rng.uniform(0.0, 0.12)
        lines = []
        reader = threading.Thread(target=lambda pipe=child.stdout, lines=lines: lines.extend(pipe.readlines()))
        reader.start()
        while time.monotonic() < deadline:
            reader.join(deadline - time.monotonic())
        child.send_signal(signal.SIGKILL)
        child.wait()
        reader.join()
        child.stdout.close()
        lines = [line for line in lines if line.endswith(b"\n")]
        working += bool(lines)
        reported += [tuple(map(int, line.split())) for line in lines]
    spool = Spool.open(tmp_path)
    found = []
    for _, group in spool.read():
        number, _, size = map(int, group[0].key.split("/"))
        assert [record.key for record in group] == [f"{number}/{i}/{size}" for i in range(size)]
        found.append((number, size))
    assert working >= 10, "most kills hit a working process"
    assert found == sorted(set(found)) and set(reported) <= set(found)
    assert len(found) - len(reported) <= 20, "at most the one append that was under way at each kill"
    assert not spool.damage and sum(spool.pending().values()) == sum(size for _, size in found)
    assert Position(1, FIRST) == spool.start
    spool.close()
