"""How complete data are: gaps, and the share of a period that was observed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.counters import GAP_CADENCES, Cadence, cadence_at
from metering.reading import IntervalSeries


class Gap(NamedTuple):
    """No good reading in (start, end) [us since 1970]."""

    start: int
    end: int


def gaps(at: NDArray[np.int64], cadence_us: Cadence) -> list[Gap]:
    """The stretches of more than three cadences between two readings; at : int64 (n,), sorted [us since 1970]."""
    if len(at) < 2:
        return []
    rows = np.flatnonzero(np.diff(at) > GAP_CADENCES * cadence_at(at[:-1], cadence_us))
    return [Gap(int(at[i]), int(at[i + 1])) for i in rows]


def readings_expected(start: int, end: int, cadence_us: int) -> int:
    """How many readings a period should have."""
    return max(0, round((end - start) / cadence_us))


def coverage(series: IntervalSeries, start: int, end: int) -> float:
    """Observed share of [start, end) [1], weighted by time; absent intervals count as not covered."""
    rows = (series.start >= start) & (series.start < end)
    observed = float(np.sum(series.coverage[rows] * (series.end[rows] - series.start[rows])))
    return min(1.0, observed / (end - start)) if end > start else 0.0
