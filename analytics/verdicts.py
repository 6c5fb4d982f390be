"""Which readings of a counter follow from one another.

What becomes of a reading that does not follow from the one before it, in this order:

==================  ============================================================================
noise               falls by no more than one tick: the curve holds its level until the counter passes it
spike               up or down, and within `LOOK` readings the counter goes on where it was: the readings
                    in between are left out; no energy comes or goes
rollover            falls, the counter's width is declared, and the energy it would mean is possible
pending             no verdict yet, fewer than `LOOK` readings follow: left out until more have come
reset, step back    falls to (nearly) zero, or elsewhere: the step has no energy and is a gap
frozen              rises by more than is possible in the step, but not since the counter last moved: the
                    readings that repeated it are left out, and the energy is spread over that time as over a gap
jump                rises by more than physics allows: the step has no energy and is a gap
swap                a dated fact gives the old counter's last and the new one's first figure: nothing is lost
==================  ============================================================================

Each verdict is a Finding with its time and amounts. The quality flags of raw rows play no part: the
collector judges a reading by what came before it, the curve also by what came after.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metering.clock import from_us
from metering.explain import Finding

LOOK = 3  # readings ahead and back by which a spike is told from a reset
LIMITLESS = 1e250  # no largest step known [raw unit/us]; finite, so that it times no time is nothing
TICK = 0.1  # the step back that is still noise, if nothing better is known [unit]
FLOAT32 = 2.5e-7  # relative step of a counter kept in 32-bit floating point: two units in the last place

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


class Judge:
    """Decides for each reading of one meter whether and how it follows from the ones before it."""

    def __init__(self, at: I64, value: F64, limit: F64, rollover: float | None, tick: float, unit: str) -> None:
        self.at, self.value, self.limit = at, value, limit
        self.rollover, self.tick, self.unit = rollover, tick, unit
        n = len(at)
        self.keep = np.ones(n, np.bool_)
        self.level = value.copy()
        self.code = np.zeros(n, np.uint8)  # of the step that arrives here: 0 goes on, 1 rollover, 2 no energy
        self.findings: list[Finding] = []

    def note(self, code: str, i: int, before: float, words: str, upto: int | None = None) -> None:
        found = float(self.value[i])
        data = {"at": int(self.at[i]), "before": before, "after": found, "unit": self.unit}
        if upto is not None:
            data["until"] = int(self.at[upto])
            data["readings"] = upto - i + 1
        when = f"{from_us(int(self.at[i])):%Y-%m-%d %H:%M:%S}Z"
        quiet = code in ("counter.noise", "counter.rollover", "counter.pending")
        text = f"{when}: counter went from {before:.10g} to {found:.10g} {self.unit}: {words}"
        self.findings.append(Finding(code, "info" if quiet else "warning", text, data))

    def tolerance(self, level: float) -> float:
        return max(self.tick, abs(level) * FLOAT32)

    def follows(self, i: int, level: float, since: int) -> bool:
        """Could the counter have gone from `level` to reading i, but for noise?"""
        step = float(self.value[i]) - level
        return -self.tolerance(level) <= step <= float(self.limit[i]) * (int(self.at[i]) - since) + self.tick

    def run(self) -> None:
        n = len(self.at)
        bad = dirty_steps(self.at, self.value, self.limit, self.tick) + 1
        cursor = 0
        i = int(bad[0]) if len(bad) else n
        last = i - 1
        while i < n:
            level, since = float(self.level[last]), int(self.at[last])
            if self.follows(i, level, since):
                if self.value[i] >= level:
                    cursor = int(np.searchsorted(bad, i, side="right"))
                    i = int(bad[cursor]) if cursor < len(bad) else n
                    last = i - 1
                else:
                    i = self.hold(i, level)
                    last = i - 1
                continue
            falls = self.value[i] < level
            back = self.spike_before(i, last) if falls else None
            if back is not None:
                last = back
                continue
            ahead = next((j for j in range(i + 1, min(i + LOOK, n - 1) + 1) if self.follows(j, level, since)), None)
            if ahead is not None:
                self.keep[i:ahead] = False
                self.note("counter.spike", i, level, "a spike, left out", ahead - 1)
                i = ahead
                continue
            follows = self.rolls_over(i, level, since) if falls else self.catches_up(i, last, level)
            if not follows and not self.breaks(i, level, falls):
                break
            # i is taken as it is; up to the next dirty step the readings follow one another
            cursor = int(np.searchsorted(bad, i, side="right"))
            i = int(bad[cursor]) if cursor < len(bad) else n
            last = i - 1

    def hold(self, i: int, level: float) -> int:
        """The counter fell by noise at i: hold the level; returns the first reading that leaves it."""
        lowest, n, j = level - self.tolerance(level), len(self.at), i
        size = 64
        while j < n:
            part = self.value[j : j + size]
            out = np.flatnonzero((part >= level) | (part < lowest))
            if len(out):
                j += int(out[0])
                break
            j = min(j + size, n)
            size *= 4
        self.level[i:j] = level
        self.note("counter.noise", i, level, "a step back of one tick is noise, no energy", j - 1)
        return j

    def spike_before(self, i: int, last: int) -> int | None:
        """The reading before an upward spike that ends at i, or None; the spike is left out."""
        place = last
        for _ in range(LOOK):
            if self.code[place] or place == 0:
                return None
            spike = place
            place -= 1
            while place > 0 and not self.keep[place]:
                place -= 1
            if not self.keep[place]:
                return None
            if self.follows(i, float(self.level[place]), int(self.at[place])):
                self.keep[spike : last + 1] = False
                self.note("counter.spike", spike, float(self.level[place]), "a spike, left out", last)
                return place
        return None

    def rolls_over(self, i: int, level: float, since: int) -> bool:
        if not self.rollover:
            return False
        rise = float(self.value[i]) + self.rollover - level
        limit = float(self.limit[i])
        if limit >= LIMITLESS:
            possible = level >= 0.9 * self.rollover and self.value[i] <= 0.1 * self.rollover
        else:
            possible = rise <= limit * (int(self.at[i]) - since) + self.tick
        if rise < 0 or not possible:
            return False
        self.code[i] = 1
        self.note("counter.rollover", i, level, f"rolled over at {self.rollover:.10g}, {rise:.6g} {self.unit} used")
        return True

    def catches_up(self, i: int, last: int, level: float) -> bool:
        """Is the jump possible since the counter last moved? Then it was frozen: what it repeated is left out."""
        other = np.flatnonzero((self.level[:last] != level) & self.keep[:last])
        moved = int(other[-1]) + 1 if len(other) else 0
        while not self.keep[moved]:
            moved += 1
        if moved == last or self.code[moved + 1 : last + 1].any() or not self.follows(i, level, int(self.at[moved])):
            return False
        self.keep[moved + 1 : i] = False
        self.note("counter.frozen", i, level, f"stood still since {from_us(int(self.at[moved])):%Y-%m-%d %H:%M}Z")
        return True

    def breaks(self, i: int, level: float, falls: bool) -> bool:
        if len(self.at) - 1 - i < LOOK:
            self.keep[i:] = False
            self.note("counter.pending", i, level, "not used until more readings have come", len(self.at) - 1)
            return False
        self.code[i] = 2
        if not falls:
            self.note("counter.jump", i, level, "more than is possible; this step counts no energy")
        elif self.value[i] <= max(0.01 * level, self.tick):
            self.note("counter.reset", i, level, "reset; what was used in this step is not known")
        else:
            words = "stepped back without a recorded swap; what was used in this step is not known"
            self.note("counter.step_back", i, level, words)
        return True


def dirty_steps(at: I64, value: F64, limit: F64 | float, tick: float = TICK) -> NDArray[np.intp]:
    """Steps i (from reading i to i + 1) that fall, or rise by more than is possible."""
    rise = np.diff(value)
    room = (limit[1:] if isinstance(limit, np.ndarray) else limit) * np.diff(at).astype(np.float64) + tick
    return np.flatnonzero((rise < 0) | (rise > room))


def settled(at: I64, value: F64, limit: F64 | float, tick: float = TICK) -> NDArray[np.intp]:
    """Readings at which the curve is certain whatever came before the first one given, and whatever came in later.

    That is so well inside a stretch of undisturbed steps that rises by more than the noise. Used to
    recompute a part of a curve exactly as the whole would be.
    """
    n = len(at)
    index = np.arange(n)
    dirty = dirty_steps(at, value, limit, tick)
    begin, finish = np.zeros(n, np.intp), np.full(n, n - 1, np.intp)
    begin[dirty + 1] = dirty + 1
    begin = np.maximum.accumulate(begin)
    finish[dirty] = dirty
    finish = np.minimum.accumulate(finish[::-1])[::-1]
    inside = (index - begin >= 2 * LOOK + 2) & (finish - index >= LOOK + 2)
    rise = value - value[np.minimum(begin + LOOK, n - 1)]
    risen = rise > np.maximum(tick, np.abs(value) * FLOAT32)
    moved = np.zeros(n, np.bool_)
    moved[1:] = risen[:-1] & (value[1:] > value[:-1])  # a frozen stretch that ends later begins here or later
    return np.flatnonzero(inside & risen & moved)
