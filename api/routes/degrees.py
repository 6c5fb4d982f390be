"""How cold and how warm it was: degree days at a node, and the thermometers they rest on."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Query

from analytics.baseline.conditions import local_hours
from analytics.degree_days import COOLING_BASE_DEGC, HEATING_BASE_DEGC, degree_days
from analytics.edges import day_start, local_date
from api import wording
from api.asking import End, Start, period_in, refusals
from api.day_schemas import DegreeDayOut, DegreeDaysOut, WeatherSourceOut
from api.deps import EXPENSIVE, READ, TheServices
from api.errors import NotThere, Refused
from api.insights import insights_of
from api.periods import iso, zone_of
from api.services import Services, Thermometer
from metering.clock import HOUR_US
from metering.site import Meter

router = APIRouter(prefix="/api/v1", tags=["calendar"], dependencies=[READ])
EPOCH_DAY = date(1970, 1, 1)
MOST_DAYS = 3_700


@router.get("/degree-days", responses=refusals(404, 429), dependencies=[EXPENSIVE])
def get_degree_days(
    services: TheServices,
    node: Annotated[str, Query(max_length=128, description="a site, building or meter")],
    start: Start = None,
    end: End = None,
    heating_base: Annotated[float, Query(ge=-30, le=40, description="[degC]")] = HEATING_BASE_DEGC,
    cooling_base: Annotated[float, Query(ge=-30, le=50, description="[degC]")] = COOLING_BASE_DEGC,
    method: Annotated[
        Literal["hourly", "daily_mean"], Query(description="integrate over hours, or take the day's mean")
    ] = "hourly",
) -> DegreeDaysOut:
    """Degree days of the whole local days in [start, end), by default of 30 days. A day with gaps has none."""
    if node not in services.installation.by_id:
        raise NotThere(f'"{node[:64]}"', "is not configured", "name a site, building or meter")
    zone = zone_of(services.installation.timezone_of(node))
    period = period_in(services, start, end, zone, timedelta(days=30))
    first = local_date(zone.key, period.start)
    first += timedelta(days=day_start(zone.key, first) < period.start)
    last = local_date(zone.key, period.end)
    count = (last - first).days
    if not 0 < count <= MOST_DAYS:
        raise Refused("end", f"leaves {max(count, 0)} whole days", f"ask for 1 to {MOST_DAYS} whole local days")
    since, until = day_start(zone.key, first), day_start(zone.key, last)
    weather = insights_of(services).weather(node, since, until)
    hours = np.arange(since // HOUR_US, -(-until // HOUR_US))
    found = degree_days(
        local_hours(zone.key, hours).day, weather.degc, heating_base_degc=heating_base, cooling_base_degc=cooling_base,
        method=method,
    )  # fmt: skip
    inside = (found.day >= (first - EPOCH_DAY).days) & (found.day < (last - EPOCH_DAY).days)
    heating, cooling, mean, known = (
        column[inside] for column in (found.heating, found.cooling, found.mean, found.hours)
    )
    there = np.isfinite(heating)
    return DegreeDaysOut(
        node=node,
        tz=zone.key,
        start=iso(since, zone),
        end=iso(until, zone),
        heating_base_degc=heating_base,
        cooling_base_degc=cooling_base,
        method=method,
        days=count,
        days_known=int(there.sum()),
        heating=float(heating[there].sum()) if there.any() else None,
        cooling=float(cooling[there].sum()) if there.any() else None,
        sources=[source(services, each, share) for each, share in weather.used],
        rows=[
            DegreeDayOut(
                date=(EPOCH_DAY + timedelta(days=int(day))).isoformat(), heating=_number(heating[i]),
                cooling=_number(cooling[i]), mean=_number(mean[i]), hours=int(known[i]),
            )
            for i, day in enumerate(found.day[inside].tolist())
        ],
    )  # fmt: skip


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def source(services: Services, each: Thermometer, share: float) -> WeatherSourceOut:
    """A thermometer, with where it stands seen from the node."""
    device = services.installation.by_id[each.point.meter]
    assert isinstance(device, Meter)
    return WeatherSourceOut(
        point=str(each.point), name=wording.name(device.name), place=each.place, distance_km=each.distance_km,
        share=share,
    )  # fmt: skip
