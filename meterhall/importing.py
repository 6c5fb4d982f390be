"""Historical readings from CSV files: read, checked row by row, and put through the same way as live ones."""

from __future__ import annotations

import csv
import gzip
import json
import math
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from rich.console import Console
from rich.progress import Progress

from collector import ingest
from collector.service import INGEST
from devices.settings import Settings
from devices.units import conversion
from meterhall.node import FolderInUse, Node, open_node
from meterhall.running import local_url, opener_for
from metering.clock import from_us, now_us, to_us
from metering.explain import ExplainedError
from metering.quantity import QUANTITIES, Phase, quantity
from metering.reading import Point
from metering.site import Installation, Meter, Vehicle
from storage.record import Record, Wire

CHUNK_ROWS = 5_000
EXAMPLES = 5


Row = tuple[Point, int, float]


class Column(NamedTuple):
    """One column of the file and the point it fills."""

    name: str
    point: Point
    numerator: int
    denominator: int
    offset: float


@dataclass
class ImportReport:
    """What became of a file's rows."""

    rows: int = 0
    values: int = 0
    empty: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    outcome: dict[str, int] = field(default_factory=dict)  # stored, duplicate, conflict

    def refuse(self, line: int, reason: str, detail: str) -> None:
        """Count a refused value; the first few are kept in words."""
        self.rejected[reason] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"line {line}: {detail}")

    def words(self) -> str:
        """The report for a person."""
        outcome = ", ".join(f"{n:,} {name}" for name, n in self.outcome.items() if n) or "nothing stored"
        text = f"{self.rows:,} rows: {self.values:,} values ({outcome})"
        if self.empty:
            text += f", {self.empty:,} empty cells (no reading)"
        if self.rejected:
            text += "\nrefused: " + ", ".join(f"{n:,} {reason}" for reason, n in self.rejected.items())
            text += "".join(f"\n  {example}" for example in self.examples)
        return text + "."

    def as_dict(self) -> dict[str, Any]:
        """The report for a program."""
        return {
            "rows": self.rows,
            "values": self.values,
            "empty": self.empty,
            "rejected": dict(self.rejected),
            "examples": self.examples,
            **self.outcome,
        }


def import_csv(
    settings: Settings, file: Path, *, meter: str, columns: list[str], time_column: str, timezone: str = ""
) -> ImportReport:
    """Import a file's readings: into the data folder, or through the server that is using it.

    Raises
    ------
    ExplainedError
        If the file, a column or the meter cannot be used, or the server refuses.
    """
    mapped = parse_columns(columns, meter, settings.installation)
    report = ImportReport()
    rows = read_csv(file, mapped, time_column, timezone or settings.installation.timezone_of(meter), report)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"Importing {file.name}", total=None)
        chunks = _chunks(rows, lambda n: bar.update(task, description=f"Importing {file.name}: {n:,} values"))
        try:
            with open_node(settings) as node:
                _import_here(node, chunks, report)
        except FolderInUse:
            _import_there(settings, chunks, report)
    return report


def store_rows(settings: Settings, rows: list[Row], report: ImportReport) -> None:
    """Store readings from elsewhere: into the data folder, or through the server that is using it."""
    outcome = Counter(report.outcome)
    try:
        with open_node(settings) as node:
            _import_here(node, _chunks(rows, lambda n: None), report)
    except FolderInUse:
        _import_there(settings, _chunks(rows, lambda n: None), report)
    report.outcome = dict(outcome + Counter(report.outcome))


def _chunks(rows: Iterable[Row], told: Any) -> Iterator[list[Row]]:
    chunk, count = [], 0
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK_ROWS:
            count += len(chunk)
            told(count)
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _import_here(node: Node, chunks: Iterable[list[Row]], report: ImportReport) -> None:
    """Through spool and pipeline of our own: what was on its way is stored first."""
    while node.pipeline.run_once():
        pass
    before = node.books.snapshot()["readings"].get(INGEST, {})
    for chunk in chunks:
        record = Record(Wire.INGEST, INGEST, ingest.KEY, ingest.encode_batch(chunk), now_us())
        node.spool.append([record])
        node.pipeline.run_once()
    while node.pipeline.run_once():
        pass
    node.deriver.run_once(now_us())
    after = node.books.snapshot()["readings"].get(INGEST, {})
    report.outcome = {name: after.get(name, 0) - before.get(name, 0) for name in ("stored", "duplicate", "conflict")}


def _import_there(settings: Settings, chunks: Iterable[list[Row]], report: ImportReport) -> None:
    """Through the ingest route of the server that holds the data folder."""
    url = f"{local_url(settings)}/api/v1/ingest"
    token = (settings.data / "admin.token").read_text(encoding="utf-8").strip()
    accepted = 0
    for chunk in chunks:
        lines = [
            json.dumps({**point._asdict(), "at": from_us(at).isoformat(), "value": value}) for point, at, value in chunk
        ]
        body = "\n".join(lines).encode()
        key = f"import-{sha256(body).hexdigest()[:32]}"
        request = urllib.request.Request(  # noqa: S310
            url,
            body,
            {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson", "Idempotency-Key": key},
        )
        try:
            with opener_for(settings).open(request, timeout=60) as reply:
                answer = json.load(reply)
        except (urllib.error.URLError, TimeoutError) as error:
            raise ExplainedError(
                url, f"does not take the rows: {error}", "is the server that uses this data folder up?"
            ) from None
        accepted += answer["accepted"]
        for refused in answer["rejected"]:
            report.refuse(0, refused["reason"], refused["mend"])
    report.outcome = {"accepted by the running server": accepted}


def parse_columns(columns: list[str], meter: str, installation: Installation) -> list[Column]:
    """The `COLUMN=QUANTITY[:UNIT][@PHASE]` mappings of the command line.

    Raises
    ------
    ExplainedError
        If the meter, a quantity, a unit or a phase is unknown.
    """
    device = installation.by_id.get(meter)
    if not isinstance(device, (Meter, Vehicle)):
        known = ", ".join(sorted(device.id for device in installation.devices())[:10])
        raise ExplainedError("--meter", f'is "{meter}"', f"name a meter of site.toml: {known}")
    out = []
    for text in columns:
        name, equals, rest = text.rpartition("=")
        if not equals or not name:
            raise ExplainedError("--column", f'is "{text}"', "write COLUMN=QUANTITY, e.g. kwh=active_energy_import:kWh")
        rest, _, phase = rest.partition("@")
        what, _, unit = rest.partition(":")
        if what not in QUANTITIES:
            raise ExplainedError("--column", f'names the quantity "{what}"', "use one of docs/glossary.md")
        if phase and phase not in list(Phase):
            raise ExplainedError("--column", f'names the phase "{phase}"', f"use one of {', '.join(Phase)}")
        numbers = conversion(what, unit or quantity(what).unit, "--column")
        out.append(Column(name, Point(device.site, device.id, what, phase or "total"), *numbers))
    return out


def read_csv(
    file: Path, columns: list[Column], time_column: str, timezone: str, report: ImportReport
) -> Iterator[tuple[Point, int, float]]:
    """The file's readings; what cannot be one is counted in `report`, and nothing is guessed.

    Raises
    ------
    ExplainedError
        If the time column or a mapped one is not in the file, or the zone is unknown.
    """
    if timezone not in available_timezones():
        raise ExplainedError("--timezone", f'is "{timezone}"', 'use an IANA zone such as "Asia/Shanghai"')
    zone = ZoneInfo(timezone)
    with _open(file) as stream:
        reader = csv.reader(stream)
        head = [cell.strip() for cell in next(reader, [])]
        for wanted in (time_column, *(column.name for column in columns)):
            if wanted not in head:
                raise ExplainedError(
                    f"{file}: line 1", f'has no column "{wanted}"', f"it has: {', '.join(head) or 'nothing'}"
                )
        at_time = head.index(time_column)
        places = [(head.index(column.name), column) for column in columns]
        for row in reader:
            if not row:
                continue
            report.rows += 1
            line = reader.line_num
            if len(row) != len(head):
                report.refuse(line, "columns", f"has {len(row)} cells instead of {len(head)}")
                continue
            try:
                at = _instant(row[at_time], zone)
            except ValueError as error:
                report.refuse(line, "time", str(error))
                continue
            for place, column in places:
                value = _value(row[place], column, line, report)
                if value is not None:
                    report.values += 1
                    yield column.point, at, value


def _open(file: Path) -> IO[str]:
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8-sig", newline="")
    return open(file, encoding="utf-8-sig", newline="")


def _instant(text: str, zone: ZoneInfo) -> int:
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f'the time "{text}" is not ISO 8601, such as 2026-03-01T08:00:00+08:00') from None
    if at.tzinfo is None:
        local = at.replace(tzinfo=zone)
        if local.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != at:
            raise ValueError(f'the time "{text}" does not exist in {zone.key}: clocks were put forward')
        at = local
    return to_us(at)


def _value(text: str, column: Column, line: int, report: ImportReport) -> float | None:
    text = text.strip()
    if not text:
        report.empty += 1
        return None
    try:
        value = float(text)
    except ValueError:
        report.refuse(line, "not_a_number", f'"{text}" in column {column.name} is not a number')
        return None
    if not math.isfinite(value):
        report.empty += 1
        return None
    value = value * column.numerator / column.denominator + column.offset
    of = column.point.of
    if not of.lowest <= value <= of.highest:
        report.refuse(
            line, "range", f"{value:g} {of.unit} in column {column.name} is outside {of.lowest:g} to {of.highest:g}"
        )
        return None
    return value
