"""Keeps a baseline of every meter, building and site: fits in processes of their own, anew each week and when needed.

A fit learns nothing of the last four weeks (of a shorter history, a sixth): what went wrong yesterday and nobody has
looked at must not become the usual. Known incidents are left out too, but for those judged false alarms.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.anomaly.habits import Habits
from analytics.anomaly.incident import Incident
from analytics.baseline.model import BaselineModel
from analytics.edges import day_start, local_date
from analytics.workdays import Workdays
from meterhall.fitters import Answer, FitFailed, Job, fit_all
from meterhall.hours import Hours, carrier_of, hours_of, judged_measures, read_outdoor
from metering.clock import DAY_US, HOUR_US
from metering.quantity import Carrier
from metering.reading import Measure
from metering.site import Installation
from storage.ledger.baselines import BaselineRow
from storage.ledger.ledger import Ledger
from storage.store import Store, StoreUnavailable

log = logging.getLogger("meterhall")

LEARN_US = 400 * DAY_US  # looked back at most: a year, and the month that is kept out
KEPT_OUT_US = 28 * DAY_US
KEPT_OUT_SHARE = 6
REFIT_US = 7 * DAY_US
SETTLED_US = HOUR_US  # a history that still changes is not learnt from every time
FAILED_US = 6 * HOUR_US  # until a fit that failed is tried again
FEW_US = DAY_US  # until one that was refused for want of data is tried again
MOST_LEFT_OUT = 0.25  # of the period: what lasts longer is no incident but another building
ALARMS_PER_MONTH = 0.1  # of each meter, unless it is set


class History(NamedTuple):
    """What a fit learns from: its hours up to `end` [hours since 1970], and all there are behind them."""

    hours: Hours
    degc: NDArray[np.float64]
    sources: tuple[str, ...]
    left_out: NDArray[np.bool_]


class Fitted(NamedTuple):
    """A baseline that was just fitted, the one before it, and the incidents of its own period."""

    row: BaselineRow
    before: BaselineRow | None
    incidents: list[Incident]


class Baseliner:
    """Fits what is due.

    Parameters
    ----------
    calendar_of : the work days of a site, by its id

    `on_kept` is told of each baseline that has come into use.
    """

    def __init__(
        self, installation: Installation, store: Store, ledger: Ledger, calendar_of: Callable[[str], Workdays]
    ) -> None:
        self.installation, self.store, self.ledger, self.calendar_of = installation, store, ledger, calendar_of
        self._not_before: dict[Measure, int] = {}
        self.on_kept: Callable[[BaselineRow, BaselineModel, Habits], None] = lambda row, model, habits: None

    def due(self, now: int) -> list[Measure]:
        """The measures whose baseline is missing, a week old, or was learnt from a history that has changed."""
        measures = judged_measures(self.installation, self.store.measures())
        rows = {row.measure: row for row in self.ledger.baselines.in_use()}
        gone = [measure for measure in rows if measure not in measures]
        if gone:
            self.ledger.baselines.drop(gone, now)
        rested = [row for measure, row in rows.items() if measure in measures and now - row.fitted_at > SETTLED_US]
        changed = self._changed(rested)
        budgets = self.ledger.baselines.watches()
        out = []
        for measure in measures:
            if now < self._not_before.get(measure, 0):
                continue
            row, budget = rows.get(measure), budgets.get((measure.site, measure.node, measure.name))
            old = row is None or now - row.fitted_at > (REFIT_US if row.kind != "none" else FEW_US)
            wanted = ALARMS_PER_MONTH if budget is None else budget.alarms_per_month
            if old or measure in changed or (row and row.learnt_from.get("alarms_per_month") != wanted):
                out.append(measure)
        return out

    def _changed(self, rows: Sequence[BaselineRow]) -> set[Measure]:
        """Those whose history is not what it was when it was learnt from: late readings, a dated fact."""
        out = set()
        for row in rows:
            (days,) = self.store.intervals([row.measure], "day", row.start, row.end)
            if fingerprint(days.start, days.amount) != row.history:
                out.add(row.measure)
        return out

    def fit(self, measures: Sequence[Measure], now: int, stop: threading.Event) -> Iterator[Fitted]:
        """Fit these, two at a time; each is in the ledger when it is yielded. One that fails is tried again later."""
        histories: dict[Measure, History] = {}
        rows = {row.measure: row for row in self.ledger.baselines.in_use()}
        jobs = [(measure, partial(self._job, measure, now, histories)) for measure in measures]
        for measure, answer in fit_all(jobs, stop):
            history = histories.pop(measure, None)
            try:
                if isinstance(answer, FitFailed) or history is None:
                    raise FitFailed(str(answer))
                row = self._keep(measure, history, answer, now)
            except StoreUnavailable:
                raise
            except Exception as failure:  # whatever is wrong with one, the others go on
                log.error("no baseline of %s: %s", measure, failure, exc_info=not isinstance(failure, FitFailed))
                self._not_before[measure] = now + FAILED_US
                continue
            yield Fitted(row, rows.get(measure), [Incident.from_dict(each) for each in answer["incidents"]])

    def history(self, measure: Measure, now: int) -> History:
        """What a measure's baseline is to be learnt from."""
        first, last = (now - LEARN_US) // HOUR_US, now // HOUR_US
        (series,) = self.store.intervals([measure], "15min", first * HOUR_US, last * HOUR_US)
        if len(series):
            first = int(series.start[0]) // HOUR_US
        kept_out = min(KEPT_OUT_US, (now - first * HOUR_US) // KEPT_OUT_SHARE)
        zone = self.installation.timezone_of(measure.node)
        last = max(day_start(zone, local_date(zone, now - kept_out)) // HOUR_US, first)
        hours = hours_of(series, first, last)
        outdoor = read_outdoor(self.installation, self.store, measure.node, first, last)
        return History(hours, outdoor.degc, outdoor.sources, self._left_out(measure, hours))

    def _left_out(self, measure: Measure, hours: Hours) -> NDArray[np.bool_]:
        """The hours of known incidents, at the meter itself or at the meters that a node adds up."""
        out = np.zeros(len(hours.start), np.bool_)
        if not len(out):
            return out
        nodes = {measure.node}
        if measure.scope != "meter":
            parts = self.installation.contributions(measure.scope, measure.node, measure.name)  # type: ignore[arg-type]
            nodes = {meter.id for meter, _ in parts}
        first, last = int(hours.start[0]), int(hours.start[-1]) + 1
        for row in self.ledger.incidents.list(first * HOUR_US, last * HOUR_US, site=measure.site):
            if row.node in nodes and row.feedback != "false_alarm":
                end = last if row.until is None else -(-row.until // HOUR_US)
                out[max(row.since // HOUR_US - first, 0) : max(end - first, 0)] = True
        return out if out.mean() <= MOST_LEFT_OUT else np.zeros(len(out), np.bool_)

    def _job(self, measure: Measure, now: int, histories: dict[Measure, History]) -> Job:
        try:
            history = histories[measure] = self.history(measure, now)
        except Exception as error:
            raise FitFailed(f"its history cannot be read: {error}") from error
        return self.job(measure, history)

    def job(self, measure: Measure, history: History, alarms_per_month: float | None = None) -> Job:
        """What the process that fits is given."""
        calendar = self.calendar_of(measure.site)
        return {
            "time": history.hours.start,
            "value": history.hours.value,
            "temperature": history.degc,
            "left_out": history.left_out,
            "zone": self.installation.timezone_of(measure.node),
            "unit": measure.unit,
            "flow": carrier_of(self.installation, measure) == Carrier.WATER,
            "alarms_per_month": self.budget(measure) if alarms_per_month is None else alarms_per_month,
            **days_of(calendar, history.hours),
        }

    def budget(self, measure: Measure) -> float:
        """How many incidents a month a meter may tell of that are none; 0: it is not watched."""
        row = self.ledger.baselines.watches().get((measure.site, measure.node, measure.name))
        return ALARMS_PER_MONTH if row is None else row.alarms_per_month

    def _keep(self, measure: Measure, history: History, answer: Answer, now: int) -> BaselineRow:
        model = BaselineModel.from_dict(answer["model"])
        hours = history.hours
        start = int(hours.start[0]) * HOUR_US if len(hours.start) else now
        end = int(hours.start[-1] + 1) * HOUR_US if len(hours.start) else now
        (days,) = self.store.intervals([measure], "day", start, end)
        learnt_from = {
            "temperature": list(history.sources),
            "hours_left_out": int(history.left_out.sum()),
            "alarms_per_month": self.budget(measure),
        }
        row = BaselineRow(
            measure, model.kind, start, end, now, fingerprint(days.start, days.amount), answer["model"]["quality"],
            model.findings, learnt_from,
        )  # fmt: skip
        kept = self.ledger.baselines.put(row, {"model": answer["model"], "habits": answer["habits"]})
        self.on_kept(kept, model, Habits.from_dict(answer["habits"]))
        return kept


def days_of(calendar: Workdays, hours: Hours) -> dict[str, Any]:
    """The calendar of a period and its surroundings, as JSON values."""
    if not len(hours.start):
        return {"work_days": [], "days_off": [], "known_years": []}
    first, last = (np.datetime64(int(hour) * 3600, "s").astype("datetime64[D]") for hour in hours.start[[0, -1]])
    margin = np.timedelta64(40, "D")
    near = {day: works for day, works in calendar.table.items() if first - margin < np.datetime64(day) < last + margin}
    return {
        "work_days": [day.isoformat() for day, works in near.items() if works],
        "days_off": [day.isoformat() for day, works in near.items() if not works],
        "known_years": sorted(calendar.known_years),
    }


def fingerprint(start: NDArray[np.int64], amount: NDArray[np.int64]) -> str:
    """What tells one history from another: daily amounts, to the last digit."""
    rows = np.stack([np.asarray(start, "<i8"), np.asarray(amount, "<i8")])
    return f"{len(start)}-{zlib.crc32(rows.tobytes()):08x}"
