"""One reading, traced from the wire to the figures it is in."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query

from api import schemas, wording
from api.asking import Tz, device_of, point_of, refusals, zone_or
from api.deps import READ, TheServices
from api.errors import NotThere
from api.facts import applied_at, stretches
from api.periods import Period, day_of, instant, iso, quarter_before
from api.services import Services
from metering.clock import QUARTER_US
from metering.quantity import Kind, Quality
from metering.reading import Measure, Point

router = APIRouter(prefix="/api/v1", tags=["readings"], dependencies=[READ])


@router.get("/explain", responses=refusals(404))
def explain(
    services: TheServices,
    point: Annotated[str, Query(max_length=400, description="site/meter/quantity[/phase]")],
    at: Annotated[str, Query(max_length=40, description="observed_at: ISO 8601 with offset")],
    tz: Tz = None,
) -> schemas.ExplainOut:
    """The reading of a point at an instant (or the last one within a day before it): what the meter said, where it
    came from, what else arrived for that time, which dated facts apply, and the intervals that it fell into.
    """
    asked = point_of(services, point)
    zone = zone_or(services, tz, asked.site)
    moment = instant(at, zone, "at")
    raw = _reading(services, asked, moment)
    if raw is None:
        raise NotThere(str(asked), f"has no reading in the day before {iso(moment, zone)}", "look at its series")
    observed, value, quality = raw
    device = device_of(services, asked.site, asked.meter)
    origins = dict(services.store.origins(asked, observed, observed + 1))
    origin = origins.get(observed)
    conflicts = services.store.conflicts(asked, observed, observed + 1)
    facts = stretches(device, asked.quantity, observed, observed + 1)[0].facts
    swaps = tuple(fact for fact in device.facts if fact.kind == "swap" and fact.valid_from <= observed)
    out = schemas.ExplainOut(
        point=str(asked),
        unit=asked.of.unit,
        kind=asked.of.kind.value,
        at=iso(observed, zone),
        value_as_the_meter_said=value,
        value=applied_at(device, asked.quantity, observed, value),
        quality=quality,
        origin=None if origin is None else wording.origin(origin, zone),
        conflicts=[wording.conflict(each, zone) for each in conflicts],
        facts=[wording.fact(fact, zone) for fact in (*facts, *swaps)],
        intervals=_intervals(services, asked, observed, zone),
        words=[],
    )
    return out.model_copy(update={"words": _words(out)})


def _reading(services: Services, point: Point, moment: int) -> tuple[int, float, int] | None:
    day = timedelta(days=1) // timedelta(microseconds=1)
    for since in (moment, moment - QUARTER_US, moment - day):
        series = services.store.series(point, since, moment + 1)
        if len(series):
            return int(series.at[-1]), float(series.value[-1]), int(series.quality[-1])
    return None


def _intervals(services: Services, point: Point, at: int, zone: ZoneInfo) -> list[schemas.IntervalOfReading]:
    if point.of.kind != Kind.COUNTER:
        return []
    measure = Measure(point.site, "meter", point.meter, point.quantity, point.of.unit)
    site_zone = ZoneInfo(services.installation.timezone_of(point.site))
    spans = {"15min": Period(quarter_before(at), quarter_before(at) + QUARTER_US), "day": day_of(at, site_zone)}
    out = []
    for resolution, span in spans.items():
        found = services.store.intervals([measure], resolution, span.start, span.end)[0]
        for i in range(len(found)):
            if found.start[i] <= at < found.end[i]:
                out.append(
                    schemas.IntervalOfReading(
                        resolution=resolution,  # type: ignore[arg-type]
                        name=measure.name,
                        unit=measure.unit,
                        start=iso(int(found.start[i]), zone),
                        end=iso(int(found.end[i]), zone),
                        amount=int(found.amount[i]),
                        estimated=int(found.estimated[i]),
                        coverage=float(found.coverage[i]),
                        quality=int(found.quality[i]),
                    )
                )
    return out


def _words(of: schemas.ExplainOut) -> list[str]:
    """The same in sentences."""
    out = [f"At {of.at} the meter said {of.value_as_the_meter_said!r} {of.unit} ({Quality(of.quality).name.lower()})."]
    if of.origin:
        out.append(
            f"It came over {of.origin.source} at {of.origin.received_at}, "
            f"decoded with {of.origin.profiles or 'no profile'}; "
            f"the raw record lay in the spool at {of.origin.position}."
        )
    others = [each for each in of.conflicts if not each.served]
    if others:
        out.append(f"{len(others)} other value(s) arrived for that time and are kept aside: the latest one is served.")
    if of.value != of.value_as_the_meter_said:
        kinds = ", ".join(fact.kind for fact in of.facts)
        out.append(f"With its dated facts ({kinds}) that means {of.value!r} {of.unit}.")
    for each in of.intervals:
        out.append(
            f"It is part of the {each.resolution} from {each.start} to {each.end}: {each.amount / 1000!r} {each.unit}, "
            f"of which {each.estimated / 1000!r} estimated, {each.coverage:.0%} observed."
        )
    return out
