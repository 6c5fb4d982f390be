"""The newest values, and values as they arrive."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from api import schemas
from api.asking import Tz, point_of, refusals, zone_or
from api.deps import READ, TheServices, services_of, still_may
from api.errors import NotThere, Refused
from api.facts import applied_at
from api.live import LiveValue
from api.periods import iso
from api.services import Services
from metering.clock import to_us
from metering.reading import Point
from metering.site import Meter, Vehicle

router = APIRouter(prefix="/api/v1", tags=["live"], dependencies=[READ])
Points = Annotated[
    str | None,
    Query(
        max_length=50_000,
        description="points, `site/meter/quantity[/phase]`, separated by commas; default: all",
        examples=["bureau/main/active_power"],
    ),
]
OfMeter = Annotated[str | None, Query(max_length=128, description="only of this meter or vehicle")]


def points_asked(services: Services, text: str | None) -> list[Point] | None:
    """The points of a comma-separated text; None for all.

    Raises
    ------
    Refused, NotThere
        If one is no point of a configured device, or if they are too many.
    """
    if text is None:
        return None
    points = [point_of(services, part.strip()) for part in text.split(",") if part.strip()]
    if not points or len(points) > services.limits.live_points:
        raise Refused("points", f"names {len(points)}", f"name 1 to {services.limits.live_points}")
    return points


@router.get("/latest", responses=refusals(404))
def get_latest(
    services: TheServices, points: Points = None, meter: OfMeter = None, site: OfMeter = None, tz: Tz = None
) -> list[schemas.LatestOut]:
    """The newest reading of each point, with its age; facts applied."""
    asked = points_asked(services, points)
    if meter is not None or site is not None:
        some = services.store.points() if asked is None else asked
        asked = [point for point in some if meter in (None, point.meter) and site in (None, point.site)]
    zone = zone_or(services, tz)
    now = services.now()
    out = []
    for point, reading in sorted(services.store.latest(asked).items()):
        device = services.installation.by_id.get(point.meter)
        at = to_us(reading.observed_at)
        known = isinstance(device, Meter | Vehicle)
        value = applied_at(device, point.quantity, at, reading.value) if known else reading.value  # type: ignore[arg-type]
        out.append(
            schemas.LatestOut(
                point=str(point),
                unit=point.of.unit,
                at=iso(at, zone),
                received_at=iso(to_us(reading.received_at), zone),
                value=value,
                quality=int(reading.quality),
                age_s=(now - at) / 1e6,
            )
        )
    if meter is not None and meter not in services.installation.by_id:
        raise NotThere(f'"{meter[:64]}"', "is no meter or vehicle", "see /api/v1/meters and /api/v1/vehicles")
    return out


def message(services: Services, changes: dict[Point, LiveValue]) -> bytes:
    """One server-sent event with what changed, or a heartbeat comment."""
    if not changes:
        return b": heartbeat\n\n"
    rows = []
    for point, new in changes.items():
        device = services.installation.by_id.get(point.meter)
        known = isinstance(device, Meter | Vehicle)
        value = applied_at(device, point.quantity, new.at, new.value) if known else new.value  # type: ignore[arg-type]
        rows.append(
            {"point": str(point), "at": new.at // 1000, "value": value, "quality": new.quality, "unit": point.of.unit}
        )
    return b"event: values\ndata: " + msgspec.json.encode(rows) + b"\n\n"


@router.get(
    "/live",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events `values`: a JSON array of {point, at [ms since 1970], value, quality, unit}",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **refusals(404, 429),
    },
)
async def get_live(request: Request, services: TheServices, points: Points = None) -> StreamingResponse:
    """Values as they arrive, by server-sent events; at most two messages a second.

    What arrives between two messages is conflated to the newest value of each point: this shows, it does not record.
    """
    asked = points_asked(services, points)
    limits = services.limits
    services.live.check_room()

    async def messages() -> AsyncIterator[bytes]:
        with services.live.listen(asked) as subscription:
            yield b": listening\nretry: 3000\n\n"
            checked = time.monotonic()
            async for changes in subscription.changes(limits.live_period_s, limits.heartbeat_s):
                if time.monotonic() - checked > limits.heartbeat_s:
                    checked = time.monotonic()
                    if not await run_in_threadpool(still_may, request, services_of(request)):
                        return
                yield message(services_of(request), changes)

    return StreamingResponse(
        messages(),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )
