"""What a vehicle did, from its readings alone: trips, charging sessions, refuelling.

A trip is a stretch in which the odometer rises, a session one in which the charged energy does; readings that rest
for longer than `pause_us` end it. Between the last reading before and the first one after lies when it began: both are
given, so nothing is claimed to be known better than it was heard.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metering.clock import MINUTE_US

PAUSE_US = 20 * MINUTE_US  # a stop at a shop does not end a trip, a visit does
SPEAKS_US = 60 * MINUTE_US  # after a longer silence it is not known when in it something happened
LEAST_KM = 0.2
LEAST_KWH = 0.1
LEAST_FUEL = 4.0  # [% of the tank]; a gauge swings by less

Times = NDArray[np.int64]
Values = NDArray[np.float64]


class Stretch(NamedTuple):
    """A time in which a counter rose.

    start, end : [us since 1970]; the last reading before it rose, the first at which it had stopped rising
    amount : by how much [the counter's unit]
    certain : whether readings came throughout; else it lies somewhere between start and end
    """

    start: int
    end: int
    amount: float
    certain: bool


class Refuelling(NamedTuple):
    """A rise of the fuel gauge.

    after, before : readings between which it happened [us since 1970]
    low, high : [%]
    """

    after: int
    before: int
    low: float
    high: float


def stretches(at: Times, value: Values, least: float, pause_us: int = PAUSE_US) -> list[Stretch]:
    """The stretches in which a cumulative counter rose.

    Parameters
    ----------
    at : int64 (n,), strictly increasing [us since 1970]
    value : float64 (n,); a counter that falls was reset: nothing is said of that step
    least : stretches of less are left out [the counter's unit]
    pause_us : a rest as long as this ends a stretch

    Raises
    ------
    ValueError
        If the arrays differ in length.
    """
    if len(at) != len(value):
        raise ValueError(f"at has {len(at)} entries, value has {len(value)}")
    step = np.diff(value)
    rising = np.flatnonzero(step > 0)
    if not len(rising):
        return []
    broken = np.flatnonzero(step < 0)
    rest = at[rising[1:]] - at[rising[:-1] + 1]
    reset = np.searchsorted(broken, rising[1:]) > np.searchsorted(broken, rising[:-1])
    ends = np.append(np.flatnonzero((rest >= pause_us) | reset), len(rising) - 1)
    begins = np.append(0, ends[:-1] + 1)
    long = np.diff(at) > SPEAKS_US
    found = []
    for a, b in zip(rising[begins].tolist(), rising[ends].tolist(), strict=True):
        amount = float(value[b + 1] - value[a])
        if amount >= least:
            found.append(Stretch(int(at[a]), int(at[b + 1]), amount, not bool(long[a : b + 1].any())))
    return found


def trips(at: Times, odometer: Values) -> list[Stretch]:
    """Trips by the odometer [km], in time order."""
    return stretches(at, odometer, LEAST_KM)


def charges(at: Times, energy: Values) -> list[Stretch]:
    """Charging sessions by the charged energy [kWh], in time order."""
    return stretches(at, energy, LEAST_KWH)


def refuellings(at: Times, level: Values) -> list[Refuelling]:
    """Where the fuel gauge [%] rose by more than it swings; rises one after the other are one.

    Raises
    ------
    ValueError
        If the arrays differ in length.
    """
    if len(at) != len(level):
        raise ValueError(f"at has {len(at)} entries, level has {len(level)}")
    return [
        Refuelling(found.start, found.end, float(level[np.searchsorted(at, found.start)]), high)
        for found in stretches(at, level, LEAST_FUEL, pause_us=PAUSE_US)
        for high in [float(level[np.searchsorted(at, found.end)])]
    ]


def value_at(at: Times, value: Values, when: int, within_us: int = SPEAKS_US) -> float | None:
    """The newest value at or before an instant, unless it is older than `within_us`; None where nothing is known."""
    row = int(np.searchsorted(at, when, "right")) - 1
    return float(value[row]) if row >= 0 and when - int(at[row]) <= within_us else None
