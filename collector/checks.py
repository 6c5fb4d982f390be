"""Plausibility: flags, never drops. A suspect value is stored as the meter said it, with quality 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from metering.clock import MINUTE_US, SECOND_US
from metering.quantity import Quality
from metering.reading import Point
from metering.site import Installation, Meter

if TYPE_CHECKING:
    from numpy.typing import NDArray

AHEAD_US = MINUTE_US  # a device's clock may be this far ahead of ours
POWERS = frozenset({"active_power", "apparent_power", "heat_power", "cooling_power"})
ENERGIES = frozenset({"active_energy_import", "active_energy_export", "heat_energy", "cooling_energy"})
HEADROOM = 2.0  # times the rated power, before a value is suspect


class Checks:
    """Checks whole batches; remembers each point's newest value.

    Parameters
    ----------
    installation : rated powers and ratios of the meters
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._points: tuple[Point, ...] = ()
        self._power_limit = np.empty(0)  # [W]
        self._energy_rate = np.empty(0)  # [kWh/us]
        self._last_at = np.empty(0, np.int64)
        self._last_value = np.empty(0)

    def _grow(self, points: tuple[Point, ...]) -> None:
        more = len(points) - len(self._points)
        limits = [self._limits(point) for point in points[len(self._points) :]]
        self._power_limit = np.append(self._power_limit, [power for power, _ in limits])
        self._energy_rate = np.append(self._energy_rate, [rate for _, rate in limits])
        self._last_at = np.append(self._last_at, np.full(more, np.iinfo(np.int64).min))
        self._last_value = np.append(self._last_value, np.full(more, np.nan))
        self._points = points

    def _limits(self, point: Point) -> tuple[float, float]:
        """The largest plausible power [W] and energy per time [kWh/us] of a point, before its ratio."""
        meter = self._installation.by_id.get(point.meter)
        if not isinstance(meter, Meter) or not meter.rated_power_w:
            return np.inf, np.inf
        ratio = min([1.0, *(fact.factor for fact in meter.facts if fact.kind == "ratio")])
        limit = HEADROOM * meter.rated_power_w / ratio
        if point.quantity in POWERS:
            return limit, np.inf
        if point.quantity in ENERGIES:
            return np.inf, limit / 1000.0 / (3600.0 * SECOND_US)
        return np.inf, np.inf

    def check(
        self,
        points: tuple[Point, ...],
        point: NDArray[np.int32],
        at: NDArray[np.int64],
        value: NDArray[np.float64],
        received_at: NDArray[np.int64],
        quality: NDArray[np.uint8],
    ) -> None:
        """Set `quality` to SUSPECT where a value is implausible.

        A device clock more than a minute ahead; a power above twice the rated one; an energy
        counter that rises faster than twice the rated power allows since the reading before.
        `points` only ever grows between calls; the other arrays are columns of equal length.
        """
        if len(points) != len(self._points):
            self._grow(points)
        suspect = at > received_at + AHEAD_US
        suspect |= np.abs(value) > self._power_limit[point]
        order = np.lexsort((at, point))
        p, t, v = point[order], at[order], value[order]
        first = np.ones(len(p), bool)
        first[1:] = p[1:] != p[:-1]
        before_at, before_value = np.empty_like(t), np.empty_like(v)
        before_at[1:], before_value[1:] = t[:-1], v[:-1]
        before_at[first], before_value[first] = self._last_at[p[first]], self._last_value[p[first]]
        known = np.isfinite(before_value) & (t > before_at)
        span = np.where(known, t - np.where(known, before_at, t), 1).astype(np.float64)
        rise = np.where(known, v - before_value, 0.0)
        tick = 1.0  # [kWh], so that a coarse counter's single tick is no fast rise
        fast = known & (rise > self._energy_rate[p] * span + tick)
        suspect[order[fast]] = True
        quality[suspect & (quality == Quality.MEASURED)] = Quality.SUSPECT
        last = np.ones(len(p), bool)
        last[:-1] = p[1:] != p[:-1]
        q, newest = p[last], t[last]
        newer = newest > self._last_at[q]
        self._last_at[q[newer]] = newest[newer]
        self._last_value[q[newer]] = v[last][newer]
