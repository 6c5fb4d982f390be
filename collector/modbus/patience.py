"""When to ask: a fixed grid of poll times, and a breaker for units that do not answer. Pure, `now` is an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

OPENS_AFTER = 3  # failures in a row
LONGEST_REST_S = 60.0
LINE_SHARE = 0.05  # most of the line's time that one dead unit may take
FIRST_REST_S = 1.0


@dataclass(slots=True)
class Grid:
    """Poll times `next`, `next + period`, ...: no drift, and no burst after a stall. [s of the monotonic clock]"""

    period: float
    next: float

    def take(self, now: float) -> int:
        """Use the slot that is due; returns how many before it were missed."""
        missed = max(0, math.floor((now - self.next) / self.period))
        self.next += (missed + 1) * self.period
        return missed

    def skip_to(self, at: float) -> int:
        """Go on with the first slot at or after `at`; returns how many are skipped."""
        skipped = max(0, math.ceil((at - self.next) / self.period))
        self.next += skipped * self.period
        return skipped


@dataclass(slots=True)
class Breaker:
    """Closed while a unit answers; open (not asked) after three failures; then single probes, ever rarer.

    The rest after a failure is at least as long as to keep the unit's share of the line at 5 %.
    """

    state: Literal["closed", "open", "probing"] = "closed"
    failures: int = 0
    until: float = 0.0
    openings: int = 0

    def may_ask(self, now: float) -> bool:
        """May the unit be asked now? An open breaker whose rest is over lets one probe through."""
        if self.state == "open" and now >= self.until:
            self.state = "probing"
        return self.state != "open"

    def answered(self) -> None:
        """The unit answered."""
        self.state, self.failures, self.openings = "closed", 0, 0

    def failed(self, now: float, cost_s: float) -> None:
        """The unit did not answer, which took `cost_s` of the line's time."""
        self.failures += 1
        if self.state == "probing" or self.failures >= OPENS_AFTER:
            rest = max(FIRST_REST_S * 2.0**self.openings, cost_s / LINE_SHARE)
            self.openings = min(self.openings + 1, 10)
            self.state, self.until = "open", now + min(LONGEST_REST_S, rest)

    def hurry(self, now: float) -> None:
        """The gateway is back: probe at once."""
        if self.state == "open":
            self.until, self.openings = now, 0
