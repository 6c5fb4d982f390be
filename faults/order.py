"""Out of order, late by days, repeated, in conflict: the sums must be those of the sorted run, bit by bit."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from collector.pipeline import touched
from faults.report import Row
from meterhall.derive import Deriver
from metering.clock import MINUTE_US
from metering.quantity import Carrier
from metering.reading import Origin, Point, ReadingBatch
from metering.site import Installation, Meter, Name, Site
from storage.opening import duckdb_url, open_store
from storage.store import Outcome, Store

T0 = 1_767_225_600_000_000
STEP_US = 5 * MINUTE_US
BATCH = 20_000


class Readings:
    """Readings in order of arrival: point, time and value of each."""

    def __init__(self, point: np.ndarray, at: np.ndarray, value: np.ndarray) -> None:
        self.point, self.at, self.value = point, at, value

    def take(self, order: np.ndarray) -> Readings:
        """In another order, or some of them."""
        return Readings(self.point[order], self.at[order], self.value[order])

    def __len__(self) -> int:
        return len(self.at)


def sorted_run(count: int, points: int, rng: np.random.Generator) -> Readings:
    """Counters that rise, in order of time; one in a hundred is said again with another value."""
    each = count // points
    index = np.tile(np.arange(points, dtype=np.int32), each)
    at = T0 + np.repeat(np.arange(each), points) * STEP_US
    steps = rng.integers(0, 64, (each, points)) / 16.0
    value = np.cumsum(steps, axis=0).ravel() + 1000.0
    again = np.sort(rng.choice(len(at), len(at) // 100, replace=False))
    order = np.sort(np.concatenate([np.arange(len(at)) * 2, again * 2 + 1]))
    readings = Readings(index[order // 2], at[order // 2], value[order // 2].copy())
    second = order % 2 == 1
    readings.value[second] += 1 / 16.0
    return readings


def shuffled(readings: Readings, rng: np.random.Generator) -> Readings:
    """Shuffled, some late by days, 30 % sent again; values of one point and time keep their order."""
    n = len(readings)
    delay = rng.exponential(600e6, n) + np.where(rng.random(n) < 0.05, rng.uniform(0, 3 * 86_400e6, n), 0.0)
    key = np.lexsort((np.arange(n), readings.at, readings.point))
    p, t = readings.point[key], readings.at[key]
    arrival = (readings.at + delay)[key]
    same = np.append(False, (p[1:] == p[:-1]) & (t[1:] == t[:-1]))
    for i in np.flatnonzero(same):  # the second value of a point and time comes after the first
        arrival[i] = max(arrival[i], arrival[i - 1] + 1.0)
    back = np.empty(n)
    back[key] = arrival
    repeats = rng.choice(n, int(n * 0.3), replace=False)
    source = np.concatenate([np.arange(n), repeats])
    when = np.concatenate([back, back[repeats] + rng.exponential(3600e6, len(repeats))])
    return readings.take(source[np.argsort(when, kind="stable")])


def installation(points: int) -> Installation:
    """A meter a point."""
    meters = tuple(
        Meter(f"m{i}", "s", "", Name(f"M{i}"), Carrier.ELECTRICITY, "load", "plain_json", "mqtt://b/x", cadence_s=300.0)
        for i in range(points)
    )
    return Installation(sites=(Site("s", Name("S"), "Europe/Berlin"),), meters=meters)


def everything(store: Store) -> dict[str, np.ndarray]:
    """All readings, and the intervals of a quarter hour and a day, by name."""
    found: dict[str, np.ndarray] = {}
    for point in sorted(store.points()):
        series = store.series(point, 0, 1 << 62)
        found[f"{point} at"], found[f"{point} value"] = series.at, series.value
    for resolution in ("15min", "day"):
        for each in store.intervals(sorted(store.measures()), resolution, 0, 1 << 61):
            for name in ("start", "end", "amount", "coverage", "estimated", "quality"):
                found[f"{each.measure} {resolution} {name}"] = getattr(each, name)
    return found


def run(folder: Path, readings: Readings, points: int) -> tuple[dict[str, np.ndarray], dict[str, int], float]:
    """Write in batches and derive; everything that is stored then, and how often which outcome came."""
    folder.mkdir(parents=True)
    began = time.process_time()
    store = open_store(duckdb_url(folder / "s.duckdb"))
    deriver = Deriver(installation(points), store)
    names = tuple(Point("s", f"m{i}", "active_energy_import") for i in range(points))
    outcomes = np.zeros(len(Outcome), np.int64)
    for number, start in enumerate(range(0, len(readings), BATCH)):
        part = readings.take(np.arange(start, min(start + BATCH, len(readings))))
        n = len(part)
        batch = ReadingBatch(
            names,
            part.point,
            part.at,
            part.value,
            np.zeros(n, np.uint8),
            np.zeros(n, np.int32),
            (Origin("b", number, "p@1", "1:1"),),
        )
        result = store.write(batch)
        outcomes += np.bincount(result.outcome, minlength=len(Outcome))
        for point, first, last in touched(batch, result, np.ones(len(batch.points), bool)):
            deriver.touch(point, first, last)
        if number % 20 == 19:
            deriver.run_once(int(T0 + 400 * 86_400e6))
    while deriver.pending():
        deriver.run_once(int(T0 + 400 * 86_400e6))
    found = everything(store)
    store.close()
    return found, {outcome.name.lower(): int(outcomes[outcome]) for outcome in Outcome}, time.process_time() - began


def any_order(folder: Path, *, count: int, seed: int, points: int = 100) -> Row:
    """The sorted run and a shuffled one: everything stored and derived must be equal."""
    row = Row("out of order, late, repeated", "readings", count=count)
    rng = np.random.default_rng(seed)
    readings = sorted_run(count, points, rng)
    mixed = shuffled(readings, rng)
    expected, plain, plain_s = run(folder / "sorted", readings, points)
    found, outcomes, mixed_s = run(folder / "mixed", mixed, points)
    row.notes |= {"sorted": plain, "shuffled": outcomes, "processor time [s]": [round(plain_s, 1), round(mixed_s, 1)]}
    row.lost = sum(len(each) for name, each in expected.items() if name not in found and name.endswith(" at"))
    differing = [name for name in expected if name in found and not np.array_equal(expected[name], found[name])]
    row.expect(expected.keys() == found.keys(), f"other series: {sorted(expected.keys() ^ found.keys())[:3]}")
    row.expect(not differing, f"{len(differing)} series differ from the sorted run: {differing[:3]}")
    row.expect(
        outcomes["stored"] == plain["stored"], f"{outcomes['stored']} stored, {plain['stored']} in the sorted run"
    )
    total = sum(int(each.sum()) for name, each in found.items() if name.endswith("day amount"))
    row.notes["sum of all days [0.001 kWh]"] = total
    row.expect(total > 0, "no energy was derived: nothing is proven")
    return row
