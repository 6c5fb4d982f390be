"""Vehicles: who drives, who charges, who has not been heard; distance and energy of the period."""

from __future__ import annotations

from typing import Any

from api.figures import Amount, VehicleState, amounts_by, vehicle_states
from api.journeys import journeys
from api.page import marks
from api.page.numbers import typeset
from api.page.view import Clause, Figure, View
from api.periods import Period, zone_of
from metering.clock import DAY_US
from metering.quantity import QUANTITIES
from metering.site import Vehicle

ORDER = ("silent", "driving", "charging", "parked", "unknown")
JOURNEY_DAYS, JOURNEY_ROWS = 100, 40
LEVELS = ("state_of_charge", "fuel_level")


def vehicles_of(view: View) -> list[Vehicle]:
    """The site's vehicles."""
    return [v for v in view.services.installation.vehicles if view.site and v.site == view.site.id]


def vehicle_list(view: View) -> dict[str, Any]:
    """What `vehicles.html` shows."""
    vehicles = vehicles_of(view)
    if not vehicles:
        return {"state": "empty", "sentence": [Clause(view.words("vehicles.none"))], "rows": []}
    states = vehicle_states(view.services, vehicles, vehicle_period(view))
    rows = [row(view, state) for state in states]
    rows.sort(key=lambda each: (ORDER.index(each["status"]), each["name"]))
    return {"state": "full", "sentence": sentence(view, [each["status"] for each in rows]), "rows": rows}


def vehicle_period(view: View) -> Period:
    """The period shown, as far as it has passed."""
    span = view.filters.span
    return Period(span.start, max(span.start + 1, min(span.end, view.now)))


def figure(view: View, amount: Amount, vehicle: Vehicle, name: str) -> Figure:
    """A vehicle's amount; a dash says whether such a vehicle has none, or none arrived."""
    electric, fuelled = vehicle.drive in ("electric", "plug_in_hybrid"), vehicle.drive != "electric"
    if (name == "energy" and not electric) or (name == "fuel" and not fuelled):
        return Figure(typeset(None, ""), view.words("why.not_this_drive"))
    return view.figure(amount)


def row(view: View, state: VehicleState) -> dict[str, Any]:
    """One vehicle's line."""
    vehicle, seen = state.vehicle, state.last_seen
    level = state.charge if state.charge is not None else state.fuel
    quantity = "state_of_charge" if state.charge is not None else "fuel_level"
    return {
        "vehicle": vehicle,
        "name": view.name(vehicle),
        "plate": vehicle.plate,
        "drive": view.words(f"drive.{vehicle.drive}"),
        "href": view.href_of(vehicle),
        "status": state.activity,
        "status_text": view.words(f"status.{state.activity}"),
        "mark": {"silent": "needs", "unknown": "unknown"}.get(state.activity, "ok"),
        "level": typeset(level, "%"),
        "level_name": view.words(f"level.{quantity}"),
        "level_bar": marks.level(level / 100 if level is not None else None, "level shares"),
        "seen": view.moment(seen, relative=True) if seen is not None else None,
        "distance": figure(view, state.distance, vehicle, "distance"),
        "energy": figure(view, state.energy, vehicle, "energy"),
        "fuel": figure(view, state.fuel_used, vehicle, "fuel"),
    }


def sentence(view: View, statuses: list[str]) -> list[Clause]:
    """ "Of 20 vehicles 3 are driving, 2 charge and 12 are parked; 3 have not been heard for a day." """
    words = view.words
    parts = [
        words(f"vehicles.{status}", n=statuses.count(status))
        for status in ("driving", "charging", "parked")
        if statuses.count(status) or status == "driving"
    ]
    text = words("vehicles.of", n=len(statuses), parts=words.joined(parts))
    missing = statuses.count("silent") + statuses.count("unknown")
    if missing:
        text += words("vehicles.missing", n=missing)
    return [Clause(text + words("stop"))]


def fleet(view: View) -> dict[str, Any]:
    """The fleet's tile on Today."""
    states = vehicle_states(view.services, vehicles_of(view), vehicle_period(view))
    statuses = [state.activity for state in states]
    silent = statuses.count("silent") + statuses.count("unknown")
    return {
        "driving": statuses.count("driving"),
        "charging": statuses.count("charging"),
        "total": len(statuses),
        "note": view.words("vehicles.silent_note", n=silent) if silent else "",
        "href": view.link("/vehicles"),
    }


def vehicle(view: View, thing: Vehicle) -> dict[str, Any]:
    """What `vehicle.html` shows: state, level, distance and energy by day, readings."""
    services, words = view.services, view.words
    state = vehicle_states(services, [thing], vehicle_period(view))[0]
    line = row(view, state)
    known = set(services.known.of(services.store, thing.id))
    points = sorted(point.quantity for point in services.store.points() if point.meter == thing.id)
    if state.last_seen is None:
        said = words("vehicle.never", name=line["name"])
    else:
        said = words(
            f"vehicle.{state.activity}",
            name=line["name"],
            seen=line["seen"].text,
            level=words("vehicle.at_level", level=line["level"]) if line["level"].unit else "",
        )
        if line["distance"].set.unit:
            label = view.filters.label_within(words)
            said += words("vehicle.distance", period=label, distance=line["distance"].set)
    return {
        **line,
        "state": "full" if points else "empty",
        "sentence": [Clause(said + words("stop"))],
        "odometer": typeset(state.odometer, "km"),
        "levels": [name for name in LEVELS if name in points],
        "counters": [name for name in ("odometer", "charge_energy", "fuel_used") if name in known],
        "days": day_rows(view, thing, known),
        **journey_rows(view, thing),
        "facts": facts(view, thing),
        "points": points,
    }


def journey_rows(view: View, thing: Vehicle) -> dict[str, Any]:
    """Trips, charging and refuelling of the period shown, newest first; of a long one what came last."""
    passed = vehicle_period(view)
    found = journeys(view.services, thing, Period(max(passed.start, passed.end - JOURNEY_DAYS * DAY_US), passed.end))

    def span(before: float | None, after: float | None) -> str:
        return "" if before is None or after is None else f"{typeset(before, '').text} → {typeset(after, '%')}"

    trips = [
        {
            "start": view.moment(trip.start),
            "end": view.moment(trip.end),
            "certain": trip.certain,
            "distance": typeset(trip.distance, "km"),
            "fuel": typeset(trip.fuel, "l"),
            "charge": span(trip.charge_before, trip.charge_after),
        }
        for trip in found.trips[: -JOURNEY_ROWS - 1 : -1]
    ]
    charges = [
        {
            "start": view.moment(charge.start),
            "end": view.moment(charge.end),
            "certain": charge.certain,
            "energy": typeset(charge.energy, "kWh"),
            "charge": span(charge.charge_before, charge.charge_after),
        }
        for charge in found.charges[: -JOURNEY_ROWS - 1 : -1]
    ]
    fuel = [
        {
            "start": view.moment(each.after),
            "end": view.moment(each.before),
            "fuel": typeset(each.fuel, "l"),
            "charge": span(each.level_before, each.level_after),
        }
        for each in found.refuellings[: -JOURNEY_ROWS - 1 : -1]
    ]
    return {
        "trips": trips,
        "trip_fuel": any(trip.fuel is not None for trip in found.trips),
        "trip_charge": any(trip["charge"] for trip in trips),
        "charges": charges,
        "refuellings": fuel,
    }


def day_rows(view: View, thing: Vehicle, known: set[str]) -> list[dict[str, Any]]:
    """Distance, energy and fuel of the last days, newest first."""
    span = view.filters.span
    until = min(span.end, view.now)
    since = min(span.start, until - 7 * DAY_US)
    rows: dict[int, dict[str, Any]] = {}
    for name in ("odometer", "charge_energy", "fuel_used"):
        if name not in known:
            continue
        found = amounts_by(view.services, "meter", thing.id, name, since, until, "day")
        for start, value in zip(found.start.tolist(), found.value.tolist(), strict=True):
            rows.setdefault(start, {})[name] = typeset(value, QUANTITIES[name].unit)
    nothing = typeset(None, "")
    return [
        {"day": view.day(start, zone_of(view.zone)), **{name: row.get(name, nothing) for name in known}}
        for start, row in sorted(rows.items(), reverse=True)
    ][:31]


def facts(view: View, thing: Vehicle) -> list[tuple[str, str]]:
    """Plate, drive, battery, tank, home, whether its position is kept."""
    words = view.words
    rows = [(words("fact.drive"), words(f"drive.{thing.drive}"))]
    if thing.plate:
        rows.insert(0, (words("fact.plate"), thing.plate))
    if thing.battery_kwh:
        rows.append((words("fact.battery"), str(typeset(thing.battery_kwh, "kWh"))))
    if thing.tank_l:
        rows.append((words("fact.tank"), str(typeset(thing.tank_l, "l"))))
    home = view.services.installation.by_id.get(thing.building)
    if home is not None:
        rows.append((words("fact.home"), view.name(home)))
    rows.append((words("fact.position"), words("fact.position_kept" if thing.position else "fact.position_dropped")))
    return rows
