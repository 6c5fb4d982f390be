"""Incidents: what is not usual, the dearest first; and one of them, with what speaks for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from api.insights import converted_row, dearest_first, evidence_of, incident_of, insights_of, shown_around
from api.page.charts import csv_use, seconds
from api.page.numbers import columns, typeset
from api.page.times import local
from api.page.usual import quality_card
from api.page.view import Clause, View
from api.periods import Period
from metering.clock import DAY_US, HOUR_US
from metering.quantity import Carrier
from metering.site import Building, Meter
from storage.ledger.incidents import IncidentRow

SHOWS = ("open", "month", "year")
REACH_US = {"month": 30 * DAY_US, "year": 366 * DAY_US}
SCORES = ("spike", "day", "days", "night", "nights", "week", "shape")
AT_MOST = 300


def incident_list(view: View, wanted: str = "", node: str = "") -> dict[str, Any]:
    """What `incidents.html` shows: those that last, or those of the last month or year; of one meter or all."""
    services, words = view.services, view.words
    show = wanted if wanted in SHOWS else "open"
    base = {"show": show, "shows": [(each, words(f"incidents.show_{each}")) for each in SHOWS], "node": node}
    if services.insights is None or view.site is None:
        return {**base, "state": "empty", "sentence": [Clause(words("incidents.nothing_fitted"))], "rows": []}
    since = None if show == "open" else view.now - REACH_US[show]
    found = services.insights.incidents(
        since, None, site=view.site.id, node=node or None, open_only=show == "open", causes_only=not node
    )
    counted = [row for row in found if row.feedback not in ("false_alarm", "planned")]
    rows = [line(view, row) for row in dearest_first(services, found)[:AT_MOST]]
    return {**base, "state": "full", "sentence": [Clause(list_sentence(view, show, counted))], "rows": rows}


def list_sentence(view: View, show: str, rows: list[IncidentRow]) -> str:
    """ "3 incidents last; together they have come to about 485 CNY." """
    words = view.words
    text = words(f"incidents.{show}", n=len(rows)) if rows else words(f"incidents.{show}_none")
    money = [found for row in rows if (found := converted_row(view.services, row, "price")) and found.value > 0]
    if money and len({each.unit for each in money}) == 1:
        text += words("incidents.cost", cost=typeset(sum(each.value for each in money), money[0].unit))
    if view.services.insights and view.services.insights.waiting:
        text += words("incidents.still_learning")
    return text + words("stop")


def line(view: View, row: IncidentRow) -> dict[str, Any]:
    """One incident in a list."""
    meter = view.services.installation.by_id.get(row.node)
    carrier = meter.carrier.value if isinstance(meter, Meter) else ""
    money = converted_row(view.services, row, "price")
    return {
        "id": row.id,
        "href": view.link(f"/incidents/{row.id}"),
        "kind": view.words(f"incident_kind.{row.kind}"),
        "text": row.text.in_language(view.language),
        "where": where(view, row),
        "carrier": carrier,
        "size": typeset(row.size, row.unit) if row.size else None,
        "cost": typeset(money.value, money.unit) if money else None,
        "since": view.moment(row.since),
        "lasts": row.until is None,
        "lasted": view.lasted((row.until or view.now) - row.since),
        "said": view.words(f"feedback.{row.feedback}") if row.feedback else "",
        "state": state_of(row),
    }


def state_of(row: IncidentRow) -> str:
    """Its mark: what lasts and is not explained needs somebody."""
    if row.feedback in ("planned", "false_alarm") or row.until is not None:
        return "ok" if row.feedback else "unknown"
    return "broken" if row.kind in ("gap", "stuck") else "needs"


def where(view: View, row: IncidentRow) -> str:
    """Building and meter."""
    meter = view.services.installation.by_id.get(row.node)
    if not isinstance(meter, Meter):
        return row.node
    building = view.services.installation.by_id.get(meter.building)
    place = view.name(building) if isinstance(building, Building) else view.name(view.site) if view.site else ""
    return f"{place} › {view.name(meter)}" if place else view.name(meter)


def incident(view: View, number: int) -> dict[str, Any]:
    """What `incident.html` shows."""
    services, words = view.services, view.words
    row = incident_of(services, number)
    insights = insights_of(services)
    meter = services.installation.by_id.get(row.node)
    known = isinstance(meter, Meter)
    text = words("incident.sentence", where=where(view, row), what=row.text.in_language(view.language))
    cause = insights.incident(row.part_of) if row.part_of else None
    return {
        "state": "full",
        "sentence": [Clause(text + words("stop"))],
        "row": line(view, row),
        "node": row.node,
        "carrier": meter.carrier.value if isinstance(meter, Meter) else "electricity",
        "meter_href": view.link(view.path_of(meter), **days_around(view, row)) if known else "",  # type: ignore[arg-type]
        "facts": facts(view, row),
        "why": why(view, row),
        "scores": scores(view, row),
        "cause": None if cause is None else line(view, cause),
        "parts": [line(view, part) for part in insights.parts(number)],
        "said": [
            (words(f"feedback.{each.feedback}"), each.author, view.moment(each.at), each.note)
            for each in insights.said_of(number)
        ],
        "fit": quality_card(view, "meter", row.node, row.name) if known else None,
        "feedbacks": [(each, words(f"feedback.{each}"), words(f"feedback_help.{each}"))
                      for each in ("confirmed", "false_alarm", "planned")],
    }  # fmt: skip


def days_around(view: View, row: IncidentRow) -> dict[str, str | None]:
    """The days of an incident, as a meter's page takes them."""
    first = local(row.since, view.zone).date()
    last = local(row.until or view.now, view.zone).date()
    return {"period": "custom", "date": first.isoformat(), "until": last.isoformat(), "compare": "expected"}


def facts(view: View, row: IncidentRow) -> list[tuple[str, str]]:
    """What, how much, since when."""
    words = view.words
    rows = [(words("incident.kind"), words(f"incident_kind.{row.kind}"))]
    if row.size:
        rows.append((words("incident.size"), str(typeset(row.size, row.unit))))
        rows.append((words("incident.rate"), str(typeset(row.rate, row.unit)) + words("incident.per_hour")))
    for kind in ("price", "co2"):
        if money := converted_row(view.services, row, kind):
            text = str(typeset(money.value, money.unit))
            rows.append((words(f"incident.{kind}"), text))
            rows.append((words(f"incident.{kind}_factor"), f"{money.factor.value:g} {money.factor.unit}"))
    rows.append((words("incident.since"), view.moment(row.since).text))
    lasted = view.lasted((row.until or view.now) - row.since)
    rows.append((words("incident.lasts" if row.until is None else "incident.lasted"), lasted))
    rows.append((words("incident.detected"), view.moment(row.detected).text))
    rows.append((words("incident.confidence"), view.percent(row.confidence)))
    return rows


def why(view: View, row: IncidentRow) -> list[str]:
    """Why it is told, in sentences."""
    words, evidence = view.words, row.evidence
    out = [words(f"why_kind.{row.kind}")]
    if row.family == "use" and evidence.get("usual"):
        out.append(
            words(
                "because.usual_night" if row.kind == "night_load" else "because.usual",
                usual=typeset(float(evidence["usual"]), row.unit),
                rate=typeset(abs(row.rate), row.unit), more=words("js.more" if row.rate >= 0 else "js.less"),
            )
        )  # fmt: skip
    if evidence.get("level"):
        out.append(words("because.level", level=typeset(float(evidence["level"]), row.unit)))
    if row.family in ("leak", "burst"):
        out.append(
            words("because.flow", usual=typeset(float(evidence.get("usual") or 0.0), row.unit),
                  threshold=typeset(float(evidence.get("threshold") or 0.0), row.unit))
        )  # fmt: skip
    around = Period(row.since, max(row.until or view.now, row.since + HOUR_US))
    degc, sources = insights_of(view.services).outdoor(row.node, *around)
    if row.family == "use" and np.isfinite(degc).any():
        out.append(words("because.weather", degc=typeset(round(float(np.nanmean(degc)), 1), "degC")))
    elif row.family == "use" and not sources:
        out.append(words("because.no_weather"))
    return out


def scores(view: View, row: IncidentRow) -> list[dict[str, Any]]:
    """How far each statistic stood out when it was last told, beside this meter's own threshold."""
    found, limits = row.evidence.get("scores") or {}, row.evidence.get("limits") or {}
    return [
        {"name": view.words(f"score.{name}"), "score": f"{found[name]:.1f}".replace("-", "−"),
         "limit": f"{limits[name]:.1f}", "over": abs(found[name]) >= limits[name]}
        for name in SCORES if name in found and name in limits
    ]  # fmt: skip


def evidence_chart(view: View, number: int) -> dict[str, Any]:
    """The hours around an incident: used, expected, and the band; its beginning and end as marks."""
    row = incident_of(view.services, number)
    found, period = evidence_of(view.services, row), shown_around(view.services, row)
    meter = view.services.installation.by_id.get(row.node)
    power = isinstance(meter, Meter) and meter.carrier == Carrier.ELECTRICITY
    factor, unit = (1000.0, "W") if power else (1.0, row.unit)
    known = bool(np.isfinite(found.expected).any())
    data: dict[str, Any] = {
        "kind": "line" if power else "bars",
        "grain": "hour",
        "unit": unit,
        "from": period.start / 1e6,
        "to": period.end / 1e6,
        "x": seconds(found.start),
        "end": seconds(found.start + HOUR_US),
        "value": columns(found.observed * factor),
        "estimated": None,
        "coverage": None,
        "before": None,
        "labels": {"value": view.words("incident.used"), "before": ""},
        "marks": [{"at": at / 1e6} for at in (row.since, row.until) if at is not None],
        "csv": csv_use("meter", row.node, row.name, period, "hour"),
        "empty": not bool(np.isfinite(found.observed).any()) and not known,
    }
    if known:
        data |= {
            "expected": columns(found.expected * factor),
            "expected_low": columns(found.low * factor),
            "expected_high": columns(found.high * factor),
        }
    data["words"] = evidence_words(view, row, found.observed, found.high, found.low)
    return data


def evidence_words(view: View, row: IncidentRow, observed: Any, high: Any, low: Any) -> str:
    """ "72 of 150 hours lie above the band, 3 below it." """
    compared = np.isfinite(observed) & np.isfinite(high)
    if not compared.any():
        return view.words("chart.nothing") if not np.isfinite(observed).any() else ""
    above = int(np.count_nonzero(observed[compared] > high[compared]))
    below = int(np.count_nonzero(observed[compared] < low[compared]))
    return view.words("incident.chart", above=above, below=below, total=int(compared.sum()))
