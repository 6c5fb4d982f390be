"""What a retrofit saved: projects, their reports, their non-routine adjustments."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Path

from api import saving_schemas as out
from api.asking import BODY, Tz, refusals, zone_or
from api.deps import ADMIN, EXPENSIVE, READ, TheServices
from api.errors import NotThere, Refused
from api.figures import measure_of, scope_of
from api.periods import instant, iso
from api.routes.degrees import source
from api.saving_words import adjustment, project, saved, saving
from api.savings import missing_nodes, report_of, savings_of
from api.services import Services
from metering.explain import ExplainedError
from metering.reading import Measure
from metering.site import Meter, Name
from storage.ledger.savings import AdjustmentRow, ProjectRow, in_force

log = logging.getLogger("meterhall.api")
router = APIRouter(prefix="/api/v1", tags=["savings"])
T = TypeVar("T")
Id = Annotated[str, Path(max_length=64, description="id of the project")]


@router.get("/savings", dependencies=[READ, EXPENSIVE], responses=refusals(429))
def list_savings(services: TheServices, tz: Tz = None) -> out.SavingsOut:
    """All projects with what they saved."""
    rows = []
    for row in savings_of(services).projects():
        if missing_nodes(services, row):
            zone = zone_or(services, tz)
            rows.append(out.SavingRow(project=project(row, zone), start=None, end=None, saved=None))
            continue
        zone = zone_or(services, tz, row.site)
        try:
            report = report_of(services, row.id)
        except ExplainedError as problem:
            log.warning("%s", problem)
            rows.append(out.SavingRow(project=project(row, zone), start=None, end=None, saved=None))
            continue
        rows.append(
            out.SavingRow(
                project=project(row, zone), start=iso(report.start, zone), end=iso(report.end, zone),
                saved=saved(services, report, zone),
            )
        )  # fmt: skip
    return out.SavingsOut(rows=rows)


@router.get("/savings/{project}", dependencies=[READ, EXPENSIVE], responses=refusals(404, 429))
def get_saving(project: Id, services: TheServices, tz: Tz = None) -> out.SavingOut:
    """One project: adjusted baseline, avoided energy with its interval, with and without adjustments, in money and CO2.

    The baseline is fitted when it is first asked for, and kept; the report ends at the last local midnight.
    """
    report = report_of(services, project)
    zone = zone_or(services, tz, report.project.site)
    sources = [source(services, each, share) for each, share in report.weather.used]
    return saving(services, report, zone, sources)


@router.get("/savings/{project}/adjustments", dependencies=[READ], responses=refusals(404))
def get_adjustments(project: Id, services: TheServices, tz: Tz = None) -> out.AdjustmentsOut:
    """Every non-routine adjustment of a project, also those that were corrected or taken back."""
    row = _project(services, project)
    rows = savings_of(services).adjustments(project)
    zone, counted = zone_or(services, tz, _site(services, row)), {each.row for each in in_force(rows)}
    return out.AdjustmentsOut(
        project=project, unit=row.unit, rows=[adjustment(each, each.row in counted, zone) for each in rows]
    )


@router.post("/savings", dependencies=[ADMIN], responses=refusals(404, *BODY))
def put_project(asked: out.ProjectIn, services: TheServices) -> out.ProjectOut:
    """Add a project, or mend one: a row of the same id, the last of which counts. Dates are local to its site."""
    measures = tuple(_measure(services, each, asked.carrier) for each in asked.nodes)
    zone = zone_or(services, None, measures[0].site)

    def at(key: str) -> int:
        return instant(getattr(asked, key), zone, key)

    row = ProjectRow(
        asked.id, Name(asked.name, asked.name_zh), asked.option, measures, at("baseline_start"), at("baseline_end"),
        at("retrofit"), at("reporting_start"), None if asked.reporting_end is None else at("reporting_end"),
        Name(asked.what, asked.what_zh), asked.author, services.now(),
    )  # fmt: skip
    keeper = savings_of(services)
    return project(_said(lambda: keeper.propose(row)), zone)


@router.post("/savings/{project}/adjustments", dependencies=[ADMIN], responses=refusals(404, *BODY))
def put_adjustment(project: Id, asked: out.AdjustmentIn, services: TheServices) -> out.AdjustmentOut:
    """Add a non-routine adjustment, or correct one: a new row that names it."""
    row = _project(services, project)
    zone = zone_or(services, None, _site(services, row))
    start, end = instant(asked.start, zone, "start"), instant(asked.end, zone, "end")
    said = AdjustmentRow(
        project, start, end, asked.amount, asked.reason, asked.author, services.now(), asked.corrects
    )  # fmt: skip
    made = _said(lambda: savings_of(services).adjust(said))
    return adjustment(made, bool(made.amount), zone)


@router.post("/savings/{project}/fit", dependencies=[ADMIN, EXPENSIVE], responses=refusals(404, 429))
def fit_again(project: Id, services: TheServices, tz: Tz = None) -> out.SavingsBaselineOut:
    """Fit a project's baseline anew, because its readings or facts were mended; the one before it is kept."""
    report_of(services, project)
    savings_of(services).fit(project)
    return get_saving(project, services, tz).baseline


def _said(say: Callable[[], T]) -> T:
    """What is said is kept; what cannot be is refused as asked (422)."""
    try:
        return say()
    except ExplainedError as problem:
        raise Refused(problem.where, problem.what, problem.mend) from problem


def _project(services: Services, name: str) -> ProjectRow:
    row = next((each for each in savings_of(services).projects() if each.id == name), None)
    if row is None:
        raise NotThere(f'"{name[:64]}"', "is no project", "see /api/v1/savings")
    return row


def _site(services: Services, row: ProjectRow) -> str | None:
    return row.site if row.site in services.installation.by_id else None


def _measure(services: Services, asked: out.NodeIn, carrier: str) -> Measure:
    scope = scope_of(services, asked.node)
    thing = services.installation.by_id[asked.node]
    if isinstance(thing, Meter) and asked.quantity is None and thing.carrier.value != carrier:
        raise Refused(f'"{asked.node}"', f"is a meter of {thing.carrier.value}", f"name a meter of {carrier}")
    return measure_of(services, scope, asked.node, asked.quantity or carrier)
