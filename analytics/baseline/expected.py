"""What a baseline expects: hour by hour with a band, and exact sums with an interval."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.baseline import band as bands
from analytics.baseline import daily, mixture
from analytics.baseline.conditions import Conditions, conditions, hour_numbers, local_hours, months
from analytics.baseline.fitting import interval_days
from analytics.baseline.model import BaselineModel
from analytics.workdays import Workdays
from metering.clock import HOUR_US

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


class Expected(NamedTuple):
    """Expected amounts of intervals, in the order of the times given.

    Attributes
    ----------
    start : int64 (n,) [us since 1970]
    amount : int64 (n,) [0.001 unit]; sums of it are exact, whatever the period
    low, high : float64 (n,), 90 % band of each interval [unit]
    scale : float64 (n,), robust deviation of held-out errors [unit]
    measured : bool (n,), from a measured temperature; elsewhere from the usual one of that season
    """

    start: I64
    amount: I64
    low: F64
    high: F64
    scale: F64
    measured: NDArray[np.bool_]

    @property
    def value(self) -> F64:
        """float64 (n,) [unit]"""
        return np.asarray(self.amount / 1000.0, np.float64)


class Total(NamedTuple):
    """Expected amounts of local days, weeks, months or of all.

    start : int64 (m,), local days since 1970; amount : int64 (m,) [0.001 unit]; hours : float64 (m,) [h]
    low, high : float64 (m,), 90 % interval of the sum [unit]
    """

    start: I64
    amount: I64
    hours: F64
    low: F64
    high: F64


def predict(
    model: BaselineModel,
    time: NDArray[Any],
    temperature: NDArray[Any] | None = None,
    *,
    calendar: Workdays | None = None,
) -> Expected:
    """Expected amounts.

    Parameters
    ----------
    time : (n,) datetime64 or int64 [us since 1970], starts of intervals as long as those learnt from, in any order.
        The memory of the temperature reaches back three days: give them too where they are known
    temperature : (n,) outdoor [degC]; None or NaN: the usual one of that month and hour

    Raises
    ------
    ValueError
        If the model was refused, or the arrays differ in length.
    """
    if not model.usable:
        raise ValueError("this baseline was refused: " + "; ".join(f.message for f in model.findings))
    hour = hour_numbers(time)
    if temperature is not None and len(temperature) != len(hour):
        raise ValueError(f"{len(hour)} times, {len(temperature)} temperatures: give one for each time")
    start, first, back = np.unique(hour, return_index=True, return_inverse=True)
    air = None if temperature is None else np.asarray(temperature, np.float64)[first]
    c = conditions(model.zone, start, air, calendar, model.climate)
    if model.kind == "hourly":
        value = at(model, c)
        clock = c.hours.hour
        length = np.ones(len(start))
    else:
        assert model.degree_days is not None
        felt = daily.blend_temperature(c.temperature, c.mean_72h, model.degree_days.memory)
        works = c.works[c.place] if model.kind == "daily" else np.ones(len(start), np.bool_)
        value = np.maximum(daily.predict(model.degree_days, felt, works), model.lowest)
        clock = np.zeros(len(start), np.int64)
        length = interval_days(start, model.kind)
    low, high, scale = bands.around(model.band, clock, value)
    low = np.maximum(low, np.minimum(model.lowest - model.band.least, value))  # the meter was never lower
    rows = (value * length * 1000.0, low * length, high * length, scale * length)
    amount = np.rint(rows[0]).astype(np.int64)
    return Expected(
        (start * HOUR_US)[back], amount[back], rows[1][back], rows[2][back], rows[3][back], c.measured[back]
    )


def at(model: BaselineModel, c: Conditions) -> F64:
    """Expected value of each hour of an hourly model; float64 (n,) [unit]."""
    assert model.members is not None
    return np.maximum(mixture.predict(model.members, model.weights, c), model.lowest)


def totals(
    model: BaselineModel, expected: Expected, by: Literal["day", "week", "month", "all"] = "day", seed: int = 1
) -> Total:
    """Exact sums over local periods, each with a 90 % interval by a block bootstrap over weeks of held-out errors."""
    day = local_hours(model.zone, expected.start // HOUR_US).day
    if by == "month":
        key = months(day).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    else:
        key = {"day": day, "week": (day + 3) // 7 * 7 - 3, "all": np.full(len(day), day.min() if len(day) else 0)}[by]
    starts, place = np.unique(key, return_inverse=True)
    amount = np.zeros(len(starts), np.int64)
    np.add.at(amount, place, expected.amount)
    per = np.ones(len(day)) if model.kind == "hourly" else interval_days(expected.start // HOUR_US, model.kind) * 24
    hours = np.bincount(place, per, len(starts)).astype(np.float64)
    interval: dict[float, tuple[float, float]] = {}
    for h in hours.tolist():
        if h not in interval:
            interval[h] = bands.of_sum(model.weeks, h, seed)
    low = np.array([interval[h][0] for h in hours.tolist()])
    high = np.array([interval[h][1] for h in hours.tolist()])
    return Total(starts, amount, hours, amount / 1000.0 + low, amount / 1000.0 + high)
