"""From projects and reports to what goes over the wire."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from api import saving_schemas as out
from api import wording
from api.day_schemas import WeatherSourceOut
from api.periods import iso
from api.savings import Valued, valued
from api.schemas import FindingOut, QualityOut
from api.services import SavingReport, Services
from storage.ledger.savings import AdjustmentRow, ProjectRow


def project(row: ProjectRow, zone: ZoneInfo) -> out.ProjectOut:
    """A project."""
    return out.ProjectOut(
        id=row.id,
        row=row.row,
        name=wording.name(row.name),
        what=wording.name(row.what),
        option=row.option,
        site=row.site,
        nodes=[out.NodeOut(scope=each.scope, node=each.node, name=each.name) for each in row.measures],  # type: ignore[arg-type]
        unit=row.unit,
        baseline_start=iso(row.baseline_start, zone),
        baseline_end=iso(row.baseline_end, zone),
        retrofit=iso(row.retrofit, zone),
        reporting_start=iso(row.reporting_start, zone),
        reporting_end=wording.when(row.reporting_end, zone),
        author=row.author,
        at=iso(row.at, zone),
    )


def adjustment(row: AdjustmentRow, in_force: bool, zone: ZoneInfo) -> out.AdjustmentOut:
    """A non-routine adjustment."""
    return out.AdjustmentOut(
        id=row.row, start=iso(row.start, zone), end=iso(row.end, zone), amount=row.amount, reason=row.reason,
        author=row.author, at=iso(row.at, zone), corrects=row.corrects, in_force=in_force,
    )  # fmt: skip


def saved(services: Services, report: SavingReport, zone: ZoneInfo) -> out.SavedOut | None:
    """The saving; None where it was refused."""
    of = report.savings
    if of is None:
        return None
    return out.SavedOut(
        adjusted_baseline=of["adjusted_baseline"],
        observed=of["observed"],
        without_adjustments=of["routine"],
        adjustments=of["adjustments"],
        avoided=of["avoided"],
        low=of["low"],
        high=of["high"],
        saving_share=of["saving_share"],
        uncertainty_68=of["uncertainty_68"],
        coverage=min(of["coverage"], 1.0),
        verdict=of["verdict"],
        money=_valued(valued(services, report, "price"), zone),
        co2=_valued(valued(services, report, "co2"), zone),
    )


def _valued(of: Valued | None, zone: ZoneInfo) -> out.ValuedOut | None:
    if of is None or not all(map(math.isfinite, (of.value, of.low, of.high))):
        return None
    return out.ValuedOut(
        value=of.value, low=of.low, high=of.high, without_adjustments=of.routine, unit=of.unit,
        factors=[wording.factor(each, zone) for each in of.factors],
    )  # fmt: skip


def saving(services: Services, report: SavingReport, zone: ZoneInfo, sources: list[WeatherSourceOut]) -> out.SavingOut:
    """A project's whole report."""
    model = report.model
    return out.SavingOut(
        project=project(report.project, zone),
        start=iso(report.start, zone),
        end=iso(report.end, zone),
        saved=saved(services, report, zone),
        baseline=out.SavingsBaselineOut(
            kind=model.kind,  # type: ignore[arg-type]
            fitted_at=iso(model.fitted_at, zone),
            quality=QualityOut(**model.quality),
            sources=[each["point"] for each in model.learnt_from.get("weather", ())],
        ),
        findings=[
            FindingOut(code=f.code, severity=f.severity, message=f.message, data=dict(f.data)) for f in report.findings
        ],
        months=parts(report.months, zone),
        days=parts(report.days, zone),
        adjustments=[adjustment(each, True, zone) for each in report.in_force],
        sources=sources,
        provisional_years=list(report.provisional_years),
    )


def parts(columns: Mapping[str, list[Any]], zone: ZoneInfo) -> list[out.SavedMonth]:
    """Months or days."""
    if not columns:
        return []
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [
        out.SavedMonth(
            start=iso(row["start"], zone), end=iso(row["end"], zone), adjusted_baseline=row["adjusted_baseline"],
            observed=row["observed"], adjustments=row["adjustments"], avoided=row["avoided"], low=row["low"],
            high=row["high"], coverage=row["known"] / row["hours"] if row["hours"] else 0.0,
        )
        for row in rows
    ]  # fmt: skip
