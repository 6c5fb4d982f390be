"""Daily and monthly rungs: change points 1P to 5P on degree days, held out in turn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.baseline import daily

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


class Fitted(NamedTuple):
    """model; inside, held_out : float64 (n,), expected in sample, and without the block of each interval; p"""

    model: daily.DegreeDays
    inside: F64
    held_out: F64
    p: int


def fit(mean: F64, air: F64, memory_72h: F64, works: NDArray[np.bool_], block: I64) -> Fitted:
    """A change-point model of daily means.

    Parameters
    ----------
    mean : float64 (n,), finite, amount per day [unit/day]; air, memory_72h : float64 (n,) [degC]
    works : bool (n,), all alike for months: no day types then; block : int64 (n,), 0..b-1, held out in turn
    """
    blocks = int(block.max()) + 1
    use = np.concatenate([1.0 - np.eye(blocks), np.ones((1, blocks))]) if blocks > 1 else np.ones((2, 1))
    best: tuple[float, daily.Grid, float] | None = None
    for share in (0.0, 0.35, 0.7):
        felt = daily.blend_temperature(air, memory_72h, share)
        grid = daily.grid(mean, felt, works, block, blocks)
        _, left = daily.fit(grid, use[-1], share)
        if best is None or left < best[0]:
            best = left, grid, share
    assert best is not None
    _, grid, share = best
    felt = daily.blend_temperature(air, memory_72h, share)
    models = [daily.fit(grid, u, share)[0] for u in use]
    every = np.stack([daily.predict(m, felt, works) for m in models])
    held = every[np.minimum(block, len(use) - 2), np.arange(len(mean))]
    model = models[-1]
    types = len(np.unique(works))
    hinges = int(np.isfinite(model.heat_below)) + int(np.isfinite(model.cool_above))
    return Fitted(model, every[-1], held, types * (1 + hinges) + hinges)
