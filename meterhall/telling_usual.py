"""Tells those who query the store what is expected, and what is not usual: see `docs/influx-schema.md`.

Run by the thread that watches, beside a store that takes notes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from api.insights import converted_row
from api.services import Services, Usual
from metering.clock import DAY_US, HOUR_US, QUARTER_US
from metering.reading import Measure
from metering.site import Installation, Name
from storage.influx.line_protocol import carrier_of, printable
from storage.ledger.baselines import BaselineRow
from storage.ledger.incidents import IncidentRow
from storage.notes import Note, NoteStore

BACK_US = 31 * DAY_US  # of a new baseline
AGAIN_US = 6 * HOUR_US  # told anew: the temperature of these hours has come in since
AHEAD_US = 2 * DAY_US
INCIDENTS_US = 400 * DAY_US
NONE = "-"

UsualOf = Callable[[Measure, int, int], "Usual | None"]


class TellingUsual:
    """What is told of baselines and incidents."""

    def __init__(self, installation: Installation, notes: NoteStore, usual_of: UsualOf) -> None:
        self._installation, self._notes, self._usual_of = installation, notes, usual_of
        self._told: dict[int, int] = {}  # of a baseline: hours up to here are told [us since 1970]

    def expected(self, rows: Sequence[BaselineRow], now: int) -> None:
        """Tell the hours around now, of a new baseline those of the last month.

        Raises
        ------
        StoreUnavailable
            If the server is away: they are told the next time.
        """
        end = now // HOUR_US * HOUR_US + AHEAD_US
        for row in rows:
            start = self._told.get(row.id, now - BACK_US + AGAIN_US) - AGAIN_US
            usual = self._usual_of(row.measure, start, end) if row.kind == "hourly" else None
            if usual is not None:
                self._notes.note(list(_hours(row, usual)))
            self._told[row.id] = now

    def incidents(self, rows: Sequence[IncidentRow]) -> None:
        """Tell all incidents of the last year; one that is no longer there is marked void. Raises as `expected`."""
        self._notes.note_exactly("incidents", [self._incident(row) for row in rows])

    def _incident(self, row: IncidentRow) -> Note:
        measure = Measure(row.site, "meter", row.node, row.name, row.unit)
        tags = (
            ("site", row.site), ("node", printable(row.node)), ("name", row.name), ("carrier", carrier_of(measure)),
            ("unit", row.unit), ("incident", str(row.id)),
        )  # fmt: skip
        fields: dict[str, Any] = {
            "kind": row.kind, "since_ms": row.since // 1000, "lasting": int(row.until is None),
            "size": float(row.size), "rate": float(row.rate), "confidence": float(row.confidence),
            "feedback": row.feedback or NONE, "part_of": row.part_of or 0, "baseline": row.baseline,
            **_said(row.text),
        }  # fmt: skip
        if row.until is not None:
            fields["until_ms"] = row.until // 1000
        services = cast(Services, SimpleNamespace(installation=self._installation))
        for name, kind in (("cost", "price"), ("co2", "co2")):
            money = converted_row(services, row, kind)
            if money is not None:
                fields |= {name: float(money.value), f"{name}_unit": money.unit}
        return Note("incident", tags, row.since // QUARTER_US * QUARTER_US, fields)


def _said(text: Name) -> dict[str, str]:
    return {"text_en": text.en, "text_zh": text.in_language("zh")}


def _hours(row: BaselineRow, usual: Usual) -> Iterator[Note]:
    measure, expected = row.measure, usual.expected
    tags = (
        ("site", measure.site), ("scope", measure.scope), ("node", measure.node), ("name", measure.name),
        ("carrier", carrier_of(measure)), ("unit", measure.unit),
    )  # fmt: skip
    columns = (expected.start, expected.amount, expected.value, expected.low, expected.high, expected.measured)
    for at, amount, value, low, high, measured in zip(*(np.asarray(c).tolist() for c in columns), strict=True):
        yield Note(
            "expected_hour",
            tags,
            at,
            {"value": value, "amount": amount, "low": low, "high": high, "measured": int(measured), "baseline": row.id},
        )
