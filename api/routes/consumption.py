"""What was used: by quarter hour, hour, day, month, year, of a meter, building or site."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import Response

from api import schemas, wording
from api.asking import End, Start, Tz, period_in, refusals, zone_or
from api.cells import text_cell
from api.deps import EXPENSIVE, READ, TheServices
from api.errors import Refused
from api.figures import Amounts, Scope, amounts_by, check_steps, convert, grouped, measure_of, site_of
from api.periods import Period, Resolution, edges, iso, iso_column
from metering.quantity import QUANTITIES
from metering.site import Meter

router = APIRouter(prefix="/api/v1", tags=["consumption"], dependencies=[READ])
KINDS = ("price", "co2", "kgce")
LONGEST = timedelta(days=366 * 20)


def carrier_of(name: str, thing: object) -> str:
    """The carrier whose factors apply to a measure."""
    if name not in QUANTITIES:
        return name
    return thing.carrier.value if isinstance(thing, Meter) else QUANTITIES[name].carrier.value


@router.get(
    "/consumption",
    response_model=schemas.ConsumptionOut,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **refusals(404, 429)},
    dependencies=[EXPENSIVE],
)
def get_consumption(
    services: TheServices,
    scope: Annotated[Literal["meter", "building", "site"], Query(description="what `node` is")],
    node: Annotated[str, Query(max_length=128, description="id of the meter, vehicle, building or site")],
    carrier: Annotated[
        Literal["electricity", "water", "gas", "heat", "cooling", "generation"] | None,
        Query(description="what is consumed; generation: what a building or site makes itself"),
    ] = None,
    quantity: Annotated[
        str | None, Query(max_length=64, description="a meter's or vehicle's counter, instead of `carrier`")
    ] = None,
    start: Start = None,
    end: End = None,
    tz: Tz = None,
    resolution: Resolution = "hour",
    estimates: Annotated[
        Literal["include", "exclude"], Query(description="energy that was spread over gaps: with it or without")
    ] = "include",
    format: Literal["json", "csv"] = "json",
) -> Response:
    """Consumption of [start, end), by default of the last day, summed as integers from the stored intervals.

    Quarter hours, hours, days and months add up exactly. Days and months are local ones of `tz`, of whatever
    length. Intervals of which nothing is known are absent; `coverage` says how much was observed.
    """
    if (carrier is None) == (quantity is None):
        raise Refused("carrier", "and quantity: give one of the two", "a carrier, or a meter's counter")
    name = carrier or quantity or ""
    measure = measure_of(services, scope, node, name)
    zone = zone_or(services, tz, site_of(services, node).id)
    period = period_in(services, start, end, zone, timedelta(days=1))
    if period.length > LONGEST // timedelta(microseconds=1):
        raise Refused("start", "is more than 20 years before end", "ask for a shorter period")
    check_steps(services, period, resolution)
    including = estimates == "include"
    rows = grouped(services, [measure], edges(resolution, period, zone), zone, including)[0]
    file_name = f"consumption_{re.sub(r'[^A-Za-z0-9_-]+', '-', node)[:80]}_{measure.name}_{resolution}.csv"
    if format == "csv":
        return Response(
            csv_of(rows, zone),
            media_type="text/csv; charset=utf-8",
            headers={"content-disposition": f'attachment; filename="{file_name}"'},
        )
    whole = grouped(services, [measure], edges("total", period, zone), zone, including)[0]
    by_day = rows if resolution in ("15min", "hour", "day") else None
    document = {
        "node": node,
        "scope": scope,
        "name": measure.name,
        "unit": measure.unit,
        "tz": zone.key,
        "resolution": resolution,
        "estimates": estimates,
        "start": iso(period.start, zone),
        "end": iso(period.end, zone),
        "total": int(rows.amount.sum()) if len(rows) else None,
        "estimated": int(rows.estimated.sum()),
        "coverage": float(whole.coverage[0]) if len(whole) else 0.0,
        "rows": _rows(rows, zone),
        "converted": _converted(services, scope, node, period, measure.name, by_day, including, zone),
    }
    return Response(msgspec.json.encode(document), media_type="application/json")


def _rows(amounts: Amounts, zone: Any) -> list[dict[str, Any]]:
    columns = (
        iso_column(amounts.start, zone),
        iso_column(amounts.end, zone),
        amounts.amount.tolist(),
        amounts.estimated.tolist(),
        amounts.coverage.tolist(),
    )
    names = ("start", "end", "amount", "estimated", "coverage")
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _converted(
    services: TheServices,
    scope: Scope,
    node: str,
    period: Period,
    name: str,
    by_day: Amounts | None,
    including: bool,
    zone: Any,
) -> dict[str, Any]:
    """Money, CO2 and standard coal of the period; by days, since factors are dated."""
    carrier = carrier_of(name, services.installation.by_id[node])
    kinds = [kind for kind in KINDS if any(f.id == f"{kind}.{carrier}" for f in services.installation.factors)]
    if not kinds:
        return {}
    days = by_day or amounts_by(services, scope, node, name, *period, "day", zone=zone, estimates=including)
    found = {kind: convert(services, kind, carrier, days) for kind in kinds}
    return {kind: wording.converted(each, zone).model_dump() for kind, each in found.items() if each is not None}


def csv_of(amounts: Amounts, zone: Any) -> bytes:
    """Intervals as CSV, amounts as exact decimals."""
    unit = amounts.measure.unit
    titles = ["start", "end", f"amount [{unit}]", f"estimated [{unit}]", "coverage"]
    lines = [",".join(map(text_cell, titles))]
    for row in _rows(amounts, zone):
        amount, estimated = (exact(row[key]) for key in ("amount", "estimated"))
        lines.append(f'"{row["start"]}","{row["end"]}",{amount},{estimated},{row["coverage"]:.4f}')
    return ("\r\n".join(lines) + "\r\n").encode()


def exact(thousandths: int) -> str:
    """An amount as a decimal number with three places."""
    sign = "-" if thousandths < 0 else ""
    return f"{sign}{abs(thousandths) // 1000}.{abs(thousandths) % 1000:03d}"
