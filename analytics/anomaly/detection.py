"""Incidents of a whole period, by the detector that also judges a stream; feedback on them is used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.anomaly.detector import Detector
from analytics.anomaly.habits import Habits
from analytics.anomaly.incident import Feedback, Incident, Kind
from analytics.anomaly.learning import Learnt
from analytics.baseline.expected import predict
from analytics.baseline.fitting import HeldOut
from analytics.workdays import Workdays
from metering.clock import HOUR_US

FALSE_ALARM_RAISES = 1.2  # a threshold, for each false alarm of its kind, at most twice over
JUDGED_BY: dict[Kind, tuple[str, ...]] = {
    "spike": ("spike",), "night_load": ("night", "nights"), "swap": ("shape",), "clock_shift": ("shape",),
    "high_use": ("day", "days", "week"), "low_use": ("day", "days", "week"),
    "step_up": ("day", "days", "week"), "step_down": ("day", "days", "week"),
}  # fmt: skip


class Remark(NamedTuple):
    """What a person said about an incident. start, end : what it is about [us since 1970]"""

    kind: Kind
    start: int
    end: int
    feedback: Feedback


def detect(
    learnt: Learnt,
    time: NDArray[Any],
    value: NDArray[Any],
    temperature: NDArray[Any] | None = None,
    *,
    calendar: Workdays | None = None,
    flow: bool = False,
    price: float | None = None,
    remarks: Sequence[Remark] = (),
) -> list[Incident]:
    """Incidents of a period, oldest first; those planned or judged false alarms are left out.

    Parameters
    ----------
    time, value, temperature : as for `predict`, hourly; value NaN is a gap
    flow : judge minimum flow too (water); price : money per unit; remarks : what people said of earlier ones
    """
    habits = after_feedback(learnt.habits, remarks)
    detector = Detector(habits, zone=learnt.model.zone, unit=learnt.model.unit, flow=flow, price=price)
    told: dict[tuple[str, int], Incident] = {}
    start, rows, expected, scale = judged(learnt, time, value, temperature, calendar)
    for row in zip(start, rows, expected, scale, strict=True):
        for incident in detector.push(*row):
            told[incident.key] = incident
    found = sorted(told.values(), key=lambda i: (i.start, i.detected))
    return [i for i in found if not _known(i, remarks)]


def look_back(
    learnt: Learnt, held: HeldOut, time: NDArray[Any], value: NDArray[Any], *, flow: bool = False
) -> list[Incident]:
    """Incidents of the baseline period itself, oldest first: each hour against what was expected without its month.

    Parameters
    ----------
    held : of `learn_held_out`; time, value : as given to it, hourly
    """
    start, place = np.unique(hours(time), return_index=True)
    amount = np.asarray(value, np.float64)[place]
    expected, scale = np.full(len(start), np.nan), np.ones(len(start))
    at = np.searchsorted(held.start, start)
    known = at < len(held.start)
    known[known] = held.start[at[known]] == start[known]
    expected[known], scale[known] = held.expected[at[known]], held.scale[at[known]]
    habits = replace(learnt.habits, level_day=(), level_night=())  # those stand at its end
    detector = Detector(habits, zone=learnt.model.zone, unit=learnt.model.unit, flow=flow)
    told: dict[tuple[str, int], Incident] = {}
    for row in zip(start.tolist(), amount.tolist(), expected.tolist(), np.nan_to_num(scale, nan=1.0).tolist(),
                   strict=True):  # fmt: skip
        for incident in detector.push(*row):
            told[incident.key] = incident
    for incident in detector.open:
        told[incident.key] = incident
    return sorted(told.values(), key=lambda i: (i.start, i.detected))


def judged(
    learnt: Learnt, time: NDArray[Any], value: NDArray[Any], temperature: NDArray[Any] | None, calendar: Workdays | None
) -> tuple[list[int], list[float], list[float], list[float]]:
    """(hours since 1970, values, expected, scale), in order, as a detector takes them."""
    start, place = np.unique(np.asarray(hours(time)), return_index=True)
    amount = np.asarray(value, np.float64)[place]
    if learnt.model.kind != "hourly":
        nothing = [float("nan")] * len(start)
        return start.tolist(), amount.tolist(), nothing, [1.0] * len(start)
    air = None if temperature is None else np.asarray(temperature, np.float64)[place]
    e = predict(learnt.model, start * HOUR_US, air, calendar=calendar)
    return start.tolist(), amount.tolist(), e.value.tolist(), e.scale.tolist()


def hours(time: NDArray[Any]) -> NDArray[np.int64]:
    """Hours since 1970 of datetime64 or int64 [us] instants."""
    array = np.asarray(time)
    if array.dtype.kind == "M":
        array = array.astype("datetime64[us]").astype(np.int64)
    return np.asarray(array, np.int64) // HOUR_US


def after_feedback(habits: Habits, remarks: Iterable[Remark]) -> Habits:
    """Habits whose thresholds heed false alarms: each raises those its kind is judged by."""
    limits = habits.limits._asdict()
    raised: dict[str, float] = dict.fromkeys(limits, 1.0)
    for remark in remarks:
        if remark.feedback == "false_alarm":
            for name in JUDGED_BY.get(remark.kind, ()):
                raised[name] = min(raised[name] * FALSE_ALARM_RAISES, 2.0)
    fields = {name: getattr(habits, name) for name in habits.__slots__}
    fields["limits"] = habits.limits._replace(**{name: limits[name] * raised[name] for name in limits})
    return Habits(**fields)


def _known(incident: Incident, remarks: Iterable[Remark]) -> bool:
    """Was it planned, or is it the very one that was judged a false alarm?"""
    end = incident.end if incident.end is not None else incident.detected
    return any(
        r.feedback != "confirmed" and r.start <= incident.detected and incident.start < r.end
        and (r.feedback == "planned" or (r.kind == incident.kind and r.end >= end))
        for r in remarks
    )  # fmt: skip


def with_cost(incident: Incident, price: float) -> Incident:
    """The incident with its cost by a price per unit; faults of data cost nothing."""
    return replace(incident, cost=None if incident.about_data else incident.size * price)
