"""From the readings of a counter to its cumulative curve.

The curve is a row of steps, each from one good reading to the next. Inside a step it runs straight;
its value at any instant is rounded to 0.001 of the unit as an integer, so differences of two
instants add up exactly, whatever the instants are (`analytics.intervals`).

Which reading follows from the one before it is decided in `analytics.verdicts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from analytics.facts import BEGIN, Scale, swaps
from analytics.verdicts import LIMITLESS, TICK, Judge
from metering.clock import HOUR_US, from_us
from metering.explain import Finding
from metering.reading import Series
from metering.site import Fact

GAP_CADENCES = 3  # longer than this without a good reading is a gap
SWAP_SLACK_US = 12 * HOUR_US  # people note a swap to the half day; the readings show the moment

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Cadence = int | Sequence[tuple[int, int]]  # [us], or (valid_from, cadence) in time order


class Step(IntEnum):
    """What is known of a step of the curve."""

    KNOWN = 0
    GAP = 1  # longer than three cadences: its energy is spread over it in proportion to time
    NONE = 2  # a reset, an unrecorded swap, a jump: no energy known


@dataclass(frozen=True, slots=True)
class Curve:
    """The cumulative curve of a counter: k steps, each beginning where the one before it ends.

    Attributes
    ----------
    start, end : int64 (k,) [us since 1970]; a step may have no length
    low, high : float64 (k,) [0.001 unit]: the counter at both ends, scaled, in terms of one meter
    base : int64 (k,) [0.001 unit]: added to the rounded counter, it makes the curve one piece
    kind : uint8 (k,) of Step
    cadence : int64 (k,) expected spacing of readings [us]
    findings : what was decided, in time order
    """

    start: I64
    end: I64
    low: F64
    high: F64
    base: I64
    kind: NDArray[np.uint8]
    cadence: I64
    findings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return len(self.start)


def round_half_up(value: F64) -> I64:
    """Rounded to integers, halves upwards."""
    return np.floor(value + 0.5).astype(np.int64)


def _join(
    start: I64, end: I64, low: F64, high: F64, kind: NDArray[np.uint8], cadence: I64, findings: Sequence[Finding]
) -> Curve:
    """One curve of steps: `base` is such that each step begins on the level where the last one ended."""
    base = np.zeros(len(start), np.int64)
    ends, begins = round_half_up(high), round_half_up(low)
    if len(start):
        base[0] = -begins[0]
        base[1:] = base[0] + np.cumsum(ends[:-1] - begins[1:])
    return Curve(start, end, low, high, base, kind, cadence, tuple(findings))


def cadence_at(at: I64, cadence: Cadence) -> I64:
    """The expected spacing at each instant [us], from a constant or a dated list."""
    if isinstance(cadence, int):
        return np.full(len(at), cadence, np.int64)
    dates = np.array([row[0] for row in cadence], np.int64)
    spacing = np.array([row[1] for row in cadence], np.int64)
    return spacing[np.maximum(np.searchsorted(dates, at, side="right") - 1, 0)]


def learned_cadence(at: I64, step: int, fallback: int, fewest: int = 8) -> list[tuple[int, int]]:
    """The median spacing of readings in each period of `step` [us] since 1970, as a dated cadence.

    Each period is judged by itself, so that a late reading changes no other one; a period with
    fewer than `fewest` spacings takes `fallback`.
    """
    if len(at) < 2:
        return [(BEGIN, fallback)]
    spacing, period = np.diff(at), at[:-1] // step
    out = [(BEGIN, fallback)]
    cuts = np.flatnonzero(np.diff(period)) + 1
    last = None
    for rows in np.split(np.arange(len(spacing)), cuts):
        here = int(period[rows[0]])
        if last is not None and here != last + 1:
            out.append(((last + 1) * step, fallback))
        out.append((here * step, int(np.median(spacing[rows])) if len(rows) >= fewest else fallback))
        last = here
    out.append(((int(period[-1]) + 1) * step, fallback))
    return out


def limits(at: I64, scales: Sequence[Scale], largest_step_per_s: float | None) -> F64:
    """Most that the raw counter can add [raw unit/us] at each instant; float64 (n,)."""
    if largest_step_per_s is None:
        return np.full(len(at), LIMITLESS)
    factors = np.maximum(np.abs(np.array([scale.factor for scale in scales])), 1e-12)
    which = np.searchsorted(np.array([scale.at for scale in scales], np.int64), at, side="right") - 1
    return np.asarray(largest_step_per_s / 1e6 / factors[np.maximum(which, 0)], np.float64)


def moment_of_swap(fact: Fact, at: I64, value: F64, tick: float = TICK) -> int:
    """When the readings show a recorded swap: at its date, or at a fall near it that fits `last` and `first`."""
    lo, hi = np.searchsorted(at, [fact.valid_from - SWAP_SLACK_US, fact.valid_from + SWAP_SLACK_US])
    part, when = value[lo:hi], at[lo:hi]
    if len(part) < 2:
        return fact.valid_from
    last = np.inf if fact.last is None else fact.last
    first = -np.inf if fact.first is None else fact.first
    fits = (part[:-1] <= last + tick) & (part[1:] >= first - tick)
    falls = np.flatnonzero(fits & (np.diff(part) < -tick))
    if not len(falls):
        return fact.valid_from
    nearest = falls[np.argmin(np.abs(when[falls + 1] - fact.valid_from))]
    return int(min(max(fact.valid_from, int(when[nearest]) + 1), int(when[nearest + 1]) - 1))


def cumulative(
    series: Series,
    *,
    cadence_us: Cadence,
    scales: Sequence[Scale] = (Scale(BEGIN, 1.0, 0.0),),
    facts: Sequence[Fact] = (),
    rollover: float | None = None,
    largest_step_per_s: float | None = None,
    tick: float = TICK,
) -> Curve:
    """The cumulative curve of a counter.

    Parameters
    ----------
    series : the raw readings of a counter [unit], as the meter said them
    cadence_us : expected spacing of readings [us], or (valid_from, cadence) rows in time order
    scales : dated factors, `analytics.facts.scales`
    facts : the meter's facts; its swaps are used here. `last` and `first` are the counters' own figures
    rollover : value at which the counter wraps to zero [raw unit]; None: not known
    largest_step_per_s : most that can be added in a second [scaled unit/s]; None: not known. Then a rollover
        needs the counter in its last tenth before and its first tenth after.
    tick : the step back that is still noise [raw unit]

    Raises
    ------
    ValueError
        If the times do not increase strictly or a value is not finite; names the first one.
    """
    at, value = series.at, np.asarray(series.value, np.float64)
    for i in np.flatnonzero(np.diff(at) <= 0)[:1]:
        raise ValueError(f"at[{i + 1}] is not later than at[{i}]; a series is sorted and has no time twice")
    for i in np.flatnonzero(~np.isfinite(value))[:1]:
        raise ValueError(f"value[{i}] is {value[i]}; a missing value makes no row")
    unit = series.point.of.unit
    cut = [(moment_of_swap(fact, at, value, tick), fact) for fact in swaps(facts, series.point.quantity)]
    if len(at):
        cut = [
            (when - int(np.isin(when, at)), fact) for when, fact in cut
        ]  # just before the new counter's first reading
        cut = [(when, fact) for when, fact in cut if at[0] <= when < at[-1]]
    parts: list[tuple[I64, F64, F64, NDArray[np.uint8]]] = []
    findings: list[Finding] = []
    begin: tuple[int, float] | None = None
    lo = 0
    for when, fact in [*cut, (None, None)]:
        hi = len(at) if when is None else int(np.searchsorted(at, when))
        times, values = [at[lo:hi]], [value[lo:hi]]
        if begin is not None:
            times.insert(0, np.array([begin[0]], np.int64))
            values.insert(0, np.array([begin[1]]))
        if when is not None and fact is not None and fact.last is not None and hi > lo:
            times.append(np.array([when], np.int64))
            values.append(np.array([fact.last]))
        t, v = np.concatenate(times), np.concatenate(values)
        if len(t):
            limit = limits(t, scales, largest_step_per_s)
            judge = Judge(t, v, limit, rollover, tick, unit)
            judge.run()
            lift = np.where(judge.code == 1, rollover or 0.0, 0.0)
            keep = judge.keep
            parts.append((t[keep], judge.level[keep], lift[keep], judge.code[keep]))
            findings += judge.findings
        begin, lo = None, hi
        if when is not None and fact is not None:
            findings.append(_swap_finding(when, fact, unit))
            if fact.first is not None:
                begin = (when, fact.first)
    return _steps(parts, scales, cadence_us, findings)


def _swap_finding(when: int, fact: Fact, unit: str) -> Finding:
    data = {"at": when, "recorded_at": fact.valid_from, "before": fact.last, "after": fact.first, "unit": unit}
    words = f"{from_us(when):%Y-%m-%d %H:%M:%S}Z: meter replaced: old counter {fact.last}, new one {fact.first} {unit}"
    return Finding("counter.swap", "info", words, data)


def _steps(
    parts: Sequence[tuple[I64, F64, F64, NDArray[np.uint8]]],
    scales: Sequence[Scale],
    cadence_us: Cadence,
    findings: Sequence[Finding],
) -> Curve:
    """The steps of all parts in one row, split where a scale changes, each scaled by what holds in it."""
    starts, ends, lows, highs, nones = [], [], [], [], []
    before: int | None = None
    for t, v, lift, code in parts:
        if not len(t):
            continue
        if before is not None and t[0] > before:  # between two meters nothing is known
            starts.append(np.array([before], np.int64))
            ends.append(t[:1])
            lows.append(v[:1])
            highs.append(v[:1])
            nones.append(np.array([True]))
        starts.append(t[:-1])
        ends.append(t[1:])
        lows.append(v[:-1])
        highs.append(np.where(code[1:] == 2, v[:-1], v[1:] + lift[1:]))
        nones.append(code[1:] == 2)
        before = int(t[-1])
    if not starts:
        none = np.empty(0, np.int64)
        return _join(none, none, np.empty(0), np.empty(0), np.empty(0, np.uint8), none, findings)
    start, end = np.concatenate(starts), np.concatenate(ends)
    low, high, none_ = np.concatenate(lows), np.concatenate(highs), np.concatenate(nones)
    cadence = cadence_at(start, cadence_us)
    kind = np.where(end - start > GAP_CADENCES * cadence, np.uint8(Step.GAP), np.uint8(Step.KNOWN))
    kind[none_] = Step.NONE
    for scale in scales:
        inside = np.flatnonzero((start < scale.at) & (scale.at < end))
        for i in inside[:1]:  # at most one step has any length there
            share = (scale.at - int(start[i])) / (int(end[i]) - int(start[i]))
            middle = low[i] + (high[i] - low[i]) * share
            start, end = np.insert(start, i + 1, scale.at), np.insert(end, i, scale.at)
            low, high = np.insert(low, i + 1, middle), np.insert(high, i, middle)
            kind, cadence = np.insert(kind, i, kind[i]), np.insert(cadence, i, cadence[i])
    which = np.searchsorted(np.array([scale.at for scale in scales], np.int64), start, side="right") - 1
    which = np.maximum(which, 0)
    factor = np.array([scale.factor for scale in scales])[which] * 1000.0
    offset = np.array([scale.offset for scale in scales])[which] * 1000.0
    order = sorted(findings, key=lambda finding: int(finding.data.get("at", 0)))
    return _join(start, end, low * factor + offset, high * factor + offset, kind, cadence, order)


def splice(curves: Sequence[tuple[int, int, Curve]]) -> Curve:
    """One curve out of several, each holding in [start, end) [us since 1970], in time order.

    Used where a sign changes: before it one raw counter counts the import, after it the other one.
    """
    columns: list[tuple[I64, I64, F64, F64, NDArray[np.uint8], I64]] = []
    findings: list[Finding] = []
    for start, end, curve in curves:
        use = (curve.end > start) & (curve.start < end)
        s, e, low, high = curve.start[use], curve.end[use], curve.low[use], curve.high[use]
        if not len(s):
            continue
        cut_s, cut_e = np.maximum(s, start), np.minimum(e, end)
        span = np.maximum(e - s, 1)
        rise = high - low
        high = np.where(cut_e < e, low + rise * ((cut_e - s) / span), high)
        low = np.where(cut_s > s, low + rise * ((cut_s - s) / span), low)
        if columns and columns[-1][1][-1] < cut_s[0]:
            hole = (columns[-1][1][-1:], cut_s[:1], low[:1], low[:1], np.array([Step.NONE], np.uint8))
            columns.append((*hole, curve.cadence[use][:1]))
        columns.append((cut_s, cut_e, low, high, curve.kind[use], curve.cadence[use]))
        findings += [finding for finding in curve.findings if start <= int(finding.data["at"]) < end]
    if not columns:
        return _steps([], (Scale(BEGIN, 1.0, 0.0),), 1, findings)
    start_, end_, low_, high_, kind_, cadence_ = (np.concatenate(column) for column in zip(*columns, strict=True))
    return _join(start_, end_, low_, high_, kind_, cadence_, findings)
