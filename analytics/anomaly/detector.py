"""Incidents from readings, one hour at a time: a year in a batch and a reading in a stream are the same code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import nan
from typing import Any

from analytics.anomaly.cause import cause, follows_itself, onset
from analytics.anomaly.habits import Habits
from analytics.anomaly.incident import Incident, Kind, words
from analytics.anomaly.readings import GOOD, Readings
from analytics.anomaly.rests import LONG_REST_HOURS
from analytics.anomaly.watch import Hour, Score, Watch
from analytics.baseline.conditions import local_clock
from metering.clock import HOUR_US

QUIET_HOURS = 12  # an incident of use is over when no hour has carried it for so long,
CALM = 0.8  # and no score lies above this share of its threshold
ABOVE_ALL = 1.25  # times the largest reading: a spike, whatever the usual scatter
LEAK_ABOVE = 1.5  # times the largest 24 h minimum of the baseline period
LEAK_HOURS = 30  # a flow that stays the same for longer is a stuck meter
BURST_ABOVE = 1.3  # times the largest 3 h minimum
LOOKS_BACK = 12  # hours by which a 24 h mean is late
REVIEW_HOURS = 12  # the cause is looked at again so often
SPIKE_HOURS = 2
START_UP_HOURS = 72  # after a rest of days the building is heated up: what that takes is not judged
BESIDE = 0.5  # an hour beside a spike stands out by less than this share of it
FLOW_BEYOND = 1.8  # people draw water irregularly: only what stands out by so much is told, minimum flow tells the rest


UP_OR_DOWN: dict[Kind, tuple[Kind, Kind]] = {
    "step_up": ("step_up", "step_down"), "step_down": ("step_up", "step_down"),
    "high_use": ("high_use", "low_use"), "low_use": ("high_use", "low_use"),
}  # fmt: skip


@dataclass(slots=True)
class _Open:
    """An incident that lasts. Hours since 1970; amounts in the meter's unit."""

    kind: Kind
    start: int
    detected: int
    last: int  # last hour that carried it
    size: float = 0.0
    by_night: float = 0.0  # the part of it in the hours of the night
    hours: int = 0
    rate: float = 0.0
    confidence: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)
    reviewed: int = 0


class Detector:
    """The watch over one meter.

    Parameters
    ----------
    habits : of `analytics.anomaly.learning.learn`
    zone, unit : local clock, unit of the values
    flow : also judge minimum flow (water): leaks and bursts
    price : money per unit, for the cost of an incident; None: no cost is told
    """

    def __init__(
        self, habits: Habits, *, zone: str, unit: str = "kWh", flow: bool = False, price: float | None = None
    ) -> None:
        self.habits, self.zone, self.unit, self.flow, self.price = habits, zone, unit, flow, price
        self._watch = Watch(habits)
        self._readings = Readings(habits)
        self._open: dict[str, _Open] = {}
        self._recent: list[float] = []
        self._waiting: _Open | None = None
        self._zeros = self._starting = 0  # hours at zero up to now; hours in which it is still starting up after a rest

    def push(self, start: int, value: float, expected: float = nan, scale: float = 1.0) -> list[Incident]:
        """Judge the next hour; incidents that began, changed or ended with it.

        Parameters
        ----------
        start : hours since 1970; hours that are skipped are gaps, an hour before the last one is an error
        value : NaN is a gap; expected, scale : of the baseline, NaN without one [unit/h]

        Raises
        ------
        ValueError
            If the hour does not come after the last one.
        """
        past = self._watch.past
        if past and start <= past[-1].start:
            raise ValueError(f"hour {start} comes after hour {past[-1].start}; a detector takes hours in order")
        out: list[Incident] = []
        if past:
            for missed in range(max(past[-1].start + 1, start - 24 * 90), start):
                out += self._hour(missed, nan, nan, 1.0)
        return out + self._hour(start, value, expected, scale)

    def _hour(self, start: int, value: float, expected: float, scale: float) -> list[Incident]:
        day, hour = local_clock(self.zone, start)
        if self.habits.rests:
            expected = self._unless_resting(value, expected)
        verdict = self._readings.push(value, expected, scale)
        if self.flow and verdict.kind == "stuck" and verdict.hours <= LEAK_HOURS:
            verdict = GOOD  # a leak through the night reads the same, hour after hour
        error = value - expected if verdict.good else nan
        least = self.habits.scale_least
        h = Hour(start, day, hour, value, expected, scale if scale > least else max(least, 1e-12), error)
        score = self._watch.push(h)
        open_ = self._open
        if (
            verdict.kind is None
            and score.spike < self.habits.limits.spike
            and not open_
            and not self.flow
            and self._waiting is None
            and not value > ABOVE_ALL * self.habits.largest
        ):
            limits = self.habits.limits
            if (
                -limits.day < score.day < limits.day
                and -limits.days < score.days < limits.days
                and score.night < limits.night
                and score.nights < limits.nights
                and score.shape < limits.shape
                and -limits.week < score.week < limits.week
            ):
                return []
        out: list[Incident] = []
        self._data(verdict.kind, verdict.hours, verdict.factor, h, out)
        self._spike(h, score, out)
        if self.flow:
            self._flow(h, verdict.good, out)
        self._use(h, score, out)
        return out

    def _unless_resting(self, value: float, expected: float) -> float:
        """The expected value, or NaN while a meter that rests for weeks is at zero or has just begun again."""
        if value == 0.0:
            self._zeros += 1
            return nan
        if self._zeros >= LONG_REST_HOURS:
            self._starting = START_UP_HOURS
        self._zeros = 0
        self._starting = max(self._starting - 1, 0)
        return nan if self._starting else expected

    def _data(self, kind: Kind | None, hours: int, factor: float, h: Hour, out: list[Incident]) -> None:
        for other in ("gap", "stuck", "unit", "negative"):
            if other in self._open and other != kind:
                self._close(other, out)
        if kind is None or kind == "spike":
            return
        known = self._open.get(kind)
        if known is None:
            known = _Open(kind, h.start - hours + 1, h.start + 1, h.start, confidence=0.99)
            known.figures = {"hours": hours, "value": h.value, "factor": f"{factor:g}", "expected": h.expected}
            self._open[kind] = known
            out.append(self._told(known, None))
        known.last, known.hours = h.start, hours
        known.figures["hours"] = hours

    def _spike(self, h: Hour, score: Score, out: list[Incident]) -> None:
        limit = self.habits.limits.spike
        far = h.error != h.error and h.value == h.value and h.value > self.habits.largest and self._readings.odd > 0
        above_all = h.value > ABOVE_ALL * self.habits.largest and score.spike > 3.0
        if self.flow:  # a tap opened wide is no fault
            limit *= FLOW_BEYOND
        above_all = above_all and not self.flow
        stands = score.spike > limit or above_all or (far and "unit" not in self._open)
        waits = self._waiting
        if waits is not None and (not stands or h.start - waits.start >= SPIKE_HOURS):
            self._waiting = None
            beside = h.error if h.error == h.error else 0.0
            if not stands and beside < BESIDE * waits.size:  # single, as it has gone again; what stays is no spike
                waits.detected = h.start + 1
                waits.last, waits.hours = h.start - 1, h.start - waits.start
                out.append(self._told(waits, h.start))
            return
        if stands and waits is None:
            past = self._watch.past
            before = past[-2] if len(past) > 1 else h
            if before.error == before.error and before.error > BESIDE * h.error:
                return
            usual = h.expected if h.expected == h.expected else self.habits.typical
            made = _Open("spike", h.start, h.start + 1, h.start, size=h.value - usual, hours=1, confidence=0.9)
            made.figures = {"value": h.value, "expected": usual, "threshold": limit}
            self._waiting = made

    def _flow(self, h: Hour, good: bool, out: list[Incident]) -> None:
        recent = self._recent
        if not good:
            recent.clear()
            return
        recent.append(h.value)
        if len(recent) > 24:
            del recent[0]
        habits = self.habits
        step = max(habits.step, 0.005 * habits.largest)
        for kind, length, usual, above in (
            ("burst", 3, habits.least_hours, BURST_ABOVE), ("leak", 24, habits.least_flow, LEAK_ABOVE),
        ):  # fmt: skip
            known = self._open.get(kind)
            lowest = min(recent[-length:]) if len(recent) >= length else 0.0
            stands = lowest > max(usual * above, usual + step)
            if known is None and stands and not (kind == "leak" and "burst" in self._open):
                known = _Open(kind, h.start - length + 1, h.start + 1, h.start, confidence=0.9)  # type: ignore[arg-type]
                known.figures = {"usual": habits.usual_flow, "threshold": usual * above}
                known.rate = lowest
                known.size, known.hours = lowest * length, length
                self._open[kind] = known
                out.append(self._told(known, None))
            elif known is not None and stands:
                known.last, known.rate = h.start, lowest
                known.size += lowest
                known.hours += 1
            elif known is not None:
                self._close(kind, out)

    def _use(self, h: Hour, score: Score, out: list[Incident]) -> None:
        limits = self.habits.limits
        beyond = max(
            abs(score.day) / limits.day, abs(score.days) / limits.days, score.night / limits.night,
            score.nights / limits.nights, score.shape / limits.shape, abs(score.week) / limits.week,
        )  # fmt: skip
        known = self._open.get("use")
        if known is None:
            if beyond < (FLOW_BEYOND if self.flow else 1.0) or any(kind in self._open for kind in ("leak", "burst")):
                return
            self._begin(h, score, beyond, out)
            return
        watch = self._watch
        if h.error == h.error:
            more = h.error - watch.level
            known.size += more
            known.by_night += more if self.habits.night[h.hour] else 0.0
            known.hours += 1
        if known.kind in ("swap", "clock_shift"):
            carried = score.shape > 0.9 * limits.shape
        elif known.kind == "night_load":
            night = self.habits.night
            over = night[h.hour] and not night[(h.hour + 1) % 24]
            carried = over and max(score.night / limits.night, score.nights / limits.nights) > 0.6
        else:
            carried = score.day * self.habits.scale_day * known.rate > 0.5 * known.rate * known.rate
        if carried:
            known.last = max(known.last, h.start - (0 if known.kind == "night_load" else LOOKS_BACK))
        known.confidence = max(known.confidence, _confidence(beyond))
        if carried and h.start - known.reviewed >= REVIEW_HOURS and beyond >= CALM:
            self._review(known, h, score, out)
        calm = max(abs(score.day) / limits.day, abs(score.days) / limits.days, score.shape / limits.shape,
                   score.night / limits.night, score.nights / limits.nights) < CALM  # fmt: skip
        if (calm and h.start - known.last >= LOOKS_BACK + QUIET_HOURS) or not watch.held:
            self._close("use", out)
            watch.held = False
            watch.week.clear()
            watch.week_score = 0.0

    def _begin(self, h: Hour, score: Score, beyond: float, out: list[Incident]) -> None:
        watch = self._watch
        past = list(watch.past)[-48:]
        rate = _mean(past[-24:]) - watch.level
        by_night = (
            score.night / self.habits.limits.night >= beyond or score.nights / self.habits.limits.nights >= beyond
        )
        first = onset(past, watch.level, rate)
        found = cause(self.habits, past[min(first, len(past) - 24) :] if len(past) > 24 else past, watch.level,
                      len(past) - first, score.shape)  # fmt: skip
        if by_night and found.kind in ("high_use", "step_up"):
            found = found._replace(kind="night_load")
        start = past[first].start
        known = _Open(found.kind, start, h.start + 1, h.start, confidence=_confidence(beyond), reviewed=h.start)
        seen = [x for x in past[first:] if x.error == x.error]
        known.size, known.hours, known.rate = sum(x.error - watch.level for x in seen), len(seen), found.rate
        known.by_night = sum(x.error - watch.level for x in seen if self.habits.night[x.hour])
        self._figures(known, found.shift, score, past)
        self._open["use"] = known
        watch.held, watch.disturbed = True, 0
        out.append(self._told(known, None))

    def _review(self, known: _Open, h: Hour, score: Score, out: list[Incident]) -> None:
        known.reviewed = h.start
        past = [x for x in self._watch.past if x.start >= known.start]
        if len(past) < 12:
            return
        found = cause(self.habits, past[-48:], self._watch.level, h.start - known.start + 1, score.shape)
        if found.kind != known.kind or abs(found.rate - known.rate) > 0.2 * abs(known.rate):
            if known.kind == "clock_shift" and found.kind in UP_OR_DOWN:
                return
            if known.kind == "swap" and found.kind != "clock_shift" and not follows_itself(past[-48:]):
                return
            known.kind, known.rate = found.kind, found.rate
            self._figures(known, found.shift, score, past)
            out.append(self._told(known, None))

    def _figures(self, known: _Open, shift: int, score: Score, past: list[Hour]) -> None:
        expected = [x.expected for x in past if x.expected == x.expected]
        usual = sum(expected) / len(expected) if expected else 0.0
        known.figures = {
            "shift": shift, "share": known.rate / usual if usual else 0.0, "usual": usual, "level": self._watch.level,
            "direction": "up" if known.rate >= 0 else "down", "direction_zh": "增加" if known.rate >= 0 else "减少",
            "scores": {name: round(value, 2) for name, value in score._asdict().items()},
            "limits": {name: round(value, 2) for name, value in self.habits.limits._asdict().items()},
        }  # fmt: skip

    def _close(self, name: str, out: list[Incident]) -> None:
        known = self._open.pop(name)
        out.append(self._told(known, known.last + 1))

    def _told(self, known: _Open, end: int | None) -> Incident:
        data = known.kind in ("gap", "stuck", "spike", "unit", "negative", "clock_shift", "swap")
        size = 0.0 if data and known.kind != "spike" else known.by_night if known.kind == "night_load" else known.size
        if known.kind in UP_OR_DOWN and known.size * (known.rate or 1.0) < 0:  # what it came to, not what it began as
            known.rate = known.size / max(known.hours, 1)
            known.figures["share"] = known.rate / known.figures["usual"] if known.figures.get("usual") else 0.0
        if known.kind in UP_OR_DOWN:
            known.kind = UP_OR_DOWN[known.kind][known.size < 0]
        figures = {"usual": 0.0, "hours": known.hours, "value": 0.0, "share": 0.0, "expected": 0.0, **known.figures}
        text = words(known.kind, self.zone, known.start * HOUR_US, self.unit, rate=known.rate, size=size, **{
            k: v for k, v in figures.items() if k not in ("scores", "limits", "level")
        })  # fmt: skip
        return Incident(
            known.kind, known.start * HOUR_US, None if end is None else end * HOUR_US, known.detected * HOUR_US, size,
            known.rate, self.unit, known.confidence, text,
            None if self.price is None or data else size * self.price,
            {k: None if v != v else v for k, v in known.figures.items()},
        )  # fmt: skip

    @property
    def open(self) -> list[Incident]:
        """Incidents that last."""
        return [self._told(known, None) for known in self._open.values()]


def _mean(past: Iterable[Hour]) -> float:
    seen = [h.error for h in past if h.error == h.error]
    return sum(seen) / len(seen) if seen else 0.0


def _confidence(beyond: float) -> float:
    """0.5 at the threshold, near 1 at three times it."""
    return round(min(1.0 - 0.5 / max(beyond, 1.0) ** 2, 0.99), 3)
