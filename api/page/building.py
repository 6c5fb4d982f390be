"""One building: what it uses, through which meters, at which hours."""

from __future__ import annotations

from typing import Any

from api.figures import (
    Amount,
    Branch,
    amounts_by,
    amounts_of,
    carriers_of,
    change,
    cost,
    dated_value,
    measure_of,
    tree,
    usual,
)
from api.page import marks
from api.page.attention import needs_of
from api.page.numbers import count, typeset
from api.page.savings import projects_at
from api.page.times import local
from api.page.today import buildings, change_of, signed, unknown
from api.page.usual import quality_card
from api.page.view import Clause, View, power_now
from api.periods import Period, shifted, zone_of
from metering.clock import DAY_US
from metering.quantity import Carrier
from metering.reading import Measure
from metering.site import Building


def building_list(view: View) -> dict[str, Any]:
    """What `buildings.html` shows: every building against its own usual."""
    site, words = view.site, view.words
    carriers = carriers_of(view.services, site.id) if site else []
    if site is None or not carriers:
        return {"state": "empty", "sentence": [Clause(words("buildings.none"))], "rows": []}
    lead = measure_of(view.services, "site", site.id, carriers[0])
    rows = buildings(view, site, carriers[0], view.elapsed([lead])[0])
    above = [each for each in rows if each["ratio"] is not None and each["ratio"] > 0.1]
    label, that = view.filters.label(words), view.filters.compared_label(words)
    kind = "long_" if view.is_long and that else ""
    if above:
        worst = {"worst": rows[0]["name"], "percent": rows[0]["deviation"]}
        text = words(f"buildings.{kind}above", n=len(above), period=label, that=that, **worst)
    else:
        text = words(f"buildings.{kind}usual", period=label, that=that)
    return {"state": "full", "sentence": [Clause(text)], "rows": rows}


def building(view: View, thing: Building, wanted: str = "") -> dict[str, Any]:
    """What `building.html` shows."""
    services = view.services
    carriers = carriers_of(services, thing.id)
    needs = [need for need in needs_of(view) if need.building == thing.id]
    base = {"building": thing, "name": view.name(thing), "needs": needs, "facts": facts(view, thing)}
    if not carriers:
        return {**base, "state": "empty", "sentence": [Clause(view.words("building.nothing", name=view.name(thing)))]}
    carrier = Carrier(wanted) if wanted in carriers else carriers[0]
    measure = measure_of(services, "building", thing.id, carrier)
    period, _ = view.elapsed([measure])
    fit = quality_card(view, "building", thing.id, carrier)
    return {
        **base,
        "state": "full",
        "fit": fit,
        "projects": projects_at(view, thing),
        "expected": bool(fit and fit["rows"]),
        "sentence": sentence(view, thing, carrier, period),
        "carrier": carrier,
        "carriers": [(each, view.words(f"carrier.{each}")) for each in carriers],
        "amount": view.figure(amounts_of(services, [measure], *period)[0]),
        "now": power_now(view, "building", thing.id) if carrier == Carrier.ELECTRICITY else None,
        "trees": [(each, branches(view, thing, each, period)) for each in carriers],
        "cost": cost_of(view, thing, carrier, period),
    }


def sentence(view: View, thing: Building, carrier: Carrier, period: Period) -> list[Clause]:
    """ "Library used 11 % more than usual today; nights account for most of it." """
    words, services = view.words, view.services
    measure = measure_of(services, "building", thing.id, carrier)
    amount = amounts_of(services, [measure], *period)[0]
    label = view.filters.label(words)
    if amount.value is None:
        return [Clause(words("building.unknown", name=view.name(thing), period=label))]
    own_usual = usual(services, [measure], *period)[0]
    ratio = None if view.is_long else change(amount, own_usual)
    said = {"name": view.name(thing), "amount": typeset(amount.in_units, amount.unit)}
    said |= {"of": words(f"of.{carrier}"), "period": view.filters.label_within(view.words)}
    if view.is_long:
        _, that = view.elapsed([measure])
        other = amounts_of(services, [measure], *that)[0] if that else unknown(measure, period)
        changed = view.changed(change_of(amount, other), view.filters.compared_label(words), period)
        text = words("building.long", **said, change=changed)
    elif ratio is None:
        text = words("building.used", **said)
    else:
        kind = "same" if abs(ratio) < 0.02 else "less" if ratio < 0 else "more"
        text = words(f"building.{kind}", **said, percent=view.percent(ratio))
        if kind == "more" and closed_hours_account_for_it(view, thing, measure, amount, own_usual):
            text += words("building.closed_hours")
    if note := view.quality_note(amount):
        text = words("today.noted", head=text, note=note)
    return [Clause(text + words("stop"))]


def closed_hours_account_for_it(view: View, thing: Building, measure: Measure, this: Amount, that: Amount) -> bool:
    """Whether most of what is used above usual is used while the building is closed."""
    period = this.period
    if this.value is None or that.value is None or period.length > 8 * DAY_US:
        return False
    zone = zone_of(view.zone)
    now = closed_amount(view, thing, measure, period)
    weeks = [
        closed_amount(view, thing, measure, Period(*(shifted(at, zone, -7 * week) for at in period)))
        for week in range(1, 5)
    ]
    known = [each for each in weeks if each]
    return bool(known) and now - sum(known) / len(known) > (this.value - that.value) / 2


def closed_amount(view: View, thing: Building, measure: Measure, period: Period) -> float:
    """What is used outside the opening hours, by whole hours [0.001 unit]."""
    found = amounts_by(view.services, "building", thing.id, measure.name, *period, "hour")
    first, last = int(thing.opens[:2]), int(thing.closes[:2]) + (int(thing.closes[3:]) > 0)
    hours = [local(at, view.zone).hour for at in found.start.tolist()]
    pairs = zip(found.amount.tolist(), hours, strict=True)
    return float(sum(value for value, hour in pairs if not first <= hour < last))


def branches(view: View, thing: Building, carrier: Carrier, period: Period) -> list[dict[str, Any]]:
    """The tree of meters as lines: depth, figure, share of the one above, and the rest no part explains."""
    lines: list[dict[str, Any]] = []

    def add(branch: Branch, depth: int) -> None:
        lines.append(
            {
                "depth": min(depth, 4),
                "name": view.name(branch.meter),
                "href": view.href_of(branch.meter),
                "figure": view.figure(branch.amount),
                "share": view.percent(branch.share) if branch.share is not None else "",
                "bar": marks.level(branch.share) if branch.share is not None else "",
                "generation": branch.meter.role == "generation",
                "elsewhere": branch.meter.building != thing.id,
            }
        )
        for part in branch.parts:
            add(part, depth + 1)
        if branch.parts:
            value = None if branch.rest is None else branch.rest / 1000.0
            parent = branch.amount.value
            ratio = branch.rest / parent if branch.rest is not None and parent else None
            lines.append(
                {
                    "depth": min(depth + 1, 4),
                    "rest": True,
                    "name": view.words("building.rest"),
                    "figure": view.figure(branch.amount)._replace(
                        set=typeset(value, branch.amount.unit),
                        why="" if value is not None else view.words("why.rest_unknown"),
                        note="",
                    ),
                    "share": signed(view, ratio).removeprefix("+") if ratio is not None else "",
                    "bar": marks.level(ratio) if ratio is not None and ratio > 0 else "",
                }
            )

    for top in tree(view.services, thing.id, carrier, period):
        add(top, 0)
    return lines


def facts(view: View, thing: Building) -> list[tuple[str, str]]:
    """Area, persons, hours, who is in charge."""
    words = view.words
    rows = [
        (words("fact.use"), words(f"building_use.{thing.use}") if words.has(f"building_use.{thing.use}") else thing.use)
    ]
    if area := dated_value(thing.floor_area, view.now):
        rows.append((words("fact.area"), str(typeset(area, "m2"))))
    persons = dated_value(thing.persons, view.now)
    if persons is not None:
        rows.append((words("fact.persons"), count(round(persons))))
    rows.append((words("fact.hours"), f"{thing.opens}–{thing.closes}"))
    if thing.in_charge:
        rows.append((words("fact.in_charge"), thing.in_charge))
    return rows


def cost_of(view: View, thing: Building, carrier: Carrier, period: Period) -> str:
    """What the period cost, where a dated price is known; "" otherwise."""
    found = cost(view.services, "building", thing.id, carrier, period.start, period.end)
    return "" if found is None else str(typeset(found.value, found.unit))
