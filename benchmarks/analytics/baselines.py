"""The baselines' half of the table: fitted on a year, judged on the next."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from analytics.baseline.expected import predict
from analytics.baseline.fitting import fit
from benchmarks.analytics import rivals
from benchmarks.analytics.score import cvrmse, daily_means, winkler
from benchmarks.analytics.series import ZONE, bank_holidays, pairs


@dataclass
class Row:
    """Figures of one meter and year: name of a model -> figure."""

    meter: str
    carrier: str
    year: int
    cv: dict[str, float] = field(default_factory=dict)
    daily_cv: dict[str, float] = field(default_factory=dict)
    cover: dict[str, float] = field(default_factory=dict)
    winkler: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)


def measure(peers: dict | None) -> list[Row]:
    """Ours and the rivals on every meter and pair of years, beside what the peers reached."""
    calendar = bank_holidays()
    known = {(r["meter"], r["year"]): r for r in (peers or {}).get("rows", [])}
    train, test = pairs()[0]
    fit(train.time, train.value, train.temperature, zone=ZONE, calendar=calendar)  # imports and zones once
    out = []
    for train, test in pairs():
        row = Row(train.name, train.carrier, int(str(train.time[0])[:4]))
        began = time.process_time()
        model = fit(train.time, train.value, train.temperature, zone=ZONE, calendar=calendar)
        expected = predict(model, test.time, test.temperature, calendar=calendar)
        row.cpu_s["ours"] = time.process_time() - began
        _add(row, "ours", test, expected.value, expected.low, expected.high)
        _add(row, "towt", test, *rivals.towt(train, test))
        _add(row, "last year", test, rivals.same_week_last_year(train, test))
        _add(row, "week mean", test, rivals.hour_of_week_mean(train, test))
        for name, key in (("lightgbm", "lightgbm"), ("opendsm", "hourly"), ("daily", "daily")):
            theirs = known.get((row.meter, row.year), {}).get(key, {})
            for figure in ("cv", "daily_cv", "cover", "winkler", "cpu_s"):
                if figure in theirs:
                    getattr(row, figure)[name] = theirs[figure]
        out.append(row)
    return out


def _add(row: Row, name: str, test, expected, low=None, high=None) -> None:
    row.cv[name] = cvrmse(test.value, expected)
    row.daily_cv[name] = cvrmse(*daily_means(test, expected))
    if low is not None:
        seen = np.isfinite(test.value)
        row.cover[name] = float(np.mean(((test.value >= low) & (test.value <= high))[seen]))
        row.winkler[name] = winkler(test.value, low, high)


def ratio(rows: list[Row], figure: str, rival: str, carrier: str | None = None) -> tuple[float, float]:
    """(median, worst) over meters of ours to the rival's; the years of a meter count as one by their mean."""
    by_meter: dict[str, list[float]] = {}
    for row in rows:
        values = getattr(row, figure)
        if rival in values and (carrier is None or row.carrier == carrier):
            by_meter.setdefault(row.meter, []).append(values["ours"] / values[rival])
    each = [float(np.mean(v)) for v in by_meter.values()]
    return (float(np.median(each)), float(np.max(each))) if each else (float("nan"), float("nan"))


def by_meter(rows: list[Row], figure: str, name: str, carrier: str | None = None) -> list[float]:
    """The figure of each meter, the mean of its years."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if name in getattr(row, figure) and (carrier is None or row.carrier == carrier):
            found.setdefault(row.meter, []).append(getattr(row, figure)[name])
    return [float(np.mean(v)) for v in found.values()]
