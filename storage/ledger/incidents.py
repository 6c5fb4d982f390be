"""The ledger's incidents: what meters did that they do not usually do, and what people said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal

import sqlalchemy as sa

from metering.site import Name
from storage.ledger.tables import feedback, incidents

Feedback = Literal["confirmed", "false_alarm", "planned"]


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """An incident of a meter.

    Attributes
    ----------
    name : the counter's quantity; kind, family : what it is, and what stays while its kind is looked at again
    since, until, detected : [us since 1970]; until is None while it lasts
    size, rate : amount beyond what was expected [unit], and per hour; 0 where the data are at fault
    evidence : the figures behind it: JSON
    baseline : id of the one it was judged by; part_of : id of the incident that is its cause, or None
    feedback : the last word of a person: confirmed, false_alarm, planned, or ""
    id : 0 as long as it is not in the ledger
    """

    site: str
    node: str
    name: str
    unit: str
    kind: str
    family: str
    since: int
    until: int | None
    detected: int
    size: float
    rate: float
    confidence: float
    text: Name
    evidence: Mapping[str, Any] = field(default_factory=dict)
    baseline: int = 0
    part_of: int | None = None
    feedback: str = ""
    id: int = 0
    updated_at: int = 0


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """What a person said of an incident."""

    incident: int
    feedback: str
    note: str
    author: str
    at: int


class Incidents:
    """Durable when a call returns. May be used from any thread; made by `Ledger`."""

    def __init__(self, begin: Callable[[], AbstractContextManager[sa.Connection]], writing: Lock) -> None:
        self._begin, self._writing = begin, writing

    def write(self, rows: Sequence[IncidentRow], now: int) -> list[IncidentRow]:
        """Enter new ones (id 0) and bring known ones up to date, in one transaction; returns them with their ids.

        What people said is not touched: that is `say`.

        Raises
        ------
        StoreUnavailable
            If nothing was changed.
        """
        if not rows:
            return []
        ids = []
        with self._writing, self._begin() as con:
            for row in rows:
                values = {**_values(row), "updated_at": now}
                if row.id:
                    con.execute(sa.update(incidents).where(incidents.c.id == row.id).values(values))
                    ids.append(row.id)
                else:
                    made = con.execute(sa.insert(incidents).values({**values, "feedback": row.feedback}))
                    ids.append(int(made.inserted_primary_key[0]))  # type: ignore[index]
            found = con.execute(sa.select(incidents).where(incidents.c.id.in_(ids))).mappings().all()
        by_id = {row["id"]: _row(row) for row in found}
        return [by_id[number] for number in ids]

    def list(
        self,
        start: int | None = None,
        end: int | None = None,
        *,
        site: str | None = None,
        node: str | None = None,
        kind: str | None = None,
        said: str | None = None,
        open_only: bool = False,
        causes_only: bool = False,
        limit: int = 10_000,
    ) -> list[IncidentRow]:
        """Incidents that overlap [start, end) [us since 1970], newest first.

        said : only those of which this was said last; causes_only : without those that are part of another
        """
        c = incidents.c
        query = sa.select(incidents).order_by(c.since.desc(), c.id.desc()).limit(limit)
        if start is not None:
            query = query.where(c.until.is_(None) | (c.until > start))
        if end is not None:
            query = query.where(c.since < end)
        if open_only:
            query = query.where(c.until.is_(None))
        if causes_only:
            query = query.where(c.part_of.is_(None))
        for column, value in ((c.site, site), (c.node, node), (c.kind, kind), (c.feedback, said)):
            if value is not None:
                query = query.where(column == value)
        with self._begin() as con:
            return [_row(row) for row in con.execute(query).mappings()]

    def get(self, incident: int) -> IncidentRow | None:
        """One of them; None if there is none of that id."""
        with self._begin() as con:
            row = con.execute(sa.select(incidents).where(incidents.c.id == incident)).mappings().first()
        return None if row is None else _row(row)

    def parts(self, incident: int) -> Sequence[IncidentRow]:
        """Those that are part of one: the same cause, seen by other meters."""
        query = sa.select(incidents).where(incidents.c.part_of == incident).order_by(incidents.c.id)
        with self._begin() as con:
            return [_row(row) for row in con.execute(query).mappings()]

    def say(self, said: FeedbackRow) -> IncidentRow | None:
        """Keep what a person says of an incident; its last word counts. None if there is no such incident."""
        with self._writing, self._begin() as con:
            mine = incidents.c.id == said.incident
            done = con.execute(sa.update(incidents).where(mine).values(feedback=said.feedback, updated_at=said.at))
            if not done.rowcount:
                return None
            values = {column: getattr(said, column.name) for column in feedback.c if column.name != "id"}
            con.execute(sa.insert(feedback).values(values))
            row = con.execute(sa.select(incidents).where(mine)).mappings().one()
        return _row(row)

    def said_of(self, incident: int) -> Sequence[FeedbackRow]:
        """All that was said of one, oldest first."""
        query = sa.select(feedback).where(feedback.c.incident == incident).order_by(feedback.c.id)
        with self._begin() as con:
            rows = con.execute(query).mappings().all()
        return [FeedbackRow(row["incident"], row["feedback"], row["note"], row["author"], row["at"]) for row in rows]


def _values(row: IncidentRow) -> dict[str, Any]:
    return {
        "site": row.site, "node": row.node, "name": row.name, "unit": row.unit, "kind": row.kind,
        "family": row.family, "since": row.since, "until": row.until, "detected": row.detected, "size": row.size,
        "rate": row.rate, "confidence": row.confidence, "text_en": row.text.en, "text_zh": row.text.zh,
        "evidence": dict(row.evidence), "baseline": row.baseline, "part_of": row.part_of,
    }  # fmt: skip


def _row(row: Mapping[Any, Any]) -> IncidentRow:
    return IncidentRow(
        row["site"], row["node"], row["name"], row["unit"], row["kind"], row["family"], row["since"], row["until"],
        row["detected"], row["size"], row["rate"], row["confidence"], Name(row["text_en"], row["text_zh"]),
        row["evidence"], row["baseline"], row["part_of"], row["feedback"], row["id"], row["updated_at"],
    )  # fmt: skip
