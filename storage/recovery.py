"""What a start of the spool finds: segments, what of them is readable, and what is damaged or missing."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from google_crc32c import value as crc

from metering.explain import ExplainedError
from storage.files import Files, attempt, write_file
from storage.frame import FIRST, VERSION, Frame, Hole, SegmentHead
from storage.record import Position
from storage.segment import SUFFIX, Segment, examine, read_head

log = logging.getLogger(__name__)

NEWEST = "newest"  # the file that names the youngest segment with a group in it
MOST_NOTES = 64  # damaged segments kept aside, the newest


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a segment that cannot be read any more.

    lost : records of each source known to have stood there; what no head and no seal tells of is not in it
    set_aside : where the damaged segment is kept; None if the whole file is gone
    """

    segment: int
    start: int
    end: int
    lost: dict[str, int]
    set_aside: Path | None
    text: str

    def __str__(self) -> str:
        return self.text


class Damages:
    """Keeps damaged segments, and a note of what is gone, in `damaged/`.

    found : of this start
    words : segment -> what is gone, of earlier starts too
    """

    def __init__(self, folder: Path, files: Files) -> None:
        self.folder, self._files = folder / "damaged", files
        self.found: list[Damage] = []
        self.words: dict[str, str] = {}

    def report(self, damage: Damage) -> None:
        """Log, remember and note it."""
        self.found.append(damage)
        log.error("spool: %s", damage.text)
        name = f"{damage.segment:08d}"
        known = self.words.get(name)
        self.words[name] = damage.text if known is None else f"{known}; {damage.text}"
        if attempt(self._files.make_folder, self.folder):
            attempt(write_file, self._files, self.folder / f"{name}.txt", self.words[name].encode() + b"\n")

    def report_hole(self, segment: Segment, hole: Hole) -> None:
        """Report bytes of a segment that are no frame, and set the segment aside."""
        lost = sum(hole.lost.values())
        what = f"{lost} records are lost" if hole.known or lost else "how many records were in them is not known"
        if hole.end <= FIRST:
            what = "only its header is damaged"
        size = hole.end - hole.start
        text = f"segment {segment.number:08d}: bytes {hole.start} to {hole.end} ({size}) cannot be read; {what}"
        self.report(Damage(segment.number, hole.start, hole.end, hole.lost, self._set_aside(segment), text))

    def report_missing(self, gone: Position, *, stored: bool = False) -> None:
        """Report a segment whose file is gone, and where it ended; `stored`: what stood before that is in the store."""
        size = max(0, gone.offset - FIRST)
        text = f"segment {gone.segment:08d} is gone with {size} bytes; how many records were in it is not known"
        if gone.offset <= FIRST:
            text = f"segment {gone.segment:08d}, the youngest, is gone; how many records were in it is not known"
        if stored:
            text = (
                f"segment {gone.segment:08d} is gone; up to byte {gone.offset} it was stored already, "
                "whether more was in it is not known"
            )
        self.report(Damage(gone.segment, FIRST, gone.offset, {}, None, text))

    def _set_aside(self, segment: Segment) -> Path | None:
        """A second name for the damaged file, which stays when the segment goes; costs no space meanwhile."""
        aside, files = self.folder / segment.path.name, self._files
        if aside.name in files.names(self.folder):
            return aside
        made = attempt(files.make_folder, self.folder) and attempt(files.link, segment.path, aside)
        return aside if made else None

    def read_notes(self) -> None:
        """Take up what earlier starts noted; bound what is kept."""
        notes = [name for name in self._files.names(self.folder) if name.endswith(".txt")]
        for name in notes[:-MOST_NOTES]:
            for gone in (name, name[:-4] + SUFFIX):
                attempt(self._files.unlink, self.folder / gone)
        for name in notes[-MOST_NOTES:]:
            try:
                text = _read(self._files, self.folder / name, 4096).decode("utf-8", "replace").strip()
            except OSError as error:
                text = f"segment {name[:-4]} was damaged; its note cannot be read ({error})"
            self.words.setdefault(name[:-4], text)


class Recovered(NamedTuple):
    """What `recover` found."""

    instance: bytes
    segments: list[Segment]
    torn_tails: int
    newest: int  # number of the youngest segment there ever was, as far as known


def recover(folder: Path, files: Files, damages: Damages, after: Position) -> Recovered:
    """Examine every segment of a folder; report what is damaged or missing.

    `after` is the position the store committed last: if it lies in a segment that is not here, that one is missing.

    Raises
    ------
    ExplainedError
        If a newer version of Meterhall wrote a segment; no file was touched.
    """
    names = files.names(folder)
    paths = {
        int(match[1]): folder / name
        for name in names
        if (match := re.fullmatch(r"(\d+)" + re.escape(SUFFIX), name)) is not None
    }
    paths = {number: paths[number] for number in sorted(paths)}
    heads = {number: _head_of(files, path, number) for number, path in paths.items()}
    for name in names:
        if name.endswith(".new"):  # of a start or a note that a crash cut short
            attempt(files.unlink, folder / name)
    instance = _instance(folder, files, names, [head.instance for head in heads.values() if head])
    ends = _drop_void(files, paths, heads)
    last = max(paths, default=0)
    segments, torn_tails = [], 0
    for number, path in paths.items():
        upto = ends.get(number) if number != last else None
        segment = examine(files, path, number, instance, heads[number], upto)
        segments.append(segment)
        torn_tails += segment.torn > 0
        for hole in segment.holes:
            damages.report_hole(segment, hole)
    newest = _newest(files, folder, names)
    _find_missing(segments, damages, after, newest)
    damages.read_notes()
    return Recovered(instance, segments, torn_tails, newest)


def _head_of(files: Files, path: Path, number: int) -> SegmentHead | None:
    head = read_head(files, path)
    if head and head.version > VERSION:
        raise ExplainedError(
            str(path),
            f"has spool format {head.version}, and this Meterhall reads up to {VERSION}",
            "run the newer Meterhall that wrote it until the spool is empty, or install that version again",
        )
    return head if head and head.number == number else None


def _drop_void(files: Files, paths: dict[int, Path], heads: dict[int, SegmentHead | None]) -> dict[int, int]:
    """Remove segments that a later header passes over (left by a failed append); returns where the others end."""
    ends: dict[int, int] = {}
    for number in sorted(paths, reverse=True):
        head = heads[number]
        if number in paths and head is not None:
            ends[head.previous.segment] = head.previous.offset
            for void in [n for n in paths if head.previous.segment < n < number]:
                attempt(files.unlink, paths.pop(void))
    return ends


def _instance(folder: Path, files: Files, names: list[str], seen: list[bytes]) -> bytes:
    """The spool's id: from its file or, if that is damaged, from the segments; made in a new spool."""
    path, kept = folder / "instance", b""
    if path.name in names:
        text = _read(files, path, 64).decode("ascii", "replace").strip()
        if re.fullmatch("[0-9a-f]{32}", text):
            kept = bytes.fromhex(text)
    instance = seen[-1] if seen else kept or os.urandom(16)
    if instance != kept:
        attempt(write_file, files, path, instance.hex().encode("ascii") + b"\n")
    return instance


def newest_note(number: int) -> bytes:
    """What the file says that names the youngest segment: its number and that number's checksum."""
    return b"%d %08x\n" % (number, crc(b"%d" % number))


def _newest(files: Files, folder: Path, names: list[str]) -> int:
    """The number in the file that names the youngest segment; 0 if there is none, or it is damaged."""
    text = _read(files, folder / NEWEST, 64) if NEWEST in names else b""
    number = re.match(rb"\d{1,9} ", text)
    return int(number[0]) if number and text == newest_note(int(number[0])) else 0


def _find_missing(segments: list[Segment], damages: Damages, after: Position, newest: int) -> None:
    before: Segment | None = None
    for segment in segments:
        gone = segment.previous
        if gone and before and before.number < gone.segment:
            damages.report_missing(gone)
        before = segment
    last = segments[-1].number if segments else 0
    if after.segment > last:
        damages.report_missing(after, stored=True)
    if newest > max(last, after.segment):
        damages.report_missing(Position(newest, FIRST))


def unaccounted(files: Files, segment: Segment) -> dict[str, int]:
    """Records that a segment held at the start and that neither a readable frame nor a known hole tells of now."""
    left = dict(segment.sources)
    told = [hole.lost for hole in segment.holes]
    for item in segment.stretch(files, FIRST, segment.end):
        if isinstance(item, Frame):
            told.append(item.sources)
        elif item.known and not any(hole.start <= item.start < hole.end for hole in segment.holes):
            told.append(item.lost)
    for sources in told:
        for source, n in sources.items():
            left[source] = left.get(source, 0) - n
    return {source: n for source, n in left.items() if n > 0}


def _read(files: Files, path: Path, length: int) -> bytes:
    fd = files.open(path)
    try:
        return files.read(fd, length, 0)
    finally:
        files.close(fd)
