"""Meters that rest for weeks at zero: heating in summer, cooling in winter, a school's kitchen in the holidays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analytics.baseline.model import BaselineModel
from metering.clock import HOUR_US
from metering.explain import Finding

F64 = NDArray[np.float64]
LONG_REST_HOURS = 120
LEAST_SHARE = 0.1  # of the known time is spent in long rests, or the meter is no meter that rests
LEAST_WORKING_HOURS = 14 * 24


def rests(time: NDArray[np.int64], value: F64) -> NDArray[np.bool_]:
    """Where a meter rests: zeros for five days or more on end, if it spends a tenth of its time so; bool (n,).

    Whether such a meter should run is not known from clock and weather: the rests are left out of what is learnt, and
    its zeros are not judged.

    time : int64 (n,), starts of intervals in any order [us since 1970]; value : float64 (n,), NaN is a gap
    """
    resting = np.zeros(len(time), np.bool_)
    if not len(time):
        return resting
    order = np.argsort(time, kind="stable")
    zero = value[order] == 0.0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], zero, [False]]).astype(np.int8)))
    at = time[order]
    spacing = int(np.median(np.diff(at))) if len(at) > 1 else HOUR_US
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if int(at[end - 1]) - int(at[begin]) + spacing >= LONG_REST_HOURS * HOUR_US:
            resting[order[begin:end]] = True
    known = np.isfinite(value)
    working = int((known & ~resting).sum()) * spacing
    if resting.sum() < LEAST_SHARE * known.sum() or working < LEAST_WORKING_HOURS * HOUR_US:
        return np.zeros(len(time), np.bool_)
    return resting


def told_of_rests(model: BaselineModel, resting: NDArray[np.bool_]) -> BaselineModel:
    """The model with its rests counted as observed, and a finding that says so."""
    share = float(resting.sum()) / max(len(resting), 1)
    coverage = min(model.quality.coverage + share, 1.0) if model.usable else model.quality.coverage
    of_rests = ("baseline.gaps", "baseline.months_missing") if coverage >= 0.9 else ("baseline.months_missing",)
    note = Finding(
        "baseline.rests",
        "info",
        f"rests at zero for days on end, {share:.0%} of the time; learnt from the rest, and a zero is not judged",
        {"share": round(share, 4)},
    )
    findings = (*(f for f in model.findings if f.code not in of_rests), note)
    return replace(model, findings=findings, quality=model.quality._replace(coverage=coverage))
