"""The spool on a disk that fails, tears and forgets."""

import errno
import itertools
import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.files import Files
from storage.frame import FIRST
from storage.record import Position, Record
from storage.spool import START, Spool, SpoolUnavailable

FOLDER = Path("/spool")


class Crash(BaseException):
    """The machine stops here."""


class Disk(Files):
    """Files in memory: what is not synced is lost in a crash, and the n-th changing call can fail."""

    def __init__(self):
        self.data, self.synced = {}, {}  # inode -> bytearray; inode -> bytes
        self.entries, self.durable = {}, {}  # name -> inode
        self.fds, self.numbers = {}, itertools.count(3)
        self.locked = False
        self.calls, self.plan = 0, {}  # call number -> "EIO", "ENOSPC", "short", "crash"
        self.full_for, self.log = 0, []

    def clone(self):
        other = Disk()
        other.data = {inode: bytearray(data) for inode, data in self.data.items()}
        other.synced, other.entries, other.durable = dict(self.synced), dict(self.entries), dict(self.durable)
        other.numbers = itertools.count(10_000)
        return other

    def crash(self, rng):
        """The disk as a restart finds it: durable names; of unsynced bytes any prefix, or zeros in their place."""
        other = Disk()
        other.numbers = itertools.count(next(self.numbers))
        other.entries = dict(self.durable)
        for inode in set(other.entries.values()):
            data, synced = self.data[inode], self.synced.get(inode, b"")
            if data[: len(synced)] == synced:
                tail = bytearray(data[len(synced) :][: rng.randint(0, max(0, len(data) - len(synced)))])
                if tail and rng.random() < 0.3:
                    at = rng.randrange(len(tail))
                    tail[at:] = bytes(len(tail) - at)
            else:  # it was cut since
                tail = bytearray()
                synced = rng.choice([synced, bytes(data)])
            other.data[inode] = bytearray(synced) + tail
            other.synced[inode] = bytes(other.data[inode])
        other.durable = dict(other.entries)
        return other

    def _call(self, name):
        self.calls += 1
        self.log.append(name)
        fault = self.plan.pop(self.calls, None)
        if fault == "crash":
            raise Crash
        if self.full_for > 0:
            self.full_for -= 1
            if name in ("write", "create"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if fault in ("EIO", "ENOSPC"):
            number = getattr(errno, fault)
            raise OSError(number, os.strerror(number))
        return fault

    def make_folder(self, path):
        pass

    def lock(self, folder):
        if self.locked:
            return None
        self.locked = True
        return 1

    def create(self, path):
        self._call("create")
        if path in self.entries:
            raise FileExistsError(errno.EEXIST, "there is such a file", str(path))
        inode = next(self.numbers)
        self.entries[path], self.data[inode] = inode, bytearray()
        return self.open(path)

    def open(self, path):
        if path not in self.entries:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        fd = next(self.numbers)
        self.fds[fd] = self.entries[path]
        return fd

    def close(self, fd):
        if fd == 1:
            self.locked = False
        else:
            del self.fds[fd]

    def write(self, fd, data):
        fault = self._call("write")
        taken = bytes(data[: len(data) // 2]) if fault == "short" else bytes(data)
        self.data[self.fds[fd]] += taken
        if fault == "short":
            self.full_for = 1
        return len(taken)

    def read(self, fd, length, offset):
        return bytes(self.data[self.fds[fd]][offset : offset + length])

    def fdatasync(self, fd):
        self._call("fdatasync")
        self.synced[self.fds[fd]] = bytes(self.data[self.fds[fd]])

    def fsync(self, fd):
        self._call("fsync")
        self.synced[self.fds[fd]] = bytes(self.data[self.fds[fd]])

    def sync_folder(self, path):
        self._call("sync_folder")
        self.durable = {name: inode for name, inode in self.durable.items() if name.parent != path}
        self.durable.update({name: inode for name, inode in self.entries.items() if name.parent == path})

    def truncate(self, fd, size):
        self._call("truncate")
        del self.data[self.fds[fd]][size:]

    def rename(self, old, new):
        self._call("rename")
        self.entries[new] = self.entries.pop(old)

    def link(self, old, new):
        self._call("link")
        self.entries[new] = self.entries[old]

    def unlink(self, path):
        self._call("unlink")
        if path not in self.entries:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        del self.entries[path]

    def names(self, folder):
        return sorted(name.name for name in self.entries if name.parent == folder)

    def size(self, path):
        return len(self.data[self.entries[path]])


def group(number, size):
    """Records that tell which group they are of, which and how many."""
    return [
        Record(
            1, "ab"[i % 2], f"g{number}/{i}/{size}", bytes([number % 251]) * (i % 50), 10**15 + number * 1000 + i, 0, i
        )
        for i in range(size)
    ]


def number_of(records):
    """The group's number; fails if it is not exactly that group."""
    number, _, size = records[0].key[1:].split("/")
    assert records == group(int(number), int(size)), "a group is all or nothing"
    return int(number)


def groups(spool, position=START):
    return [number_of(records) for _, records in spool.read(position) if records]


def open_on(disk, after=START):
    return Spool.open(FOLDER, files=disk, segment_bytes=700, after=after, keep_segments=1)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 12)),
        st.tuples(st.sampled_from(["EIO", "ENOSPC", "short", "crash"]), st.integers(1, 9)),
        st.tuples(st.just("full"), st.integers(1, 12)),
        st.tuples(st.sampled_from(["power cut", "restart"]), st.integers(0, 999)),
        st.tuples(st.sampled_from(["read", "release"]), st.integers(1, 5)),
    ),
    min_size=3,
    max_size=40,
)


class Model:
    """The spool beside what it has promised."""

    def __init__(self, seed):
        self.rng, self.disk = random.Random(seed), Disk()
        self.accepted, self.done, self.after = [], 0, START  # `done` groups of `accepted` are before `after`
        self.unsure = []  # reported as failed since the last success: one of them may be there after a crash
        self.again = None  # the group to hand in again
        self.numbers = itertools.count(1)
        self.spool = open_on(self.disk)

    def restart(self, cut):
        if cut:
            self.disk = self.disk.crash(self.rng)
        self.disk.plan, self.disk.full_for, self.disk.locked = {}, 0, False
        self.spool = open_on(self.disk, self.after)
        found = groups(self.spool, self.after)
        held = len(self.accepted) - self.done
        assert found[:held] == self.accepted[self.done :], "every acknowledged group is there once, in order"
        assert not found[held:] or (len(found) == held + 1 and found[held] in self.unsure), "nothing else is there"
        if found[held:]:
            self.accepted.append(found[held])
            if self.again and found[held] == number_of(self.again):
                self.again = None  # it would be recognised as a redelivery
        self.unsure = []
        assert not self.spool.damage

    def append(self, size):
        records, self.again = self.again or group(next(self.numbers), size), None
        try:
            position, count = self.spool.append(records)
        except SpoolUnavailable:
            assert not self.spool.accepting
            self.unsure.append(number_of(records))
            self.again = self.rng.choice([records, None])
        except Crash:
            self.unsure.append(number_of(records))
            self.again = records
            self.restart(True)
        else:
            assert count == len(records) and position == self.spool.end and self.spool.accepting
            self.accepted.append(number_of(records))
            self.unsure = []

    def read(self, count):
        for after, records in itertools.islice(self.spool.read(self.after), count):
            assert number_of(records) == self.accepted[self.done]
            self.after, self.done = after, self.done + 1

    def release(self):
        try:
            self.spool.release(self.after)
        except Crash:
            self.restart(True)

    def check(self):
        left = [record.source for _, records in self.spool.read(self.after) for record in records]
        assert self.spool.pending(self.after) == {source: left.count(source) for source in set(left)}
        assert self.spool.health().pending_messages == len(left)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 999))
def test_whatever_fails_each_acknowledged_group_is_there_once_and_none_is_invented_or_halved(steps, seed):
    model = Model(seed)
    for step, n in steps:
        if step == "append":
            model.append(n)
        elif step == "read":
            model.read(n)
        elif step == "release":
            model.release()
        elif step == "full":
            model.disk.full_for = n
        elif step in ("power cut", "restart"):
            model.restart(step == "power cut")
        else:
            model.disk.plan[model.disk.calls + n] = step
        model.check()
    model.restart(True)


@pytest.mark.parametrize("fault", ["EIO", "ENOSPC", "short", "crash"])
def test_the_nth_call_may_fail_for_every_n(fault):
    rehearsal = Disk()
    spool = open_on(rehearsal)
    for number in range(1, 13):
        spool.append(group(number, 5))
    assert {"create", "write", "fdatasync", "fsync", "sync_folder", "rename"} <= set(rehearsal.log)
    for n in range(1, rehearsal.calls + 1):
        model = Model(n)
        model.restart(False)
        model.disk.plan[n] = fault
        for _ in range(12):
            model.append(5)
        while model.again:
            model.append(5)
        model.check()
        model.restart(True)
        assert len(model.accepted) >= 11


def test_a_full_disk_stops_the_acceptance_and_space_starts_it_again_without_a_restart():
    disk = Disk()
    spool = open_on(disk)
    spool.append(group(1, 5))
    disk.full_for = 10**6
    for _ in range(20):
        with pytest.raises(SpoolUnavailable, match="No space left"):
            spool.append(group(2, 5))
        assert not spool.accepting and not spool.health().accepting and spool.health().note
    assert len([name for name in disk.names(FOLDER) if "spool" in name]) == 1, "failed starts leave nothing behind"
    disk.full_for = 0
    spool.append(group(2, 5))
    assert spool.accepting and spool.health().note == ""
    assert groups(spool) == [1, 2]
    disk.locked = False
    assert groups(open_on(disk)) == [1, 2]


def test_a_group_whose_sync_failed_does_not_come_back_beside_the_one_written_instead():
    disk = Disk()
    spool = open_on(disk)
    spool.append(group(1, 5))
    for ahead in (2, 3):  # the write of group 2, then its sync and the truncate that would tidy up
        disk.plan[disk.calls + ahead] = "EIO"
    spool.append(group(2, 5))
    left = disk.data[disk.entries[FOLDER / "00000001.spool"]]
    assert left.count(b"\xf5MHF") == 2, "the failed frame still stands in the old segment, whole"
    disk.locked = False
    again = open_on(disk)
    assert groups(again) == [1, 2] and again.pending() == {"a": 6, "b": 4}


# -- damage on the way: cut, zeros, flips, emptied, deleted -----------------------------------------------------------


def filled(count=10, size=4, restarts=True):
    """A disk with `count` groups in several segments; the position after each."""
    disk = Disk()
    spool, ends = open_on(disk), []
    for number in range(1, count + 1):
        ends.append(spool.append(group(number, size)).position)
    if restarts:
        spool.close()
    disk.locked = False
    return disk, ends


def test_a_segment_cut_at_any_byte_gives_back_every_group_before_the_cut():
    disk, ends = filled(4, restarts=False)
    last = max(end.segment for end in ends)
    name = FOLDER / f"{last:08d}.spool"
    whole = bytes(disk.data[disk.entries[name]])
    before = [n for n, end in enumerate(ends, 1) if end.segment < last]
    for cut in range(len(whole)):
        hurt = disk.clone()
        del hurt.data[hurt.entries[name]][cut:]
        spool = open_on(hurt)
        kept = [n for n, end in enumerate(ends, 1) if end.segment == last and end.offset <= cut]
        assert groups(spool) == before + kept
        spool.append(group(99, 2))
        assert groups(spool) == [*before, *kept, 99]
        spool.close()
        again = open_on(hurt)
        assert groups(again) == [*before, *kept, 99]
        assert bool(spool.damage) == (cut < FIRST), "only a lost header is more than a torn tail"


def test_a_zero_filled_tail_from_any_byte_is_a_torn_append_and_not_damage():
    disk, ends = filled(4, restarts=False)
    last = max(end.segment for end in ends)
    name = FOLDER / f"{last:08d}.spool"
    length = len(disk.data[disk.entries[name]])
    for start in range(FIRST, length - 16):
        hurt = disk.clone()
        data = hurt.data[hurt.entries[name]]
        data[start:] = bytes(length - start + 500)
        spool = open_on(hurt)
        assert groups(spool) == [n for n, end in enumerate(ends, 1) if end.segment < last or end.offset <= start]
        assert not spool.damage and spool.torn_tails == 1


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(data=st.data(), sealed=st.booleans())
def test_flipped_bits_lose_only_the_groups_they_are_in_and_each_loss_is_told(data, sealed):
    disk, ends = filled(12, restarts=sealed)
    names = [name for name in disk.entries if name.suffix == ".spool"]
    hit = set()
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(names)))
        content = disk.data[disk.entries[name]]
        at = data.draw(st.integers(0, 10_000)) % len(content)
        content[at] ^= 1 << data.draw(st.integers(0, 7))
        hit |= {n for n in range(1, 13) if stands_at(ends, n, name, at)}
    spool = open_on(disk)
    found = groups(spool)
    assert found == sorted(set(found)), "nothing twice, in order"
    assert set(range(1, 13)) - hit <= set(found), "every group that no bit was flipped in"
    gone = set(range(1, 13)) - set(found)
    told = spool.losses(START, spool.end)
    assert sum(told.values()) + 4 * len(found) == sum(spool.pending().values())
    if gone:
        assert spool.damage or spool.torn_tails
        assert all(str(damage.segment) in damage.text for damage in spool.damage)
    assert sum(told.values()) <= 4 * len(gone)


def stands_at(ends, n, name, at):
    """Whether byte `at` of a segment lies in group n."""
    start = ends[n - 2].offset if n > 1 and ends[n - 2].segment == ends[n - 1].segment else FIRST
    return ends[n - 1].segment == int(name.stem) and start <= at < ends[n - 1].offset


@pytest.mark.parametrize("how", ["emptied", "deleted"])
def test_each_segment_may_be_emptied_or_deleted_and_the_others_are_read(how):
    disk, ends = filled()
    after = ends[-1]
    for number in sorted({end.segment for end in ends}):
        hurt = disk.clone()
        name = FOLDER / f"{number:08d}.spool"
        if how == "emptied":
            hurt.data[hurt.entries[name]].clear()
        else:
            del hurt.entries[name]
        spool = open_on(hurt, after)
        assert groups(spool) == [n for n, end in enumerate(ends, 1) if end.segment != number]
        youngest, oldest = number == ends[-1].segment, number == ends[0].segment
        if how == "emptied" or youngest or not oldest:
            assert any(damage.segment == number for damage in spool.damage), f"segment {number} is told of"
            assert f"{number:08d}" in "".join(spool.health().damaged)
        new = spool.append(group(50, 3)).position
        assert new > after, "a position is never used twice"
        assert [number_of(records) for _, records in spool.read(after)] == [50]


def test_a_damaged_segment_is_kept_aside_with_a_note_after_it_was_released():
    disk, _ = filled()
    name = FOLDER / "00000001.spool"
    content = disk.data[disk.entries[name]]
    content[150] ^= 4
    spool = open_on(disk)
    hurt = bytes(content)
    assert [damage.lost for damage in spool.damage] == [{"a": 2, "b": 2}]
    for number in range(20, 40):
        position = spool.append(group(number, 5)).position
    for number in range(40, 44):
        later = [record._replace(received_at=10**15 + 10**10) for record in group(number, 5)]
        position = spool.append(later).position
    spool.release(position)
    assert name not in disk.entries
    aside = FOLDER / "damaged" / name.name
    assert bytes(disk.data[disk.entries[aside]]) == hurt
    disk.locked = False
    assert "4 records are lost" in open_on(disk, position).health().damaged[0]


def test_rot_met_while_reading_is_told_and_counted_and_the_rest_is_read():
    disk, _ = filled()
    spool = open_on(disk)
    held = spool.pending()
    disk.data[disk.entries[FOLDER / "00000001.spool"]][150] ^= 4
    disk.data[disk.entries[FOLDER / "00000002.spool"]][70] ^= 4  # a frame's head
    position, lost, seen = START, {}, 0
    for after, records in spool.read():
        for source, n in spool.losses(position, after).items():
            lost[source] = lost.get(source, 0) + n
        position, seen = after, seen + len(records)
    assert len(spool.damage) == 2
    assert lost == {"a": 4, "b": 4} and seen + 8 == sum(held.values())
    assert spool.pending(position) == {}


def test_a_lost_spool_starts_behind_the_committed_position_so_nothing_new_is_passed_over():
    spool = open_on(Disk(), Position(7, 4000))
    spool.append(group(1, 3))
    assert groups(spool, Position(7, 4000)) == [1]


def test_a_position_beyond_the_spool_reads_everything_again_rather_than_nothing():
    disk = Disk()
    spool = open_on(disk)
    spool.append(group(1, 3))
    assert groups(spool, Position(7, 4000)) == [1] and spool.damage
    assert spool.append(group(2, 3)).position > Position(7, 4000)


def test_the_loss_of_the_youngest_segment_is_told_though_no_later_one_tells_of_it():
    disk, ends = filled()
    after = ends[0]
    name = FOLDER / f"{ends[-1].segment:08d}.spool"
    assert after.segment < ends[-1].segment
    del disk.entries[name]
    spool = open_on(disk, after)
    assert [damage.segment for damage in spool.damage] == [ends[-1].segment]
    assert spool.append(group(50, 3)).position.segment > ends[-1].segment, "its number is not used again"
    spool.close()
    disk.locked = False
    assert not open_on(disk, after).damage


def test_a_damaged_note_of_the_youngest_segment_tells_nothing_wrong():
    disk, ends = filled()
    content = disk.data[disk.entries[FOLDER / "newest"]]
    for at in range(len(content)):
        for bit in range(8):
            hurt = disk.clone()
            hurt.data[hurt.entries[FOLDER / "newest"]][at] ^= 1 << bit
            assert not open_on(hurt, ends[0]).damage
