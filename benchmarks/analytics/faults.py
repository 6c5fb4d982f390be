"""Faults put into real series, with fixed seeds, and how well incidents find them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.analytics.series import Meter

HOUR = np.timedelta64(1, "h")
ELECTRIC = ("spike", "stuck", "night_load", "step", "gap", "unit", "swap", "clock_shift")
GRACE = np.timedelta64(48, "h")
APART_DAYS = 21


@dataclass(frozen=True)
class Fault:
    kind: str
    start: np.datetime64
    end: np.datetime64


def inject(meter: Meter, other: Meter, seed: int, kinds: tuple[str, ...] = ELECTRIC) -> tuple[Meter, list[Fault]]:
    """A copy of the meter with two faults of each kind, at random places that lie apart."""
    random = np.random.default_rng(seed)
    value = meter.value.copy()
    n = len(value)
    usual = float(np.nanmean(value))
    local = ((meter.time.astype("datetime64[h]").astype(np.int64)) % 24 + 1) % 24
    slots = random.permutation(np.arange(n // (24 * APART_DAYS)))
    order = [kinds[k] for _ in range(2) for k in random.permutation(len(kinds))]
    faults = []
    for slot, kind in zip(slots, order, strict=False):
        at = int(slot * 24 * APART_DAYS + random.integers(0, 24 * 2))
        length = 1
        if kind == "spike":
            value[at] = np.nan_to_num(value[at], nan=usual) + usual * random.uniform(6, 12)
        elif kind == "stuck":
            length = int(random.integers(24, 72))
            value[at : at + length] = np.nan_to_num(value[at], nan=usual)
        elif kind == "night_load":
            length = 24 * int(random.integers(5, 10))
            on = (local[at : at + length] >= 22) | (local[at : at + length] < 6)
            value[at : at + length] += on * usual * random.uniform(0.25, 0.5)
        elif kind == "step":
            length = 24 * int(random.integers(10, 18))
            value[at : at + length] *= 1 + random.uniform(0.2, 0.4) * random.choice([-1, 1])
        elif kind == "gap":
            length = int(random.integers(6, 72))
            value[at : at + length] = np.nan
        elif kind == "unit":
            length = int(random.integers(6, 48))
            value[at : at + length] *= 1000
        elif kind == "swap":
            length = 24 * int(random.integers(7, 14))
            theirs = other.value[at : at + length]
            value[at : at + length] = theirs * usual / np.nanmean(theirs) * random.uniform(0.7, 1.4)
        elif kind == "clock_shift":
            length = 24 * int(random.integers(5, 10))
            value[at : at + length] = np.roll(meter.value, int(random.integers(3, 9)))[at : at + length]
        faults.append(Fault(kind, meter.time[at], meter.time[min(at + length, n - 1)]))
    return Meter(meter.name, meter.carrier, meter.time, value, meter.temperature), faults


@dataclass
class Found:
    """Counts over meters: by kind (found, there, named right, delays [h]), false alarms, months watched."""

    found: dict[str, int]
    there: dict[str, int]
    named: dict[str, int]
    delays: dict[str, list[float]]
    false_alarms: int = 0
    months: float = 0.0
    flagged: int = 0

    @staticmethod
    def none() -> Found:
        return Found({}, {}, {}, {})

    def add(self, faults: list[Fault], flags: list[tuple[np.datetime64, str]], months: float) -> list[np.datetime64]:
        """Take in one meter. flags : (instant, kind) of every hour flagged, or of every alarm; gives the false ones."""
        self.months += months
        for fault in faults:
            self.there[fault.kind] = self.there.get(fault.kind, 0) + 1
            hits = [(at, kind) for at, kind in flags if fault.start <= at <= fault.end + GRACE]
            if hits:
                self.found[fault.kind] = self.found.get(fault.kind, 0) + 1
                self.delays.setdefault(fault.kind, []).append(float((min(h[0] for h in hits) - fault.start) / HOUR))
                if any(_same(fault.kind, kind) for _, kind in hits):
                    self.named[fault.kind] = self.named.get(fault.kind, 0) + 1
        false: list[np.datetime64] = []
        last = None
        for at, _ in sorted(flags):
            if any(f.start <= at <= f.end + GRACE for f in faults):
                continue
            if last is None or at - last > np.timedelta64(24, "h"):
                false.append(at)
            last = at
        self.false_alarms += len(false)
        return false

    @property
    def recall(self) -> float:
        return sum(self.found.values()) / max(sum(self.there.values()), 1)

    @property
    def f1(self) -> float:
        hits = sum(self.found.values())
        precision = hits / max(hits + self.false_alarms, 1)
        return 2 * precision * self.recall / max(precision + self.recall, 1e-9)

    @property
    def per_month(self) -> float:
        return self.false_alarms / max(self.months, 1e-9)


def _same(fault: str, kind: str) -> bool:
    return kind == fault or (fault == "step" and kind in ("step_up", "step_down"))
