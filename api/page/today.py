"""Today: what the site uses, against what, and what needs a person."""

from __future__ import annotations

from typing import Any

from api.figures import (
    Amount,
    BuildingFigure,
    Comparison,
    amounts_by,
    amounts_of,
    building_figures,
    carriers_of,
    change,
    dated_value,
    measure_of,
)
from api.insights import baseline_of
from api.page import marks
from api.page.attention import needs_of
from api.page.numbers import count, typeset
from api.page.vehicles import fleet
from api.page.view import Clause, View, power_now
from api.periods import Period, day_of, shifted, zone_of
from metering.quantity import Carrier
from metering.reading import Measure
from metering.site import Site

SPARK_DAYS = 7
LEAST_COMPARED = 0.5


def today(view: View) -> dict[str, Any]:
    """What the template `today.html` shows."""
    site = view.site
    if site is None or not view.services.installation.meters:
        return {"state": "first_start", **first_start(view)}
    carriers = carriers_of(view.services, site.id)
    needs = needs_of(view)
    if not carriers:
        return {"state": "first_start", **first_start(view), "needs": needs}
    lead = carriers[0]
    compared = comparisons(view, site, carriers)
    return {
        "state": "full",
        "sentence": sentence(view, compared[lead], lead, len(needs)),
        "lead": lead,
        "hero": view.figure(compared[lead].this),
        "now": power_now(view, "site", site.id),
        "against": against(view, compared[lead]),
        "tiles": [tile(view, site, carrier, compared[carrier]) for carrier in carriers[1:]],
        "fleet": fleet(view) if view.services.installation.vehicles else None,
        "needs": needs,
        "incidents": view.services.insights is not None,
        "expected": baseline_of(view.services, measure_of(view.services, "site", site.id, lead)) is not None
        and view.filters.compare == "expected",
        "buildings": buildings(view, site, lead, compared[lead].this.period),
    }


def comparisons(view: View, site: Site, carriers: list[Carrier]) -> dict[Carrier, Comparison]:
    """Each carrier's period against the compared one."""
    measures = [measure_of(view.services, "site", site.id, carrier) for carrier in carriers]
    this, that = view.elapsed(measures)
    now = amounts_of(view.services, measures, *this)
    before = amounts_of(view.services, measures, *that) if that else [unknown(measure, this) for measure in measures]
    return {c: Comparison(a, b, change_of(a, b)) for c, a, b in zip(carriers, now, before, strict=True)}


def change_of(this: Amount, that: Amount) -> float | None:
    """How much more or less; None when the other period was hardly observed: better none than a false one."""
    return change(this, that) if that.coverage >= LEAST_COMPARED else None


def unknown(measure: Measure, period: Period) -> Amount:
    """An amount of which nothing is known."""
    return Amount(measure, period, None, 0, 0.0)


def sentence(view: View, compared: Comparison, carrier: Carrier, needs: int) -> list[Clause]:
    """The page's answer in words."""
    words, this = view.words, compared.this
    label = view.filters.label(words)
    if this.value is None:
        head = words("today.nothing", period=label)
    else:
        stopped = view.stopped_at(this.period)
        key = "today.until" if stopped else "today.so_far" if view.filters.is_now else "today.used"
        head = words(
            key,
            period=label,
            amount=typeset(this.in_units, this.unit),
            of=words(f"of.{carrier}"),
            clock=stopped,
            change=view.changed(compared.change, view.filters.compared_label(words), this.period),
        )
        if note := view.quality_note(this):
            head = words("today.noted", head=head, note=note)
    need = Clause(words("today.needs", n=needs), "#needs") if needs else Clause(words("today.no_needs"))
    return [Clause(head + words("stop")), need]


def against(view: View, compared: Comparison) -> str:
    """The compared figure in words: "last Tuesday by this hour 4.57 MWh"."""
    that = compared.that
    if that.value is None or that.coverage < LEAST_COMPARED or view.filters.compared is None:
        return view.words("against.nothing")
    key = "against.by_now" if view.filters.is_now else "against.whole"
    label = view.filters.compared_label(view.words)
    text = view.words(key, that=label, amount=typeset(that.in_units, that.unit))
    return text[:1].upper() + text[1:]


def tile(view: View, site: Site, carrier: Carrier, compared: Comparison) -> dict[str, Any]:
    """A carrier's figure, against, seven days, quality."""
    zone = zone_of(view.zone)
    anchor = min(view.now, view.filters.span.end - 1)
    last = day_of(anchor, zone)
    since = shifted(last.start, zone, 1 - SPARK_DAYS)
    days = amounts_by(view.services, "site", site.id, carrier, since, last.end, "day")
    by_start = dict(zip(days.start.tolist(), days.value.tolist(), strict=True))
    values = [by_start.get(shifted(since, zone, i)) for i in range(SPARK_DAYS)]
    figure = view.figure(compared.this)
    return {
        "carrier": carrier,
        "name": view.words(f"carrier.{carrier}"),
        "figure": figure,
        "change": changed_short(view, compared),
        "note": figure.note,
        "spark": marks.spark(values, view.words("spark.label")),
        "href": view.link("/meters", carrier=carrier),
    }


def changed_short(view: View, compared: Comparison) -> str:
    """ "+8 % on last Tuesday"."""
    if compared.change is None:
        return view.words("against.nothing")
    sign = "±" if abs(compared.change) < 0.005 else "−" if compared.change < 0 else "+"
    label = view.filters.compared_label(view.words)
    return view.words("against.short", change=f"{sign}{view.percent(compared.change)}", that=label)


def buildings(view: View, site: Site, carrier: Carrier, period: Period) -> list[dict[str, Any]]:
    """Every building with its figure and its deviation, the worst first.

    Up to a week from its own usual; for longer periods, of which there is no usual, from the compared one.
    """
    found = long_figures(view, site, carrier) if view.is_long else None
    found = found or building_figures(view.services, site.id, carrier, period)
    states = worst_states(view)
    return [row(view, each, states) for each in found]


def long_figures(view: View, site: Site, carrier: Carrier) -> list[BuildingFigure]:
    """The buildings of a site against the compared period."""
    services = view.services
    known = [b for b in services.installation.buildings if b.site == site.id and carrier in carriers_of(services, b.id)]
    measures = [measure_of(services, "building", building.id, carrier) for building in known]
    if not measures:
        return []
    this, that = view.elapsed([measure_of(services, "site", site.id, carrier)])
    now = amounts_of(services, measures, *this)
    before = amounts_of(services, measures, *that) if that else [unknown(measure, this) for measure in measures]
    out = []
    for building, amount, other in zip(known, now, before, strict=True):
        area = dated_value(building.floor_area, this.start)
        per_m2 = None if not area or amount.in_units is None else amount.in_units / area
        out.append(BuildingFigure(building, amount, other, change_of(amount, other), per_m2))
    return sorted(out, key=lambda each: -9.0 if each.change is None else each.change, reverse=True)


def row(view: View, found: BuildingFigure, states: dict[str, str]) -> dict[str, Any]:
    """One building's line."""
    return {
        "name": view.name(found.building),
        "href": view.href_of(found.building),
        "figure": view.figure(found.amount),
        "usual": view.figure(found.usual),
        "ratio": found.change,
        "deviation": signed(view, found.change),
        "bar": marks.deviation(found.change),
        "per_area": typeset(found.per_m2, f"{found.amount.unit}/m2"),
        "state": states.get(found.building.id, "ok"),
    }


def worst_states(view: View) -> dict[str, str]:
    """The worst state of each building that has one."""
    states: dict[str, str] = {}
    for need in needs_of(view):
        if states.get(need.building) != "broken":
            states[need.building] = need.state
    return states


def signed(view: View, ratio: float | None) -> str:
    """ "+11 %", "−8 %", "–"."""
    if ratio is None:
        return "–"
    sign = "" if abs(ratio) < 0.005 else "−" if ratio < 0 else "+"
    return sign + view.percent(ratio)


def first_start(view: View) -> dict[str, Any]:
    """Three steps with their state: configured, heard, counted."""
    installation, store = view.services.installation, view.services.store
    meters = len(installation.meters) + len(installation.vehicles)
    heard = len({point.meter for point in store.points()})
    counted = len(store.measures())
    words = view.words
    texts = [
        ("configure", meters > 0, words("start.configured", n=meters) if meters else words("start.not_configured")),
        ("listen", heard > 0, words("start.heard", n=count(heard)) if heard else words("start.not_heard")),
        ("count", counted > 0, words("start.counted") if counted else words("start.not_counted")),
    ]
    return {
        "steps": [
            {"title": words(f"start.{key}"), "done": done, "text": text, "help": words(f"start.{key}_help")}
            for key, done, text in texts
        ]
    }
