"""What is usual: baselines with their quality, and what they expect."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Query

from analytics.edges import local_date
from api import schemas, wording
from api.asking import End, Start, period_in, refusals, zone_or
from api.deps import EXPENSIVE, READ, TheServices
from api.errors import NotThere, Refused
from api.figures import measure_of, site_of
from api.insights import Grain, baseline_of, expectation, insights_of
from api.periods import iso, iso_column

router = APIRouter(prefix="/api/v1", tags=["baselines"], dependencies=[READ])
Carrier = Literal["electricity", "water", "gas", "heat", "cooling"]


@router.get("/baselines", responses=refusals(404))
def list_baselines(
    services: TheServices,
    site: Annotated[str | None, Query(max_length=128)] = None,
    node: Annotated[str | None, Query(max_length=128, description="a meter, building or site")] = None,
    versions: Annotated[bool, Query(description="those that were superseded too, of one node")] = False,
) -> schemas.BaselinesOut:
    """The baselines in use, each with its quality and findings; a refused one says what is missing."""
    insights = insights_of(services)
    rows = list(insights.baselines(site, node))
    if versions:
        if node is None:
            raise Refused("versions", "are told of one node", "give node too")
        rows = [version for row in rows for version in insights.versions(row.measure)]
    zone = zone_or(services, None, None if node is None else site_of(services, node).id)
    return schemas.BaselinesOut(waiting=insights.waiting, rows=[wording.baseline(row, zone) for row in rows])


@router.get("/expected", responses=refusals(404, 429), dependencies=[EXPENSIVE])
def get_expected(
    services: TheServices,
    scope: Annotated[Literal["meter", "building", "site"], Query(description="what `node` is")],
    node: Annotated[str, Query(max_length=128, description="id of the meter, building or site")],
    carrier: Annotated[Carrier | None, Query(description="what is consumed")] = None,
    quantity: Annotated[str | None, Query(max_length=64, description="a meter's counter, instead of `carrier`")] = None,
    start: Start = None,
    end: End = None,
    resolution: Grain = "hour",
) -> schemas.ExpectedOut:
    """What is expected in [start, end), by default of the last day, with a 90 % band, beside what was observed.

    Whole hours; days and months are those of the site. The hours of days and months add up exactly; the interval of
    a sum is that of the sum, not the sum of intervals.
    """
    if (carrier is None) == (quantity is None):
        raise Refused("carrier", "and quantity: give one of the two", "a carrier, or a meter's counter")
    insights_of(services)
    name = carrier or quantity or ""
    measure = measure_of(services, scope, node, name)
    zone = zone_or(services, None, site_of(services, node).id)
    period = period_in(services, start, end, zone, timedelta(days=1))
    found = expectation(services, scope, node, name, period, resolution)
    if found is None:
        row = baseline_of(services, measure)
        why = "; ".join(finding.message for finding in row.findings) if row else "none is fitted yet"
        raise NotThere(f"the baseline of {measure}", f"can tell nothing: {why}", "see /api/v1/baselines")
    starts, ends = iso_column(found.start, zone), iso_column(found.end, zone)
    known = np.isfinite(found.observed)
    return schemas.ExpectedOut(
        node=node,
        scope=scope,
        name=measure.name,
        unit=measure.unit,
        tz=zone.key,
        resolution=resolution,
        start=iso(period.start, zone),
        end=iso(period.end, zone),
        total=int(found.amount.sum()),
        measured_temperature=found.measured,
        provisional_years=services.calendar_of(measure.site).provisional_years(
            local_date(zone.key, period.start), local_date(zone.key, period.end - 1)
        ),
        rows=[
            schemas.ExpectedRow(
                start=starts[i],
                end=ends[i],
                expected=int(found.amount[i]),
                low=float(found.low[i]),
                high=float(found.high[i]),
                observed=round(float(found.observed[i]) * 1000) if known[i] else None,
                coverage=float(found.coverage[i]),
            )
            for i in range(len(starts))
        ],
        baseline=wording.baseline(found.baseline, zone),
    )
