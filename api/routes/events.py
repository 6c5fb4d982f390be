"""What needs somebody: open events, and those that are over."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from api import schemas, wording
from api.asking import End, Start, Tz, period_in, refusals, zone_or
from api.deps import READ, TheServices
from api.periods import iso

router = APIRouter(prefix="/api/v1", tags=["events"], dependencies=[READ])


@router.get("/events", responses=refusals())
def list_events(
    services: TheServices,
    open: Annotated[bool, Query(description="only what lasts still")] = False,
    site: Annotated[str | None, Query(max_length=128)] = None,
    node: Annotated[str | None, Query(max_length=128, description="a meter, vehicle, building or line")] = None,
    kind: Annotated[str | None, Query(max_length=64)] = None,
    start: Start = None,
    end: End = None,
    tz: Tz = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 200,
) -> list[schemas.EventOut]:
    """Events, newest first: those that last still, or all that overlap [start, end), by default of the last 30 days."""
    zone = zone_or(services, tz)
    period = None if open else period_in(services, start, end, zone, timedelta(days=30))
    since, until = period or (None, None)
    found = services.ledger.events(since, until, site=site, node=node, kind=kind, open_only=open, limit=limit)
    return [
        schemas.EventOut(
            id=each.id,
            kind=each.kind,
            severity=each.severity,
            subject=each.subject,
            since=iso(each.since, zone),
            until=wording.when(each.until, zone),
            text=wording.name(each.text),
            data=dict(each.data),
        )
        for each in found
    ]
