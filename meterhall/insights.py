"""Baselines and incidents of a running machine: fitted and watched in the background, asked by API and page."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.anomaly.habits import Habits
from analytics.baseline.expected import Expected, Total, predict, totals
from analytics.baseline.model import BaselineModel
from analytics.workdays import Workdays
from meterhall.baselining import Baseliner
from meterhall.hours import Outdoor, read_outdoor
from meterhall.telling_usual import INCIDENTS_US, TellingUsual
from meterhall.trying import Tried, try_budget
from meterhall.watching import MEMORY_HOURS, Watcher
from metering.clock import HOUR_US, now_us
from metering.reading import Measure
from metering.site import Installation
from storage.ledger.baselines import BaselineRow, WatchRow
from storage.ledger.incidents import FeedbackRow, IncidentRow
from storage.ledger.ledger import Ledger
from storage.notes import NoteStore
from storage.store import Store, StoreUnavailable

log = logging.getLogger("meterhall")

FIRST_S = 3.0  # after a start the page comes first
LOOK_S = 20.0
STEP_S = 300.0  # an hour is judged so long after it is complete, at most
DUE_S = 600.0
MODELS_KEPT = 256


class Usual(NamedTuple):
    """What is usual in hours: start int64 (n,) [hours since 1970]; the others as `Expected`."""

    row: BaselineRow
    model: BaselineModel
    expected: Expected


class Insights:
    """Baselines and incidents.

    Parameters
    ----------
    calendar_of : the work days of a site, by its id
    now : the clock [us since 1970]
    """

    def __init__(
        self,
        installation: Installation,
        store: Store,
        ledger: Ledger,
        calendar_of: Callable[[str], Workdays],
        now: Callable[[], int] = now_us,
    ) -> None:
        self.installation, self.store, self.ledger, self.calendar_of = installation, store, ledger, calendar_of
        self._now = now
        self.baseliner = Baseliner(installation, store, ledger, calendar_of)
        self.baseliner.on_kept = self._remember
        self.watcher = Watcher(installation, store, ledger, calendar_of, self.model_of)
        self._models: OrderedDict[int, tuple[BaselineModel, Habits]] = OrderedDict()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._soon = threading.Event()
        self._thread = threading.Thread(target=self._run, name="baselines", daemon=True)
        self.waiting = 0  # measures whose baseline is to be fitted
        self._telling = TellingUsual(installation, store, self.usual) if isinstance(store, NoteStore) else None

    # In the background

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the fit under way and stop."""
        self._stop.set()
        self._soon.set()
        if self._thread.ident is not None:
            self._thread.join(30)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        stepped, looked = -STEP_S, -DUE_S
        self._stop.wait(FIRST_S)
        while not self._stop.is_set():
            hurry = self._soon.is_set()
            self._soon.clear()
            if hurry or time.monotonic() - stepped >= STEP_S:
                stepped = time.monotonic()
                self._try(lambda: self.watcher.step(self._now()), "incidents are looked for again later")
                self._try(self.tell, "what is usual is told again later")
            if hurry or time.monotonic() - looked >= DUE_S:
                looked = time.monotonic()
                self._try(self.fit_what_is_due, "baselines are fitted later")
            self._soon.wait(LOOK_S)

    def fit_what_is_due(self) -> int:
        """Fit what is missing, old or changed; returns how many were fitted."""
        now = self._now()
        due = self.baseliner.due(now)
        self.waiting, begun = len(due), time.monotonic()
        try:
            for fitted in self.baseliner.fit(due, now, self._stop):
                self.waiting -= 1
                self._try(partial(self.watcher.begin, fitted, now), "its hours are judged at the next step")
                if self._stop.is_set():
                    break
            if due:
                self.watcher.fold(now)
                log.info("%d baselines fitted in %.1f s", len(due) - self.waiting, time.monotonic() - begun)
        finally:
            done, self.waiting = len(due) - self.waiting, 0
        return done

    def tell(self) -> None:
        """Tell a store that others query what is expected around now, and what is not usual."""
        if self._telling is not None:
            now = self._now()
            self._telling.incidents(self.ledger.incidents.list(now - INCIDENTS_US))
            self._telling.expected(self.ledger.baselines.in_use(), now)

    def _try(self, job: Callable[[], object], consequence: str) -> None:
        try:
            job()
        except StoreUnavailable as refusal:
            log.error("%s; %s", refusal, consequence)
        except Exception:
            log.exception("a background job failed; %s", consequence)

    # Asked

    def model_of(self, row: BaselineRow) -> tuple[BaselineModel, Habits] | None:
        """The model and the habits of a baseline; None if they are not kept, or another version wrote them."""
        with self._lock:
            if row.id in self._models:
                self._models.move_to_end(row.id)
                return self._models[row.id]
        body = self.ledger.baselines.body(row.id)
        if body is None:
            return None
        try:
            known = BaselineModel.from_dict(body["model"]), Habits.from_dict(body["habits"])
        except (ValueError, KeyError) as error:
            log.warning("the baseline of %s cannot be used: %s", row.measure, error)
            return None
        self._remember(row, *known)
        return known

    def _remember(self, row: BaselineRow, model: BaselineModel, habits: Habits) -> None:
        with self._lock:
            self._models[row.id] = (model, habits)
            while len(self._models) > MODELS_KEPT:
                self._models.popitem(last=False)

    def baselines(self, site: str | None = None, node: str | None = None) -> list[BaselineRow]:
        """The baselines in use."""
        return self.ledger.baselines.in_use(site, node)

    def versions(self, measure: Measure) -> list[BaselineRow]:
        """All baselines a measure has had, the newest first."""
        return self.ledger.baselines.versions(measure)

    def usual(self, measure: Measure, start: int, end: int) -> Usual | None:
        """What is usual in the whole hours of [start, end); None without a baseline that can predict."""
        row = next((row for row in self.baselines(node=measure.node) if row.measure == measure), None)
        known = self.model_of(row) if row is not None and row.kind == "hourly" else None
        if row is None or known is None:
            return None
        first, last = start // HOUR_US, -(-end // HOUR_US)
        outdoor = read_outdoor(self.installation, self.store, measure.node, first - MEMORY_HOURS, last)
        hours = np.arange(first - MEMORY_HOURS, last)
        calendar = self.calendar_of(measure.site)
        found = predict(known[0], hours * HOUR_US, outdoor.degc, calendar=calendar)
        return Usual(row, known[0], Expected(*(column[MEMORY_HOURS:] for column in found)))

    def totals(self, usual: Usual, by: str) -> Total:
        """Sums of it by local day, week, month or all, each with its interval."""
        return totals(usual.model, usual.expected, by)  # type: ignore[arg-type]

    def outdoor(self, node: str, start: int, end: int) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """Outdoor temperature of the hours of [start, end) at a node [degC], and where it comes from."""
        found = self.weather(node, start, end)
        return found.degc, found.sources

    def weather(self, node: str, start: int, end: int) -> Outdoor:
        """The same, with each thermometer's place, distance and share."""
        return read_outdoor(self.installation, self.store, node, start // HOUR_US, -(-end // HOUR_US))

    def incidents(
        self, start: int | None = None, end: int | None = None, *, site: str | None = None, node: str | None = None,
        kind: str | None = None, open_only: bool = False, causes_only: bool = True,
    ) -> list[IncidentRow]:  # fmt: skip
        """Incidents that overlap [start, end), newest first; without those that are part of another."""
        return self.ledger.incidents.list(
            start, end, site=site, node=node, kind=kind, open_only=open_only, causes_only=causes_only
        )

    def incident(self, number: int) -> IncidentRow | None:
        """One of them."""
        return self.ledger.incidents.get(number)

    def parts(self, number: int) -> Sequence[IncidentRow]:
        """Those that have it as their cause."""
        return self.ledger.incidents.parts(number)

    def said_of(self, number: int) -> Sequence[FeedbackRow]:
        """What people said of it."""
        return self.ledger.incidents.said_of(number)

    def say(self, number: int, feedback: str, note: str, author: str) -> IncidentRow | None:
        """Keep what a person says; it is used from the next step on. None if there is no such incident."""
        row = self.ledger.incidents.say(FeedbackRow(number, feedback, note, author, self._now()))
        if row is not None:
            self.watcher.judge_again(row.node)
            self._soon.set()
        return row

    def budget(self, measure: Measure) -> float:
        """How many incidents a month a meter may tell of that are none."""
        return self.baseliner.budget(measure)

    def watch(self, measure: Measure, alarms_per_month: float, author: str) -> None:
        """Set it; the meter's thresholds are learnt anew soon."""
        row = WatchRow(measure.site, measure.node, measure.name, alarms_per_month, author, self._now())
        self.ledger.baselines.watch(row)
        self._soon.set()

    def try_budget(self, measure: Measure, alarms_per_month: float) -> Tried:
        """What a meter's watch would have told of its last year with another alarm budget."""
        tried = try_budget(self.baseliner, measure, alarms_per_month, self._now())
        known = self.ledger.incidents.list(tried.start, tried.end, node=measure.node, said="confirmed")
        missed = [row for row in known if row.name == measure.name and not tried.finds(row)]
        return replace(tried, missed=tuple(missed))
