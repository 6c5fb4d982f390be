"""Deriving 400 days of 120 counters, a live run, and "needs you": `python benchmarks/bench_derive.py`."""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from analytics.attention import rises
from meterhall.attend import Attender
from meterhall.derive import Deriver
from metering.clock import DAY_US, MINUTE_US, QUARTER_US
from metering.quantity import Carrier
from metering.reading import Origin, Point, ReadingBatch
from metering.site import Building, Installation, Meter, Name, Site
from storage.opening import open_store

NOW = 1_795_500_000_000_000
METERS, HOUSES, DAYS = 120, 12, 400


def installation() -> Installation:
    houses = tuple(Building(f"h{i}", "plant", Name(f"House {i}")) for i in range(HOUSES))
    meters = [Meter("main", "plant", "", Name("Main"), Carrier.ELECTRICITY, "grid", "p", "mqtt://b/m", cadence_s=900)]
    meters += [
        Meter(f"m{i}", "plant", f"h{i % HOUSES}", Name(f"M{i}"), Carrier.ELECTRICITY, "load", "p", "mqtt://b/m",
              parent="main" if i < HOUSES else f"m{i % HOUSES}", cadence_s=900)
        for i in range(METERS - 1)
    ]  # fmt: skip
    return Installation((Site("plant", Name("Plant"), "Asia/Shanghai"),), houses, tuple(meters))


def batch(world: Installation, at: np.ndarray, value: np.ndarray) -> ReadingBatch:
    points = tuple(Point("plant", meter.id, "active_energy_import") for meter in world.meters)
    which = np.repeat(np.arange(len(points), dtype=np.int32), len(at))
    zeros = np.zeros(len(which), np.int32)
    origins = (Origin("bench", NOW, "", ""),)
    return ReadingBatch(points, which, np.tile(at, len(points)), value.ravel(), zeros.astype(np.uint8), zeros, origins)


def main() -> None:
    world, random = installation(), np.random.default_rng(1)
    at = np.arange(NOW - DAYS * DAY_US, NOW, QUARTER_US)
    value = np.round(np.cumsum(random.gamma(2.0, 1.0, (METERS, len(at))), axis=1), 2)
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"duckdb:///{folder}/bench.duckdb")
        for lo in range(0, len(at), 30 * 96):
            store.write(batch(world, at[lo : lo + 30 * 96], value[:, lo : lo + 30 * 96]))
        deriver = Deriver(world, store)
        begin = time.perf_counter()
        rows = deriver.rebuild()
        took = time.perf_counter() - begin
        print(f"rebuild: {METERS} counters x {DAYS} days ({value.size:,} readings, {rows:,} rows): {took:.1f} s")
        for step in range(3):
            here = np.array([NOW + (step + 1) * MINUTE_US])
            store.write(batch(world, here, value[:, -1:] + step + 1))
            for meter in world.meters:
                deriver.touch(Point("plant", meter.id, "active_energy_import"), int(here[0]), int(here[0]))
            begin = time.perf_counter()
            rows = deriver.run_once(0)
            print(
                f"live run: one reading of each of {METERS} counters, {rows} rows: {time.perf_counter() - begin:.2f} s"
            )
        attender = Attender(world, store)
        for name in ("first", "later"):
            begin = time.perf_counter()
            attender.current(NOW + 5 * MINUTE_US, (), deriver.findings())
            print(f"needs you, {METERS} meters, {name} look: {time.perf_counter() - begin:.2f} s")
        store.close()
    nights = random.gamma(4.0, 0.25, (3000, 84))
    begin = time.perf_counter()
    rises(nights, np.full(3000, 0.5), 0.3, np.arange(84) % 7 < 5)
    print(f"night rises of 3,000 meters x 84 nights: {time.perf_counter() - begin:.2f} s")


if __name__ == "__main__":
    main()
