"""Degree days by day type: change points of heating and cooling, slopes in closed form on a grid of knots."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
KNOTS = 16
SLOPE_RIDGE = 0.5
SIMPLER = 0.01  # a further change point must explain this much more of what is left [1]


class DegreeDays(NamedTuple):
    """Expected = level + heating x (heat_below - T)+ + cooling x (T - cool_above)+, by day type.

    heat_below, cool_above : balance points; NaN: none [degC]
    memory : share of the 72 h mean in T [1]
    level, heating, cooling : float64 (2,), by days off and work days [unit, unit/K]
    """

    heat_below: float
    cool_above: float
    memory: float
    level: F64
    heating: F64
    cooling: F64


class Grid(NamedTuple):
    """Sums of each block for all knots at once.

    heat, cool : float64 (knots,) [degC]; xx : float64 (b, w, w); xy : float64 (b, w); yy : float64 (b,)
    Columns: off, work; then (off, work) of each heating knot; then of each cooling knot.
    """

    heat: F64
    cool: F64
    xx: F64
    xy: F64
    yy: F64


def grid(mean: F64, temperature: F64, works: NDArray[np.bool_], block: I64, blocks: int) -> Grid:
    """Sums by block. mean : float64 (d,), finite [unit]; temperature : float64 (d,) [degC]"""
    low, high = np.quantile(temperature, [0.08, 0.92])
    knots = np.linspace(low, high, KNOTS) if high - low > 3.0 else np.zeros(0)
    type_ = np.stack([~works, works], 1).astype(np.float64)
    hinge = np.concatenate([
        np.maximum(knots - temperature[:, None], 0.0), np.maximum(temperature[:, None] - knots, 0.0)
    ], 1)  # fmt: skip
    z = np.concatenate([type_, (hinge[:, :, None] * type_[:, None, :]).reshape(len(mean), -1)], 1)
    w = z.shape[1]
    xx, xy, yy = np.zeros((blocks, w, w)), np.zeros((blocks, w)), np.zeros(blocks)
    for b in range(blocks):
        rows = block == b
        xx[b], xy[b], yy[b] = z[rows].T @ z[rows], z[rows].T @ mean[rows], float(mean[rows] @ mean[rows])
    return Grid(knots, knots, xx, xy, yy)


def fit(g: Grid, use: F64, memory: float) -> tuple[DegreeDays, float]:
    """The best change points of the blocks with use 1, and the squares left [unit^2]; use : float64 (b,)."""
    xx, xy, yy = np.tensordot(use, g.xx, 1), use @ g.xy, float(use @ g.yy)
    k = len(g.heat)
    shapes: list[list[tuple[int, int]]] = [
        [(-1, -1)],
        [(i, -1) for i in range(k)],
        [(-1, j) for j in range(k)],
        [(i, j) for i in range(k) for j in range(i, k)],
    ]
    best: tuple[float, tuple[int, int], F64] | None = None
    for shape in shapes:
        if not shape:
            continue
        found = _best(xx, xy, yy, shape, k)
        if found is not None and (best is None or found[0] < best[0] * (1.0 - SIMPLER)):
            best = found
    assert best is not None
    left, (i, j), coefficient = best
    zero = np.zeros(2)
    heating = coefficient[2:4] if i >= 0 else zero
    cooling = coefficient[-2:] if j >= 0 else zero
    return DegreeDays(
        float(g.heat[i]) if i >= 0 else float("nan"), float(g.cool[j]) if j >= 0 else float("nan"), memory,
        coefficient[:2], heating, cooling,
    ), left  # fmt: skip


def _best(
    xx: F64, xy: F64, yy: float, shape: list[tuple[int, int]], k: int
) -> tuple[float, tuple[int, int], F64] | None:
    columns = np.array([
        [0, 1, *([2 + 2 * i, 3 + 2 * i] if i >= 0 else []), *([2 + 2 * k + 2 * j, 3 + 2 * k + 2 * j] if j >= 0 else [])]
        for i, j in shape
    ])  # fmt: skip
    left = xx[columns[:, :, None], columns[:, None, :]]
    ridge = np.full(columns.shape[1], SLOPE_RIDGE)
    ridge[:2] = 1e-3
    right = xy[columns]
    coefficient = np.linalg.solve(left + np.diag(ridge), right[:, :, None])[:, :, 0]
    squares = yy - 2 * (coefficient * right).sum(1) + np.einsum("mi,mij,mj->m", coefficient, left, coefficient)
    rising = np.all(coefficient[:, 2:] >= -1e-12, axis=1)
    if not rising.any():
        return None
    squares = np.where(rising, np.maximum(squares, 0.0), np.inf)
    at = int(np.argmin(squares))
    return float(squares[at]), shape[at], coefficient[at]


def predict(model: DegreeDays, temperature: F64, works: NDArray[np.bool_]) -> F64:
    """Expected daily mean; float64 (d,) [unit]. temperature : float64 (d,), as mixed by `blend_temperature` [degC]"""
    at = works.astype(np.int64)
    out = model.level[at]
    if np.isfinite(model.heat_below):
        out = out + model.heating[at] * np.maximum(model.heat_below - temperature, 0.0)
    if np.isfinite(model.cool_above):
        out = out + model.cooling[at] * np.maximum(temperature - model.cool_above, 0.0)
    return np.asarray(out, np.float64)


def blend_temperature(day: F64, memory_72h: F64, share: float) -> F64:
    """The temperature a building feels: a mix of the day's mean and that of 72 hours; float64 (d,) [degC]."""
    return np.asarray((1.0 - share) * day + share * memory_72h, np.float64)
