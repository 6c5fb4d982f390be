"""What is configured: sites, buildings, meters, vehicles, factors; and the tree with a period's figures."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from api import schemas, wording
from api.asking import End, Id, Start, Tz, period_in, refusals, thing_of, zone_or
from api.deps import READ, TheServices
from api.errors import Refused
from api.figures import scope_of, site_of, tree, vehicle_states
from api.journeys import journeys
from api.periods import Period, day_of, iso, zone_of
from api.services import Services
from metering.clock import DAY_US
from metering.quantity import Carrier
from metering.reading import Point
from metering.site import Building, Meter, Site, Vehicle

router = APIRouter(prefix="/api/v1", tags=["places"], dependencies=[READ])
FlowCarrier = Literal["electricity", "water", "gas", "heat", "cooling"]
OfSite = Annotated[str | None, Query(max_length=128, description="only of this site")]
MOST_DAYS = 100  # of a vehicle's journeys in one answer
OfBuilding = Annotated[str | None, Query(max_length=128, description="only of this building")]


def points_by_device(services: Services) -> dict[str, list[Point]]:
    """The points that have readings, by meter or vehicle."""
    out: dict[str, list[Point]] = defaultdict(list)
    for point in services.store.points():
        out[point.meter].append(point)
    return out


@router.get("/sites", responses=refusals())
def list_sites(services: TheServices) -> list[schemas.SiteOut]:
    """All sites."""
    return [wording.site(site) for site in services.installation.sites]


@router.get("/sites/{site}", responses=refusals(404))
def get_site(site: Id, services: TheServices) -> schemas.SiteOut:
    """One site."""
    return wording.site(thing_of(services, Site, site))


@router.get("/buildings", responses=refusals())
def list_buildings(services: TheServices, site: OfSite = None) -> list[schemas.BuildingOut]:
    """All buildings, or those of a site."""
    return [
        wording.building(each, zone_or(services, None, each.site))
        for each in services.installation.buildings
        if site in (None, each.site)
    ]


@router.get("/buildings/{building}", responses=refusals(404))
def get_building(building: Id, services: TheServices) -> schemas.BuildingOut:
    """One building."""
    found = thing_of(services, Building, building)
    return wording.building(found, zone_or(services, None, found.site))


@router.get("/meters", responses=refusals())
def list_meters(
    services: TheServices, site: OfSite = None, building: OfBuilding = None, carrier: Carrier | None = None
) -> list[schemas.MeterOut]:
    """All meters, or those of a site, a building, a carrier; `parent` and `parts` make the tree."""
    points = points_by_device(services)
    return [
        wording.meter(
            each, services.installation.children[each.id], points[each.id], zone_or(services, None, each.site)
        )
        for each in services.installation.meters
        if site in (None, each.site) and building in (None, each.building) and carrier in (None, each.carrier)
    ]


@router.get("/meters/{meter}", responses=refusals(404))
def get_meter(meter: Id, services: TheServices) -> schemas.MeterOut:
    """One meter."""
    found = thing_of(services, Meter, meter)
    parts = services.installation.children[found.id]
    return wording.meter(found, parts, points_by_device(services)[found.id], zone_or(services, None, found.site))


@router.get("/tree/{node}/{carrier}", responses=refusals(404))
def get_tree(
    node: Id, carrier: FlowCarrier, services: TheServices, start: Start = None, end: End = None, tz: Tz = None
) -> schemas.TreeOut:
    """The meters of a site, building or meter of a carrier, with each one's amount, share of its main, and the rest.

    Without `start` it is the local day so far.
    """
    scope_of(services, node)
    zone = zone_or(services, tz, site_of(services, node).id)
    since = iso(day_of(services.now(), zone).start, zone) if start is None and end is None else start
    period = period_in(services, since, end, zone, timedelta(days=1))
    tops = tree(services, node, Carrier(carrier), period)
    return schemas.TreeOut(
        node=node,
        carrier=carrier,
        start=iso(period.start, zone),
        end=iso(period.end, zone),
        tops=[wording.branch(top) for top in tops],
    )


def _vehicles(services: Services, vehicles: list[Vehicle]) -> list[schemas.VehicleOut]:
    points = points_by_device(services)
    out = {}
    for timezone in dict.fromkeys(services.installation.timezone_of(each.id) for each in vehicles):
        zone = zone_of(timezone)
        there = [each for each in vehicles if services.installation.timezone_of(each.id) == timezone]
        for state in vehicle_states(services, there, Period(*day_of(services.now(), zone))):
            out[state.vehicle.id] = wording.vehicle(state, points[state.vehicle.id], zone)
    return [out[each.id] for each in vehicles]


@router.get("/vehicles", responses=refusals())
def list_vehicles(services: TheServices, site: OfSite = None, building: OfBuilding = None) -> list[schemas.VehicleOut]:
    """All vehicles, with what each does now."""
    chosen = [
        each
        for each in services.installation.vehicles
        if site in (None, each.site) and building in (None, each.building)
    ]
    return _vehicles(services, chosen)


@router.get("/vehicles/{vehicle}", responses=refusals(404))
def get_vehicle(vehicle: Id, services: TheServices) -> schemas.VehicleOut:
    """One vehicle."""
    return _vehicles(services, [thing_of(services, Vehicle, vehicle)])[0]


@router.get("/vehicles/{vehicle}/journeys", responses=refusals(404))
def get_journeys(
    vehicle: Id, services: TheServices, start: Start = None, end: End = None, tz: Tz = None
) -> schemas.JourneysOut:
    """Trips, charging sessions and refuelling of a vehicle, from its readings; without `start` the last 7 days."""
    thing: Vehicle = thing_of(services, Vehicle, vehicle)
    zone = zone_or(services, tz, thing.site)
    period = period_in(services, start, end, zone, timedelta(days=7))
    if period.length > MOST_DAYS * DAY_US:
        raise Refused("start", f"asks for {period.length / DAY_US:.0f} days", f"ask for at most {MOST_DAYS} at once")
    return wording.journeys(thing, period, journeys(services, thing, period), zone)


@router.get("/factors", responses=refusals())
def list_factors(services: TheServices) -> list[schemas.FactorOut]:
    """All dated factors: prices, CO2, standard coal; each with its source."""
    zone = zone_or(services, None)
    return [wording.factor(factor, zone) for factor in services.installation.factors]
