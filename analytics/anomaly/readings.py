"""Data-quality rules, hour by hour: gap, stuck, spike, unit by powers of ten, negative."""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from typing import NamedTuple

from analytics.anomaly.habits import Habits
from analytics.anomaly.incident import Kind

GAP_HOURS = 3
FAR = 12.0  # times the largest reading: no reading of this meter
POWER_NEAR = 0.35  # decades from a power of ten


class Verdict(NamedTuple):
    """good : is it a reading to judge the building by; kind : what is wrong, or None; hours : since how long; factor"""

    good: bool
    kind: Kind | None
    hours: int
    factor: float


GOOD = Verdict(True, None, 0, 1.0)


@dataclass(slots=True)
class Readings:
    """The state of the rules."""

    habits: Habits
    missing: int = 0
    same: int = 0
    last: float = float("nan")
    odd: int = 0
    before: float = float("nan")  # error of the hour before, in deviations

    def push(self, value: float, expected: float, scale: float) -> Verdict:
        """Judge an hour. value : NaN is a gap; expected : NaN without a baseline [unit/h]"""
        habits = self.habits
        if value != value or (value == 0 and habits.zeros_are_gaps):
            self.missing += 1
            return Verdict(False, "gap" if self.missing >= GAP_HOURS else None, self.missing, 1.0)
        self.missing = 0
        self.same = self.same + 1 if value == self.last else 1
        self.last = value
        if value < 0 and not habits.negative:
            self.odd += 1
            return Verdict(False, "negative", self.odd, 1.0)
        factor = self._power_of_ten(value, expected)
        if factor != 1.0:
            self.odd += 1
            return Verdict(False, "unit", self.odd, factor)
        if habits.largest > 0 and value > FAR * habits.largest:
            self.odd += 1
            return Verdict(False, "spike", self.odd, 1.0)
        self.odd = 0
        rest = habits.run_of.get(value)
        longest = habits.run + max(4, habits.run // 2) if rest is None else rest + max(12, rest // 2)
        if self.same > longest and not (value == 0.0 and habits.rests):
            return Verdict(False, "stuck", self.same, 1.0)
        return GOOD

    def _power_of_ten(self, value: float, expected: float) -> float:
        """1000, 0.001 and so on; 1 if it is none."""
        habits = self.habits
        if value <= 0 or habits.largest <= 0:
            return 1.0
        base = expected if expected == expected and expected > 0.05 * habits.typical else habits.typical
        if base <= 0:
            return 1.0
        if value > 8.0 * habits.largest:
            power = log10(value / base)
            near = round(power)
            # a whole power of ten; or so far that no reading of this meter times a hundred reaches it
            if near >= 2 and (abs(power - near) < POWER_NEAR or value > 60.0 * habits.largest):
                return float(10 ** max(near, 2))
        elif habits.lowest > 0 and value < 0.1 * habits.lowest:
            near = round(log10(value / base))
            if near <= -2:
                return float(10**near)
        return 1.0
