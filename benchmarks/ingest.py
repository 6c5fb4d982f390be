"""The way in: draining a queue, live beside the broker, Modbus stored, after an outage, the spool's size."""

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks import bench_spool
from benchmarks.figures import Figure
from benchmarks.registers import start_registers, write_modbus_config
from benchmarks.rig import VALUES, Product, broker, cpu_of, empty, fill, free_port, start_publisher, write_mqtt_config
from storage.spool import Spool

DEVICES = 500


def load() -> str:
    """The machine's load beside ours, in words: rates and delays of a busy machine are lower bounds and upper ones."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def by_thread(figures: dict[str, Any], scale: float) -> str:
    """Where the CPU went, by thread."""
    parts = sorted(figures["threads"].items(), key=lambda part: -part[1])
    known = {"MainThread": "receiving", "spool_0": "spool", "pipeline": "decode to store", "others": "engine"}
    return ", ".join(
        f"{known.get(name, name)} {used * scale:.2f}"
        for name, used in parts
        if used * scale >= 0.01 and name != "questions"
    )


def queued(folder: Path, port: int, count: int) -> None:
    """A configuration whose session waits at the broker with `count` messages."""
    write_mqtt_config(empty(folder), port)
    with Product(folder) as product:  # makes the session
        product.ask("connected 30")
    fill(port, count)


def check(found: dict[str, Any], count: int) -> None:
    """Figures of what is wrong are worth nothing."""
    if found["stored"] != count or found["unbalanced"] or found["readings"]["stored"] != VALUES * count:
        raise RuntimeError(f"{count} messages were to be stored once: {found['messages']}, {found['unbalanced']}")


def drain(folder: Path, full: bool) -> list[Figure]:
    """CPU per 100,000 messages, and messages per second, of draining a queue; and deriving what came."""
    count = 400_000 if full else 200_000
    per = 1e5 / count
    with broker(folder) as mosquitto:
        queued(folder / "drain", mosquitto.port, count)
        before = cpu_of(mosquitto.pid)
        with Product(folder / "drain", "--no-jobs") as product:
            found = product.wait_until(count)
            brokers = cpu_of(mosquitto.pid) - before
            first = product.ask("derive")
            again = product.ask("touch")
    check(found, count)
    own = found["cpu"] - found["threads"].get("questions", 0.0)
    note = f"{found['batches']} transactions; Mosquitto {brokers * per:.2f} beside it; {load()}"
    return [
        Figure("collector, draining 100,000 messages", own * per, "CPU-s", 0.6, 0.4, "less", by_thread(found, per)),
        Figure("messages drained", count / found["wall"], "1/s", 100_000, 200_000, "more", note),
        Figure("memory, draining", found["peak_mb"], "MB", note=f"at most, {count:,} messages"),
        Figure("deriving 1,000 counters, first run", first["cpu"] - found["cpu"], "CPU-s", note="after a start"),
        Figure("deriving 1,000 counters, each later run", again["cpu"] - first["cpu"], "CPU-s", note="each 5 to 60 s"),
    ]


def live(folder: Path, full: bool) -> list[Figure]:
    """Beside Mosquitto, in steps of rate: what is kept up with, how soon it can be asked for, memory."""
    seconds, steps = (600.0, (10_000, 20_200, 30_300)) if full else (8.0, (5_000, 20_200, 30_300))
    held: tuple[int, dict[str, Any], float] | None = None
    words = []
    with broker(folder) as mosquitto:
        write_mqtt_config(empty(folder / "live"), mosquitto.port)
        with Product(folder / "live") as product:
            product.ask("connected 30")
            for number, rate in enumerate(steps, 1):
                before, stored = cpu_of(mosquitto.pid), product.ask("reset")["stored"]
                publisher = start_publisher(mosquitto.port, rate, seconds, number * 10_000_000)
                said = json.loads(publisher.communicate()[0])
                at_end = product.ask("figures")
                sent, published = said["sent"], said["sent"] / said["seconds"]
                found = product.wait_until(stored + sent)
                check(found, stored + sent)
                brokers = (cpu_of(mosquitto.pid) - before) / found["wall"]
                behind = stored + sent - at_end["stored"]
                reached = (at_end["stored"] - stored) / at_end["wall"]
                words.append(
                    f"{rate:,}/s asked: {published:,.0f}/s sent, {reached:,.0f}/s stored, {behind:,} behind at "
                    f"the end, p50 {found['p50']:.2f} s, p99 {found['p99']:.2f} s"
                )
                if held is None or (published > 0.95 * rate and behind < rate and found["p99"] < 1.0):
                    held = int(published), found, brokers
                else:
                    break
    assert held is not None
    rate, found, brokers = held
    cores = found["cpu"] / found["wall"]
    used = by_thread(found, 1 / found["wall"])
    note = f"{cores:.2f} cores ({used}), Mosquitto {brokers:.2f}; {load()}; {'; '.join(words)}"
    return [
        Figure(f"live beside Mosquitto, {seconds:.0f} s a step", rate, "1/s", 20_000, 30_000, "more", note),
        Figure(
            "publish to queryable, p99, at that rate", found["p99"], "s", 1.0, 0.5, "less", f"p50 {found['p50']:.2f} s"
        ),
        Figure("memory at that rate", found["peak_mb"], "MB", 350, 250, "less", "at most"),
    ]


def modbus(folder: Path, full: bool) -> list[Figure]:
    """500 devices x 100 registers each second, stored: share of a core."""
    seconds, port = (60.0 if full else 15.0), free_port()
    write_modbus_config(folder / "modbus", port, DEVICES)
    devices = start_registers(port, DEVICES)
    try:
        with Product(folder / "modbus", "--no-jobs") as product:
            product.wait_until(3 * DEVICES, patience_s=60)
            before = product.ask("reset")["stored"]
            time.sleep(seconds)
            found = product.ask("figures")
            derived = product.ask("derive")
    finally:
        devices.terminate()
        devices.wait(10)
    polls = (found["stored"] - before) / found["wall"]
    share = found["cpu"] / found["wall"] * 100 * DEVICES / polls
    note = f"{polls:,.0f} polls/s stored; {by_thread(found, 100 / found['wall'])}; {load()}"
    name = f"Modbus, {DEVICES} devices x 100 registers a second, stored"
    later = derived["cpu"] - found["cpu"]
    return [
        Figure(name, share, "% of a core", 15, 8, "less", note),
        Figure("deriving those 2,000 counters, first run", later, "CPU-s", note="each 5 to 60 s"),
    ]


def outage(folder: Path, full: bool) -> list[Figure]:
    """The store refuses for a while, and a backlog gathers in the spool; live data goes on while it is stored."""
    count, rate = (400_000, 2_000) if full else (100_000, 1_000)
    with broker(folder) as mosquitto:
        queued(folder / "outage", mosquitto.port, count)
        with Product(folder / "outage") as product:
            product.ask("outage on")
            product.wait_until(count, "received")
            publisher = start_publisher(mosquitto.port, rate, 15.0)
            product.wait_until(count + 2 * rate, "received")
            before = product.ask("reset")["stored"]
            product.ask("outage off")
            found = product.wait_until(count)
            sent = json.loads(publisher.communicate()[0])["sent"]
            check(product.wait_until(count + sent), count + sent)
    drained = (found["stored"] - before) / found["wall"]
    note = f"{count:,} messages waited, {rate:,}/s came beside; with the pipeline's pause of at most 1 s; {load()}"
    return [Figure("drain after a store outage", drained, "1/s", 20_000, 50_000, "more", note)]


def spooled(folder: Path, full: bool) -> list[Figure]:
    """Bytes of a day's spool at 500 readings/s, in groups as the intake makes them."""
    records = bench_spool.messages(125 * (1800 if full else 300), 125)
    spool = Spool.open(folder / "spool", sync=False)
    for _, group in itertools.groupby(records, lambda record: record.received_at // 100_000):
        spool.append(list(group))
    size = spool.health().bytes
    spool.close()
    day = size / len(records) * 125 * 86_400 / 1e9
    note = f"{size / len(records):.0f} bytes a message of 4 readings, groups of 100 ms"
    return [Figure("spool, 24 h at 500 readings/s", day, "GB", 1.1, 0.4, "less", note)]
