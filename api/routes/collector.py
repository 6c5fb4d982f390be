"""How the collector does: devices, lines, books, spool, conflicts."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from api import schemas, wording
from api.asking import End, Start, Tz, period_in, point_of, refusals, zone_or
from api.deps import EXPENSIVE, READ, TheServices
from api.disk import disk_of
from api.figures import device_figures

router = APIRouter(prefix="/api/v1", tags=["collector"], dependencies=[READ])


@router.get("/devices", responses=refusals())
def list_devices(services: TheServices, tz: Tz = None) -> list[schemas.DeviceOut]:
    """Every meter and vehicle with its health: last seen, errors by kind, offline since."""
    zone = zone_or(services, tz)
    return [wording.device(each, zone) for each in device_figures(services)]


@router.get("/lines", responses=refusals())
def list_lines(services: TheServices, tz: Tz = None) -> list[schemas.LineOut]:
    """Every way in: Modbus lines, brokers, the ingest route; with their units."""
    zone = zone_or(services, tz)
    return [wording.line(each, zone) for each in services.collector.lines()] if services.collector else []


@router.get("/books", responses=refusals())
def get_books(services: TheServices, tz: Tz = None) -> schemas.BooksOut:
    """The two books, by source and in total, and the spool between them."""
    if services.collector is None:
        return schemas.BooksOut(messages={}, readings={}, total={}, spool=None)
    books = services.collector.books()
    return schemas.BooksOut(
        messages=books.get("messages", {}),
        readings=books.get("readings", {}),
        total=books.get("total", {}),
        spool=wording.spool(services.collector.spool(), zone_or(services, tz)),
    )


@router.get("/disk", responses=refusals())
def get_disk(services: TheServices) -> schemas.DiskOut:
    """The room on the disk, and how many days it lasts at the present rate."""
    return schemas.DiskOut(**disk_of(services.data_folder, services.store.statistics())._asdict())


@router.get("/conflicts", responses=refusals(404, 429), dependencies=[EXPENSIVE])
def list_conflicts(
    services: TheServices,
    point: Annotated[str | None, Query(max_length=400, description="only of this point")] = None,
    start: Start = None,
    end: End = None,
    tz: Tz = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
) -> list[schemas.ConflictOut]:
    """Every value of each point and time that has more than one, in order of arrival; by default 30 days back."""
    zone = zone_or(services, tz)
    period = period_in(services, start, end, zone, timedelta(days=30))
    asked = None if point is None else point_of(services, point)
    found = services.store.conflicts(asked, period.start, period.end)
    return [wording.conflict(each, zone) for each in found[:limit]]
