"""The detectors' half of the table: faults put into real electricity, leaks and bursts into simulated households."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from analytics.anomaly.detection import detect, judged
from analytics.anomaly.detector import Detector
from analytics.anomaly.incident import Incident
from analytics.anomaly.learning import learn
from analytics.baseline.expected import predict
from benchmarks.analytics import rivals
from benchmarks.analytics.faults import HOUR, Found, inject
from benchmarks.analytics.series import ZONE, Meter, bank_holidays, meters
from benchmarks.analytics.simulated import household, with_leaks


@dataclass
class Result:
    ours: Found
    rivals: dict[str, Found]
    clean: Found
    water: Found
    meters: dict[str, Found]
    batch_ms: float
    reading_us: float
    alone_us: float = 0.0  # with a prediction for each reading by itself
    ahead_us: float = 0.0  # with a prediction for each day at once


def flags(incidents: list[Incident], clean: Meter) -> list[tuple[np.datetime64, str]]:
    """(hour, kind) at which each incident is told, and twice a day while it lasts.

    Gaps that the archive itself has are no false alarms and are left out.
    """
    out = []
    for i in incidents:
        at = int(np.searchsorted(clean.time, np.datetime64(i.start, "us")))
        if i.kind == "gap" and np.isnan(clean.value[min(at, len(clean.value) - 1)]):
            continue
        first = np.datetime64(i.detected, "us") - HOUR
        last = first if i.end is None else np.datetime64(i.end, "us") - HOUR
        out += [(first, i.kind), *((t, i.kind) for t in np.arange(first + 12 * HOUR, last, 12 * HOUR))]
    return out


def measure(seeds: int) -> Result:
    """Faults with `seeds` seeds in each electricity meter and year."""
    calendar = bank_holidays()
    electric = [m for m in meters() if m.carrier == "electricity"]
    result = Result(Found.none(), {"3-sigma": Found.none(), "fixed limit": Found.none()}, Found.none(), Found.none(),
                    {}, 0.0, 0.0)  # fmt: skip
    took = []
    for j, meter in enumerate(electric):
        for year in (2017, 2018):
            train, test = meter.year(year), meter.year(year + 1)
            learnt = learn(train.time, train.value, train.temperature, zone=ZONE, calendar=calendar)
            quiet = detect(learnt, test.time, test.value, test.temperature, calendar=calendar)
            result.clean.add([], flags(quiet, test), 12)
            for seed in range(seeds):
                other = electric[(j + 1 + seed) % len(electric)].year(year + 1)
                bad, faults = inject(test, other, 1000 * seed + 10 * j + year)
                began = time.process_time()
                found = detect(learnt, bad.time, bad.value, bad.temperature, calendar=calendar)
                took.append(time.process_time() - began)
                told = flags(found, test)
                result.ours.add(faults, told, 12)
                result.meters.setdefault(meter.name, Found.none()).add(faults, told, 12)
                natural = np.isnan(test.value)
                for name, rule in (("3-sigma", rivals.three_sigma), ("fixed limit", rivals.fixed_limit)):
                    result.rivals[name].add(faults, [(t, "") for t in bad.time[rule(train, bad) & ~natural]], 12)
            result.reading_us = _streaming(learnt, test, calendar)
            result.alone_us = result.reading_us + _predicting(learnt, test, calendar, 1)
            result.ahead_us = result.reading_us + _predicting(learnt, test, calendar, 24)
    result.batch_ms = float(np.median(took)) * 1e3
    for seed in range(max(3 * seeds, 6)):
        home = household(seed)
        learnt = learn(home.year(2021).time, home.year(2021).value, unit="l", zeros="value")
        bad, faults = with_leaks(home.year(2022), seed + 50)
        result.water.add(faults, flags(detect(learnt, bad.time, bad.value, flow=True), home.year(2022)), 12)
    return result


def _streaming(learnt, test: Meter, calendar) -> float:
    """Mean time to judge a reading whose expected value is known [us]."""
    rows = list(zip(*judged(learnt, test.time, test.value, test.temperature, calendar), strict=True))
    detector = Detector(learnt.habits, zone=ZONE)
    began = time.process_time()
    for row in rows:
        detector.push(*row)
    return (time.process_time() - began) / len(rows) * 1e6


def _predicting(learnt, test: Meter, calendar, at_once: int) -> float:
    """Mean time to predict an hour, so many at once, with the three days before [us]."""
    began = time.process_time()
    for k in range(40):
        hours = slice(k * 24, k * 24 + 72 + at_once)
        predict(learnt.model, test.time[hours], test.temperature[hours], calendar=calendar)
    return (time.process_time() - began) / 40 / at_once * 1e6
