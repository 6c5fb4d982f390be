"""The spool: raw records, durable on disk before anything is acknowledged.

Files are written once and never changed: each start, and each failed call, begins a new segment, whose
header says where the one before it ends; what stands behind that end (a failed or torn append) is void.
So a group that was reported as failed cannot come back beside the one written instead of it, and a
damaged segment can be read around its damage at the same positions as before.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import msgspec
import zstandard
from google_crc32c import extend as crc_extend

from metering.clock import MINUTE_US, now_us
from metering.explain import ExplainedError
from metering.health import SpoolHealth
from storage.files import OS_FILES, Files, attempt, write_all, write_file
from storage.frame import FIRST, Frame, Hole, Packed, Seal, pack, seal, seed_of, segment_head, unpack
from storage.record import REPEATED, Position, Record, Wire
from storage.recovery import NEWEST, Damage, Damages, Recovered, newest_note, recover, unaccounted
from storage.segment import SUFFIX, Segment

log = logging.getLogger(__name__)

START = Position(0, 0)
MiB = 1 << 20
MOST_TAGS = 65_535  # MQTT packet ids: more messages a broker cannot hold unacknowledged
RECENT_US = 10 * MINUTE_US


class SpoolUnavailable(Exception):
    """The spool cannot keep anything now (disk full or failing): nothing of the group was taken, do not acknowledge."""


class Appended(NamedTuple):
    """What `append` gives: the position after the group, and how many records are in it."""

    position: Position
    count: int


def content_hash(key: str, payload: bytes) -> int:
    """A 64-bit hash of topic and payload (BLAKE2b of topic, a zero byte, payload), equal on every machine."""
    return int.from_bytes(blake2b(key.encode("utf-8", "replace") + b"\0" + payload, digest_size=8).digest(), "little")


class Spool:
    """Raw records on disk in commit groups; `append` is durable when it returns.

    All methods may be called from any thread. One process at a time has the folder.

    damage : what was found damaged since this start
    torn_tails : appends that a crash cut short, never acknowledged: counted, not damage
    accepting : False from a failed append until the next that succeeds
    failures : writes and syncs that failed
    on_append : called with {source: records} when a group is durable and before anybody can read it
    """

    def __init__(
        self,
        folder: Path,
        files: Files,
        lock: int,
        *,
        segment_bytes: int,
        max_bytes: int,
        sync: bool,
        keep_segments: int,
    ) -> None:
        """Use `Spool.open`."""
        self.folder, self.instance = folder, b""
        self._damages = Damages(folder, files)
        self.on_append: Callable[[dict[str, int]], None] | None = None
        self.torn_tails = 0
        self.accepting = True
        self.failures = 0
        self._files, self._sync = files, sync
        self._lock_fd: int | None = lock
        self._segment_bytes, self._max_bytes, self._keep_segments = segment_bytes, max_bytes, keep_segments
        self._appending, self._state, self._counting = threading.Lock(), threading.Lock(), threading.RLock()
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._segments: list[Segment] = []
        self._fd: int | None = None  # of the last segment, while it is written
        self._next = 1
        self._end = START
        self._counted, self._pending = START, dict[str, int]()
        self._released = START
        self._keeping = 0  # backups under way
        self._handover: dict[Position, tuple[Position, list[Record], int]] = {}
        self._handover_bytes, self._most_handover_bytes = 0, 32 * MiB
        self._note = ""

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        files: Files = OS_FILES,
        segment_bytes: int = 16 * MiB,
        max_bytes: int = 8 << 30,
        sync: bool = True,
        after: Position = START,
        keep_segments: int = 2,
    ) -> Spool:
        """Open a folder as spool, or make one; examine everything in it.

        Parameters
        ----------
        after : the position the store has committed last: no new segment will have a number before it
        keep_segments : newest segments that stay though they are done with, for `recent`

        Raises
        ------
        ExplainedError
            If another process holds the folder, or a newer version of Meterhall wrote it; no file was touched.
        """
        folder = Path(folder)
        files.make_folder(folder)
        lock = files.lock(folder)
        if lock is None:
            raise ExplainedError(
                str(folder),
                "another process is using this spool",
                "stop the other Meterhall first, or give this one a data folder of its own",
            )
        spool = cls(
            folder,
            files,
            lock,
            segment_bytes=segment_bytes,
            max_bytes=max_bytes,
            sync=sync,
            keep_segments=max(1, keep_segments),
        )
        try:
            spool._take(recover(folder, files, spool._damages, after), after)
        except BaseException:
            files.close(lock)
            raise
        return spool

    def _take(self, found: Recovered, after: Position) -> None:
        self.instance, self._segments, self.torn_tails = found.instance, found.segments, found.torn_tails
        last = found.segments[-1].number if found.segments else 0
        self._next = max(last, after.segment, found.newest) + 1
        self._end = Position(last, found.segments[-1].end) if found.segments else START
        for segment in found.segments:
            _add(self._pending, segment.sources, 1)

    @property
    def damage(self) -> list[Damage]:
        """What was found damaged since this start, in the order it was found."""
        return self._damages.found

    @property
    def start(self) -> Position:
        """The first position that is still held."""
        with self._state:
            return Position(self._segments[0].number, FIRST) if self._segments else self._end

    @property
    def end(self) -> Position:
        """The position after the last durable group."""
        return self._end

    # -- append ---------------------------------------------------------------------------------------------------

    def append(self, records: Sequence[Record]) -> Appended:
        """Make one commit group durable: all of it when this returns, nothing of it if this raises.

        Raises
        ------
        SpoolUnavailable
            If the disk is full or failing. `accepting` is False until a later append succeeds.
        """
        if not records:
            return Appended(self._end, 0)
        with self._appending:
            if self._lock_fd is None:
                raise SpoolUnavailable("the spool is closed")
            packed = pack(records, self._compressor)
            self._make_room(len(packed.payload))
            problem: OSError | None = None
            for _ in range(2):  # once more, in a new segment; never again in the file that failed
                try:
                    if self._fd is None:
                        self._begin_segment()
                    return Appended(self._write_group(packed, records), len(records))
                except OSError as error:
                    problem = error
                    self._abandon_segment(error)
            raise self._refuse(f"{self.folder} cannot be written: {os.strerror((problem and problem.errno) or 0)}")

    def _refuse(self, note: str) -> SpoolUnavailable:
        if self.accepting:
            log.error("spool: not accepting: %s", note)
        self.accepting, self._note = False, note
        return SpoolUnavailable(note)

    def _make_room(self, length: int) -> None:
        held = sum(segment.size for segment in self._segments)
        if held + length <= self._max_bytes:
            return
        self._delete_done(0, 0)
        held = sum(segment.size for segment in self._segments)
        if held + length > self._max_bytes:
            raise self._refuse(f"the spool is full: {held} of {self._max_bytes} bytes wait to be stored")

    def _begin_segment(self) -> None:
        files, number = self._files, self._next
        self._next += 1  # never used twice, whatever becomes of it
        path = self.folder / f"{number:08d}{SUFFIX}"
        fresh = path.with_name(path.name + ".new")
        head = segment_head(self.instance, number, self._end, now_us())
        fd = files.create(fresh)
        try:
            write_all(files, fd, head)
            self._fsync(fd)
            files.rename(fresh, path)
            files.sync_folder(self.folder)
        except OSError:
            attempt(files.close, fd)
            for name in (fresh, path):
                with contextlib.suppress(FileNotFoundError):
                    attempt(files.unlink, name)
            raise
        segment = Segment(number, path, seed_of(self.instance, number), crc=crc_extend(0, head), previous=self._end)
        with self._state:
            self._fd = fd
            self._segments.append(segment)

    def _write_group(self, packed: Packed, records: Sequence[Record]) -> Position:
        assert self._fd is not None
        segment = self._segments[-1]
        frame = packed.frame(segment.seed, segment.end)
        write_all(self._files, self._fd, frame)
        if self._sync:
            self._files.fdatasync(self._fd)
        if self.on_append is not None:
            self.on_append(packed.sources)
        with self._state:
            before = self._end
            segment.end = segment.size = segment.end + len(frame)
            segment.crc = crc_extend(segment.crc, frame)
            segment.add(packed.sources, packed.oldest, packed.newest)
            for source, n in packed.sources.items():
                self._pending[source] = self._pending.get(source, 0) + n
            self._end = Position(segment.number, segment.end)
            self._hand_over(before, self._end, list(records), packed.raw + 300 * packed.count)
            end = self._end
        if not self.accepting:
            log.warning("spool: accepting again")
            self.accepting, self._note = True, ""
        if segment.frames == 1:  # so that its loss would be noticed, though no later segment tells of it
            attempt(write_file, self._files, self.folder / NEWEST, newest_note(segment.number))
        if segment.end >= self._segment_bytes:
            self._seal_segment()
        return end

    def _abandon_segment(self, error: OSError) -> None:
        """After a failed call: nothing more goes into that file; what is whole in it stays readable."""
        self.failures += 1
        if self._fd is None:
            return
        log.error("spool: %s: %s; going on in a new segment", self._segments[-1].path, error)
        segment, fd = self._segments[-1], self._fd
        with self._state:
            self._fd = None
            if not segment.frames:
                self._segments.pop()
        attempt(self._files.truncate, fd, segment.end)
        attempt(self._files.close, fd)
        if not segment.frames:
            attempt(self._files.unlink, segment.path)

    def _seal_segment(self) -> None:
        if self._fd is None:
            return
        segment, fd = self._segments[-1], self._fd
        data = seal(
            segment.seed,
            Seal(segment.end, segment.sources, segment.frames, segment.oldest, segment.newest, segment.crc),
        )
        if not attempt(write_all, self._files, fd, data):  # then it is walked at the next start
            attempt(self._files.truncate, fd, segment.end)
        attempt(self._files.close, fd)
        with self._state:
            self._fd = None
            segment.size = segment.end + len(data)

    def _fsync(self, fd: int) -> None:
        if self._sync:
            self._files.fsync(fd)

    # -- read -----------------------------------------------------------------------------------------------------

    def read(self, position: Position = START) -> Iterator[tuple[Position, list[Record]]]:
        """Groups from a position to the present end, each with the position after it.

        Memory is that of one group. A group without records stands for bytes that are damaged:
        `losses` says what was in them. Call again with the last position for what came since.
        """
        position = self._readable(position)
        decompressor = zstandard.ZstdDecompressor()
        while True:
            entry = self._take_over(position)
            if entry:
                position = entry[0]
                yield entry
                continue
            found = self._segment_at(position)
            if found is None:
                return
            segment, start, end = found
            for item in segment.stretch(self._files, start, end):
                position = Position(segment.number, item.end)
                records: list[Record] = []
                if isinstance(item, Frame):
                    try:
                        records = unpack(item, decompressor)
                    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError) as error:
                        self._found_hole(segment, Hole(item.start, item.end, item.sources, True), str(error))
                else:
                    self._found_hole(segment, item)
                yield position, records
                if position in self._handover:
                    break

    def _found_hole(self, segment: Segment, hole: Hole, why: str = "") -> None:
        """A hole met while reading: known since the start, or new damage."""
        if any(known.start <= hole.start < known.end for known in segment.holes):
            return
        if not hole.known:
            hole = hole._replace(lost=unaccounted(self._files, segment))
        with self._state:
            segment.holes.append(hole)
        log.error("spool: damage met while reading %s %s", segment.path, why)
        self._damages.report_hole(segment, hole)

    def _hand_over(self, before: Position, after: Position, records: list[Record], size: int) -> None:
        self._handover[before] = after, records, size
        self._handover_bytes += size
        while self._handover_bytes > self._most_handover_bytes:
            oldest = next(iter(self._handover))
            self._handover_bytes -= self._handover.pop(oldest)[2]

    def _take_over(self, position: Position) -> tuple[Position, list[Record]] | None:
        with self._state:
            entry = self._handover.pop(position, None)
            if entry is None:
                return None
            self._handover_bytes -= entry[2]
        return entry[0], entry[1]

    def _readable(self, position: Position) -> Position:
        """The position itself, or the start if it belongs to a spool that is no longer here."""
        with self._state:
            newest = self._segments[-1].number if self._segments else 0
            if position.segment < self._next or position.segment <= newest:
                return position
            self._next = position.segment + 1
        text = f"position {position} is beyond this spool, which ends at {self._end}: everything it holds is read again"
        self._damages.report(Damage(position.segment, 0, position.offset, {}, None, text))
        self._seal_now()
        return START

    def _seal_now(self) -> None:
        with self._appending:
            self._seal_segment()

    def _segment_at(self, position: Position) -> tuple[Segment, int, int] | None:
        """The first segment with something at or after a position, and the stretch of it to read."""
        with self._state:
            for segment in self._segments:
                start = max(position.offset, FIRST) if segment.number == position.segment else FIRST
                if segment.number >= position.segment and start < segment.end:
                    return segment, start, segment.end
        return None

    def losses(self, start: Position, end: Position) -> dict[str, int]:
        """Records of each source that were counted as pending in [start, end) and are lost by damage."""
        lost: dict[str, int] = {}
        for segment in list(self._segments):
            for hole in segment.holes:
                if start <= Position(segment.number, max(hole.start, FIRST)) < end:
                    for source, n in hole.lost.items():
                        lost[source] = lost.get(source, 0) + n
        return lost

    # -- counting and releasing -----------------------------------------------------------------------------------

    def pending(self, position: Position | None = None) -> dict[str, int]:
        """Records of each source at or after a position (default: the last one asked for).

        Cheap when asked with positions that go forward: only what lies between is walked.
        """
        with self._counting:
            if position is not None and position < self._counted:
                with self._state:
                    self._counted, self._pending = START, {}
                    for segment in self._segments:
                        _add(self._pending, segment.sources, 1)
            if position is not None and position > self._counted:
                self._count_to(min(position, max(self._end, self._counted)))
            with self._state:
                return {source: n for source, n in self._pending.items() if n}

    def _count_to(self, position: Position) -> None:
        passed: dict[str, int] = {}
        with self._state:
            segments = [(segment, segment.end) for segment in self._segments]
        for segment, end in segments:
            start = self._counted.offset if segment.number == self._counted.segment else FIRST
            stop = min(position.offset, end) if segment.number == position.segment else end
            if not self._counted.segment <= segment.number <= position.segment or stop <= FIRST:
                continue
            if start <= FIRST and stop == end and segment.number < position.segment:
                _add(passed, segment.sources, 1)
                continue
            lost = {hole.start: hole.lost for hole in segment.holes}
            for item in segment.stretch(self._files, max(start, FIRST), stop, check=bool(segment.holes)):
                _add(passed, item.sources if isinstance(item, Frame) else lost.get(item.start, item.lost), 1)
        with self._state:
            _add(self._pending, passed, -1)
            self._counted = position

    def release(self, position: Position) -> int:
        """Everything before a position is durable in the store: delete what need not stay; returns bytes freed."""
        self.pending(position)
        with self._appending:
            self._released = max(self._released, position)
            return self._delete_done(self._keep_segments, RECENT_US)

    def _delete_done(self, keep_segments: int, keep_us: int) -> int:
        freed = 0
        with self._state:
            if self._keeping:
                return 0
            newest = max((segment.newest for segment in self._segments), default=0)
            most = len(self._segments) - max(keep_segments, 1 if self._fd is not None else 0)
            gone = []
            for segment in self._segments[: max(0, most)]:
                done = segment.number < self._released.segment or self._released >= Position(
                    segment.number, segment.end
                )
                if not done or (keep_us and segment.frames and newest - segment.newest < keep_us):
                    break
                gone.append(segment)
            del self._segments[: len(gone)]
        for segment in gone:
            if attempt(self._files.unlink, segment.path):
                freed += segment.size
        return freed

    @contextlib.contextmanager
    def keeping(self) -> Iterator[None]:
        """No segment is deleted while this holds; what is released meanwhile goes afterwards."""
        with self._state:
            self._keeping += 1
        try:
            yield
        finally:
            with self._state:
                self._keeping -= 1

    def extents(self) -> list[tuple[Path, int]]:
        """The file of each segment, in order, and how many of its bytes are whole and durable now."""
        with self._state:
            return [
                (segment.path, segment.end if segment is self._segments[-1] and self._fd is not None else segment.size)
                for segment in self._segments
            ]

    def recent(self, source: str) -> dict[int, tuple[int, int]]:
        """The newest spooled MQTT records of a source that a broker may not know as acknowledged.

        Packet id -> (`content_hash` of topic and payload, received_at of the first arrival). A DUP with that
        id and hash is a redelivery of a record that is already here. Read from the segments that are
        held, so it is the same before and after a restart; takes up to some 0.3 s, call it at a (re)connect.
        """
        wanted, groups = MOST_TAGS, list[list[Record]]()
        decompressor = zstandard.ZstdDecompressor()
        with self._state:
            segments = [(segment, segment.end) for segment in reversed(self._segments)]
        for segment, end in segments:
            if wanted <= 0:
                break
            if not segment.sources.get(source):
                continue
            heads = [
                item
                for item in segment.stretch(self._files, FIRST, end, check=False)
                if isinstance(item, Frame) and source in item.sources
            ]
            for head in reversed(heads):
                for item in segment.stretch(self._files, head.start, head.end):
                    if isinstance(item, Frame):
                        groups.append(unpack(item, decompressor))
                wanted -= head.sources[source]
                if wanted <= 0:
                    break
        found: dict[int, tuple[int, int]] = {}
        for records in reversed(groups):
            for record in records:
                if record.source == source and record.tag and record.wire == Wire.MQTT:
                    hashed = content_hash(record.key, record.payload)
                    if record.flags & REPEATED and found.get(record.tag, (None,))[0] == hashed:
                        continue
                    found[record.tag] = hashed, record.received_at
        return found

    def health(self, position: Position | None = None) -> SpoolHealth:
        """The spool's state, counted from a position (default: the last one asked for)."""
        with self._counting:
            pending = sum(self.pending(position).values())
            oldest = self._oldest(self._counted) if pending else None
        with self._state:
            held = sum(segment.size for segment in self._segments)
            return SpoolHealth(
                pending_messages=pending,
                bytes=held,
                segments=len(self._segments),
                oldest_pending_us=oldest,
                damaged=tuple(self._damages.words.values()),
                accepting=self.accepting,
                note=self._note,
            )

    def _oldest(self, position: Position) -> int | None:
        found = self._segment_at(position)
        while found is not None:
            segment, start, end = found
            for item in segment.stretch(self._files, start, end, check=False):
                if isinstance(item, Frame):
                    return item.oldest
            found = self._segment_at(Position(segment.number + 1, 0))
        return None

    def close(self) -> None:
        """Seal the last segment and let the folder go."""
        with self._appending:
            if self._lock_fd is not None:
                self._seal_segment()
                self._files.close(self._lock_fd)
                self._lock_fd = None


def _add(total: dict[str, int], more: dict[str, int], sign: int) -> None:
    for source, n in more.items():
        total[source] = total.get(source, 0) + sign * n
