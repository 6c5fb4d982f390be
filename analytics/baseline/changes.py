"""Change points: weeks after which the building ran at another level than its baseline says. For a person to judge."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
LEAST_DAYS = 21
CLEAR = 5.0  # standard errors
LEAST_SHIFT = 0.08  # of the mean


class Change(NamedTuple):
    """day : local day since 1970 from which on; shift : how much more than before [unit per hour]"""

    day: int
    shift: float


def change_points(day: I64, error: F64, level: float, most: int = 4) -> list[Change]:
    """Level shifts of daily errors, by binary segmentation.

    Parameters
    ----------
    day : int64 (d,), rising; error : float64 (d,), mean of observed - expected of each day [unit per hour]
    level : mean of the observed [unit per hour]; shifts below 8 % of it are not told
    """
    found: list[Change] = []
    parts = [(0, len(day))]
    while parts and len(found) < most:
        lo, hi = parts.pop()
        at = _split(error[lo:hi])
        if at is None:
            continue
        shift = float(np.median(error[lo + at : hi]) - np.median(error[lo : lo + at]))
        if abs(shift) < LEAST_SHIFT * abs(level):
            continue
        found.append(Change(int(day[lo + at]), shift))
        parts += [(lo, lo + at), (lo + at, hi)]
    return sorted(found)


def _split(error: F64) -> int | None:
    n = len(error)
    if n < 2 * LEAST_DAYS:
        return None
    bound = float(np.median(np.abs(error - np.median(error)))) * 6.0
    x = np.clip(error, np.median(error) - bound, np.median(error) + bound) if bound > 0 else error
    total = np.cumsum(x)
    k = np.arange(LEAST_DAYS, n - LEAST_DAYS + 1)
    before, after = total[k - 1] / k, (total[-1] - total[k - 1]) / (n - k)
    gain = np.abs(after - before) * np.sqrt(k * (n - k) / n)
    best = int(np.argmax(gain))
    at = int(k[best])
    left = np.concatenate([x[:at] - before[best], x[at:] - after[best]])
    lag = float(np.clip(np.sum(left[1:] * left[:-1]) / max(np.sum(left**2), 1e-300), 0.0, 0.9))
    deviation = float(np.std(left)) * np.sqrt((1 + lag) / (1 - lag))
    return at if gain[best] > CLEAR * deviation and gain[best] > 0 else None
