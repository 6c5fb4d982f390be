"""Incidents: what meters do that they do not usually do; what it costs, what speaks for it, what people say of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import numpy as np
from fastapi import APIRouter, Path, Query

from api import schemas, wording
from api.asking import BODY, End, Start, Tz, period_in, refusals, thing_of, zone_or
from api.deps import ADMIN, EXPENSIVE, READ, TheServices
from api.errors import NotThere
from api.figures import measure_of
from api.insights import (
    baseline_of,
    carrier_of_row,
    converted_row,
    dearest_first,
    evidence_of,
    incident_of,
    insights_of,
)
from api.periods import iso, iso_column
from api.services import Services
from metering.clock import DAY_US, from_us
from metering.reading import Measure
from metering.site import Meter
from storage.ledger.incidents import IncidentRow

router = APIRouter(prefix="/api/v1", tags=["anomalies"])
Number = Annotated[int, Path(ge=0, le=2**62, description="number of the incident")]
Said = Literal["confirmed", "false_alarm", "planned", "nothing"]


@router.get("/anomalies", dependencies=[READ], responses=refusals())
def list_anomalies(
    services: TheServices,
    open: Annotated[bool, Query(description="only what lasts still")] = False,
    site: Annotated[str | None, Query(max_length=128)] = None,
    node: Annotated[str | None, Query(max_length=128, description="a meter")] = None,
    kind: Annotated[str | None, Query(max_length=64)] = None,
    said: Annotated[Said | None, Query(description="only those of which people said this last")] = None,
    parts: Annotated[bool, Query(description="those too that have another one as their cause")] = False,
    start: Start = None,
    end: End = None,
    tz: Tz = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 200,
) -> schemas.AnomaliesOut:
    """Incidents, the dearest first: those that last still, or all that overlap [start, end), by default 30 days."""
    zone = zone_or(services, tz)
    period = None if open else period_in(services, start, end, zone, timedelta(days=30))
    found = insights_of(services).incidents(
        *(period or (None, None)), site=site, node=node, kind=kind, open_only=open, causes_only=not parts
    )
    if said is not None:
        found = [row for row in found if row.feedback == ("" if said == "nothing" else said)]
    rows = dearest_first(services, found)
    return schemas.AnomaliesOut(
        total=len(rows),
        open=sum(row.until is None for row in rows),
        rows=[anomaly(services, row, zone) for row in rows[:limit]],
    )


@router.get("/anomalies/try", dependencies=[READ, EXPENSIVE], responses=refusals(404, 429))
def try_watch(
    services: TheServices,
    node: Annotated[str, Query(max_length=128, description="a meter")],
    alarms_per_month: Annotated[float, Query(gt=0, le=30, description="alarm budget to try")],
    quantity: Annotated[str | None, Query(max_length=64, description="a counter of it; default: its carrier's")] = None,
) -> schemas.TriedOut:
    """What a meter's watch would have told of its last year with another alarm budget; nothing is changed.

    Each hour is judged by what was expected without the months around it, as if it were new.
    """
    measure = watched(services, node, quantity)
    insights = insights_of(services)
    tried = insights.try_budget(measure, alarms_per_month)
    zone = zone_or(services, None, measure.site)
    days = {from_us(each.start).astimezone(zone).date().isoformat() for each in tried.incidents}
    return schemas.TriedOut(
        node=node,
        name=measure.name,
        unit=measure.unit,
        alarms_per_month=alarms_per_month,
        in_use=insights.budget(measure),
        start=iso(tried.start, zone),
        end=iso(tried.end, zone),
        incidents=len(tried.incidents),
        per_month=len(tried.incidents) / max((tried.end - tried.start) / (DAY_US * 365.25 / 12), 1e-9),
        days=sorted(days),
        rows=[
            schemas.TriedRow(
                kind=each.kind, since=iso(each.start, zone), until=wording.when(each.end, zone), size=each.size,
                text=wording.name(each.text),
            )
            for each in tried.incidents
        ],
        missed=[anomaly(services, row, zone) for row in tried.missed],
    )  # fmt: skip


@router.post("/anomalies/watch", dependencies=[ADMIN], responses=refusals(404, *BODY))
def set_watch(asked: schemas.WatchIn, services: TheServices) -> schemas.WatchOut:
    """Set a meter's alarm budget; 0: the meter is not watched."""
    measure = watched(services, asked.node, asked.quantity)
    insights_of(services).watch(measure, asked.alarms_per_month, asked.author)
    return schemas.WatchOut(node=asked.node, name=measure.name, alarms_per_month=asked.alarms_per_month)


@router.get("/anomalies/{number}", dependencies=[READ], responses=refusals(404))
def get_anomaly(number: Number, services: TheServices, tz: Tz = None) -> schemas.AnomalyDetail:
    """One incident: the hours around it, the figures it was judged by, other meters that see it, what people said."""
    row, insights = incident_of(services, number), insights_of(services)
    zone = zone_or(services, tz, row.site if row.site in services.installation.by_id else None)
    evidence = evidence_of(services, row)
    baseline = baseline_of(services, Measure(row.site, "meter", row.node, row.name, row.unit))
    columns = (evidence.observed, evidence.expected, evidence.low, evidence.high, evidence.outdoor)
    values = [[None if not np.isfinite(v) else float(v) for v in column] for column in columns]
    names = ("observed", "expected", "low", "high", "outdoor")
    return schemas.AnomalyDetail(
        **anomaly(services, row, zone).model_dump(),
        evidence=dict(row.evidence),
        series=[
            schemas.EvidenceRow(start=start, **dict(zip(names, rest, strict=True)))
            for start, *rest in zip(iso_column(evidence.start, zone), *values, strict=True)
        ],
        parts=[anomaly(services, part, zone) for part in insights.parts(number)],
        said=[
            schemas.FeedbackOut(
                feedback=each.feedback, note=each.note, author=each.author, at=iso(each.at, zone)  # type: ignore[arg-type]
            )
            for each in insights.said_of(number)
        ],
        judged_by=None if baseline is None else wording.baseline(baseline, zone),
    )  # fmt: skip


@router.post("/anomalies/{number}/feedback", dependencies=[ADMIN], responses=refusals(404, *BODY))
def say(number: Number, said: schemas.FeedbackIn, services: TheServices, tz: Tz = None) -> schemas.AnomalyOut:
    """Say what an incident is: confirmed, a false alarm, or planned. It is kept, and used.

    A false alarm raises the meter's thresholds of that kind and is learnt from; what was planned or confirmed is left
    out of the next baseline; what was planned or a false alarm needs nobody any more.
    """
    row = insights_of(services).say(number, said.feedback, said.note, said.author)
    if row is None:
        raise NotThere(f"incident {number}", "does not exist", "see /api/v1/anomalies")
    return anomaly(services, row, zone_or(services, tz))


def watched(services: Services, node: str, quantity: str | None) -> Measure:
    """The counter of a meter that is watched."""
    meter = thing_of(services, Meter, node)
    measure = measure_of(services, "meter", node, quantity or meter.carrier.value)
    if baseline_of(services, measure) is None:
        raise NotThere(str(measure), "has no baseline yet", "see /api/v1/baselines")
    return measure


def anomaly(services: Services, row: IncidentRow, zone: ZoneInfo) -> schemas.AnomalyOut:
    """An incident, with its money and CO2 by the dated factors."""
    meter = services.installation.by_id.get(row.node)
    money, co2 = (converted_row(services, row, kind) for kind in ("price", "co2"))
    return schemas.AnomalyOut(
        id=row.id,
        site=row.site,
        building=meter.building if isinstance(meter, Meter) else "",
        node=row.node,
        name=row.name,
        carrier=carrier_of_row(services, row),
        unit=row.unit,
        kind=row.kind,
        since=iso(row.since, zone),
        until=wording.when(row.until, zone),
        detected=iso(row.detected, zone),
        size=row.size,
        rate=row.rate,
        confidence=row.confidence,
        cost=None if money is None else wording.money(money),
        co2=None if co2 is None else wording.money(co2),
        text=wording.name(row.text),
        feedback=row.feedback,  # type: ignore[arg-type]
        part_of=row.part_of,
        baseline=row.baseline,
    )
