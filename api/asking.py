"""What many routes are asked: a time zone, a period, a point; checked in one way."""

from __future__ import annotations

import base64
import binascii
from datetime import timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import Path, Query

from api import schemas
from api.errors import NotThere, Refused
from api.periods import Period, period_of, zone_of
from api.services import Services
from metering.quantity import QUANTITIES, Phase
from metering.reading import Point
from metering.site import Building, Device, Meter, Site, Vehicle

START = "2026-11-24T00:00:00+08:00"
Id = Annotated[str, Path(max_length=128, description="an id, as configured")]
Tz = Annotated[
    str | None,
    Query(
        max_length=64, description="IANA time zone of times and days; default: the site's", examples=["Asia/Shanghai"]
    ),
]
Start = Annotated[
    str | None,
    Query(max_length=40, description="first instant: ISO 8601 with offset, or a date", examples=[START]),
]
End = Annotated[
    str | None,
    Query(max_length=40, description="end of the half-open period; default: now", examples=["2026-11-25"]),
]
PhaseIn = Annotated[Phase, Query(description="conductor of an electrical quantity")]

# What a route may answer besides 200, for the OpenAPI file.
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {
        "model": schemas.Problem,
        "description": text,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, text in {
        400: "The body cannot be read",
        401: "No token, or a wrong one",
        403: "The right is not given, or a page of another origin asked",
        404: "No such thing",
        408: "The body took too long",
        409: "The key was used for another body",
        413: "The body is too large",
        415: "Neither JSON nor NDJSON",
        421: "A foreign Host header",
        422: "Not to be served as asked",
        429: "Too much at once",
        503: "Store or spool can do nothing now",
    }.items()
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route: these, and those that every route has."""
    return {status: REFUSALS[status] for status in (401, 403, *statuses, 421, 422, 503)}


BODY = (400, 403, 408, 413)  # what a route with a body may answer besides


def zone_or(services: Services, tz: str | None, site: str | None = None) -> ZoneInfo:
    """The zone asked for; else the site's; else that of the only site, or of the first."""
    if tz is not None:
        return zone_of(tz)
    sites = services.installation.sites
    if site is not None:
        return zone_of(services.installation.timezone_of(site))
    return zone_of(sites[0].timezone if sites else "UTC")


def period_in(services: Services, start: str | None, end: str | None, zone: ZoneInfo, default: timedelta) -> Period:
    """The period asked for."""
    return period_of(start, end, zone, services.now(), default)


def device_of(services: Services, site: str, meter: str) -> Device:
    """The meter or vehicle of a site.

    Raises
    ------
    NotThere
        If there is none of that id at that site.
    """
    device = services.installation.by_id.get(meter)
    if not isinstance(device, Meter | Vehicle) or device.site != site:
        raise NotThere(
            f'"{site[:64]}/{meter[:64]}"', "is no meter or vehicle", "see /api/v1/meters and /api/v1/vehicles"
        )
    return device


def point_of(services: Services, text: str) -> Point:
    """The point of a text `site/meter/quantity[/phase]`, of a configured device.

    Raises
    ------
    Refused, NotThere
        If the text is no point; if it is one of nothing that is configured.
    """
    try:
        point = Point.parse(text)
    except ValueError as error:
        raise Refused("point", str(error)[:200], "write site/meter/quantity or site/meter/quantity/phase") from None
    device_of(services, point.site, point.meter)
    return point


def quantity_of(name: str) -> str:
    """The name of a quantity that exists."""
    if name not in QUANTITIES:
        raise NotThere(f'quantity "{name[:64]}"', "is not known", "see the glossary of quantities")
    return name


def thing_of(services: Services, kind: type[Site] | type[Building] | type[Meter] | type[Vehicle], node: str) -> Any:
    """The configured thing of that kind and id.

    Raises
    ------
    NotThere
        If there is none.
    """
    thing = services.installation.by_id.get(node)
    if not isinstance(thing, kind):
        raise NotThere(f'"{node[:64]}"', f"is no {kind.__name__.lower()}", f"see /api/v1/{kind.__name__.lower()}s")
    return thing


def cursor_of(at: int) -> str:
    """An opaque cursor: go on at this instant."""
    return base64.urlsafe_b64encode(str(at).encode()).decode().rstrip("=")


def read_cursor(text: str) -> int:
    """The instant of a cursor.

    Raises
    ------
    Refused
        If it is none of ours.
    """
    try:
        return int(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii"))
    except (binascii.Error, ValueError):
        raise Refused("cursor", "is not one of ours", "take it from `next` of the page before") from None
