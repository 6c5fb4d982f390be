"""Tries a detector's setting on a meter's last year, before it is enabled."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from analytics.anomaly.incident import Incident
from meterhall.baselining import Baseliner
from meterhall.fitters import FitFailed, fit_all
from metering.clock import DAY_US, HOUR_US
from metering.explain import ExplainedError
from metering.reading import Measure
from storage.ledger.incidents import IncidentRow

FOUND_WITHIN_US = 2 * DAY_US


@dataclass(frozen=True, slots=True)
class Tried:
    """What a setting would have told.

    start, end : the time tried on [us since 1970]; missed : incidents people had confirmed that it would not find
    """

    measure: Measure
    alarms_per_month: float
    start: int
    end: int
    incidents: tuple[Incident, ...]
    missed: tuple[IncidentRow, ...] = ()

    def finds(self, row: IncidentRow) -> bool:
        """Would it have told of an incident that is known?"""
        until = row.until if row.until is not None else row.detected
        return any(
            i.start < until + FOUND_WITHIN_US and row.since < (i.end or i.detected) + FOUND_WITHIN_US
            for i in self.incidents
        )


def try_budget(baseliner: Baseliner, measure: Measure, alarms_per_month: float, now: int) -> Tried:
    """Learn with another alarm budget, and judge the baseline period by what was held out of it.

    Raises
    ------
    ExplainedError
        If it cannot be tried: the fit failed.
    """
    history = baseliner.history(measure, now)
    hours = history.hours
    job = [(measure, lambda: baseliner.job(measure, history, alarms_per_month))]
    ((_, answer),) = fit_all(job, threading.Event(), workers=1)
    if isinstance(answer, FitFailed):
        raise ExplainedError(str(measure), f"cannot be tried: {answer}", "look at its baseline, and at the log")
    start = int(hours.start[0]) * HOUR_US if len(hours.start) else now
    found = [Incident.from_dict(each) for each in answer["incidents"]]
    return Tried(measure, alarms_per_month, start, start + len(hours.start) * HOUR_US, tuple(found))
