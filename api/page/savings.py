"""Savings: the projects, and one project's report, in IPMVP's words; both print to a clean sheet."""

from __future__ import annotations

from typing import Any

import numpy as np

from api.page.charts import csv_use, seconds
from api.page.numbers import UNKNOWN, columns, typeset
from api.page.times import local, month_said
from api.page.usual import card_of, day_of, finding_said
from api.page.view import Clause, View
from api.periods import Period
from api.savings import Valued, carrier_of, missing_nodes, report_of, savings_of, valued
from api.services import SavingReport
from metering.clock import DAY_US
from metering.explain import ExplainedError
from metering.site import Building, Meter
from storage.ledger.baselines import BaselineRow
from storage.ledger.savings import ProjectRow

MARKS = {"significant": "ok", "not significant": "unknown", "refused": "needs"}


def project_list(view: View) -> dict[str, Any]:
    """What `savings.html` shows: every project of the site."""
    words = view.words
    if view.services.savings is None or view.site is None:
        return {"sentence": [Clause(words("savings.nowhere"))], "rows": []}
    mine = [row for row in view.services.savings.projects() if row.site == view.site.id]
    rows = [line(view, row) for row in mine]
    proven = sum(row["state"] == "ok" for row in rows)
    text = words("savings.sentence", n=len(rows), proven=proven) if rows else words("savings.none")
    return {"sentence": [Clause(text + words("stop"))], "rows": rows}


def line(view: View, row: ProjectRow) -> dict[str, Any]:
    """One project in a list."""
    out: dict[str, Any] = {
        "name": row.name.in_language(view.language), "what": row.what.in_language(view.language),
        "href": view.link(f"/savings/{row.id}"), "avoided": None, "share": UNKNOWN, "money": None, "state": "needs",
        "verdict": view.words("saving.refused"), "period": "",
    }  # fmt: skip
    if missing_nodes(view.services, row):
        return out | {"verdict": view.words("saving.node_gone")}
    try:
        report = report_of(view.services, row.id)
    except ExplainedError as problem:
        return out | {"verdict": problem.what}
    out["period"] = span(view, report.start, report.end)
    if report.savings is None:
        return out
    money = valued(view.services, report, "price")
    return out | {
        "avoided": typeset(report.savings["avoided"], row.unit),
        "share": signed_share(view, report.savings["saving_share"]),
        "money": typeset(money.value, money.unit) if money else None,
        "state": MARKS[report.savings["verdict"]],
        "verdict": view.words(f"saving.verdict_{report.savings['verdict'].replace(' ', '_')}"),
    }


def span(view: View, start: int, end: int) -> str:
    """Two days, the last included."""
    return view.words("fit.from_to", start=day_of(view, start), end=day_of(view, max(end - 1, start)))


def signed_share(view: View, ratio: float | None) -> str:
    """A share, with its sign where it is less than nothing."""
    if ratio is None:
        return UNKNOWN
    return ("−" if ratio < 0 else "") + view.percent(ratio)


def project(view: View, name: str) -> dict[str, Any]:
    """What `saving.html` shows."""
    report = report_of(view.services, name)
    row = report.project
    money, co2 = valued(view.services, report, "price"), valued(view.services, report, "co2")
    model = report.model
    fit = card_of(
        view,
        BaselineRow(
            row.measures[0], model.kind, row.baseline_start, row.baseline_end, model.fitted_at, model.history,
            model.quality, (), {},
        ),
    )  # fmt: skip
    return {
        "id": row.id,
        "name": row.name.in_language(view.language),
        "what": row.what.in_language(view.language),
        "sentence": [Clause(sentence(view, report) + view.words("stop"))],
        "carrier": carrier_of(view.services, row).value,
        "account": account(view, report),
        "values": values(view, money, co2),
        "facts": facts(view, report),
        "months": months(view, report),
        "adjustments": [
            (span(view, each.start, each.end), signed(each.amount, row.unit), each.reason, each.author,
             view.moment(each.at))
            for each in report.in_force
        ],
        "corrected": len(report.adjustments) - len(report.in_force),
        "fit": fit | {"findings": [(f.severity, finding_said(view, f)) for f in report.findings]},
        "drawn": bool(report.days),
    }  # fmt: skip


def sentence(view: View, report: SavingReport) -> str:
    """ "New lamps avoided 7.2 MWh from 8 Jan on, 20 % of the adjusted baseline; surely between 6.9 and 7.5 MWh"."""
    words, row, of = view.words, report.project, report.savings
    name = row.name.in_language(view.language)
    if of is None:
        first = next((f for f in report.findings if f.severity == "disqualifies"), None)
        why = finding_said(view, first).rstrip(".。") if first else words("saving.refused")
        return words("saving.sentence_refused", name=name, why=why)
    texts = {
        "name": name, "avoided": typeset(of["avoided"], row.unit), "share": signed_share(view, of["saving_share"]),
        "low": typeset(of["low"], row.unit), "high": typeset(of["high"], row.unit), "since": day_of(view, report.start),
    }  # fmt: skip
    if of["verdict"] != "significant":
        return words("saving.sentence_open", **texts)
    return words("saving.sentence" if of["avoided"] > 0 else "saving.sentence_more", **texts)


def signed(value: float, unit: str) -> str:
    """An amount with its sign: "+500 kWh"."""
    return ("+" if value > 0 else "") + str(typeset(value, unit))


def account(view: View, report: SavingReport) -> list[tuple[str, str, str]]:
    """The sum, line by line: sign, what, how much."""
    of, unit, words = report.savings, report.project.unit, view.words
    if of is None:
        return []
    interval = words("saving.between", low=typeset(of["low"], unit), high=typeset(of["high"], unit))
    known = of["uncertainty_68"]
    rows = [
        ("", words("saving.adjusted_baseline"), str(typeset(of["adjusted_baseline"] / 1000, unit))),
        ("−", words("saving.observed"), str(typeset(of["observed"] / 1000, unit))),
        ("=", words("saving.without"), str(typeset(of["routine"], unit))),
        ("±", words("saving.adjustments"), signed(of["adjustments"], unit)),
        ("=", words("saving.avoided"), str(typeset(of["avoided"], unit))),
        ("", words("saving.interval"), interval),
        ("", words("saving.share"), signed_share(view, of["saving_share"])),
        ("", words("saving.uncertainty"), UNKNOWN if known is None else "±" + view.percent(known)),
        ("", words("saving.coverage"), view.share(min(of["coverage"], 1.0))),
        ("", words("saving.verdict"), words(f"saving.verdict_{of['verdict'].replace(' ', '_')}")),
    ]
    return rows


def values(view: View, money: Valued | None, co2: Valued | None) -> list[tuple[str, str]]:
    """Money and CO2, with the factors they were made with; why there is none."""
    rows = []
    for kind, of in (("money", money), ("co2", co2)):
        if of is None:
            rows.append((view.words(f"saving.{kind}"), view.words(f"saving.no_{kind}")))
            continue
        interval = view.words("saving.between", low=typeset(of.low, of.unit), high=typeset(of.high, of.unit))
        rows.append((view.words(f"saving.{kind}"), f"{typeset(of.value, of.unit)} ({interval})"))
        rows.append((view.words(f"saving.{kind}_without"), str(typeset(of.routine, of.unit))))
        said = "; ".join(f"{each.value:g} {each.unit}, {each.source}" for each in of.factors)
        rows.append((view.words("saving.factor"), said))
    return rows


def facts(view: View, report: SavingReport) -> list[tuple[str, str]]:
    """What is compared with what, under which weather and calendar."""
    row, words, services = report.project, view.words, view.services
    nodes = [view.name(services.installation.by_id[each.node]) for each in row.measures]  # type: ignore[arg-type]
    rows = [
        (words("saving.option"), words(f"saving.option_{row.option}")),
        (words("saving.nodes"), words.joined(nodes)),
        (words("saving.baseline_period"), span(view, row.baseline_start, row.baseline_end)),
        (words("saving.retrofit"), day_of(view, row.retrofit)),
        (words("saving.reporting_period"), span(view, report.start, report.end)),
        (words("saving.weather"), "; ".join(thermometer(view, *each) for each in report.weather.used) or UNKNOWN),
    ]
    if report.provisional_years:
        years = words.joined([str(year) for year in report.provisional_years])
        rows.append((words("saving.calendar"), words("saving.provisional", years=years)))
    return [*rows, (words("saving.author"), f"{row.author}, {day_of(view, row.at)}")]


def thermometer(view: View, each: Any, share: float) -> str:
    """ "Weather mast (at the site, 100 % of the hours)"."""
    device = view.services.installation.by_id.get(each.point.meter)
    name = view.name(device) if isinstance(device, Meter) else str(each.point)
    if each.place == "elsewhere" and each.distance_km is not None:
        place = view.words("saving.km", km=f"{each.distance_km:.1f}")
    else:
        place = view.words(f"saving.at_{each.place}")
    return view.words("saving.thermometer", name=name, place=place, share=view.percent(share))


def months(view: View, report: SavingReport) -> list[dict[str, Any]]:
    """The reporting period by month."""
    unit, of = report.project.unit, report.months
    out = []
    for i, start in enumerate(of.get("start", ())):
        low, high = of["low"][i], of["high"][i]
        out.append({
            "month": month_said(local(start, view.zone).date(), view.language),
            "baseline": typeset(of["adjusted_baseline"][i] / 1000, unit),
            "observed": typeset(of["observed"][i] / 1000, unit),
            "adjustments": signed(of["adjustments"][i], unit) if of["adjustments"][i] else "0",
            "avoided": typeset(of["avoided"][i], unit),
            "interval": UNKNOWN if low is None else view.words(
                "saving.between", low=typeset(low, unit), high=typeset(high, unit)),
            "coverage": view.share(of["known"][i] / of["hours"][i]) if of["hours"][i] else UNKNOWN,
        })  # fmt: skip
    return out


def saving_chart(view: View, name: str) -> dict[str, Any]:
    """The reporting period by day (by month if it is long): used, and the adjusted baseline with its interval."""
    report = report_of(view.services, name)
    long = report.end - report.start > 100 * DAY_US
    of, row = report.months if long else report.days, report.project
    if not of:
        return {"kind": "bars", "grain": "day", "unit": row.unit, "x": [], "value": [], "empty": True, "words": "",
                "from": report.start / 1e6, "to": (report.end or report.start) / 1e6, "csv": ""}  # fmt: skip
    start, end = (np.array(of[key], np.int64) for key in ("start", "end"))
    baseline, used = (np.array(of[key], np.float64) / 1000 for key in ("adjusted_baseline", "observed"))
    low, high = (
        used + np.array([np.nan if v is None else v for v in of[key]]) - np.array(of["adjustments"])
        for key in ("low", "high")
    )
    known = np.array(of["known"]) > 0
    first = row.measures[0]
    below = int((used[known] < baseline[known]).sum())
    return {
        "kind": "bars",
        "grain": "month" if long else "day",
        "unit": row.unit,
        "from": report.start / 1e6,
        "to": report.end / 1e6,
        "x": seconds(start),
        "end": seconds(end),
        "value": columns(np.where(known, used, np.nan)),
        "estimated": None,
        "coverage": None,
        "before": None,
        "labels": {
            "value": view.words("saving.observed"),
            "before": "",
            "expected": view.words("saving.adjusted_baseline"),
        },
        "expected": columns(np.where(known, baseline, np.nan)),
        "expected_low": columns(np.where(known, low, np.nan)),
        "expected_high": columns(np.where(known, high, np.nan)),
        "marks": [],
        "csv": csv_use(first.scope, first.node, first.name, Period(report.start, report.end), "day"),
        "words": view.words("saving.chart_months" if long else "saving.chart_days", below=below, n=int(known.sum())),
        "empty": not known.any(),
    }


def projects_at(view: View, building: Building) -> list[tuple[str, str]]:
    """The projects that look at a building or one of its meters: name and address."""
    if view.services.savings is None:
        return []
    nodes = {building.id, *(m.id for m in view.services.installation.meters if m.building == building.id)}
    found = savings_of(view.services).projects()
    return [
        (row.name.in_language(view.language), view.link(f"/savings/{row.id}"))
        for row in found
        if nodes & {each.node for each in row.measures}
    ]
