"""Energy of intervals: exact differences of a cumulative curve, and sums of them.

curve = cumulative(series, cadence_us=60_000_000)
quarters = intervals(curve, grid_edges(start, end), measure)
days = intervals(curve, local_edges("Asia/Shanghai", start, end), measure)   # adds up exactly
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics.counters import Curve, Step, round_half_up
from metering.quantity import Quality
from metering.reading import IntervalSeries, Measure


def empty(measure: Measure) -> IntervalSeries:
    """No interval."""
    none = np.empty(0, np.int64)
    return IntervalSeries(measure, none, none, none, np.empty(0), none, np.empty(0, np.uint8))


def curve_at(curve: Curve, edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """The curve's level at each instant, flat before its first and after its last step; int64 [0.001 unit]."""
    return _levels(curve, edges)[0]


def _levels(
    curve: Curve, edges: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.intp]]:
    """Level, estimated part of it, observed time, known time [us] since the curve's begin, and step of each edge."""
    at = np.clip(edges, curve.start[0], curve.end[-1])
    step = np.searchsorted(curve.start, at, side="right") - 1
    start, end = curve.start[step], curve.end[step]
    low, high = curve.low[step], curve.high[step]
    share = (at - start) / np.maximum(end - start, 1)
    share[at >= end] = 1.0
    value = np.where(share >= 1.0, high, low + (high - low) * share)
    level = curve.base[step] + round_half_up(value)

    begins, ends = curve.base + round_half_up(curve.low), curve.base + round_half_up(curve.high)
    gap, known = curve.kind == Step.GAP, curve.kind != Step.NONE
    lengths = curve.end - curve.start

    def before(amount: NDArray[np.int64]) -> NDArray[np.int64]:
        total = np.zeros(len(amount) + 1, np.int64)
        np.cumsum(amount, out=total[1:])
        return total[step]

    inside = at - start
    estimated = before(np.where(gap, ends - begins, 0)) + np.where(gap[step], level - begins[step], 0)
    measured = curve.kind == Step.KNOWN
    observed = before(np.where(measured, lengths, 0)) + np.where(measured[step], inside, 0)
    told = before(np.where(known, lengths, 0)) + np.where(known[step], inside, 0)
    return level, estimated, observed, told, step


def intervals(curve: Curve, edges: NDArray[np.int64], measure: Measure) -> IntervalSeries:
    """What was used between each two edges.

    Parameters
    ----------
    curve : cumulative curve, `analytics.counters.cumulative`
    edges : int64 (m + 1,), increasing [us since 1970]
    measure : identity of the result

    Returns
    -------
    IntervalSeries
        Only intervals about which something is known: where no movement of the counter is known
        (before the first and after the last reading, in a reset) there is no row, and no zero.
        `coverage` is the share of the interval between readings at most three cadences apart. Quality:
        ESTIMATED if that share is 0, INTERPOLATED if the interval is shorter than the cadence,
        else MEASURED; `estimated` is the part of the amount that was spread over gaps.
    """
    if len(curve) == 0 or len(edges) < 2:
        return empty(measure)
    level, estimated, observed, told, step = _levels(curve, edges)
    length = np.diff(edges)
    rows = np.flatnonzero(np.diff(told) > 0)
    coverage = np.diff(observed)[rows] / length[rows]
    quality = np.full(len(rows), np.uint8(Quality.MEASURED))
    quality[length[rows] < curve.cadence[step[:-1][rows]]] = Quality.INTERPOLATED
    quality[coverage == 0] = Quality.ESTIMATED
    return IntervalSeries(
        measure,
        edges[:-1][rows],
        edges[1:][rows],
        np.diff(level)[rows],
        coverage,
        np.diff(estimated)[rows],
        quality,
    )


def aggregate(series: IntervalSeries, edges: NDArray[np.int64]) -> IntervalSeries:
    """Coarser intervals as sums of finer ones; exact, integer by integer.

    An interval counts for the coarse one it starts in; edges should not cut any (whole quarters in
    whole hours; for local days use the stored days, or edges that are `aligned`). Coverage is
    weighted by time, absent intervals count as not covered. A coarse interval without a fine one is absent.
    """
    if len(series) == 0 or len(edges) < 2:
        return empty(series.measure)
    place = np.searchsorted(edges, series.start, side="right") - 1
    use = np.flatnonzero((place >= 0) & (place < len(edges) - 1))
    place = place[use]
    rows, first = np.unique(place, return_index=True)
    if not len(rows):
        return empty(series.measure)
    length = edges[rows + 1] - edges[rows]
    # whole microseconds: the sum does not depend on its order
    fine = np.rint(series.coverage[use] * (series.end[use] - series.start[use])).astype(np.int64)
    observed = np.add.reduceat(fine, first)
    coverage = np.minimum(observed / length, 1.0)
    quality = np.minimum.reduceat(series.quality[use], first).astype(np.uint8)
    quality[coverage == 0] = Quality.ESTIMATED
    # Interpolated quarters that make up a longer interval are a measurement of it
    finer = length > series.end[use][first] - series.start[use][first]
    quality[finer & (quality == Quality.INTERPOLATED)] = Quality.MEASURED
    return IntervalSeries(
        series.measure,
        edges[rows],
        edges[rows + 1],
        np.add.reduceat(series.amount[use], first),
        coverage,
        np.add.reduceat(series.estimated[use], first),
        quality,
    )


def without_estimates(series: IntervalSeries) -> IntervalSeries:
    """The same with the energy of gaps left out; intervals that were nothing else are absent."""
    rows = np.flatnonzero(series.coverage > 0)
    return IntervalSeries(
        series.measure,
        series.start[rows],
        series.end[rows],
        (series.amount - series.estimated)[rows],
        series.coverage[rows],
        np.zeros(len(rows), np.int64),
        series.quality[rows],
    )
