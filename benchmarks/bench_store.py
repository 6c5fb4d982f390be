"""What the embedded store costs and how fast it answers: `python benchmarks/bench_store.py [--full]`.

Readings every 15 minutes of 1,000 points, half of them counters and half power, as in the simulators' city;
1 M and 10 M of them, with --full also 100 M (some minutes, 1 GB of disk).
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from metering.clock import DAY_US, HOUR_US, QUARTER_US
from metering.reading import IntervalSeries, Measure, Origin, Point, ReadingBatch
from storage.opening import duckdb_url, open_store
from storage.store import Store

T0 = 1_672_531_200_000_000  # 2023-01-01
POINTS = tuple(
    Point("city", f"meter-{i:03d}", quantity)
    for i in range(500)
    for quantity in ("active_energy_import", "active_power")
)
MESSAGE_POINTS = tuple(
    Point("city", f"plug-{i}", quantity)
    for i in range(1000)
    for quantity in ("active_power", "voltage", "current", "active_energy_import")
)


def messages(rows: int, total: int) -> list[ReadingBatch]:
    """Batches of messages of 1,000 devices with 4 values each, 20,000 a second."""
    random, out, now, n = np.random.default_rng(1), [], T0, rows // 4
    for i in range(total // rows):
        device = random.integers(0, 1000, n)
        at = np.sort(now + random.integers(0, n * 50, n))
        now += n * 50
        out.append(
            ReadingBatch(
                MESSAGE_POINTS,
                (device[:, None] * 4 + np.arange(4)).ravel().astype(np.int32),
                np.repeat(at, 4),
                np.round(random.random(n * 4) * 1000, 2),
                np.zeros(n * 4, np.uint8),
                np.zeros(n * 4, np.int32),
                (Origin("mqtt demo", now, "shelly_em@1", f"00000001:{i}"),),
            )
        )
    return out


def history(points: tuple[Point, ...], first: int, count: int, total_kwh: np.ndarray) -> ReadingBatch:
    """`count` quarter hours of every point from the `first` on: counters with 0.01 kWh, power as a meter's float32."""
    random, n = np.random.default_rng(first), len(points)
    at = T0 + (first + np.arange(count)) * QUARTER_US
    hour = (at // HOUR_US % 24)[:, None]
    size = 1000 * (1 + np.arange(n // 2) % 40)
    power = (
        size * (0.3 + 0.7 * np.exp(-((hour - 13) ** 2) / 18)) * random.normal(1, 0.05, (count, n // 2)).clip(0.5, 1.5)
    )
    energy = total_kwh + np.cumsum(power, axis=0) / 4000
    total_kwh[:] = energy[-1]
    value = np.empty((count, n))
    value[:, 0::2], value[:, 1::2] = np.round(energy, 2), np.round(power, 1).astype(np.float32)
    rows = count * n
    return ReadingBatch(
        points,
        np.tile(np.arange(n, dtype=np.int32), count),
        np.repeat(at, n),
        value.ravel(),
        np.zeros(rows, np.uint8),
        np.zeros(rows, np.int32),
        (Origin("import", T0, "history@1", f"history:{first}"),),
    )


def day_intervals(days: int) -> Iterator[list[IntervalSeries]]:
    """Day intervals of 1,000 measures."""
    start = T0 + np.arange(days) * DAY_US
    random = np.random.default_rng(2)
    yield [
        IntervalSeries(
            Measure("city", "meter", f"meter-{i}", "active_energy_import", "kWh"),
            start,
            start + DAY_US,
            random.integers(0, 500_000, days),
            np.ones(days),
            np.zeros(days, np.int64),
            np.zeros(days, np.uint8),
        )
        for i in range(1000)
    ]


def best(call: Callable[[], object], times: int = 7) -> float:
    """The shortest of several runs [ms]."""
    out = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        out.append(time.perf_counter() - begin)
    return min(out) * 1e3


def ingest(folder: Path) -> None:
    print("ingest: 100,000 messages with 4 values each, in batches, state committed with each")
    for rows in (4_000, 8_000, 20_000):
        costs = []
        for attempt in range(3):
            store = open_store(duckdb_url(folder / f"ingest-{rows}-{attempt}.duckdb"))
            batches = messages(rows, 400_000 + rows)
            store.write(batches[0])
            cpu, wall = time.process_time(), time.perf_counter()
            for batch in batches[1:]:
                store.write(batch, lambda result: b"x" * 400)
            costs.append((time.process_time() - cpu, time.perf_counter() - wall))
            if attempt == 2:
                cpu = time.process_time()
                for batch in batches[-400_000 // rows // 4 :]:
                    store.write(batch)
                again = 4 * (time.process_time() - cpu)
            store.close()
        cpu, wall = min(costs)
        print(f"  batches of {rows:6,} rows: {cpu:.2f} CPU-s, {wall:.2f} s; the same once more: {again:.2f} CPU-s")


def bulk(folder: Path) -> None:
    points, total = POINTS[:120], np.zeros(60)
    store = open_store(duckdb_url(folder / "bulk.duckdb"))
    cpu, wall = time.process_time(), time.perf_counter()
    made = 0.0
    for first in range(0, 400 * 96, 100 * 96):
        begin = time.perf_counter()
        batch = history(points, first, 100 * 96, total)
        made += time.perf_counter() - begin
        store.write(batch)
    loaded = time.perf_counter() - wall - made
    store.maintain(T0 + 500 * DAY_US)
    sealed = time.perf_counter() - wall - made - loaded
    figures = store.statistics()
    print(
        f"400 days of 120 points: {figures['rows']:,} rows written in {loaded:.1f} s, sealed in {sealed:.1f} s, "
        f"{time.process_time() - cpu:.1f} CPU-s with making them"
    )
    start = T0 + np.arange(400 * 96) * QUARTER_US
    zeros = np.zeros(len(start), np.int64)
    series = [
        IntervalSeries(
            Measure("city", "meter", f"meter-{i}", "active_energy_import", "kWh"),
            start,
            start + QUARTER_US,
            np.random.default_rng(i).integers(0, 9000, len(start)),
            np.ones(len(start)),
            zeros,
            zeros.astype(np.uint8),
        )
        for i in range(60)
    ]
    begin = time.perf_counter()
    store.write_intervals("15min", series, (T0, T0 + 400 * DAY_US))
    first = time.perf_counter() - begin
    begin = time.perf_counter()
    store.write_intervals("15min", series, (T0, T0 + 400 * DAY_US))
    print(
        f"400 days of 15 min intervals, 60 measures: {60 * len(start):,} rows in {first:.1f} s, "
        f"written over in {time.perf_counter() - begin:.1f} s"
    )
    store.close()


def size(folder: Path, rows: int) -> None:
    url = duckdb_url(folder / f"size-{rows}.duckdb")
    store = open_store(url, memory_limit="2GB")
    quarters, total = rows // len(POINTS), np.zeros(len(POINTS) // 2)
    wrote = sealed = 0.0
    for first in range(0, quarters, 2880):
        batch = history(POINTS, first, min(2880, quarters - first), total)
        begin = time.perf_counter()
        store.write(batch)
        wrote += time.perf_counter() - begin
        begin = time.perf_counter()
        store.maintain(int(batch.at[-1]))
        sealed += time.perf_counter() - begin
    end = T0 + quarters * QUARTER_US
    begin = time.perf_counter()
    store.maintain(end + 40 * DAY_US)
    sealed += time.perf_counter() - begin
    days = max(quarters // 96, 1)
    for series in day_intervals(days):
        store.write_intervals("day", series, (T0, T0 + days * DAY_US))
    store.checkpoint()
    figures = store.statistics()
    print(
        f"{rows:,} readings of 1,000 points: written in {wrote:.1f} s, sealed in {sealed:.1f} s "
        f"({figures['periods']} periods), file {figures['bytes'] / rows:.2f} bytes a reading"
    )
    store.close()
    begin = time.perf_counter()
    store = open_store(url, memory_limit="2GB")
    print(f"  opened in {(time.perf_counter() - begin) * 1e3:.0f} ms")
    answers(store, end, days)
    store.close()


def answers(store: Store, end: int, days: int) -> None:
    point = POINTS[501]
    measures = store.measures()
    month = (T0 + (days // 2) * DAY_US, T0 + min(days // 2 + 30, days) * DAY_US)
    year = end - 365 * DAY_US

    def sums() -> int:
        return sum(int(series.amount.sum()) for series in store.intervals(measures, "day", *month))

    for words, call in (
        ("last values of 1,000 points", lambda: store.latest()),
        ("one point, one year, hourly", lambda: store.rollup(point, year, end, HOUR_US)),
        ("one point, one year, every sample", lambda: store.series(point, year, end)),
        (
            "one point, one day with margin",
            lambda: store.series(point, end - 9 * DAY_US, end - 8 * DAY_US, margin=True),
        ),
        ("monthly sums of 1,000 measures from days", sums),
    ):
        print(f"  {words}: {best(call):.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="also 100 M readings")
    parser.add_argument("--folder", help="where to put the files; default: a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        ingest(folder)
        bulk(folder)
        for rows in (1_000_000, 10_000_000, *([100_000_000] if given.full else [])):
            size(folder, rows)
    print(f"largest memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
