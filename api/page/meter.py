"""One meter: does it count, what did it count, how good are its readings."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from api.facts import applied
from api.figures import (
    DeviceFigure,
    amounts_of,
    device_figures,
    measure_of_main,
    power_now,
    quality_days,
)
from api.page.attention import needs_of
from api.page.numbers import exact, typeset
from api.page.usual import quality_card
from api.page.view import LEAST_COVERAGE, Clause, View
from api.periods import Period, local_date, midnight, zone_of
from metering.clock import DAY_US
from metering.quantity import CONSUMPTION, QUANTITIES, Carrier, Kind
from metering.reading import Measure, Point
from metering.site import Building, Fact, Meter

STRIP_DAYS, STRIP_LEAST = 91, 14
RAW_ROWS = 50
MARKS = {"ok": "ok", "silent": "needs", "degraded": "needs", "never": "unknown", "broken": "broken"}


def meter_list(view: View, wanted: str = "") -> dict[str, Any]:
    """What `meters.html` shows: every meter by carrier and building."""
    services, words = view.services, view.words
    meters = [m for m in services.installation.meters if view.site and m.site == view.site.id]
    if not meters:
        return {"state": "empty", "sentence": [Clause(words("meters.none"))], "groups": [], "carriers": []}
    present = [carrier for carrier in Carrier if any(m.carrier == carrier for m in meters)]
    shown = [m for m in meters if m.carrier == wanted] or meters
    health = {each.device.id: each for each in device_figures(services)}
    period = passed(view)
    counting = [m for m in shown if counts(m)]
    measures = [measure_of_main(services, m) for m in counting]
    amounts = dict(zip((m.id for m in counting), amounts_of(services, measures, *period), strict=True))
    groups: dict[str, list[dict[str, Any]]] = {}
    for meter in shown:
        amount = amounts.get(meter.id)
        each = health[meter.id]
        groups.setdefault(meter.building, []).append(
            {
                "name": view.name(meter),
                "href": view.href_of(meter),
                "carrier": meter.carrier,
                "carrier_name": words(f"carrier.{meter.carrier}"),
                "figure": view.figure(amount) if amount is not None else newest_figure(view, meter),
                "status": MARKS[each.state],
                "status_text": words(f"device.{each.state}"),
                "seen": view.moment(each.last_seen, relative=True) if each.last_seen is not None else None,
            }
        )
    ill = sum(health[m.id].state in ("silent", "broken", "degraded") for m in meters)
    never = sum(health[m.id].state == "never" for m in meters)
    return {
        "state": "full",
        "sentence": list_sentence(view, len(meters), ill, never),
        "groups": [(group_name(view, key), rows) for key, rows in groups.items()],
        "carriers": [(carrier, words(f"carrier.{carrier}")) for carrier in present],
        "carrier": wanted if any(m.carrier == wanted for m in meters) else "",
    }


def list_sentence(view: View, total: int, ill: int, never: int) -> list[Clause]:
    """ "46 of 48 meters count; 2 do not answer." """
    words = view.words
    text = (
        words("meters.all", n=total)
        if not ill and not never
        else words("meters.some", good=total - ill - never, total=total)
    )
    parts = [words("meters.ill", n=ill)] if ill else []
    parts += [words("meters.never", n=never)] if never else []
    return [Clause(text + "".join(parts) + words("stop"))]


def group_name(view: View, building: str) -> tuple[str, str]:
    """A building's name and address; the site's own meters stand under its name."""
    thing = view.services.installation.by_id.get(building)
    if isinstance(thing, Building):
        return view.name(thing), view.href_of(thing)
    return (view.name(view.site) if view.site else ""), ""


def counts(meter: Meter) -> bool:
    """Whether a meter has consumption: a sensor has not."""
    return meter.role != "sensor" and bool(CONSUMPTION.get(meter.carrier))


def newest_figure(view: View, meter: Meter) -> Any:
    """A sensor's newest value, in place of an amount."""
    from api.page.view import Figure

    latest = view.services.store.latest([p for p in view.services.store.points() if p.meter == meter.id])
    reading = max(latest.values(), key=lambda r: r.observed_at, default=None)
    if reading is None:
        return Figure(typeset(None, ""), view.words("why.nothing_arrived"))
    return Figure(typeset(reading.value, reading.point.of.unit), "", view.words("meters.newest"))


def passed(view: View) -> Period:
    """The period shown, as far as it has passed."""
    span = view.filters.span
    return Period(span.start, max(span.start + 1, min(span.end, view.now)))


def meter(view: View, thing: Meter, wanted: str = "") -> dict[str, Any]:
    """What `meter.html` shows."""
    services = view.services
    points = sorted((p for p in services.store.points() if p.meter == thing.id), key=point_order)
    health = device_figures(services, [thing])[0]
    base = {
        "meter": thing,
        "name": view.name(thing),
        "health": health,
        "mark": MARKS[health.state],
        "needs": [need for need in needs_of(view) if need.node == thing.id],
        "facts": facts(view, thing),
        "dated": [dated_fact(view, fact) for fact in sorted(thing.facts, key=lambda f: -f.valid_from)],
        "building": services.installation.by_id.get(thing.building),
        "parent": services.installation.by_id.get(thing.parent),
        "parts": [(view.name(part), view.href_of(part)) for part in services.installation.children[thing.id]],
    }
    if not points:
        return {**base, "state": "empty", "sentence": [Clause(view.words("meter.never", name=view.name(thing)))]}
    by_text = {point_text(point): point for point in points}
    measure = measure_of_main(services, thing) if counts(thing) else None
    point = by_text.get(wanted) or main_point(points, measure)
    strip = quality_strip(view, measure) if measure else None
    fit = quality_card(view, "meter", thing.id, measure.name) if measure and thing.role != "generation" else None
    if fit and fit["rows"] and measure and services.insights:
        fit |= {"try": thing.id, "budget": f"{services.insights.budget(measure):g}"}
    return {
        **base,
        "state": "full",
        "fit": fit,
        "expected": bool(fit and fit["rows"]),
        "sentence": sentence(view, thing, health, measure),
        "measure": measure,
        "amount": view.figure(amounts_of(services, [measure], *passed(view))[0]) if measure else None,
        "now": power_now(services, thing.id) if thing.carrier == Carrier.ELECTRICITY else None,
        "counter": counter(view, points, measure),
        "strip": strip,
        "point": point,
        "point_text": point_text(point),
        "point_name": view.words(f"quantity.{point.quantity}"),
        "points": [(text, point_name(view, p)) for text, p in by_text.items()],
        "raw": raw_rows(view, thing, point),
    }


def point_text(point: Point) -> str:
    """A point in an address: `active_power` or `active_power.l1`."""
    return point.quantity if point.phase == "total" else f"{point.quantity}.{point.phase}"


def point_name(view: View, point: Point) -> str:
    """A point's name for a person."""
    name = view.words(f"quantity.{point.quantity}")
    return name if point.phase == "total" else f"{name} {point.phase.upper()}"


def point_order(point: Point) -> tuple[int, str, str]:
    """Counters first, then what flows, then the rest."""
    first = {"active_power": 1, "water_flow": 1, "gas_flow": 1, "heat_power": 1}
    rank = 0 if point.of.kind == Kind.COUNTER else first.get(point.quantity, 2)
    return rank, point.quantity, point.phase


def main_point(points: list[Point], measure: Measure | None) -> Point:
    """The point shown when none is asked for: what flows, else the counter."""
    flows = [p for p in points if p.of.kind == Kind.GAUGE and p.quantity in ("active_power", "water_flow", "gas_flow")]
    if flows:
        return flows[0]
    counters = [p for p in points if measure is not None and p.quantity == measure.name]
    return (counters or points)[0]


def counter(view: View, points: list[Point], measure: Measure | None) -> tuple[str, str] | None:
    """The counter's newest value as the meter said it."""
    point = next((p for p in points if measure is not None and p.quantity == measure.name), None)
    reading = view.services.store.latest([point]).get(point) if point else None
    if point is None or reading is None:
        return None
    return exact(round(reading.value, 1)), typeset(1.0, point.of.unit).unit.replace("MWh", "kWh")


def sentence(view: View, thing: Meter, health: DeviceFigure, measure: Measure | None) -> list[Clause]:
    """ "Counts normally; last value 40 s ago; 99.8 % of this month's readings arrived." """
    words = view.words
    seen = view.moment(health.last_seen, relative=True).text if health.last_seen is not None else ""
    since = view.moment(health.offline_since).text if health.offline_since is not None else seen
    text = words(f"meter.{health.state}", seen=seen, since=since)
    if measure is not None:
        zone = zone_of(view.zone)
        first = midnight(local_date(view.now, zone).replace(day=1), zone)
        month = amounts_of(view.services, [measure], first, max(first + 1, view.now))[0]
        if month.value is not None:
            text += words("meter.month", share=view.share(month.coverage))
    return [Clause(text + words("stop"))]


def quality_strip(view: View, measure: Measure) -> dict[str, Any]:
    """One cell a day: how much of it was observed; ends with the last day shown."""
    zone = zone_of(view.zone)
    last = min(local_date(view.now, zone), view.filters.span.after - timedelta(days=1))
    first = last - timedelta(days=STRIP_DAYS - 1)
    period = Period(midnight(first, zone), min(view.now, midnight(last + timedelta(days=1), zone)))
    days = quality_days(view.services, measure, period)
    cells = []
    for start, coverage in days:
        day = view.day(start, zone)
        known = coverage is not None and coverage > 0
        kind = "none" if not known else "full" if coverage >= LEAST_COVERAGE else "part" if coverage >= 0.5 else "low"
        share = view.share(coverage) if known else view.words("strip.nothing")
        cells.append({"kind": kind, "text": f"{day.text}: {share}", "day": day.text, "share": share, "href": view.link(
            f"/meters/{measure.node}", period="day", date=day.href)})  # fmt: skip
    while len(cells) > STRIP_LEAST and cells[0]["kind"] == "none":  # before the meter's first reading
        cells.pop(0)
    full = sum(cell["kind"] == "full" for cell in cells)
    return {
        "cells": cells,
        "first": cells[0]["day"] if cells else "",
        "last": cells[-1]["day"] if cells else "",
        "words": view.words("strip.words", full=full, total=len(cells)),
        "poor": [cell for cell in reversed(cells) if cell["kind"] != "full"],
    }


def raw_rows(view: View, thing: Meter, point: Point) -> list[dict[str, Any]]:
    """The newest readings of the period as the meter said them, with the value its dated facts make of it."""
    span = view.filters.span
    until = min(span.end, view.now + 1)
    since, width = until, 6 * 3_600_000_000
    series = view.services.store.series(point, since, until)
    while len(series) < RAW_ROWS and since > span.start and since > until - 40 * DAY_US:
        since = max(span.start, until - width)
        series = view.services.store.series(point, since, until)
        width *= 4
    facts_applied = applied(thing, series)
    unit = typeset(None, "").unit or point.of.unit
    rows = []
    for i in range(len(series) - 1, max(-1, len(series) - 1 - RAW_ROWS), -1):
        quality = int(series.quality[i])
        rows.append(
            {
                "at": view.moment(int(series.at[i])),
                "said": exact(float(series.value[i])),
                "means": exact(float(facts_applied[i])) if thing.facts else "",
                "unit": unit,
                "quality": view.words(f"quality_word.{quality}"),
            }
        )
    return rows


def facts(view: View, thing: Meter) -> list[tuple[str, str]]:
    """What a meter is, and how it is reached."""
    words = view.words
    rows = [
        (words("fact.carrier"), words(f"carrier.{thing.carrier}")),
        (words("fact.role"), words(f"role.{thing.role}")),
        (words("fact.profile"), thing.profile),
    ]
    if thing.end_use:
        key = f"end_use.{thing.end_use}"
        rows.append((words("fact.end_use"), words(key) if words.has(key) else thing.end_use))
    if thing.unit_id is not None:
        rows.append((words("fact.unit"), str(thing.unit_id)))
    if thing.rated_power_w:
        rows.append((words("fact.rated"), str(typeset(thing.rated_power_w, "W"))))
    if thing.simulated or thing.replayed:
        rows.append((words("fact.origin"), words("fact.replayed" if thing.replayed else "fact.simulated")))
    return rows


def dated_fact(view: View, fact: Fact) -> dict[str, str]:
    """A dated fact in words."""
    unit = QUANTITIES[fact.quantity].unit if fact.quantity else ""
    text = view.words(
        f"dated.{fact.kind}",
        factor=exact(fact.factor),
        offset=exact(fact.offset),
        last=exact(fact.last) if fact.last is not None else "–",
        first=exact(fact.first) if fact.first is not None else "–",
        unit=unit,
    )
    return {
        "since": view.moment(fact.valid_from).text if fact.valid_from > 0 else view.words("dated.always"),
        "text": text,
        "reason": fact.reason,
    }
