"""Historical readings from CSV files: read, checked row by row, and put through the same way as live ones."""

from __future__ import annotations

import csv
import gzip
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from devices.settings import Settings
from devices.units import conversion
from metering.clock import to_us
from metering.explain import ExplainedError
from metering.quantity import QUANTITIES, Phase, quantity
from metering.reading import Point
from metering.site import Installation, Meter, Vehicle

CHUNK_ROWS = 5_000
EXAMPLES = 5


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
        report.refuse(line, "range", f"{value:g} {of.unit} in column {column.name} is outside {of.lowest:g} to {of.highest:g}")
        return None
    return value
