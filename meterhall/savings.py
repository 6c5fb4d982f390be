"""Measurement and verification: projects with their adjusted baseline, avoided energy and non-routine adjustments.

A project's baseline is fitted once, in a process of its own, and kept: what has been reported does not change because
a reading came late. If its history has changed since, the report says so, and a person may have it fitted anew.
Reports end at the last local midnight, so that they are the same all day; they are kept until something changes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.daykinds import SiteCalendar
from analytics.edges import day_start, local_date
from meterhall.baselining import days_of, fingerprint
from meterhall.fitters import FitFailed, Worker
from meterhall.hours import Hours, Outdoor, read_hours, read_outdoor
from meterhall.projects import check_project
from meterhall.savingswork import adjustment
from meterhall.watching import MEMORY_HOURS
from metering.clock import HOUR_US, now_us
from metering.explain import ExplainedError, Finding
from metering.site import Installation
from storage.ledger.ledger import Ledger
from storage.ledger.savings import AdjustmentRow, ModelRow, ProjectRow, in_force
from storage.store import Store, StoreUnavailable

log = logging.getLogger("meterhall")

FIRST_S = 5.0  # after a start the page comes first
AGAIN_S = 900.0
TASKS = {"fit": "fit_savings", "sum": "sum_savings"}


@dataclass(frozen=True, slots=True)
class Report:
    """A project's saving as it stands now.

    Attributes
    ----------
    start, end : the reporting period, as far as it has gone [us since 1970]
    savings : `analytics.savings.Savings.to_dict()`; None where it was refused
    months, days : columns: start, end [us], adjusted_baseline, observed [0.001 unit], adjustments, avoided, low, high
        [unit], hours, known
    adjustments : every row; in_force : those that count
    weather : thermometers of the reporting period, each with its share of the hours [1]
    provisional_years : of both periods: no official calendar
    """

    project: ProjectRow
    model: ModelRow
    start: int
    end: int
    savings: Mapping[str, Any] | None
    months: Mapping[str, list[Any]]
    days: Mapping[str, list[Any]]
    adjustments: tuple[AdjustmentRow, ...]
    in_force: tuple[AdjustmentRow, ...]
    findings: tuple[Finding, ...]
    weather: Outdoor
    provisional_years: tuple[int, ...]


class Savings:
    """The projects of an installation.

    Parameters
    ----------
    calendar_of : the calendar of a site, by its id
    now : the clock [us since 1970]
    """

    def __init__(
        self,
        installation: Installation,
        store: Store,
        ledger: Ledger,
        calendar_of: Callable[[str], SiteCalendar],
        now: Callable[[], int] = now_us,
    ) -> None:
        self.installation, self.store, self.ledger, self.calendar_of = installation, store, ledger, calendar_of
        self._now = now
        self._reports: dict[str, tuple[tuple[Any, ...], Report]] = {}
        self._working = threading.Lock()  # one fit at a time: a machine has few cores
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="savings", daemon=True)

    # In the background

    def start(self) -> None:
        """Keep reports ready, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the report under way and stop."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(30)

    def _run(self) -> None:
        self._stop.wait(FIRST_S)
        while not self._stop.is_set():
            begun = time.monotonic()
            for project in self._try(self.projects) or ():
                if not self._stop.is_set():
                    self._try(lambda project=project: self.report(project.id))  # type: ignore[misc]
            self._stop.wait(max(AGAIN_S - (time.monotonic() - begun), 1.0))

    def _try(self, job: Callable[[], Any]) -> Any:
        try:
            return job()
        except (StoreUnavailable, ExplainedError) as refusal:
            log.error("%s; savings are worked out later", refusal)
        except Exception:
            log.exception("a report of savings failed; it is tried again later")
        return None

    # Asked

    def projects(self) -> list[ProjectRow]:
        """The projects as they stand now."""
        return self.ledger.savings.projects()

    def versions(self, project: str) -> list[ProjectRow]:
        """Every row of a project, oldest first."""
        return self.ledger.savings.project_rows(project)

    def adjustments(self, project: str) -> list[AdjustmentRow]:
        """Every adjustment of a project, oldest first."""
        return self.ledger.savings.adjustments(project)

    def report(self, project: str) -> Report | None:
        """A project's saving; its baseline is fitted first if there is none. None if there is no such project.

        Raises
        ------
        ExplainedError
            If it could not be worked out.
        """
        row = self.ledger.savings.project(project)
        if row is None:
            return None
        model, rows = self.ledger.savings.model(project), self.adjustments(project)
        end = self._end(row)
        key = (row.row, model and model.row, len(rows), end, self._history(row, row.reporting_start, end))
        kept = self._reports.get(project)
        if kept is not None and kept[0] == key:
            return kept[1]
        with self._working:
            fresh = self.ledger.savings.model(project)
            with _worker() as work:
                if fresh is None or fresh.project_row != row.row:
                    fresh = self._fit(row, work)
                report = self._report(row, fresh, rows, end, work)
        self._reports[project] = ((row.row, fresh.row, *key[2:]), report)
        return report

    # Said

    def propose(self, row: ProjectRow) -> ProjectRow:
        """Add a project, or mend one of the same id.

        Raises
        ------
        ExplainedError
            If it cannot be one: its nodes, or its dates.
        """
        check_project(self.installation, row)
        return self.ledger.savings.put_project(row)

    def adjust(self, row: AdjustmentRow) -> AdjustmentRow:
        """Add a non-routine adjustment, or one that corrects another.

        Raises
        ------
        ExplainedError
            If it corrects one that is none of this project, or is corrected already; if it ends before it begins.
        """
        if row.end <= row.start:
            raise ExplainedError("end", "is not after start", "give a half-open range: start <= t < end")
        known = {each.row for each in in_force(self.adjustments(row.project))}
        if row.corrects is not None and row.corrects not in known:
            raise ExplainedError("corrects", f"is {row.corrects}", f"name one in force: {sorted(known) or 'none is'}")
        return self.ledger.savings.put_adjustment(row)

    def fit(self, project: str) -> ModelRow | None:
        """Fit a project's baseline anew. None if there is no such project."""
        row = self.ledger.savings.project(project)
        if row is None:
            return None
        with self._working, _worker() as work:
            return self._fit(row, work)

    # Worked out

    def _end(self, row: ProjectRow) -> int:
        zone = self.installation.timezone_of(row.site)
        midnight = day_start(zone, local_date(zone, self._now()))
        return max(min(row.reporting_end or midnight, midnight), row.reporting_start)

    def _history(self, row: ProjectRow, start: int, end: int) -> str:
        """What tells one history of a period from another."""
        found = self.store.intervals(row.measures, "day", start, end)
        return "+".join(fingerprint(series.start, series.amount) for series in found)

    def _hours(self, row: ProjectRow, first: int, last: int) -> Hours:
        """The hours of all measures together; one that any of them lacks is a gap."""
        found = read_hours(self.store, row.measures, first, last)
        start = np.arange(first, max(last, first), dtype=np.int64)
        total: NDArray[np.float64] = np.sum([hours.value for hours in found], axis=0) if found else start * np.nan
        return Hours(start, total)

    def _job(self, row: ProjectRow, hours: Hours, weather: Outdoor) -> dict[str, Any]:
        return {
            "time": hours.start,
            "value": hours.value,
            "temperature": weather.degc,
            "zone": self.installation.timezone_of(row.site),
            "unit": row.unit,
            **days_of(self.calendar_of(row.site).workdays, hours),
        }

    def _fit(self, row: ProjectRow, work: Callable[[str, dict[str, Any]], dict[str, Any]]) -> ModelRow:
        first, last = row.baseline_start // HOUR_US, row.baseline_end // HOUR_US
        hours = self._hours(row, first, last)
        weather = read_outdoor(self.installation, self.store, row.measures[0].node, first, last)
        body = work("fit", self._job(row, hours, weather))["model"]
        learnt_from = {
            "weather": [_used(each, share) for each, share in weather.used],
            "provisional_years": self._provisional(row, row.baseline_start, row.baseline_end),
        }
        findings = tuple(Finding(*each) for each in body["findings"])
        history = self._history(row, row.baseline_start, row.baseline_end)
        made = ModelRow(
            row.id, row.row, body["kind"], self._now(), history, body["quality"], findings, learnt_from
        )  # fmt: skip
        return self.ledger.savings.put_model(made, body)

    def _report(
        self,
        row: ProjectRow,
        model: ModelRow,
        rows: list[AdjustmentRow],
        end: int,
        work: Callable[[str, dict[str, Any]], dict[str, Any]],
    ) -> Report:
        first, last = row.reporting_start // HOUR_US - MEMORY_HOURS, end // HOUR_US
        weather = read_outdoor(self.installation, self.store, row.measures[0].node, first, last)
        counted = in_force(rows)
        findings = list(model.findings)
        answer: dict[str, Any] = {"savings": None, "months": {}, "days": {}}
        if end <= row.reporting_start:
            findings.append(Finding("savings.not_begun", "disqualifies", "the reporting period has no whole day yet"))
        else:
            job = self._job(row, self._hours(row, first, last), weather) | {
                "model": self.ledger.savings.body(model.row),
                "warm_up": MEMORY_HOURS,
                "adjustments": [adjustment(e.start, e.end, e.amount, e.reason, e.author) for e in counted],
            }
            answer = work("sum", job)
            known = {(each.code, each.message) for each in findings}
            told = [Finding(**each) for each in answer["savings"]["findings"]]
            findings += [each for each in told if (each.code, each.message) not in known]
            if answer["savings"]["verdict"] == "refused":
                answer = {"savings": None, "months": {}, "days": {}}
        if self._history(row, row.baseline_start, row.baseline_end) != model.history:
            words = "readings of the baseline period have changed since it was fitted; fit it anew if that is right"
            findings.append(Finding("savings.history_changed", "warning", words))
        years = set(model.learnt_from.get("provisional_years", ())) | set(
            self._provisional(row, row.reporting_start, max(end, row.reporting_start + 1))
        )
        if years:
            named = ", ".join(map(str, sorted(years)))
            findings.append(Finding(
                "savings.calendar_provisional", "warning", f"no official calendar of {named}: Monday to Friday",
                {"years": sorted(years)},
            ))  # fmt: skip
        return Report(
            row, model, row.reporting_start, end, answer["savings"], answer["months"], answer["days"], tuple(rows),
            tuple(counted), tuple(findings), weather, tuple(sorted(years)),
        )  # fmt: skip

    def _provisional(self, row: ProjectRow, start: int, end: int) -> list[int]:
        zone = self.installation.timezone_of(row.site)
        first, last = local_date(zone, start), local_date(zone, end - 1)
        return self.calendar_of(row.site).provisional_years(first, max(last, first + timedelta()))


def _used(each: Any, share: float) -> dict[str, Any]:
    return {"point": str(each.point), "place": each.place, "distance_km": each.distance_km, "share": share}


@contextmanager
def _worker() -> Iterator[Callable[[str, dict[str, Any]], dict[str, Any]]]:
    """A process that does what it is asked, for as long as this lasts."""
    worker = Worker()

    def ask(task: str, job: dict[str, Any]) -> dict[str, Any]:
        try:
            return worker.fit({**job, "task": TASKS[task]})
        except FitFailed as failure:
            raise ExplainedError(
                "the saving", f"could not be worked out: {failure}", "see the log of the server"
            ) from failure

    try:
        yield ask
    finally:
        worker.close()
