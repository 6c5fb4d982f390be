"""The ledger's baselines: what is usual for each meter, building and site; versions are kept, one is in use."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import sqlalchemy as sa

from metering.explain import Finding
from metering.reading import Measure
from storage.ledger.tables import baselines, watches

BODIES_KEPT = 3  # of a measure's versions: the one in use and two before it; of older ones the figures stay


@dataclass(frozen=True, slots=True)
class BaselineRow:
    """A fitted baseline.

    Attributes
    ----------
    kind : hourly, daily, monthly; `none` if it was refused, and `findings` says what is missing
    start, end : the baseline period; fitted_at, superseded_at : None for the one in use [us since 1970]
    history : fingerprint of the intervals it was learnt from
    quality : CV(RMSE), NMBE, R2, n, coverage, verdict; null where there is none
    learnt_from : temperature, intervals left out, alarm budget: JSON
    id : 0 as long as it is not in the ledger
    """

    measure: Measure
    kind: str
    start: int
    end: int
    fitted_at: int
    history: str
    quality: Mapping[str, Any]
    findings: tuple[Finding, ...]
    learnt_from: Mapping[str, Any] = field(default_factory=dict)
    superseded_at: int | None = None
    id: int = 0


@dataclass(frozen=True, slots=True)
class WatchRow:
    """How a meter is watched from `at` on: its alarm budget; 0 is not watched."""

    site: str
    node: str
    name: str
    alarms_per_month: float
    author: str
    at: int


class Baselines:
    """Durable when a call returns. May be used from any thread; made by `Ledger`."""

    def __init__(self, begin: Callable[[], AbstractContextManager[sa.Connection]], writing: Lock) -> None:
        self._begin, self._writing = begin, writing

    def put(self, row: BaselineRow, body: Mapping[str, Any]) -> BaselineRow:
        """Enter a new one; the one in use is superseded in the same transaction.

        body : JSON values: {"model": ..., "habits": ...}

        Raises
        ------
        StoreUnavailable
            If nothing was changed.
        """
        packed = zlib.compress(json.dumps(body, allow_nan=False, separators=(",", ":")).encode(), 1)
        here = _of(row.measure)
        with self._writing, self._begin() as con:
            con.execute(
                sa.update(baselines)
                .where(*here, baselines.c.superseded_at.is_(None))
                .values(superseded_at=row.fitted_at)
            )
            made = con.execute(sa.insert(baselines).values(**_values(row), body=packed))
            new = int(made.inserted_primary_key[0])  # type: ignore[index]
            kept = sa.select(baselines.c.id).where(*here).order_by(baselines.c.id.desc()).limit(BODIES_KEPT)
            old = [*here, baselines.c.id.not_in(kept.scalar_subquery()), baselines.c.body.is_not(None)]
            con.execute(sa.update(baselines).where(*old).values(body=None))
            found = con.execute(sa.select(baselines).where(baselines.c.id == new)).mappings().one()
        return _row(found)

    def in_use(self, site: str | None = None, node: str | None = None) -> list[BaselineRow]:
        """The ones in use, of a site, a node, or all."""
        query = sa.select(*FIGURES).where(baselines.c.superseded_at.is_(None)).order_by(baselines.c.id)
        for column, value in ((baselines.c.site, site), (baselines.c.node, node)):
            if value is not None:
                query = query.where(column == value)
        with self._begin() as con:
            return [_row(row) for row in con.execute(query).mappings()]

    def versions(self, measure: Measure, limit: int = 100) -> list[BaselineRow]:
        """All versions of a measure's baseline, the newest first."""
        query = sa.select(*FIGURES).where(*_of(measure)).order_by(baselines.c.id.desc()).limit(limit)
        with self._begin() as con:
            return [_row(row) for row in con.execute(query).mappings()]

    def body(self, baseline: int) -> dict[str, Any] | None:
        """Model and habits of a version; None if only its figures are kept, or it does not exist."""
        query = sa.select(baselines.c.body).where(baselines.c.id == baseline)
        with self._begin() as con:
            packed = con.execute(query).scalar()
        return None if packed is None else json.loads(zlib.decompress(packed))

    def drop(self, measures: Sequence[Measure], now: int) -> None:
        """Take out of use: what is no longer configured has no usual."""
        with self._writing, self._begin() as con:
            for measure in measures:
                mine = (*_of(measure), baselines.c.superseded_at.is_(None))
                con.execute(sa.update(baselines).where(*mine).values(superseded_at=now))

    def watches(self) -> dict[tuple[str, str, str], WatchRow]:
        """The alarm budgets that were set, by (site, node, name): the last one counts."""
        with self._begin() as con:
            rows = con.execute(sa.select(watches).order_by(watches.c.id)).mappings().all()
        return {(row["site"], row["node"], row["name"]): WatchRow(*(row[c.name] for c in WATCH)) for row in rows}

    def watch(self, row: WatchRow) -> None:
        """Set a meter's alarm budget."""
        with self._writing, self._begin() as con:
            con.execute(sa.insert(watches).values({column: getattr(row, column.name) for column in WATCH}))


WATCH = [column for column in watches.c if column.name != "id"]
FIGURES = [column for column in baselines.c if column.name != "body"]


def _of(measure: Measure) -> tuple[sa.ColumnElement[bool], ...]:
    c = baselines.c
    return (
        c.site == measure.site, c.scope == measure.scope, c.node == measure.node, c.name == measure.name,
        c.unit == measure.unit,
    )  # fmt: skip


def _values(row: BaselineRow) -> dict[str, Any]:
    return {
        **row.measure._asdict(), "kind": row.kind, "period_start": row.start, "period_end": row.end,
        "fitted_at": row.fitted_at, "superseded_at": None, "history": row.history, "quality": dict(row.quality),
        "findings": [[f.code, f.severity, f.message, dict(f.data)] for f in row.findings],
        "learnt_from": dict(row.learnt_from),
    }  # fmt: skip


def _row(row: Mapping[Any, Any]) -> BaselineRow:
    measure = Measure(row["site"], row["scope"], row["node"], row["name"], row["unit"])
    return BaselineRow(
        measure, row["kind"], row["period_start"], row["period_end"], row["fitted_at"], row["history"], row["quality"],
        tuple(Finding(*found) for found in row["findings"]), row["learnt_from"], row["superseded_at"], row["id"],
    )  # fmt: skip
