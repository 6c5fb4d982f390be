"""200 deliberately broken series: none may fail, and a refusal has a reason."""

from __future__ import annotations

import numpy as np

from analytics.anomaly.detection import detect
from analytics.anomaly.learning import learn
from analytics.baseline.expected import predict
from benchmarks.analytics.series import Meter, meters

ZONES = ("Europe/London", "+08:00", "America/St_Johns", "Pacific/Apia", "Asia/Kolkata", "UTC")
BREAKS = (
    "constant", "nine months", "no temperature", "all gaps", "negative", "spikes", "half gaps", "shuffled", "repeated",
    "one week", "one reading", "infinite", "all zero", "steps", "tiny", "huge", "alternating", "temperature gone wild",
    "daily", "monthly",
)  # fmt: skip


def broken(meter: Meter, kind: str, random) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """(time, value, temperature) of a broken copy of a year."""
    time, value, air = meter.time.copy(), meter.value.copy(), meter.temperature.copy()
    n = len(value)
    if kind == "constant":
        value[:] = 7.0
    elif kind == "nine months":
        time, value, air = time[: n * 3 // 4], value[: n * 3 // 4], air[: n * 3 // 4]
    elif kind == "no temperature":
        return time, value, None
    elif kind == "all gaps":
        value[:] = np.nan
    elif kind == "negative":
        value = -value
    elif kind == "spikes":
        value[random.integers(0, n, 60)] *= 10.0 ** random.integers(2, 9, 60)
    elif kind == "half gaps":
        value[random.random(n) < 0.5] = np.nan
    elif kind == "shuffled":
        order = random.permutation(n)
        time, value, air = time[order], value[order], air[order]
    elif kind == "repeated":
        time, value, air = np.repeat(time, 2), np.repeat(value, 2), np.repeat(air, 2)
    elif kind == "one week":
        time, value, air = time[:168], value[:168], air[:168]
    elif kind == "one reading":
        time, value, air = time[:1], value[:1], air[:1]
    elif kind == "infinite":
        value[random.integers(0, n, 30)] = np.inf
        value[random.integers(0, n, 30)] = -np.inf
    elif kind == "all zero":
        value[:] = 0.0
    elif kind == "steps":
        value *= np.repeat(random.uniform(0.2, 3.0, 12), n // 12 + 1)[:n]
    elif kind == "tiny":
        value *= 1e-12
    elif kind == "huge":
        value *= 1e12
    elif kind == "alternating":
        value[:] = np.arange(n) % 2
    elif kind == "temperature gone wild":
        air[random.integers(0, n, 3000)] = random.choice([999.0, -273.0, np.nan, np.inf], 3000)
    elif kind in ("daily", "monthly"):
        unit = "D" if kind == "daily" else "M"
        names, place = np.unique(time.astype(f"datetime64[{unit}]"), return_inverse=True)
        count = np.bincount(place)
        return (
            names.astype("datetime64[us]"),
            np.bincount(place, np.nan_to_num(value)),
            np.bincount(place, air) / count,
        )
    return time, value, air


def run(count: int = 200) -> tuple[int, int, list[str]]:
    """(series tried, refused with a reason, what failed)."""
    all_ = meters()
    failed, refused = [], 0
    for k in range(count):
        kind, zone = BREAKS[k % len(BREAKS)], ZONES[k // len(BREAKS) % len(ZONES)]
        meter = all_[k % len(all_)].year(2018)
        random = np.random.default_rng(k)
        time, value, air = broken(meter, kind, random)
        try:
            learnt = learn(time, value, air, zone=zone)
            model = learnt.model
            if not model.usable:
                refused += 1
                if not any(f.severity == "disqualifies" for f in model.findings):
                    failed.append(f"{kind} in {zone}: refused without a reason")
            else:
                e = predict(model, time, None)
                if not (np.isfinite(e.value).all() and np.isfinite(e.low).all() and (e.low <= e.high).all()):
                    failed.append(f"{kind} in {zone}: not every expected value is a number")
            if k % 4 == 0:
                detect(learnt, time, value, air)
        except Exception as error:
            failed.append(f"{kind} in {zone}: {type(error).__name__}: {error}")
    return count, refused, failed
