"""The spool's bytes: segment header, frame, seal. Pure: bytes in, bytes out.

A segment is a header, frames and, once it is full, a seal. A frame is one commit group:

    magic, lengths, count, oldest and newest receive time, checksums   (44 bytes)
    records of each source                                             (msgpack map)
    the records by columns                                             (msgpack, zstd level 1)

The checksum (CRC32C) of a frame's head is seeded with the spool's instance id, the segment's number
and the frame's own offset, so bytes that stand anywhere else can never be taken for a frame.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, repeat
from operator import sub
from typing import Any, NamedTuple

import msgspec
import zstandard
from google_crc32c import extend as crc_extend
from google_crc32c import value as crc

from storage.record import Position, Record

VERSION = 1
SEGMENT_MAGIC, FRAME_MAGIC, SEAL_MAGIC = b"MHSPOOL\n", b"\xf5MHF", b"\xf5MHS"
SEGMENT_HEAD = struct.Struct("<8sHH16sQQQqI")  # magic version size instance number previous(segment end) created crc
FRAME_HEAD = struct.Struct("<4sIIIIqqII")  # magic packed raw count sources oldest newest crc(payload) crc(head)
SEAL_TAIL = struct.Struct("<II4s")  # length of the body, crc, magic: the last bytes of a sealed segment
FIRST = SEGMENT_HEAD.size  # offset of the first frame
MOST_SOURCES = 1 << 20  # bytes of the map of sources
CHUNK = 1 << 20
SECTOR = 4096

Read = Callable[[int, int], bytes]  # (length, offset) -> bytes, fewer only at the end


class SegmentHead(NamedTuple):
    """What the header of a segment says; `previous` is where the segment before it ends, what follows there is void."""

    version: int
    instance: bytes
    number: int
    previous: Position
    created: int


class Frame(NamedTuple):
    """One intact commit group in a segment, still packed."""

    start: int
    end: int
    count: int
    sources: dict[str, int]
    oldest: int  # received_at [us since 1970]
    newest: int
    raw: int  # bytes unpacked
    payload: bytes


class Hole(NamedTuple):
    """Bytes of a segment that hold no intact frame; `lost` is what a readable head says stood there."""

    start: int
    end: int
    lost: dict[str, int]
    known: bool  # `lost` is from an intact head


class Seal(NamedTuple):
    """The sum of a full segment: written last, so that it need not be walked at the next start."""

    end: int
    sources: dict[str, int]
    frames: int
    oldest: int
    newest: int
    crc: int  # of all bytes before `end`


class Packed(NamedTuple):
    """A commit group, packed, not yet bound to a place."""

    count: int
    sources: dict[str, int]
    oldest: int
    newest: int
    raw: int
    payload: bytes

    def frame(self, seed: int, offset: int) -> bytes:
        """The frame's bytes for this very place."""
        blob = _encode(self.sources)
        head = FRAME_HEAD.pack(
            FRAME_MAGIC,
            len(self.payload),
            self.raw,
            self.count,
            len(blob),
            self.oldest,
            self.newest,
            crc(self.payload),
            0,
        )[:-4]
        return b"".join((head, _head_crc(seed, offset, head, blob).to_bytes(4, "little"), blob, self.payload))


_encode = msgspec.msgpack.Encoder().encode
_sources = msgspec.msgpack.Decoder(dict[str, int]).decode
_columns = msgspec.msgpack.Decoder(list[Any]).decode


def seed_of(instance: bytes, number: int) -> int:
    """Where the checksums of a segment start from."""
    return int(crc(instance + number.to_bytes(8, "little")))


def _head_crc(seed: int, offset: int, head: bytes, blob: bytes) -> int:
    return int(crc_extend(seed, offset.to_bytes(8, "little") + head + blob))


def pack(records: Sequence[Record], compressor: zstandard.ZstdCompressor) -> Packed:
    """A commit group by columns; a column of one value is that value alone, times and tags are differences."""
    wire, source, key, payload, received, flags, tag = zip(*records, strict=True)
    n = len(records)
    if source.count(source[0]) == n:
        sources, names, which = {source[0]: n}, (source[0],), 0
    else:
        sources = dict(Counter(source))
        names = tuple(sources)
        place = {name: i for i, name in enumerate(names)}
        which = [place[name] for name in source]
    columns = (
        wire[0] if wire.count(wire[0]) == n else wire,
        names,
        which,
        flags[0] if flags.count(flags[0]) == n else flags,
        received[0],
        list(map(sub, received[1:], received)),
        tag[0] if tag.count(tag[0]) == n else [tag[0], *map(sub, tag[1:], tag)],
        key,
        payload,
    )
    try:
        raw = _encode(columns)
    except UnicodeEncodeError:  # a lone surrogate in a key: kept readable, never a reason to refuse the group
        key = tuple(k.encode("utf-8", "backslashreplace").decode() for k in key)
        raw = _encode((*columns[:7], key, payload))
    return Packed(n, sources, min(received), max(received), len(raw), compressor.compress(raw))


def unpack(frame: Frame, decompressor: zstandard.ZstdDecompressor) -> list[Record]:
    """The records of a frame."""
    wire, names, which, flags, first, steps, tag, key, payload = _columns(
        decompressor.decompress(frame.payload, max_output_size=frame.raw)
    )
    columns = (
        repeat(wire) if isinstance(wire, int) else wire,
        repeat(names[which]) if isinstance(which, int) else [names[i] for i in which],
        key,
        payload,
        accumulate(steps, initial=first),
        repeat(flags) if isinstance(flags, int) else flags,
        repeat(tag) if isinstance(tag, int) else accumulate(tag),
    )
    return list(map(Record._make, zip(*columns, strict=False)))


def segment_head(instance: bytes, number: int, previous: Position, created: int) -> bytes:
    """The header of a segment."""
    head = SEGMENT_HEAD.pack(SEGMENT_MAGIC, VERSION, FIRST, instance, number, *previous, created, 0)[:-4]
    return head + crc(head).to_bytes(4, "little")


def parse_segment_head(data: bytes) -> SegmentHead | None:
    """What a segment's header says; None if it is damaged."""
    if len(data) < FIRST or crc(data[: FIRST - 4]) != int.from_bytes(data[FIRST - 4 : FIRST], "little"):
        return None
    magic, version, _, instance, number, previous, end, created, _ = SEGMENT_HEAD.unpack(data[:FIRST])
    return SegmentHead(version, instance, number, Position(previous, end), created) if magic == SEGMENT_MAGIC else None


def seal(seed: int, sealed: Seal) -> bytes:
    """The seal's bytes, to be put behind the last frame."""
    body = _encode(tuple(sealed))
    return SEAL_MAGIC + body + SEAL_TAIL.pack(len(body), crc_extend(seed, body), SEAL_MAGIC)


def parse_seal(read: Read, size: int, seed: int) -> Seal | None:
    """The seal at the end of a segment of `size` bytes; None if there is none, or a damaged one."""
    if size < FIRST + SEAL_TAIL.size:
        return None
    length, checksum, magic = SEAL_TAIL.unpack(read(SEAL_TAIL.size, size - SEAL_TAIL.size))
    start = size - SEAL_TAIL.size - length - len(SEAL_MAGIC)
    if magic != SEAL_MAGIC or start < FIRST:
        return None
    body = read(length, start + len(SEAL_MAGIC))
    if crc_extend(seed, body) != checksum:
        return None
    found = Seal(*_columns(body))
    return found if found.end == start else None


class _Window:
    """A moving view of a file, so that small pieces cost no call each."""

    def __init__(self, read: Read, end: int) -> None:
        self.read, self.end = read, end
        self.base, self.data = 0, b""

    def take(self, at: int, length: int) -> bytes:
        """Up to `length` bytes; fewer only at the end."""
        length = max(0, min(length, self.end - at))
        if at < self.base or at + length > self.base + len(self.data):
            self.base, self.data = at, self.read(min(max(length, CHUNK), self.end - at), at)
        return self.data[at - self.base : at - self.base + length]


def _frame_at(window: _Window, at: int, seed: int, check: bool) -> Frame | Hole | None:
    """The frame at an offset; a Hole if only its head is good, None if nothing is."""
    head = window.take(at, FRAME_HEAD.size)
    if len(head) < FRAME_HEAD.size or head[:4] != FRAME_MAGIC:
        return None
    _, length, raw, count, width, oldest, newest, payload_crc, head_crc = FRAME_HEAD.unpack(head)
    if width > MOST_SOURCES:
        return None
    blob = window.take(at + FRAME_HEAD.size, width)
    if len(blob) < width or _head_crc(seed, at, head[:-4], blob) != head_crc:
        return None
    end = at + FRAME_HEAD.size + width + length
    if not check and end <= window.end:
        return Frame(at, end, count, _sources(blob), oldest, newest, raw, b"")
    payload = window.take(at + FRAME_HEAD.size + width, length)
    if len(payload) < length or crc(payload) != payload_crc:
        return Hole(at, min(end, window.end), _sources(blob), True)
    return Frame(at, end, count, _sources(blob), oldest, newest, raw, payload)


def _next_frame(window: _Window, at: int, seed: int) -> int:
    """Offset of the first intact frame at or after `at`; the end if there is none."""
    while at < window.end:
        data = window.take(at, CHUNK)
        found = data.find(FRAME_MAGIC)
        if found < 0:
            at += max(1, len(data) - len(FRAME_MAGIC) + 1)
        elif _frame_at(window, at + found, seed, True) is None:
            at += found + 1
        else:
            return at + found
    return window.end


def walk(read: Read, start: int, end: int, seed: int, *, check: bool = True) -> Iterator[Frame | Hole]:
    """Every frame in [start, end) in order, and the holes between; memory is that of one frame.

    Without `check` the payloads are skipped: frames come without theirs, for counting.
    """
    window = _Window(read, end)
    at = start
    while at < end:
        found = _frame_at(window, at, seed, check)
        if found is None:
            found = Hole(at, _next_frame(window, at + 1, seed), {}, False)
        yield found
        at = found.end
