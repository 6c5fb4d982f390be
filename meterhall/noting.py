"""Rows for dashboards: what things are called, how they are, what happened when. Pure: configuration and figures in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

from analytics.edges import day_start
from analytics.workdays import Workdays
from api.states import DeviceFigure, VehicleState, dated_value, silent_after_us
from devices.settings import Thresholds
from metering.clock import DAY_US, QUARTER_US, from_us
from metering.health import LineHealth, SpoolHealth
from metering.quantity import CONSUMPTION, Carrier
from metering.site import Building, Fact, Installation, Meter, Name, Site, Vehicle
from storage.influx.line_protocol import printable
from storage.ledger.ledger import Event
from storage.notes import Note

LANGUAGES = ("en", "zh")
CARRIERS = {
    Carrier.ELECTRICITY: Name("Electricity", "电"),
    Carrier.WATER: Name("Water", "水"),
    Carrier.GAS: Name("Gas", "燃气"),
    Carrier.HEAT: Name("Heat", "热"),
    Carrier.COOLING: Name("Cooling", "冷"),
    Carrier.CLIMATE: Name("Climate", "气象"),
    Carrier.VEHICLE: Name("Vehicles", "车辆"),
}
LONGEST_NAME = 400  # characters, in a tag
NONE = "-"  # of a tag that means nothing here: no tag may be empty
STATES = {
    "ok": 0,
    "degraded": 1,
    "silent": 2,
    "broken": 2,
    "never": 3,
    "unknown": 3,
}  # ok, needs you, broken, not known
ACTIVITIES = {"parked": 0, "driving": 1, "charging": 2, "silent": 3, "unknown": 4}
UNITS = {
    "missing": "%", "estimated": "%", "base_load": "%", "charge": "%", "rejected": "%", "waiting": "1", "disk": "%",
}  # fmt: skip
SWAP = Name("Meter replaced", "换表")
FACT = Name("Fact of a meter changed", "计量参数变更")
HOLIDAY = Name("Holiday", "法定休息日")
WORK_DAY = Name("Work day on a weekend", "周末调休上班")
SEVERITIES = {"info": 0, "warning": 1, "needs_you": 1, "broken": 2}


def _label(name: str, thing_id: str) -> str:
    """`Name [id]`: unique, and what a variable shows and means."""
    return f"{printable(name)[:LONGEST_NAME]} [{printable(thing_id)}]"


def _carrier_tags(carrier: Carrier | None) -> dict[str, str]:
    if carrier is None:
        return {f"carrier_{language}": NONE for language in LANGUAGES}
    return {f"carrier_{each}": _label(CARRIERS[carrier].in_language(each), carrier) for each in LANGUAGES}


def _names(name: Name, prefix: str = "name") -> dict[str, str]:
    return {f"{prefix}_{language}": name.in_language(language) for language in LANGUAGES}


def counter_of(meter: Meter) -> str:
    """The counter that stands for a meter; "-" for a sensor."""
    if meter.role == "generation":
        return "active_energy_export"
    return next(iter(CONSUMPTION.get(meter.carrier, ())), NONE)


def _node(
    thing: Site | Building | Meter | Vehicle, scope: str, at: int, fields: Mapping[str, Any], **tags: str
) -> Note:
    site = thing.id if isinstance(thing, Site) else thing.site
    named = {
        "site": site,
        "scope": scope,
        "node": thing.id,
        "building": getattr(thing, "building", "") or NONE,
        "carrier": str(getattr(thing, "carrier", NONE)),
        "counter": counter_of(thing) if isinstance(thing, Meter) else NONE,
        **{f"label_{language}": _label(thing.name.in_language(language), thing.id) for language in LANGUAGES},
        **_carrier_tags(getattr(thing, "carrier", None)),
        **tags,
    }
    return Note("node", tuple(named.items()), at, {**_names(thing.name), **fields})


def places(installation: Installation, states: Iterable[VehicleState], now: int) -> Iterator[Note]:
    """Sites, with how many of their vehicles do what, and buildings."""
    at = now // DAY_US * DAY_US
    doing = Counter((state.vehicle.site, state.activity) for state in states)
    for site in installation.sites:
        counts = {f"vehicles_{activity}": doing[site.id, activity] for activity in ACTIVITIES}
        yield _node(site, "site", at, {"timezone": site.timezone, **counts})
    for building in installation.buildings:
        area, persons = dated_value(building.floor_area, now), dated_value(building.persons, now)
        fields = {"floor_area": area, "persons": persons}
        known = {name: float(value) for name, value in fields.items() if value is not None}
        yield _node(building, "building", at, {"use": building.use, **known}, building=building.id)


def devices(installation: Installation, figures: Iterable[DeviceFigure], now: int) -> Iterator[Note]:
    """Meters, and how each does."""
    at = now // DAY_US * DAY_US
    for figure in figures:
        meter = figure.device
        if not isinstance(meter, Meter):
            continue
        place = installation.by_id[meter.building or meter.site]
        fields: dict[str, Any] = {
            **_names(place.name, "place"),
            "end_use": meter.end_use,
            "state": STATES[figure.state],
            "silent_after_s": silent_after_us(meter) / 1e6,
        }
        if figure.last_seen is not None:
            fields["last_ms"] = figure.last_seen // 1000
        if meter.rated_power_w:
            fields["rated_kw"] = meter.rated_power_w / 1000.0
        yield _node(meter, "meter", at, fields)


def vehicles(states: Iterable[VehicleState], now: int) -> Iterator[Note]:
    """Vehicles, and what each does."""
    at = now // DAY_US * DAY_US
    for state in states:
        vehicle = state.vehicle
        fields: dict[str, Any] = {
            "plate": vehicle.plate or NONE,
            "drive": vehicle.drive,
            "activity": ACTIVITIES[state.activity],
            "position": int(vehicle.position),
        }
        measured = {"charge": state.charge, "fuel": state.fuel, "odometer": state.odometer}
        fields |= {name: float(value) for name, value in measured.items() if value is not None}
        if state.last_seen is not None:
            fields["last_ms"] = state.last_seen // 1000
        yield _node(vehicle, "vehicle", at, fields)


def thresholds(configured: Thresholds, now: int) -> Iterator[Note]:
    """From where on a figure asks for attention."""
    for name, value in asdict(configured).items():
        yield Note(
            "threshold", (("name", name), ("unit", UNITS[name])), now // DAY_US * DAY_US, {"value": float(value)}
        )


def _event(kind: str, site: str, node: str, at: int, title: Name, text: Name, **more: int) -> Note:
    """What happened, on the quarter hour it happened in: the exact time stands in `at_ms`."""
    tags = (("kind", kind), ("node", printable(node)), ("site", site or NONE))
    fields = {**_names(title, "title"), **_names(text, "text"), "at_ms": at // 1000, **more}
    return Note("event", tags, at // QUARTER_US * QUARTER_US, fields)


def dated_facts(installation: Installation) -> Iterator[Note]:
    """Swaps, and other facts with a date, of meters and vehicles."""
    for device in installation.devices():
        for fact in device.facts:
            if fact.valid_from > 0:
                title = SWAP if fact.kind == "swap" else FACT
                kind = "swap" if fact.kind == "swap" else "fact"
                text = Name(
                    *(": ".join(filter(None, (device.name.in_language(each), _said(fact)))) for each in LANGUAGES)
                )
                yield _event(kind, device.site, device.id, fact.valid_from, title, text)


def _said(fact: Fact) -> str:
    if fact.kind == "swap":
        numbers = " → ".join(f"{value:g}" for value in (fact.last, fact.first) if value is not None)
        return " ".join(filter(None, (numbers, fact.reason)))
    return " ".join(filter(None, (f"{fact.kind} {fact.factor:g}", fact.reason)))


def calendar(installation: Installation, calendar_of: Callable[[str], Workdays], now: int) -> Iterator[Note]:
    """Days out of turn of each site, from two years back to a year ahead: holidays on weekdays, work on weekends."""
    today = from_us(now).date()
    for site in installation.sites:
        days = calendar_of(site.id)
        for n in range(-731, 366):
            day = today + timedelta(days=n)
            if days.out_of_turn(day):
                title = WORK_DAY if days.works(day) else HOLIDAY
                start, end = day_start(site.timezone, day), day_start(site.timezone, day + timedelta(days=1))
                yield _event("calendar", site.id, site.id, start, title, _day(day), end_ms=end // 1000)


def _day(day: date) -> Name:
    return Name(day.isoformat(), f"{day.year}年{day.month}月{day.day}日")


def needs(events: Iterable[Event]) -> Iterator[Note]:
    """What needs somebody now."""
    for event in events:
        yield _event(
            "need", event.site, event.node, event.since, event.text, event.text,
            severity=SEVERITIES.get(event.severity, 1), number=event.id,
        )  # fmt: skip


def collector(
    own: str,
    books: Mapping[str, Any],
    lines: Iterable[LineHealth],
    spool: SpoolHealth,
    more: Mapping[str, int],
    now: int,
) -> Iterator[Note]:
    """Books, lines and spool of one collector.

    own : its name, one a database
    more : spool_limit, disk_free, disk_total [bytes], needs [1]
    """
    total = books["total"]
    oldest = 0.0 if spool.oldest_pending_us is None else max(0.0, (now - spool.oldest_pending_us) / 1e6)
    fields: dict[str, float | int | str] = {
        "waiting": spool.pending_messages,
        "spool_bytes": spool.bytes,
        "oldest_s": oldest,
        "accepting": int(spool.accepting),
        **more,
        **counts(total["messages"], total["readings"]),
    }
    yield Note("collector", (("collector", own),), now, fields)
    for source in sorted({*books["messages"], *books["readings"]}):
        found = counts(books["messages"].get(source, {}), books["readings"].get(source, {}))
        yield Note("collector_source", (("collector", own), ("source", printable(source))), now, found)
    for line in lines:
        tags = (("collector", own), ("line", printable(line.id)), ("kind", line.kind))
        states = [unit.state for unit in line.units]
        yield Note(
            "collector_line",
            tags,
            now,
            {
                "state": STATES[line.state],
                "address": line.address,
                "note": line.note,
                "units": len(states),
                "units_ok": states.count("ok"),
            },
        )


def counts(messages: Mapping[str, Any], readings: Mapping[str, Any]) -> dict[str, int]:
    """Both books in fields: totals since the beginning."""
    out = {f"messages_{name}": _sum(messages.get(name, 0)) for name in ("received", "decoded", "repeated")}
    out |= {f"messages_{name}": _sum(messages.get(name, 0)) for name in ("rejected", "dropped")}
    out |= {f"readings_{name}": _sum(readings.get(name, 0)) for name in ("stored", "duplicate", "conflict", "missing")}
    out |= {f"readings_{name}": _sum(readings.get(name, 0)) for name in ("rejected", "dropped")}
    return out


def _sum(value: Any) -> int:
    return sum(value.values()) if isinstance(value, Mapping) else int(value)
