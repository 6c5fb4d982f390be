"""Rejected payloads: what they held, why they were rejected, and another try."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from api import schemas
from api.asking import BODY, Tz, refusals, zone_or
from api.deps import ADMIN, READ, TheServices
from api.errors import NotThere
from api.periods import iso
from api.services import QuarantineEntry
from metering.explain import ExplainedError

router = APIRouter(prefix="/api/v1", tags=["quarantine"])
EntryId = Annotated[int, Path(ge=0, le=2**62, description="number of the entry")]


def _fields(entry: QuarantineEntry, zone: Any) -> dict[str, Any]:
    return {
        "id": entry.id,
        "source": entry.source,
        "key": entry.key,
        "received_at": iso(entry.received_at, zone),
        "reason": entry.reason,
        "detail": entry.detail,
        "position": entry.position,
        "size": entry.size,
        "replayed": entry.replayed,
    }


@router.get("/quarantine", dependencies=[READ], responses=refusals())
def list_quarantine(
    services: TheServices,
    source: Annotated[str | None, Query(max_length=128)] = None,
    reason: Annotated[str | None, Query(max_length=128)] = None,
    before: Annotated[int | None, Query(ge=0, le=2**62, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    tz: Tz = None,
) -> schemas.QuarantinePage:
    """Rejected payloads, newest first."""
    zone = zone_or(services, tz)
    found = services.quarantine.entries(limit=limit + 1, before=before, source=source, reason=reason)
    shown = found[:limit]
    return schemas.QuarantinePage(
        total=services.quarantine.count(),
        rows=[schemas.QuarantineOut(**_fields(each, zone)) for each in shown],
        next=shown[-1].id if len(found) > limit else None,
    )


@router.get("/quarantine/{entry}", dependencies=[READ], responses=refusals(404))
def get_quarantined(entry: EntryId, services: TheServices, tz: Tz = None) -> schemas.QuarantinedPayload:
    """One rejected payload, as text where it is text, and as hex."""
    found = services.quarantine.get(entry)
    if found is None:
        raise NotThere(f"quarantine {entry}", "does not exist", "see /api/v1/quarantine")
    try:
        text = found.payload.decode()
    except UnicodeDecodeError:
        text = None
    return schemas.QuarantinedPayload(**_fields(found, zone_or(services, tz)), text=text, hex=found.payload.hex())


@router.post("/quarantine/replay", dependencies=[ADMIN], responses=refusals(*BODY))
def replay(asked: schemas.ReplayIn, services: TheServices) -> schemas.ReplayOut:
    """Try some payloads again, after the mapping or the profile was mended."""
    if services.collector is None or not hasattr(services.collector, "replay"):
        raise ExplainedError("replay", "no collector runs here", "ask where it runs")
    return schemas.ReplayOut(taken=services.collector.replay(asked.ids))
