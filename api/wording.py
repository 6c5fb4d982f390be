"""From the central types to what goes over the wire."""

from __future__ import annotations

from dataclasses import asdict
from zoneinfo import ZoneInfo

from api import schemas as out
from api.figures import Branch, Converted, DeviceFigure, VehicleState
from api.insights import Money
from api.journeys import Journeys
from api.periods import EARLIEST, Period, iso
from metering.clock import to_us
from metering.health import LineHealth, SpoolHealth, UnitHealth
from metering.reading import Origin, Point
from metering.site import Building, Dated, Fact, Factor, Meter, Name, Site, Vehicle
from storage.ledger.baselines import BaselineRow
from storage.store import Conflict

UTC = ZoneInfo("UTC")


def name(of: Name) -> out.NameOut:
    """Both languages; Chinese falls back to English."""
    return out.NameOut(en=of.en, zh=of.in_language("zh"))


def when(us: int | None, zone: ZoneInfo = UTC) -> str | None:
    """ISO 8601, or None where there is no such time, or none that has a beginning."""
    return None if us is None or us < to_us(EARLIEST) else iso(us, zone)


def dated(values: tuple[Dated, ...], zone: ZoneInfo) -> list[out.DatedOut]:
    """Dated values."""
    return [out.DatedOut(value=each.value, valid_from=when(each.valid_from, zone)) for each in values]


def site(of: Site) -> out.SiteOut:
    """A site."""
    return out.SiteOut(
        id=of.id,
        name=name(of.name),
        timezone=of.timezone,
        country=of.country,
        latitude=of.latitude,
        longitude=of.longitude,
    )


def building(of: Building, zone: ZoneInfo) -> out.BuildingOut:
    """A building."""
    return out.BuildingOut(
        id=of.id,
        site=of.site,
        name=name(of.name),
        use=of.use,
        floor_area=dated(of.floor_area, zone),
        persons=dated(of.persons, zone),
        opens=of.opens,
        closes=of.closes,
        in_charge=of.in_charge,
    )


def fact(of: Fact, zone: ZoneInfo) -> out.FactOut:
    """A dated fact; who wrote it stays in the configuration."""
    return out.FactOut(
        kind=of.kind,
        valid_from=when(of.valid_from, zone),
        factor=of.factor,
        offset=of.offset,
        quantity=of.quantity,
        last=of.last,
        first=of.first,
        reason=of.reason,
    )


def meter(of: Meter, parts: tuple[Meter, ...], points: list[Point], zone: ZoneInfo) -> out.MeterOut:
    """A meter; its address stays inside."""
    return out.MeterOut(
        id=of.id,
        site=of.site,
        building=of.building,
        name=name(of.name),
        carrier=of.carrier,
        role=of.role,
        profile=of.profile,
        unit_id=of.unit_id,
        parent=of.parent,
        parts=[part.id for part in parts],
        end_use=of.end_use,
        facts=[fact(each, zone) for each in of.facts],
        points=[str(point) for point in points],
        simulated=of.simulated,
        replayed=of.replayed,
    )


def vehicle(of: VehicleState, points: list[Point], zone: ZoneInfo) -> out.VehicleOut:
    """A vehicle with its state."""
    car = of.vehicle
    return out.VehicleOut(
        id=car.id,
        site=car.site,
        building=car.building,
        name=name(car.name),
        drive=car.drive,
        plate=car.plate,
        profile=car.profile,
        battery_kwh=car.battery_kwh,
        tank_l=car.tank_l,
        activity=of.activity,
        last_seen=when(of.last_seen, zone),
        state_of_charge=of.charge,
        fuel_level=of.fuel,
        odometer=of.odometer,
        points=[str(point) for point in points],
        simulated=car.simulated,
    )


def journeys(car: Vehicle, period: Period, of: Journeys, zone: ZoneInfo) -> out.JourneysOut:
    """What a vehicle did."""
    return out.JourneysOut(
        vehicle=car.id,
        start=iso(period.start, zone),
        end=iso(period.end, zone),
        trips=[
            out.TripOut(**asdict(trip) | {"start": iso(trip.start, zone), "end": iso(trip.end, zone)})
            for trip in of.trips
        ],
        charges=[
            out.ChargeOut(**asdict(charge) | {"start": iso(charge.start, zone), "end": iso(charge.end, zone)})
            for charge in of.charges
        ],
        refuellings=[
            out.RefuellingOut(**asdict(each) | {"after": iso(each.after, zone), "before": iso(each.before, zone)})
            for each in of.refuellings
        ],
    )


def device(of: DeviceFigure, zone: ZoneInfo) -> out.DeviceOut:
    """How a device does."""
    return out.DeviceOut(
        id=of.device.id,
        kind="meter" if isinstance(of.device, Meter) else "vehicle",
        site=of.device.site,
        line=of.line,
        state=of.state,
        last_seen=when(of.last_seen, zone),
        offline_since=when(of.offline_since, zone),
        errors=of.errors,
        note=of.note,
    )


def branch(of: Branch) -> out.BranchOut:
    """A branch of the tree, with its parts."""
    return out.BranchOut(
        meter=of.meter.id,
        name=name(of.meter.name),
        quantity=of.amount.measure.name,
        unit=of.amount.unit,
        amount=of.amount.value,
        coverage=of.amount.coverage,
        estimated=of.amount.estimated,
        share=of.share,
        rest=of.rest,
        parts=[branch(part) for part in of.parts],
    )


def factor(of: Factor, zone: ZoneInfo) -> out.FactorOut:
    """A dated factor."""
    return out.FactorOut(
        id=of.id,
        value=of.value,
        unit=of.unit,
        valid_from=when(of.valid_from, zone),
        valid_to=when(of.valid_to, zone),
        scope=of.scope,
        source=of.source,
        status=of.status,
    )


def converted(of: Converted, zone: ZoneInfo) -> out.ConvertedOut:
    """A converted figure with its factors."""
    return out.ConvertedOut(value=of.value, unit=of.unit, factors=[factor(each, zone) for each in of.factors])


def origin(of: Origin, zone: ZoneInfo) -> out.OriginOut:
    """Where a reading came from."""
    return out.OriginOut(
        source=of.source, received_at=iso(of.received_at, zone), profiles=of.profiles, position=of.position
    )


def conflict(of: Conflict, zone: ZoneInfo) -> out.ConflictOut:
    """One of several values at a point and time."""
    return out.ConflictOut(
        point=str(of.point),
        at=iso(of.at, zone),
        value=of.value,
        quality=of.quality,
        served=of.served,
        origin=origin(of.origin, zone),
    )


def unit(of: UnitHealth, zone: ZoneInfo) -> out.UnitOut:
    """A unit on a line."""
    return out.UnitOut(
        device=of.device,
        unit_id=of.unit_id,
        state=of.state,
        breaker=of.breaker,
        last_answer=when(of.last_answer, zone),
        offline_since=when(of.offline_since, zone),
        polls=of.polls,
        good=of.good,
        errors=dict(of.errors),
        note=of.note,
    )


def line(of: LineHealth, zone: ZoneInfo) -> out.LineOut:
    """One way in."""
    return out.LineOut(
        id=of.id,
        kind=of.kind,
        address=of.address,
        state=of.state,
        since=when(of.since, zone),
        note=of.note,
        connects=of.connects,
        units=[unit(each, zone) for each in of.units],
    )


def spool(of: SpoolHealth, zone: ZoneInfo) -> out.SpoolOut:
    """The spool's state."""
    return out.SpoolOut(
        pending_messages=of.pending_messages,
        bytes=of.bytes,
        segments=of.segments,
        oldest_pending=when(of.oldest_pending_us, zone),
        damaged=list(of.damaged),
        accepting=of.accepting,
        note=of.note,
    )


def baseline(of: BaselineRow, zone: ZoneInfo) -> out.BaselineOut:
    """A baseline with its quality and findings."""
    return out.BaselineOut(
        id=of.id,
        site=of.measure.site,
        scope=of.measure.scope,  # type: ignore[arg-type]
        node=of.measure.node,
        name=of.measure.name,
        unit=of.measure.unit,
        kind=of.kind,  # type: ignore[arg-type]
        start=iso(of.start, zone),
        end=iso(of.end, zone),
        fitted_at=iso(of.fitted_at, zone),
        superseded_at=when(of.superseded_at, zone),
        quality=out.QualityOut(**of.quality),
        findings=[
            out.FindingOut(code=each.code, severity=each.severity, message=each.message, data=each.data)
            for each in of.findings
        ],
        temperature=list(of.learnt_from.get("temperature", ())),
        hours_left_out=int(of.learnt_from.get("hours_left_out", 0)),
        alarms_per_month=float(of.learnt_from.get("alarms_per_month", 0.0)),
    )


def money(of: Money) -> out.MoneyOut:
    """An amount by a dated factor."""
    factor = of.factor
    return out.MoneyOut(
        value=of.value, unit=of.unit, factor=factor.value, source=factor.source, status=factor.status
    )  # fmt: skip
