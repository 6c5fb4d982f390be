"""What the page's charts draw, as columns; and the words that describe each chart."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlencode

import numpy as np

from api.facts import applied
from api.figures import Amounts, Scope, amounts_by, cadence_us, mean_power_w, measure_of, whole_quarters
from api.page.numbers import columns, typeset
from api.page.times import day_said, month_said, said
from api.page.usual import expected_columns
from api.page.view import View
from api.periods import Period, edges, from_us, local_date, midnight, shifted, zone_of
from api.samples import rolled_up
from metering.clock import DAY_US, HOUR_US, QUARTER_US
from metering.quantity import Kind
from metering.reading import Point
from metering.site import Device, Meter

if TYPE_CHECKING:
    from numpy.typing import NDArray

Grain = Literal["15min", "hour", "day", "month"]
RAW_AT_MOST = 2 * DAY_US  # longer spans of a gauge are drawn as low, mean, high of each step
HEAT_DAYS = 366
LEAST_ESTIMATED = 0.001  # less is not worth a legend


def seconds(at: NDArray[np.int64]) -> list[float]:
    """Instants as seconds since 1970."""
    return (at / 1e6).tolist()


def grain_of(length: int, unit: str) -> Grain:
    """The resolution that suits a span: a few hundred steps at most, power curves finer."""
    if unit == "kWh" and length <= 8 * DAY_US:
        return "15min"
    if length <= 8 * DAY_US:
        return "hour"
    return "day" if length <= 130 * DAY_US else "month"


def use_chart(view: View, scope: Scope, node: str, name: str, zoom: Period | None) -> dict[str, Any]:
    """Consumption of the period, or of the part zoomed into, against the compared period."""
    measure = measure_of(view.services, scope, node, name)
    span = view.filters.span
    period = zoom or span.period
    grain = grain_of(period.length, measure.unit)
    zone = zone_of(view.zone)
    cuts = edges(grain, period, zone)
    starts, ends = cuts[:-1], cuts[1:]
    line = grain == "15min"
    passed = whole_quarters(view.services, period) if line else period
    this = amounts_by(view.services, scope, node, name, *passed, grain, zone=zone)
    value, found = placed(this, starts, line)
    estimated, _ = placed(this, starts, line, "estimated")
    coverage = np.full(len(starts), np.nan)
    coverage[found] = this.coverage
    usual = expected_columns(view, scope, node, name, starts, period, grain)
    before, before_label = None, ""
    if usual is None:
        before, before_label = compared_values(view, scope, node, name, starts, period, grain)
    data = {
        "kind": "line" if line else "bars",
        "grain": grain,
        "unit": "W" if line else measure.unit,
        "from": period.start / 1e6,
        "to": period.end / 1e6,
        "x": seconds(starts),
        "end": seconds(ends),
        "value": columns(value),
        "estimated": columns(estimated) if np.nansum(estimated) > LEAST_ESTIMATED * np.nansum(value) else None,
        "coverage": columns(coverage, 3),
        "before": columns(before) if before is not None else None,
        **(usual or {}),
        "labels": {"value": view.filters.label(view.words) if zoom is None else "", "before": before_label},
        "csv": csv_use(scope, node, measure.name, period, grain),
    }
    data["words"] = use_words(view, starts, value, estimated, data["unit"], grain)
    data["empty"] = not bool(len(this))
    return data


def placed(amounts: Amounts, starts: NDArray[np.int64], as_power: bool, what: str = "amount") -> Any:
    """Amounts on a grid of starts, NaN where nothing is known; and where they stand."""
    found = np.searchsorted(starts, amounts.start)
    out = np.full(len(starts), np.nan)
    column = getattr(amounts, what)
    if as_power:
        out[found] = column * 3600e6 / (amounts.end - amounts.start)
    else:
        out[found] = column / 1000.0
    return out, found


def compared_values(
    view: View, scope: Scope, node: str, name: str, starts: NDArray[np.int64], period: Period, grain: Grain
) -> tuple[NDArray[np.float64] | None, str]:
    """The compared period on the same places, clock hour by clock hour (month by month, day by day)."""
    compared = view.filters.compared
    if compared is None or (grain == "month" and view.filters.period != "year"):
        return None, ""
    zone, span = zone_of(view.zone), view.filters.span
    days = (span.first - compared.first).days
    if grain == "month":
        there = np.array([midnight(_year_before(local_date(at, zone)), zone) for at in starts.tolist()], np.int64)
        until = compared.end
    else:
        there = np.array([shifted(at, zone, -days) for at in starts.tolist()], np.int64)
        until = min(shifted(period.end, zone, -days), max(compared.end, shifted(period.start + 1, zone, -days)))
    if not len(there) or until <= int(there[0]):
        return None, ""
    amounts = amounts_by(view.services, scope, node, name, int(there[0]), until, grain, zone=zone)
    if not len(amounts):
        return None, ""
    values = mean_power_w(amounts) if grain == "15min" else amounts.value
    known = dict(zip(amounts.start.tolist(), values.tolist(), strict=True))
    column = np.array([known.get(at, np.nan) for at in there.tolist()])
    return column, view.filters.compared_label(view.words)


def _year_before(day: Any) -> Any:
    return day.replace(year=day.year - 1, day=1)


def csv_use(scope: str, node: str, name: str, period: Period, grain: str) -> str:
    """The same as CSV, from the API."""
    key = "quantity" if scope == "meter" else "carrier"
    query = {"scope": scope, "node": node, key: name, "start": iso_of(period.start), "end": iso_of(period.end)}
    return "/api/v1/consumption?" + urlencode({**query, "resolution": grain, "format": "csv"})


def iso_of(at: int) -> str:
    """UTC in ISO 8601."""
    return from_us(at).isoformat().replace("+00:00", "Z")


def use_words(
    view: View,
    starts: NDArray[np.int64],
    value: NDArray[np.float64],
    estimated: NDArray[np.float64],
    unit: str,
    grain: Grain,
) -> str:
    """ "Highest 312 kW at 10:15, lowest 48.2 kW at 03:30; 2 gaps." """
    words = view.words
    if not np.any(np.isfinite(value)):
        return words("chart.nothing")
    top, low = int(np.nanargmax(value)), int(np.nanargmin(value))
    kind = "line" if grain == "15min" else "bars"
    text = words(
        f"chart.{kind}",
        top=typeset(float(value[top]), unit),
        top_at=step_said(view, int(starts[top]), grain),
        low=typeset(float(value[low]), unit),
        low_at=step_said(view, int(starts[low]), grain),
    )
    parts = [text]
    last = int(np.flatnonzero(np.isfinite(value))[-1])
    missing = ~np.isfinite(value[: last + 1])
    gaps = int(np.count_nonzero(missing & ~np.concatenate([[False], missing[:-1]])))
    if gaps:
        parts.append(words("chart.gaps", n=gaps))
    total = float(np.nansum(value))
    share = float(np.nansum(estimated)) / total if total else 0.0
    if share > LEAST_ESTIMATED:
        parts.append(words("chart.estimated", share=view.share(share)))
    return words.sentence(parts)


def step_said(view: View, at: int, grain: Grain) -> str:
    """A step as people say it: a time, a day, a month."""
    day = local_date(at, zone_of(view.zone))
    if grain == "month":
        return month_said(day, view.language)
    if grain == "day":
        return day_said(day, view.language)
    if view.filters.period == "day":
        return view.clock(at)
    return f"{day_said(day, view.language)} {view.clock(at)}"


def heat_chart(view: View, scope: Scope, node: str, name: str) -> dict[str, Any]:
    """Hour by day: a year until the end of the period shown."""
    services = view.services
    measure = measure_of(services, scope, node, name)
    zone = zone_of(view.zone)
    last = min(view.filters.span.after - timedelta(days=1), local_date(view.now, zone))
    first = last - timedelta(days=HEAT_DAYS - 1)
    days = [first + timedelta(days=i) for i in range(HEAT_DAYS)]
    midnights = np.array([midnight(day, zone) for day in [*days, last + timedelta(days=1)]], np.int64)
    found = amounts_by(services, scope, node, name, int(midnights[0]), int(midnights[-1]), "hour", zone=zone)
    grid = np.full((HEAT_DAYS, 24), np.nan)
    if len(found):
        day = np.searchsorted(midnights, found.start, "right") - 1
        hour = (found.start - midnights[day]) // HOUR_US
        length = np.diff(midnights)[day]
        for i in np.flatnonzero(length != DAY_US).tolist():
            hour[i] = from_us(int(found.start[i])).astimezone(zone).hour
        grid[day, np.minimum(hour, 23)] = found.value
    known = np.flatnonzero(np.isfinite(grid).any(axis=1))
    since = int(known[0]) if len(known) else 0
    works = services.calendar_of(view.site.id if view.site else "").workdays.works
    free = [not works(day) for day in days[since:]]
    return {
        "kind": "heat",
        "unit": measure.unit,
        "first": days[since].isoformat(),
        "days": [day.isoformat() for day in days[since:]],
        "free": free,
        "value": columns(grid[since:].ravel(), 3),
        "csv": csv_use(scope, node, measure.name, Period(int(midnights[since]), int(midnights[-1])), "hour"),
        "words": heat_words(view, grid[since:], measure.unit, days[since:]),
        "empty": not len(found),
    }


def heat_words(view: View, grid: NDArray[np.float64], unit: str, days: list[Any]) -> str:
    """ "The busiest hour is usually 10:00; the quietest 03:00; most in one hour: 64 kWh, Mon 12 Jan 11:00." """
    if not np.any(np.isfinite(grid)):
        return view.words("chart.nothing")
    with np.errstate(all="ignore"):
        known = np.isfinite(grid).any(axis=0)
        mean = np.where(known, np.nansum(grid, axis=0) / np.maximum(np.isfinite(grid).sum(axis=0), 1), np.nan)
    top = int(np.nanargmax(grid))
    return view.words(
        "chart.heat",
        busy=f"{int(np.nanargmax(mean)):02d}:00",
        quiet=f"{int(np.nanargmin(mean)):02d}:00",
        top=typeset(float(grid.ravel()[top]), unit),
        top_at=f"{day_said(days[top // 24], view.language)} {top % 24:02d}:00",
    )


def readings_chart(view: View, device: Device, point: Point, zoom: Period | None) -> dict[str, Any]:
    """Readings of a point: raw for short spans, low, mean and high of each step for long ones."""
    span = view.filters.span
    period = zoom or Period(span.start, span.end)
    until = min(period.end, view.now + 1)
    short = period.length <= RAW_AT_MOST
    if short or until <= period.start:
        series = view.services.store.series(point, period.start, max(until, period.start))
        at, value, low, high = series.at, applied(device, series), None, None
        grain = "raw"
    else:
        grain = "15min" if period.length <= 40 * DAY_US else "hour" if period.length <= 130 * DAY_US else "day"
        steps = rolled_up(view.services.store, device, point, Period(period.start, until), grain, view.zone, True)  # type: ignore[arg-type]
        at, value, low, high = steps.start, steps.mean, steps.lowest, steps.highest
        if point.of.kind == Kind.COUNTER:
            value, low, high = steps.highest, None, None
    step = {"raw": 0, "15min": QUARTER_US, "hour": HOUR_US, "day": DAY_US}[grain]
    at, value, low, high, gaps = broken(at, value, low, high, 3 * max(cadence_us(device), step))
    data = {
        "kind": "readings",
        "grain": grain,
        "unit": point.of.unit,
        "counter": point.of.kind == Kind.COUNTER,
        "from": period.start / 1e6,
        "to": period.end / 1e6,
        "x": seconds(at),
        "value": columns(value),
        "low": columns(low) if low is not None else None,
        "high": columns(high) if high is not None else None,
        "marks": fact_marks(view, device, period),
        "csv": csv_readings(point, period, grain),
        "empty": not len(at),
    }
    data["words"] = readings_words(view, at, value, point, gaps)
    return data


def broken(
    at: NDArray[np.int64],
    value: NDArray[np.float64],
    low: NDArray[np.float64] | None,
    high: NDArray[np.float64] | None,
    longest: int,
) -> tuple[Any, ...]:
    """The line broken at gaps: a row of nothing between readings further apart than `longest`; and how many."""
    gaps = np.flatnonzero(np.diff(at) > longest) + 1
    if not len(gaps):
        return at, value, low, high, 0
    middle = (at[gaps - 1] + at[gaps]) // 2
    insert = [np.insert(column, gaps, np.nan) if column is not None else None for column in (value, low, high)]
    return np.insert(at, gaps, middle), *insert, len(gaps)


def fact_marks(view: View, device: Device, period: Period) -> list[dict[str, Any]]:
    """Dated facts within the period: where the line means something else from here on."""
    return [
        {"at": fact.valid_from / 1e6, "text": view.words(f"mark.{fact.kind}")}
        for fact in device.facts
        if period.start <= fact.valid_from < period.end
    ]


def csv_readings(point: Point, period: Period, grain: str) -> str:
    """The same readings as CSV, from the API."""
    query = {"phase": point.phase, "start": iso_of(period.start), "end": iso_of(period.end), "format": "csv"}
    if grain != "raw" and point.of.kind == Kind.GAUGE:
        query["aggregate"] = grain
    path = "/".join(quote(part, safe="") for part in (point.site, point.meter, point.quantity))
    return f"/api/v1/series/{path}?" + urlencode(query)


def readings_words(view: View, at: NDArray[np.int64], value: NDArray[np.float64], point: Point, gaps: int) -> str:
    """ "From 48.1 to 312 kW; 2 gaps." """
    known = np.flatnonzero(np.isfinite(value))
    if not len(known):
        return view.words("chart.nothing")
    unit = point.of.unit
    parts = [
        view.words(
            "chart.readings",
            low=typeset(float(np.nanmin(value)), unit),
            high=typeset(float(np.nanmax(value)), unit),
            last=typeset(float(value[known[-1]]), unit),
            last_at=said(int(at[known[-1]]), view.now, view.zone, view.language),
        )
    ]
    if gaps:
        parts.append(view.words("chart.gaps", n=gaps))
    return view.words.sentence(parts)


def device_of(view: View, node: str) -> Device | None:
    """The meter or vehicle of an id."""
    thing = view.services.installation.by_id.get(node)
    return thing if isinstance(thing, Meter) or getattr(thing, "drive", None) else None  # type: ignore[return-value]
