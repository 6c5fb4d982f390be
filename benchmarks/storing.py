"""The store: bytes per sealed reading by carrier, answers at 1 x, 10 x, 100 x, and how its costs grow."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np

from benchmarks.bench_store import POINTS, T0, best, day_intervals, history
from benchmarks.figures import Figure
from metering.clock import DAY_US, HOUR_US, QUARTER_US
from metering.reading import ReadingBatch
from simulators import city
from simulators import history as simulated
from simulators.config import open_bureau
from storage.opening import duckdb_url, open_store

SEAL_US = 40 * DAY_US  # so long after the last reading everything is sealed


def used_bytes(path: Path) -> int:
    """The blocks in use; the free ones take the next readings."""
    with duckdb.connect(str(path), read_only=True) as con:
        block, used = con.execute("SELECT block_size, used_blocks FROM pragma_database_size()").fetchall()[0]
    return int(block * used)


def sizes(folder: Path, full: bool) -> list[Figure]:
    """Bytes per reading on disk, sealed, of the simulators' city: one store a carrier, less what an empty one has."""
    days, buildings = (1096, 20) if full else (180, 5)
    city.write_city(folder / "city", buildings=buildings, meters=9 * buildings, vehicles=buildings, anchor="2023-01-01")
    bureau = open_bureau(folder / "city", folder / "truth.json")
    carrier = {meter.id: str(meter.carrier) for meter in bureau.installation.meters}
    start = T0 + DAY_US
    empty_path = folder / "empty.duckdb"
    open_store(duckdb_url(empty_path)).close()
    stores, rows = {}, defaultdict[str, int](int)
    for batch in simulated.history(bureau, start, start + days * DAY_US):
        kinds = np.array([carrier.get(point.meter, "vehicles") for point in batch.points])
        for kind in sorted(set(kinds)):
            some = np.flatnonzero(kinds[batch.point] == kind)
            if kind not in stores:
                stores[kind] = open_store(duckdb_url(folder / f"{kind}.duckdb"))
            part = ReadingBatch(
                batch.points, batch.point[some], batch.at[some], batch.value[some], batch.quality[some],
                batch.origin[some], batch.origins,
            )  # fmt: skip
            stores[kind].write(part)
            stores[kind].maintain(int(batch.at.max()))
            rows[kind] += len(some)
    figures, used, files = [], 0, 0
    for kind, store in sorted(stores.items()):
        store.maintain(start + days * DAY_US + SEAL_US)
        store.checkpoint()
        store.close()
        size = used_bytes(folder / f"{kind}.duckdb") - used_bytes(empty_path)
        used += size
        files += (folder / f"{kind}.duckdb").stat().st_size
        figures.append(
            Figure(f"bytes a reading, sealed: {kind}", size / rows[kind], "B", note=f"{rows[kind]:,} readings")
        )
    total = sum(rows.values())
    note = f"{days} days, {total:,} readings; blocks in use; files with what is free in them {files / total:.1f}"
    mix = Figure("bytes a reading, sealed: the city's mix", used / total, "B", 4, 2, "less", note)
    return [mix, *figures]


def answers(folder: Path, full: bool) -> list[Figure]:
    """Query times and costs at 1 x, 10 x and, in full, 100 x of a million readings of 1,000 points."""
    figures: list[Figure] = []
    for rows in (1_000_000, 10_000_000, *((100_000_000,) if full else ())):
        figures += _answers(folder, rows, judged=rows == 100_000_000)
    return figures


def _answers(folder: Path, rows: int, *, judged: bool) -> list[Figure]:
    store = open_store(duckdb_url(folder / f"{rows}.duckdb"), memory_limit="2GB")
    quarters, total = rows // len(POINTS), np.zeros(len(POINTS) // 2)
    written = sealed = 0.0
    for first in range(0, quarters, 2880):
        batch = history(POINTS, first, min(2880, quarters - first), total)
        cpu = time.process_time()
        store.write(batch)
        written += time.process_time() - cpu
        cpu = time.process_time()
        store.maintain(int(batch.at[-1]))
        sealed += time.process_time() - cpu
    end = T0 + quarters * QUARTER_US
    cpu = time.process_time()
    store.maintain(end + SEAL_US)
    store.checkpoint()
    sealed += time.process_time() - cpu
    days = max(quarters // 96, 1)
    for series in day_intervals(days):
        store.write_intervals("day", series, (T0, T0 + days * DAY_US))
    measures = store.measures()
    month = (T0 + (days // 2) * DAY_US, T0 + min(days // 2 + 30, days) * DAY_US)

    def sums() -> int:
        return sum(int(series.amount.sum()) for series in store.intervals(measures, "day", *month))

    size = f"{rows // 1_000_000} M readings"
    goals: tuple[tuple[str, Callable[[], object], float, float], ...] = (
        ("last values of 1,000 points", lambda: store.latest(), 5, 1),
        ("one point, one year, hourly", lambda: store.rollup(POINTS[501], end - 365 * DAY_US, end, HOUR_US), 20, 10),
        ("monthly sums of 1,000 points", sums, 100, 50),
    )
    figures = [
        Figure(f"{size}: {words}", best(call), "ms", target if judged else None, moonshot if judged else None)
        for words, call, target, moonshot in goals
    ]
    store.close()
    per = 1e6 / rows
    begin = time.perf_counter()
    open_store(duckdb_url(folder / f"{rows}.duckdb"), memory_limit="2GB").close()
    opened = (time.perf_counter() - begin) * 1e3
    figures += [
        Figure(
            f"{size}: writing and sealing 1 M", (written + sealed) * per, "CPU-s", note=f"writing {written * per:.2f}"
        ),
        Figure(f"{size}: opening", opened, "ms"),
    ]
    return figures
