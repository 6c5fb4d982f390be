"""Heating and cooling degree days, with base and method stated."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Method = Literal["hourly", "daily_mean"]
HEATING_BASE_DEGC = 18.0  # HDD18 and CDD26: bases of the Chinese building codes
COOLING_BASE_DEGC = 26.0


class DegreeDays(NamedTuple):
    """Degree days of local days.

    day : int64 (d,), local days since 1970; heating, cooling : float64 (d,), NaN below `least_hours` [K d]
    mean : float64 (d,), mean temperature [degC]; hours : int64 (d,), hours with a temperature
    method : `hourly` integrates over the hours, `daily_mean` takes max(0, base - mean)
    """

    day: I64
    heating: F64
    cooling: F64
    mean: F64
    hours: I64
    heating_base_degc: float
    cooling_base_degc: float
    method: Method


def degree_days(
    day: I64,
    temperature: F64,
    *,
    heating_base_degc: float = HEATING_BASE_DEGC,
    cooling_base_degc: float = COOLING_BASE_DEGC,
    method: Method = "hourly",
    least_hours: int = 20,
) -> DegreeDays:
    """Degree days of each local day.

    Parameters
    ----------
    day : int64 (n,), local day of each hour (`analytics.baseline.conditions.local_hours`)
    temperature : float64 (n,), outdoor, NaN where unknown [degC]
    least_hours : a day with fewer known hours has none

    Notes
    -----
    A day counts as one day whether it has 23, 24 or 25 hours: the mean over its known hours is taken.
    """
    days, place = np.unique(day, return_inverse=True)
    known = np.isfinite(temperature)
    air = np.where(known, temperature, 0.0)
    count = np.bincount(place, known, len(days))
    divisor = np.maximum(count, 1.0)
    mean = np.bincount(place, air, len(days)) / divisor
    if method == "hourly":
        heating = (
            np.bincount(place, np.where(known, np.maximum(heating_base_degc - air, 0.0), 0.0), len(days)) / divisor
        )
        cooling = (
            np.bincount(place, np.where(known, np.maximum(air - cooling_base_degc, 0.0), 0.0), len(days)) / divisor
        )
    else:
        heating, cooling = np.maximum(heating_base_degc - mean, 0.0), np.maximum(mean - cooling_base_degc, 0.0)
    whole = count >= least_hours
    rows = [np.asarray(np.where(whole, row, np.nan), np.float64) for row in (heating, cooling, mean)]
    return DegreeDays(
        days.astype(np.int64), rows[0], rows[1], rows[2], count.astype(np.int64),
        heating_base_degc, cooling_base_degc, method,
    )  # fmt: skip
