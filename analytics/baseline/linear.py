"""Time of week and temperature, hour by hour, by normal equations summed per month.

A level for each hour of the week and piecewise-linear temperature slopes, apart for the hours in use and the hours at
rest (Mathieu et al. 2011, LBNL-4944E; the levels are eliminated, so that a fit without some months is a small solve).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.baseline.conditions import Conditions

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
CELLS = 168
LEVEL_RIDGE = 1.0  # an hour of the week weighs as much as this many hours at the usual of its kind of day
SLOPE_RIDGE = 6.0


class Knots(NamedTuple):
    """Where temperature slopes may change; float64 (k + 1,) each [degC]. Empty: no temperature."""

    now: F64
    mean_24h: F64
    mean_72h: F64


class Linear(NamedTuple):
    """A fitted model.

    usual : float64 (2, 24), by days off and work days [unit]
    level : float64 (168,), on top, by kind of day and hour [unit]; slope : float64 (p,)
    busy : bool (2, 24), hours in use, by days off and work days
    """

    usual: F64
    level: F64
    slope: F64
    knots: Knots
    busy: NDArray[np.bool_]


def cells(c: Conditions) -> I64:
    """Kind of day and hour, 0..167; int64 (n,)."""
    return np.asarray(c.kind[c.place] * 24 + c.hours.hour, np.int64)


def kinds(c: Conditions) -> I64:
    """Day off or work day, and hour, 0..47; int64 (n,)."""
    return np.asarray(c.works[c.place] * 24 + c.hours.hour, np.int64)


def place_knots(c: Conditions, use: NDArray[np.bool_]) -> Knots:
    """Knots at quantiles of the temperatures seen."""
    if not (c.measured & use).any():
        return Knots(np.zeros(0), np.zeros(0), np.zeros(0))
    seen = c.measured & use
    return Knots(*(
        _distinct(np.quantile(value[seen], np.linspace(0.0, 1.0, count + 1)))
        for value, count in ((c.temperature, 5), (c.mean_24h, 5), (c.mean_72h, 3))
    ))  # fmt: skip


def _distinct(knots: F64) -> F64:
    kept = [float(knots[0])]
    for knot in knots[1:].tolist():
        if knot - kept[-1] > 0.5:
            kept.append(knot)
    return np.array(kept) if len(kept) > 1 else np.zeros(0)


def slopes_of(c: Conditions, knots: Knots, busy: NDArray[np.bool_]) -> F64:
    """The temperature columns; float64 (n, p), each in tens of degrees."""
    hot = busy[c.works[c.place].astype(np.int64), c.hours.hour]
    blocks = []
    for value, at in ((c.temperature, knots.now), (c.mean_24h, knots.mean_24h), (c.mean_72h, knots.mean_72h)):
        if len(at) < 2:
            continue
        middle = (at[0] + at[-1]) / 2
        width = np.clip(value, at[0] - 3.0, at[-1] + 3.0)[:, None]  # beyond what was seen, three degrees more
        low = np.concatenate([[-np.inf], at[1:-1]])
        high = np.concatenate([at[1:-1], [np.inf]])
        part = np.clip(width, low, high) - np.clip(middle, low, high)
        blocks += [part * hot[:, None] / 10.0, part * ~hot[:, None] / 10.0]
    return np.concatenate(blocks, 1) if blocks else np.zeros((len(hot), 0))


def busy_hours(c: Conditions, value: F64, weight: F64) -> NDArray[np.bool_]:
    """Hours whose usual lies above the middle between the lowest and highest usual; bool (2, 24)."""
    count = np.bincount(kinds(c), weight, 48)
    mean = np.bincount(kinds(c), value * weight, 48) / np.maximum(count, 1e-9)
    seen = count > 0
    if not seen.any():
        return np.zeros((2, 24), np.bool_)
    middle = (mean[seen].min() + mean[seen].max()) / 2
    return np.asarray((mean > middle) & seen, np.bool_).reshape(2, 24)


class Sums(NamedTuple):
    """Sums by block of time, from which a fit with or without any block is solved.

    n, y : float64 (b, 168); x : float64 (b, 168, p); xx : float64 (b, p, p); xy : float64 (b, p)
    kn, ky : float64 (b, 48)
    """

    n: F64
    y: F64
    x: F64
    xx: F64
    xy: F64
    kn: F64
    ky: F64


def sums(c: Conditions, value: F64, weight: F64, columns: F64, block: I64, blocks: int) -> Sums:
    """Sums of each block. value : float64 (n,), finite; weight : float64 (n,), 0 leaves an hour out."""
    p = columns.shape[1]
    at = block * CELLS + cells(c)
    size = blocks * CELLS
    kind = block * 48 + kinds(c)
    x = np.stack([np.bincount(at, columns[:, k] * weight, size) for k in range(p)], 1) if p else np.zeros((size, 0))
    xx, xy = np.zeros((blocks, p, p)), np.zeros((blocks, p))
    weighted = columns * weight[:, None]
    for b in range(blocks):
        rows = block == b
        xx[b] = weighted[rows].T @ columns[rows]
        xy[b] = weighted[rows].T @ value[rows]
    return Sums(*(np.asarray(v, np.float64) for v in (
        np.bincount(at, weight, size).reshape(blocks, CELLS),
        np.bincount(at, value * weight, size).reshape(blocks, CELLS),
        x.reshape(blocks, CELLS, p), xx, xy,
        np.bincount(kind, weight, blocks * 48).reshape(blocks, 48),
        np.bincount(kind, value * weight, blocks * 48).reshape(blocks, 48),
    )))  # fmt: skip


def solve(s: Sums, use: F64) -> tuple[F64, F64, F64]:
    """(usual (2, 24), level (168,), slope (p,)) of the blocks with use 1; use : float64 (b,)."""
    kn, ky = use @ s.kn, use @ s.ky
    overall = ky.sum() / max(kn.sum(), 1e-9)
    usual = ((ky + overall) / (kn + 1.0)).reshape(2, 24)
    back = np.where(np.repeat(_kind_works(), 24), np.tile(usual[1], 7), np.tile(usual[0], 7))
    n = use @ s.n
    # a holiday lies in the cells of Sunday, a make-up day in those of Friday: their kind's usual is near
    y = use @ s.y - n * back
    x = np.tensordot(use, s.x, 1)
    xx, xy = np.tensordot(use, s.xx, 1), use @ s.xy - back @ x
    held = n + LEVEL_RIDGE
    p = x.shape[1]
    slope: F64 = np.zeros(0)
    if p:
        left = xx - (x / held[:, None]).T @ x + SLOPE_RIDGE * np.eye(p)
        slope = np.asarray(np.linalg.solve(left, xy - (x / held[:, None]).T @ y), np.float64)
    return usual, (y - x @ slope) / held, slope


def _kind_works() -> NDArray[np.bool_]:
    return np.arange(7) < 5


def predict(model: Linear, c: Conditions, columns: F64 | None = None) -> F64:
    """Expected value of each hour; float64 (n,) [unit]."""
    x = slopes_of(c, model.knots, model.busy) if columns is None else columns
    cell = cells(c)
    back = np.where(np.repeat(_kind_works(), 24), np.tile(model.usual[1], 7), np.tile(model.usual[0], 7))
    return np.asarray((back + model.level)[cell] + x @ model.slope, np.float64)
