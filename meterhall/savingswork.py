"""What the process that fits does for measurement and verification: arrays in, JSON values out."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Any

import numpy as np

from analytics.baseline.fitting import fit
from analytics.baseline.model import BaselineModel
from analytics.edges import day_start
from analytics.reporting import Avoided, avoided_by
from analytics.savings import Adjustment, avoided_energy
from analytics.workdays import Workdays

HOUR_US = 3_600_000_000


def workdays(job: dict[str, Any]) -> Workdays:
    """The calendar of a job."""
    table = {date.fromisoformat(day): True for day in job["work_days"]}
    table |= {date.fromisoformat(day): False for day in job["days_off"]}
    return Workdays(table, frozenset(job["known_years"]))


def fit_savings(job: dict[str, Any]) -> dict[str, Any]:
    """Fit the baseline of a project: {"model": its `to_dict`}.

    job : time [hours since 1970, int64], value, temperature (float64) as bytes; zone, unit; work_days, days_off,
        known_years
    """
    model = fit(
        np.frombuffer(job["time"], np.int64) * HOUR_US,
        np.frombuffer(job["value"], np.float64),
        np.frombuffer(job["temperature"], np.float64),
        zone=job["zone"],
        calendar=workdays(job),
        unit=job["unit"],
        purpose="savings",
        zeros="value",  # here a gap is absent: a zero is a zero
    )
    return {"model": model.to_dict()}


def sum_savings(job: dict[str, Any]) -> dict[str, Any]:
    """The saving of a reporting period, with its months and days.

    job : as of `fit_savings`, of the reporting period with `warm_up` hours before it; model; adjustments: each
        {start, end, amount, reason, author}

    Returns
    -------
    savings : `Savings.to_dict()`; months, days : columns of `Avoided` with `start` and `end` [us since 1970]; empty if
    it was refused.
    """
    model = BaselineModel.from_dict(job["model"])
    time = np.frombuffer(job["time"], np.int64) * HOUR_US
    value, degc = (np.frombuffer(job[name], np.float64) for name in ("value", "temperature"))
    rest: dict[str, Any] = {
        "calendar": workdays(job),
        "adjustments": [Adjustment(**each) for each in job["adjustments"]],
        "warm_up": job["warm_up"],
    }
    savings = avoided_energy(model, time, value, degc, **rest)
    out: dict[str, Any] = {"savings": savings.to_dict(), "months": [], "days": []}
    if savings.verdict != "refused":
        for by in ("month", "day"):
            found = avoided_by(model, time, value, degc, by=by, **rest)  # type: ignore[arg-type]
            out[f"{by}s"] = _columns(found, job["zone"], by, int(time[job["warm_up"]]), int(time[-1]) + HOUR_US)
    return out


def _columns(found: Avoided, zone: str, by: str, first: int, last: int) -> dict[str, list[Any]]:
    days = [date(1970, 1, 1).fromordinal(date(1970, 1, 1).toordinal() + int(day)) for day in found.start]
    start = [max(day_start(zone, day), first) for day in days]
    columns = {key: column.tolist() for key, column in found._asdict().items() if key != "start"}
    return {
        "start": start,
        "end": [*start[1:], last],
        **{key: [None if v != v else v for v in column] for key, column in columns.items()},
        "avoided": found.avoided.tolist(),
    }


def adjustment(start: int, end: int, amount: float, reason: str, author: str) -> dict[str, Any]:
    """One adjustment of a job."""
    return asdict(Adjustment(start, end, amount, reason, author))
