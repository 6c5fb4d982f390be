"""Readings of a point: raw in pages or as a stream, gauges also by step."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import Response, StreamingResponse

from api import schemas
from api.asking import (
    End,
    Id,
    PhaseIn,
    Start,
    Tz,
    cursor_of,
    device_of,
    period_in,
    quantity_of,
    read_cursor,
    refusals,
    zone_or,
)
from api.cells import text_cell
from api.deps import EXPENSIVE, READ, TheServices
from api.errors import Refused, TooSlow
from api.facts import applied, concerning
from api.figures import check_steps
from api.periods import Period, iso, iso_column
from api.samples import Aggregate, bites, rolled_up, with_facts
from api.services import Services
from metering.clock import from_us
from metering.quantity import Kind, Phase
from metering.reading import Point, Series
from metering.site import Device
from storage.store import Rollup

router = APIRouter(prefix="/api/v1", tags=["readings"], dependencies=[READ])
Format = Annotated[
    Literal["json", "ndjson", "csv"], Query(description="json comes in pages, ndjson and csv as one stream")
]
MEDIA = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}
STREAMS: dict[str, Any] = {
    "text/csv": {"schema": {"type": "string"}},
    "application/x-ndjson": {"schema": {"type": "string"}},
}


@router.get(
    "/series/{site}/{meter}/{quantity}",
    response_model=schemas.SeriesOut,
    responses={200: {"content": STREAMS}, **refusals(404, 429)},
    dependencies=[EXPENSIVE],
)
def get_series(
    site: Id,
    meter: Id,
    quantity: Id,
    services: TheServices,
    phase: PhaseIn = Phase.TOTAL,
    start: Start = None,
    end: End = None,
    tz: Tz = None,
    aggregate: Literal["raw", "1min", "15min", "hour", "day"] = "raw",
    facts: Annotated[
        Literal["applied", "raw"], Query(description="apply the dated facts, or leave values as the meter said them")
    ] = "applied",
    format: Format = "json",
    limit: Annotated[int, Query(ge=1, le=10_000, description="rows of a JSON page")] = 1_000,
    cursor: Annotated[str | None, Query(max_length=64, description="`next` of the page before")] = None,
) -> Response:
    """Readings of [start, end), by default of the last day.

    Raw rows come in time order; pages hold each row once, also while new readings arrive (readings that
    arrive late, for a time already passed, are found by asking again). A gauge can be rolled up to
    minimum, mean and maximum; what a counter counts in a time is its consumption, see /consumption.
    """
    device = device_of(services, site, meter)
    point = Point(site, meter, quantity_of(quantity), phase.value)
    zone = zone_or(services, tz, site)
    period = period_in(services, start, end, zone, timedelta(days=1))
    if aggregate != "raw":
        if point.of.kind != Kind.GAUGE:
            raise Refused(
                "aggregate", f"{quantity} is a {point.of.kind}", "ask /api/v1/consumption, or for raw readings"
            )
        check_steps(services, period, aggregate)
        return _steps(services, device, point, period, zone, aggregate, facts == "applied", format)
    if format == "json":
        return _page(services, device, point, period, zone, facts == "applied", limit, cursor)
    if cursor is not None:
        raise Refused("cursor", "belongs to JSON pages", "leave it out: a stream holds everything")
    return _stream(services, device, point, period, zone, facts == "applied", format)


def _head(point: Point, device: Device, period: Period, zone: ZoneInfo, aggregate: str, facts: bool) -> dict[str, Any]:
    return {
        "point": str(point),
        "unit": point.of.unit,
        "kind": point.of.kind.value,
        "tz": zone.key,
        "aggregate": aggregate,
        "facts_applied": facts and bool(concerning(device, point.quantity)),
        "start": iso(period.start, zone),
        "end": iso(period.end, zone),
    }


def _json(document: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")


def _page(
    services: Services,
    device: Device,
    point: Point,
    period: Period,
    zone: ZoneInfo,
    facts: bool,
    limit: int,
    cursor: str | None,
) -> Response:
    since = max(period.start, read_cursor(cursor)) if cursor else period.start
    rows: list[dict[str, Any]] = []
    following: int | None = None
    for bite in bites(services.store, point, since, period.end):
        room = limit - len(rows)
        if len(bite) > room:
            following = int(bite.at[room])
        rows += _sample_rows(with_facts(device, bite) if facts else bite, zone, room)
        if following is not None:
            break
    head = _head(point, device, period, zone, "raw", facts)
    return _json({**head, "rows": rows, "next": None if following is None else cursor_of(following)})


def _sample_rows(series: Series, zone: ZoneInfo, at_most: int) -> list[dict[str, Any]]:
    columns = (
        iso_column(series.at[:at_most], zone),
        series.value[:at_most].tolist(),
        series.quality[:at_most].tolist(),
    )
    return [{"at": at, "value": value, "quality": quality} for at, value, quality in zip(*columns, strict=True)]


def _step_rows(rollup: Rollup, zone: ZoneInfo) -> list[dict[str, Any]]:
    columns = (
        iso_column(rollup.start, zone),
        rollup.lowest.tolist(),
        rollup.mean.tolist(),
        rollup.highest.tolist(),
        rollup.count.tolist(),
    )
    names = ("start", "lowest", "mean", "highest", "count")
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _steps(
    services: Services,
    device: Device,
    point: Point,
    period: Period,
    zone: ZoneInfo,
    aggregate: Aggregate,
    facts: bool,
    format: str,
) -> Response:
    rollup = rolled_up(services.store, device, point, period, aggregate, zone.key, facts)
    rows = _step_rows(rollup, zone)
    if format == "json":
        return _json({**_head(point, device, period, zone, aggregate, facts), "rows": rows, "next": None})
    if format == "ndjson":
        body = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    else:
        unit = point.of.unit
        head = ["start", *(f"{each} [{unit}]" for each in ("lowest", "mean", "highest")), "count"]
        lines = [",".join(map(text_cell, head))]
        lines += [
            f'"{row["start"]}",{row["lowest"]!r},{row["mean"]!r},{row["highest"]!r},{row["count"]}' for row in rows
        ]
        body = ("\r\n".join(lines) + "\r\n").encode()
    return Response(body, media_type=MEDIA[format], headers=attachment(point, period, aggregate, format, zone))


def _stream(
    services: Services, device: Device, point: Point, period: Period, zone: ZoneInfo, facts: bool, format: str
) -> Response:
    write = _csv_lines if format == "csv" else _ndjson_lines
    unit = point.of.unit
    deadline = time.monotonic() + services.limits.stream_s

    def pieces() -> Iterator[bytes]:
        if format == "csv":
            yield (",".join(map(text_cell, ["point", "at", f"value [{unit}]", "quality"])) + "\r\n").encode()
        sent = 0
        for bite in bites(services.store, point, period.start, period.end):
            sent += len(bite)
            if sent > services.limits.stream_rows or time.monotonic() > deadline:
                raise TooSlow(f"the download of {point} passed its limits after {sent} rows")
            value = applied(device, bite) if facts else bite.value
            yield write(point, iso_column(bite.at, zone), value.tolist(), bite.quality.tolist())

    return StreamingResponse(pieces(), media_type=MEDIA[format], headers=attachment(point, period, "raw", format, zone))


def _csv_lines(point: Point, at: list[str], value: list[float], quality: list[int]) -> bytes:
    first = text_cell(str(point))
    return "".join(f'{first},"{a}",{v!r},{q}\r\n' for a, v, q in zip(at, value, quality, strict=True)).encode()


def _ndjson_lines(point: Point, at: list[str], value: list[float], quality: list[int]) -> bytes:
    first = msgspec.json.encode({"point": str(point), "unit": point.of.unit}).decode()[:-1]
    return "".join(
        f'{first},"at":"{a}","value":{v!r},"quality":{q}}}\n' for a, v, q in zip(at, value, quality, strict=True)
    ).encode()


def attachment(point: Point, period: Period, aggregate: str, format: str, zone: ZoneInfo) -> dict[str, str]:
    """A file name of our own making: ids and dates; the ids as they are only percent-encoded."""
    days = "_".join(from_us(us).astimezone(zone).strftime("%Y%m%dT%H%M") for us in period)
    whole = "_".join([*(part for part in point if part != "total"), aggregate, days])
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", whole)[:150]
    named = f"{quote(whole, safe='')}.{format}"
    return {"content-disposition": f"attachment; filename=\"{plain}.{format}\"; filename*=UTF-8''{named}"}
