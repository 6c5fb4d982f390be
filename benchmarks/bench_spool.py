"""The spool: CPU and bytes of a drained queue, of a live day, and of a start with a backlog.

Run: python -m benchmarks.bench_spool [--quick]
Messages are 120 bytes of JSON with 4 values from 1,000 topics, QoS 1.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import random
import resource
import shutil
import tempfile
import time
from pathlib import Path

from storage.record import Record, Wire
from storage.spool import START, Spool, content_hash

T = 1_790_000_000_000_000


def messages(count, per_second, seed=1):
    """Records as meters send them: own time, counter, three gauges with the noise of a real meter."""
    rng = random.Random(seed)
    energy = [rng.random() * 1e5 for _ in range(1000)]
    order = list(range(1000))
    at, out = float(T), []
    for i in range(count):
        if i % 1000 == 0:
            rng.shuffle(order)
        k = order[i % 1000]
        energy[k] += rng.random() * 0.01
        at += rng.expovariate(per_second) * 1e6
        payload = (
            f'{{"id":"m{k:04d}","ts":{int(at) // 1000},"power":{rng.gauss(1200, 300):.1f},"energy":{energy[k]:.3f},'
            f'"voltage":{rng.gauss(230, 2):.1f},"current":{abs(rng.gauss(5, 2)):.3f},"status":"normal 1"}}'
        )
        topic = f"city/building-{k // 10:02d}/meter-{k:04d}/telemetry"
        out.append(Record(Wire.MQTT, "broker", topic, payload.encode(), int(at), 0, i % 65535 + 1))
    return out


def timed(work):
    """(CPU seconds, wall seconds, result)."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return time.process_time() - cpu, time.perf_counter() - wall, result


def resident():
    """Bytes of memory this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def chunks(records, size):
    return [records[i : i + size] for i in range(0, len(records), size)]


def drained(folder, records):
    print(f"a drained queue, {len(records):,} messages of {len(records[0].payload)} bytes:")
    for size in (1000, 5000):
        best = (9.0, 9.0, 0)
        for round_ in range(5):
            spool = Spool.open(folder / f"drain-{size}-{round_}")
            groups = chunks(records, size)
            cpu, wall, _ = timed(lambda spool=spool, groups=groups: [spool.append(group) for group in groups])
            best = min(best, (cpu, wall, spool.health().bytes))
            spool.close()
        cpu, wall, held = best
        print(f"  append, groups of {size}: {cpu:.3f} CPU-s, {wall:.2f} s, {held / len(records):.1f} bytes/message")
    spool = Spool.open(folder / "drain-1000-0")
    cpu, _, seen = timed(lambda: sum(len(group) for _, group in spool.read()))
    print(f"  read from disk: {cpu:.3f} CPU-s for {seen:,}")
    cpu, _, tags = timed(lambda: spool.recent("broker"))
    print(f"  recent: {cpu:.3f} CPU-s for {len(tags):,} packet ids")
    cpu, _, _ = timed(lambda: [content_hash(record.key, record.payload) for record in records])
    print(f"  content_hash: {cpu * 1e6 / len(records):.2f} us each")
    spool.close()


def live(folder, records):
    """Groups of 100 ms at 125 messages/s, 4 readings each."""
    spool = Spool.open(folder / "live", sync=False)
    groups = [list(group) for _, group in itertools.groupby(records, lambda record: record.received_at // 100_000)]
    cpu, _, _ = timed(lambda: [spool.append(group) for group in groups])
    size = spool.health().bytes
    day = size / len(records) * 125 * 86_400
    print(
        f"live, 125 messages/s in groups of {len(records) / len(groups):.1f}: {size / len(records):.1f} bytes/message,"
    )
    print(f"  24 h at 500 readings/s: {day / 1e9:.2f} GB, {cpu / len(records) * 125 * 86_400:.0f} CPU-s")
    spool.close()


def backlog(folder, records, million):
    """A start with that many million readings (4 a message) waiting, in live groups."""
    spool = Spool.open(folder / "backlog", sync=False, max_bytes=64 << 30)
    groups = [list(group) for _, group in itertools.groupby(records, lambda record: record.received_at // 100_000)]
    wanted, held = million * 250_000, 0
    for group in itertools.cycle(groups):
        if held >= wanted:
            break
        held += spool.append(group).count
    middle = next(position for position, _ in itertools.islice(spool.read(), 777, None))
    spool.close()
    before = most = resident()
    cpu, wall, spool = timed(lambda: Spool.open(folder / "backlog"))
    print(f"a backlog of {million} M readings ({spool.health(START).bytes / 1e6:.0f} MB), in live groups:")
    print(f"  open and examine every byte: {wall:.2f} s, {cpu:.2f} CPU-s")
    cpu, wall, counted = timed(lambda: spool.pending(middle))
    print(f"  pending from the middle of a segment: {wall:.2f} s, {sum(counted.values()):,} messages")
    wall, seen = time.perf_counter(), 0
    for i, (_, group) in enumerate(spool.read()):
        seen += len(group)
        if i % 5000 == 0:
            most = max(most, resident())
    wall = time.perf_counter() - wall
    print(f"  read: {wall:.1f} s, {4 * seen / wall:,.0f} readings/s; memory grew by {(most - before) / 1e6:.0f} MB")
    spool.close()


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="a smaller backlog")
    options.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    chosen = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-spool-", dir=chosen.folder))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    try:
        drained(folder, messages(100_000, 50_000))
        records = messages(125 * 600, 125)
        live(folder, records)
        backlog(folder, records, 4 if chosen.quick else 40)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
