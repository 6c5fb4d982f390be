"""One segment of the spool as found on disk: what of it is readable, and what is gone."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from google_crc32c import extend as crc_extend

from storage.files import Files
from storage.frame import (
    CHUNK,
    FIRST,
    FRAME_HEAD,
    FRAME_MAGIC,
    SEAL_MAGIC,
    SECTOR,
    Frame,
    Hole,
    Read,
    Seal,
    SegmentHead,
    parse_seal,
    parse_segment_head,
    seed_of,
    walk,
)
from storage.record import Position

SUFFIX = ".spool"


@dataclass(slots=True)
class Segment:
    """A segment and its sums; `sources` counts lost records too where a head or the seal tells of them."""

    number: int
    path: Path
    seed: int
    end: int = FIRST  # of the last durable frame, and of what should be there
    size: int = FIRST  # bytes on disk
    sources: dict[str, int] = field(default_factory=dict)
    frames: int = 0
    oldest: int = 0  # received_at [us since 1970]
    newest: int = 0
    crc: int = 0  # of all bytes before `end`; kept while it is written
    holes: list[Hole] = field(default_factory=list)
    previous: Position | None = None  # None: the header is damaged
    torn: int = 0  # bytes of an append that a crash cut short

    @property
    def readable(self) -> int:
        """Records that can be read."""
        return sum(self.sources.values()) - sum(sum(hole.lost.values()) for hole in self.holes)

    def add(self, sources: dict[str, int], oldest: int, newest: int) -> None:
        """Count one more frame."""
        for source, n in sources.items():
            self.sources[source] = self.sources.get(source, 0) + n
        self.oldest = min(self.oldest, oldest) if self.frames else oldest
        self.newest = max(self.newest, newest) if self.frames else newest
        self.frames += 1

    def stretch(self, files: Files, start: int, end: int, *, check: bool = True) -> Iterator[Frame | Hole]:
        """Frames and holes in [start, end)."""
        if start >= end:
            return
        fd = files.open(self.path)
        try:
            yield from walk(reader(files, fd), start, end, self.seed, check=check)
        finally:
            files.close(fd)


def reader(files: Files, fd: int) -> Read:
    """Reads of one file; sectors the disk cannot read are zeros, so only what stood in them is lost."""

    def read(length: int, offset: int) -> bytes:
        try:
            return files.read(fd, length, offset)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        pieces = []
        while length > 0:
            step = min(length, SECTOR - offset % SECTOR)
            try:
                piece = files.read(fd, step, offset)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                piece = bytes(step)
            pieces.append(piece)
            if len(piece) < step:
                break
            offset, length = offset + step, length - step
        return b"".join(pieces)

    return read


def read_head(files: Files, path: Path) -> SegmentHead | None:
    """The header of the segment at a path; None if it is damaged."""
    fd = files.open(path)
    try:
        return parse_segment_head(reader(files, fd)(FIRST, 0))
    finally:
        files.close(fd)


def examine(
    files: Files, path: Path, number: int, instance: bytes, head: SegmentHead | None, upto: int | None
) -> Segment:
    """Read a whole segment and tell what is intact.

    Parameters
    ----------
    head : its header, None if damaged
    upto : where its durable frames end as the next segment's header has it; None for the last
        segment, whose end shows a crash rather than damage if it is torn or zero
    """
    segment = Segment(number, path, seed_of(instance, number), size=files.size(path))
    segment.previous = head.previous if head else None
    fd = files.open(path)
    try:
        read = reader(files, fd)
        seal = parse_seal(read, segment.size, segment.seed)
        if seal and upto not in (None, seal.end):
            seal = None
        if seal and _crc(read, seal.end) == seal.crc and head:
            _take_seal(segment, seal)
            segment.crc = seal.crc
            return segment
        limit = seal.end if seal else segment.size if upto is None else min(upto, segment.size)
        for found in walk(read, FIRST, limit, segment.seed):
            if isinstance(found, Frame):
                segment.add(found.sources, found.oldest, found.newest)
            else:
                segment.holes.append(found)
        segment.end = limit
        if upto is None and not seal:
            _cut_torn_tail(segment, read)
        elif upto is not None and segment.size < upto:
            segment.holes.append(Hole(segment.size, upto, {}, False))
            segment.end = upto
    finally:
        files.close(fd)
    segment.end = max(segment.end, FIRST)
    _count_lost(segment, seal)
    if head is None:
        segment.holes.insert(0, Hole(0, min(FIRST, segment.size), {}, True))
    return segment


def _crc(read: Read, end: int) -> int:
    checksum, at = 0, 0
    while at < end:
        data = read(min(CHUNK, end - at), at)
        if not data:
            break
        checksum, at = crc_extend(checksum, data), at + len(data)
    return checksum


def _take_seal(segment: Segment, seal: Seal) -> None:
    segment.end, segment.sources, segment.frames = seal.end, dict(seal.sources), seal.frames
    segment.oldest, segment.newest = seal.oldest, seal.newest


def _cut_torn_tail(segment: Segment, read: Read) -> None:
    """Where the last segment ends as a crash leaves it (cut short, or zero-filled), end it before that."""
    if not segment.holes or segment.holes[-1].end != segment.size:
        return
    tail = read(segment.size - segment.holes[-1].start, segment.holes[-1].start)
    zeros = segment.size - len(tail) + len(tail.rstrip(b"\0"))
    while segment.holes and segment.holes[-1].end == segment.end:
        hole = segment.holes[-1]
        head = read(min(FRAME_HEAD.size, segment.size - hole.start), hole.start)
        if zeros == hole.end:
            zeros -= _zeros_before(read, hole.end)
        is_zero = zeros <= hole.start or (zeros < hole.end and segment.size - zeros >= 16)
        if not is_zero and not _is_cut(hole, head, segment.size):
            return
        segment.holes.pop()
        segment.torn += hole.end - hole.start
        segment.end = hole.start


def _zeros_before(read: Read, end: int) -> int:
    """Zero bytes that end at an offset, counted back to one sector."""
    data = read(min(SECTOR, end - FIRST), end - min(SECTOR, end - FIRST))
    return len(data) - len(data.rstrip(b"\0"))


def _is_cut(hole: Hole, head: bytes, size: int) -> bool:
    """Whether a frame, or a seal, begins in the hole and the file ends before it does."""
    if len(head) < FRAME_HEAD.size or head.startswith(SEAL_MAGIC):
        return True
    if not head.startswith(FRAME_MAGIC):
        return False
    _, length, _, _, width, *_ = FRAME_HEAD.unpack(head)
    return hole.start + FRAME_HEAD.size + width + length > size


def _count_lost(segment: Segment, seal: Seal | None) -> None:
    """Make `sources` the sum of readable and lost: from the seal if it is intact, else from the heads."""
    if not segment.holes:
        return
    total = Counter(seal.sources) if seal else Counter(segment.sources)
    if seal:
        unknown = total - Counter(segment.sources)
        for hole in segment.holes:
            unknown -= Counter(hole.lost)
        place = next((i for i, hole in enumerate(segment.holes) if not hole.known), None)
        if place is not None and unknown:
            segment.holes[place] = segment.holes[place]._replace(lost=dict(unknown))
    else:
        for hole in segment.holes:
            total += Counter(hole.lost)
    segment.sources = dict(total)
