"""Watches every meter hour by hour: the detector of `analytics`, fed from stored intervals, tells the ledger.

What a detector knows is a function of its baseline, the stored hours and what people said. So a restart, late readings
or a new baseline lead to the same state: it is fed again from the baseline's end on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from analytics.anomaly.detection import Remark, after_feedback
from analytics.anomaly.detector import Detector
from analytics.anomaly.habits import Habits
from analytics.anomaly.incident import Incident
from analytics.baseline.expected import predict
from analytics.baseline.model import BaselineModel
from analytics.workdays import Workdays
from meterhall.baselining import Fitted
from meterhall.hours import carrier_of, hours_of, read_outdoor
from meterhall.incidents import Key, continued, folded, reconciled, row_of
from metering.clock import DAY_US, HOUR_US
from metering.quantity import Carrier
from metering.reading import IntervalSeries, Measure
from metering.site import Installation
from storage.ledger.baselines import BaselineRow
from storage.ledger.incidents import IncidentRow
from storage.ledger.ledger import Ledger
from storage.store import Store

log = logging.getLogger("meterhall")

LATE_HOURS = 72  # looked at again each time: did late readings change what was judged?
GIVEN_UP_HOURS = 3  # so long an hour is waited for, before it is a gap
MEMORY_HOURS = 96  # of the temperature, before an hour that is predicted
BEFORE_HOURS = 96  # of an incident that lasts: fed again from so long before it
FOLD_US = 60 * DAY_US
NEWLY_TOLD_US = 3 * DAY_US  # by a new baseline: what it finds that was over longer ago is not told

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


@dataclass(slots=True)
class _Watched:
    """One meter under watch.

    first : hour from which the detector was fed; value : what it was fed since, NaN is a gap
    """

    row: BaselineRow
    model: BaselineModel
    detector: Detector
    first: int
    value: list[float] = field(default_factory=list)
    told: dict[Key, Incident] = field(default_factory=dict)
    rows: dict[Key, IncidentRow | None] = field(default_factory=dict)  # None: found, and not to be told

    @property
    def next(self) -> int:
        """The hour that comes next [hours since 1970]."""
        return self.first + len(self.value)


class Watcher:
    """The watch over all meters.

    Parameters
    ----------
    model_of : the model and the habits of a baseline in use; None if they are not kept
    """

    def __init__(
        self,
        installation: Installation,
        store: Store,
        ledger: Ledger,
        calendar_of: Callable[[str], Workdays],
        model_of: Callable[[BaselineRow], tuple[BaselineModel, Habits] | None],
    ) -> None:
        self.installation, self.store, self.ledger = installation, store, ledger
        self.calendar_of, self.model_of = calendar_of, model_of
        self._watched: dict[Measure, _Watched] = {}
        self._again: set[str] = set()

    def judge_again(self, node: str) -> None:
        """Feed a meter's detector anew at the next step: a person said something. From any thread."""
        self._again.add(node)

    def begin(self, fitted: Fitted, now: int) -> None:
        """Take up a new baseline, and judge by it what came after its period.

        Of a meter's first baseline the incidents of its own period are entered too; later ones tell what is new.
        """
        measure = fitted.row.measure
        if measure.scope != "meter" or fitted.row.learnt_from.get("alarms_per_month") == 0:
            return
        self._watched.pop(measure, None)
        if fitted.before is None:
            rows = {each.key: row_of(each, measure, fitted.row) for each in fitted.incidents}
            known = [row for row in self.ledger.incidents.list(node=measure.node) if row.name == measure.name]
            told = reconciled(known, rows, now, None).rows.values()
            self.ledger.incidents.write([row for row in told if row is not None], now)
        self._feed_again(fitted.row, now, None if fitted.before is None else now - NEWLY_TOLD_US)

    def step(self, now: int) -> int:
        """Judge the hours that have come in since; returns how many. One transaction, if anything changed."""
        rows = [row for row in self.ledger.baselines.in_use() if row.measure.scope == "meter"]
        in_use = {row.measure: row for row in rows}
        again, self._again = self._again, set()
        for measure in [m for m, w in self._watched.items() if in_use.get(m) != w.row or m.node in again]:
            del self._watched[measure]
        fresh = [row for row in rows if row.measure not in self._watched]
        for row in fresh:
            self._feed_again(row, now, None)
        before = {measure: watched.next for measure, watched in self._watched.items()}
        late = self._catch_up(self._watched, now)
        for measure in late:
            log.info("late readings of %s: its hours are judged again", measure)
            self._feed_again(in_use[measure], now, None)
        count = 0
        for measure, watched in self._watched.items():
            grown = watched.next - before.get(measure, watched.next)
            if grown > 0:
                count += grown
                self._write(watched, now, None)
        if count or fresh or late:
            self.fold(now)
        return count

    def fold(self, now: int) -> None:
        """Make one incident of those that have one cause."""
        rows = self.ledger.incidents.list(start=now - FOLD_US)
        changed = folded(self.installation, rows)
        self.ledger.incidents.write(changed, now)
        part_of = {row.id: row.part_of for row in changed}
        for watched in self._watched.values():
            watched.rows = {
                key: replace(row, part_of=part_of[row.id]) if row is not None and row.id in part_of else row
                for key, row in watched.rows.items()
            }

    # Feeding

    def _new(self, row: BaselineRow, model: BaselineModel, habits: Habits, first: int) -> _Watched:
        measure = row.measure
        remarks = [
            Remark(said.kind, said.since, said.until if said.until is not None else said.detected, said.feedback)  # type: ignore[arg-type]
            for said in self.ledger.incidents.list(node=measure.node, said="false_alarm")
        ]
        detector = Detector(
            after_feedback(habits, remarks),
            zone=model.zone,
            unit=measure.unit,
            flow=carrier_of(self.installation, measure) == Carrier.WATER,
        )
        return _Watched(row, model, detector, first)

    def _feed_again(self, row: BaselineRow, now: int, new_since: int | None) -> None:
        """Feed a detector from the end of its baseline, or from before an incident that lasts longer."""
        known = self.model_of(row) if row.learnt_from.get("alarms_per_month") != 0 else None
        if known is None:
            return
        lasting = self.ledger.incidents.list(node=row.measure.node, open_only=True)
        begins = [one.since // HOUR_US - BEFORE_HOURS for one in lasting if one.name == row.measure.name]
        first = max(min([row.end // HOUR_US, *begins]), row.start // HOUR_US)
        watched = self._new(row, *known, first)
        self._catch_up({row.measure: watched}, now)
        self._write(watched, now, new_since, again=True)
        self._watched[row.measure] = watched

    def _catch_up(self, all_watched: dict[Measure, _Watched], now: int) -> list[Measure]:
        """Push the hours that are complete; returns the meters whose judged hours have changed since."""
        if not all_watched:
            return []
        first = min(max(watched.next - LATE_HOURS, watched.first) for watched in all_watched.values())
        last = now // HOUR_US
        late: list[Measure] = []
        if last <= first:
            return late
        measures = list(all_watched)
        found = self.store.intervals(measures, "15min", first * HOUR_US, (last + 1) * HOUR_US)
        degc: dict[str, F64] = {}
        for measure, series in zip(measures, found, strict=True):
            watched = all_watched[measure]
            looked = max(watched.next - LATE_HOURS, watched.first)
            hours = hours_of(series, looked, complete_until(series, watched.next, now))
            old = watched.value[looked - watched.first :]
            if not np.array_equal(np.array(old), hours.value[: len(old)], equal_nan=True):
                late.append(measure)
                continue
            new = slice(len(old), None)
            if len(hours.start) > len(old):
                place = self._place(measure.node)
                if place not in degc or len(degc[place]) < last - first + MEMORY_HOURS:
                    outdoor = read_outdoor(self.installation, self.store, measure.node, first - MEMORY_HOURS, last)
                    degc[place] = outdoor.degc
                self._judge(watched, hours.start[new], hours.value[new], degc[place], first - MEMORY_HOURS)
        return late

    def _place(self, node: str) -> str:
        """What two nodes have in common that have the same thermometers."""
        return getattr(self.installation.by_id.get(node), "building", "") or node

    def _judge(self, watched: _Watched, start: I64, value: F64, degc: F64, since: int) -> None:
        """Predict hours and push them; degc : outdoor temperature from the hour `since` on."""
        if watched.model.kind != "hourly":
            nothing = np.full(len(start), np.nan)
            self._push(watched, start, value, nothing, np.ones(len(start)))
            return
        begin = int(start[0]) - MEMORY_HOURS
        hours = np.arange(begin, int(start[-1]) + 1)
        air = degc[begin - since : begin - since + len(hours)]
        calendar = self.calendar_of(watched.row.measure.site)
        expected = predict(watched.model, hours * HOUR_US, air, calendar=calendar)
        self._push(watched, start, value, expected.value[MEMORY_HOURS:], expected.scale[MEMORY_HOURS:])

    def _push(self, watched: _Watched, start: I64, value: F64, expected: F64, scale: F64) -> None:
        push = watched.detector.push
        for row in zip(start.tolist(), value.tolist(), expected.tolist(), scale.tolist(), strict=True):
            for incident in push(*row):
                watched.told[incident.key] = incident
        watched.value += value.tolist()

    # Telling

    def _write(self, watched: _Watched, now: int, new_since: int | None, again: bool = False) -> None:
        """Bring the ledger up to date with what a detector has found; `again`: in time that was judged before."""
        measure, rows = watched.row.measure, watched.rows
        for incident in watched.detector.open:
            watched.told[incident.key] = incident
        found = {key: row_of(incident, measure, watched.row) for key, incident in watched.told.items()}
        changed: dict[Key, IncidentRow] = {}
        for key, old in rows.items():
            if old is not None and (now_told := continued(old, found[key])) != old:
                changed[key] = now_told
        new = {key: row for key, row in found.items() if key not in rows}
        ended: list[IncidentRow] = []
        if new or again:
            mine = {row.id for row in rows.values() if row is not None}
            ledger = self.ledger.incidents.list(start=watched.first * HOUR_US, node=measure.node)
            known = [row for row in ledger if row.name == measure.name and row.id not in mine]
            matched = reconciled(known, new, now, new_since)
            by_id = {row.id: row for row in known}
            for key, row in matched.rows.items():
                rows[key] = row
                if row is not None and by_id.get(row.id) != row:
                    changed[key] = row
            ended = matched.ended if again else []
        written = self.ledger.incidents.write([*changed.values(), *ended], now)
        rows.update(zip(changed, written, strict=False))


def complete_until(series: IntervalSeries, first: int, now: int) -> int:
    """The hour up to which hours are complete: something was observed after them, or it has been waited long enough."""
    waited = now // HOUR_US - GIVEN_UP_HOURS
    newest = int(series.start[-1]) // HOUR_US if len(series) else first
    return max(min(newest, now // HOUR_US), waited, first)
