"""The ledger's measurement and verification: projects, non-routine adjustments, the baselines they are judged by.

Rows are only ever added: a project that is mended is a new row of the same id, an adjustment that is mended is a new
row that names the one it stands for, a baseline fitted anew is a new row. Nothing said once is lost.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any, Literal

import sqlalchemy as sa

from metering.explain import Finding
from metering.reading import Measure
from metering.site import Name
from storage.ledger.tables import adjustments, projects, savings_models

Option = Literal["B", "C"]


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """A measurement and verification project.

    Attributes
    ----------
    id : the project's own, in addresses; option : of IPMVP: B the retrofit's own meters, C the whole facility
    measures : whose sum is looked at, all of one unit
    baseline_start, baseline_end, reporting_start : local midnights; reporting_end None: it goes on
    retrofit : when the work began; what lies between the periods is left out [all us since 1970]
    what : what was done; row : 0 as long as it is not in the ledger
    """

    id: str
    name: Name
    option: Option
    measures: tuple[Measure, ...]
    baseline_start: int
    baseline_end: int
    retrofit: int
    reporting_start: int
    reporting_end: int | None
    what: Name
    author: str
    at: int
    row: int = 0

    @property
    def site(self) -> str:
        """The site of its first node."""
        return self.measures[0].site

    @property
    def unit(self) -> str:
        """Of all its measures."""
        return self.measures[0].unit


@dataclass(frozen=True, slots=True)
class AdjustmentRow:
    """A non-routine adjustment: positive where use would have been higher by it, negative where lower [unit].

    start, end : when what it stands for had its effect [us since 1970], half open
    corrects : the row it stands for; None for a new one. An amount of 0 takes one back
    """

    project: str
    start: int
    end: int
    amount: float
    reason: str
    author: str
    at: int
    corrects: int | None = None
    row: int = 0


@dataclass(frozen=True, slots=True)
class ModelRow:
    """The baseline a project is judged by, from the day it was fitted on.

    project_row : the row of the project it was fitted for; history : fingerprint of what it was learnt from
    learnt_from : thermometers, years without official calendar: JSON
    """

    project: str
    project_row: int
    kind: str
    fitted_at: int
    history: str
    quality: Mapping[str, Any]
    findings: tuple[Finding, ...]
    learnt_from: Mapping[str, Any] = field(default_factory=dict)
    row: int = 0


def in_force(rows: Sequence[AdjustmentRow]) -> list[AdjustmentRow]:
    """Those that count: none that another stands for, none taken back."""
    gone = {row.corrects for row in rows}
    return [row for row in rows if row.row not in gone and row.amount]


class SavingsTables:
    """Durable when a call returns. May be used from any thread; made by `Ledger`."""

    def __init__(self, begin: Callable[[], AbstractContextManager[sa.Connection]], writing: Lock) -> None:
        self._begin, self._writing = begin, writing

    def projects(self) -> list[ProjectRow]:
        """The projects as they stand now, by their first row."""
        return list({row.id: row for row in self.project_rows()}.values())

    def project(self, project: str) -> ProjectRow | None:
        """A project as it stands now."""
        rows = self.project_rows(project)
        return rows[-1] if rows else None

    def project_rows(self, project: str | None = None) -> list[ProjectRow]:
        """Every row of a project, or of all, oldest first."""
        query = sa.select(projects).order_by(projects.c.id)
        if project is not None:
            query = query.where(projects.c.project == project)
        with self._begin() as con:
            return [_project(row) for row in con.execute(query).mappings()]

    def put_project(self, row: ProjectRow) -> ProjectRow:
        """Add a project, or a mended one."""
        values = {
            "project": row.id, "name_en": row.name.en, "name_zh": row.name.zh, "option": row.option,
            "measures": [list(measure) for measure in row.measures], "baseline_start": row.baseline_start,
            "baseline_end": row.baseline_end, "retrofit": row.retrofit, "reporting_start": row.reporting_start,
            "reporting_end": row.reporting_end, "what_en": row.what.en, "what_zh": row.what.zh, "author": row.author,
            "at": row.at,
        }  # fmt: skip
        return _project(self._insert(projects, values))

    def adjustments(self, project: str) -> list[AdjustmentRow]:
        """Every adjustment of a project, also those that others stand for, oldest first."""
        query = sa.select(adjustments).where(adjustments.c.project == project).order_by(adjustments.c.id)
        with self._begin() as con:
            return [_adjustment(row) for row in con.execute(query).mappings()]

    def put_adjustment(self, row: AdjustmentRow) -> AdjustmentRow:
        """Add one."""
        values = asdict(row)
        values.pop("row")
        return _adjustment(self._insert(adjustments, values))

    def model(self, project: str) -> ModelRow | None:
        """The newest baseline of a project."""
        query = sa.select(*MODEL).where(savings_models.c.project == project).order_by(savings_models.c.id.desc())
        with self._begin() as con:
            row = con.execute(query.limit(1)).mappings().first()
        return None if row is None else _model(row)

    def body(self, row: int) -> dict[str, Any]:
        """The model itself, as its `to_dict`."""
        query = sa.select(savings_models.c.body).where(savings_models.c.id == row)
        with self._begin() as con:
            body: dict[str, Any] = json.loads(zlib.decompress(con.execute(query).scalar_one()))
        return body

    def put_model(self, row: ModelRow, body: Mapping[str, Any]) -> ModelRow:
        """Add a baseline; body : the model's `to_dict`."""
        values = {
            "project": row.project, "project_row": row.project_row, "kind": row.kind, "fitted_at": row.fitted_at,
            "history": row.history, "quality": dict(row.quality), "learnt_from": dict(row.learnt_from),
            "findings": [[f.code, f.severity, f.message, dict(f.data)] for f in row.findings],
            "body": zlib.compress(json.dumps(body, allow_nan=False, separators=(",", ":")).encode(), 1),
        }  # fmt: skip
        return _model(self._insert(savings_models, values))

    def _insert(self, table: sa.Table, values: Mapping[str, Any]) -> Mapping[Any, Any]:
        with self._writing, self._begin() as con:
            made = con.execute(sa.insert(table).values(**values))
            new = int(made.inserted_primary_key[0])  # type: ignore[index]
            return con.execute(sa.select(table).where(table.c.id == new)).mappings().one()


MODEL = [column for column in savings_models.c if column.name != "body"]


def _project(row: Mapping[Any, Any]) -> ProjectRow:
    return ProjectRow(
        row["project"], Name(row["name_en"], row["name_zh"]), row["option"],
        tuple(Measure(*each) for each in row["measures"]), row["baseline_start"], row["baseline_end"], row["retrofit"],
        row["reporting_start"], row["reporting_end"], Name(row["what_en"], row["what_zh"]), row["author"], row["at"],
        row["id"],
    )  # fmt: skip


def _adjustment(row: Mapping[Any, Any]) -> AdjustmentRow:
    return AdjustmentRow(
        row["project"], row["start"], row["end"], row["amount"], row["reason"], row["author"], row["at"],
        row["corrects"], row["id"],
    )  # fmt: skip


def _model(row: Mapping[Any, Any]) -> ModelRow:
    return ModelRow(
        row["project"], row["project_row"], row["kind"], row["fitted_at"], row["history"], row["quality"],
        tuple(Finding(*found) for found in row["findings"]), row["learnt_from"], row["id"],
    )  # fmt: skip
