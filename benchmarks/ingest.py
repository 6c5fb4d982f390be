"""The way in: draining a queue, live beside the broker, Modbus stored, after an outage, the spool's size."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.rig import Product, broker, cpu_of, empty, fill, write_mqtt_config


def seen(figures: dict[str, Any], count: int) -> str:
    """Where the CPU went, by thread, per 100,000 messages."""
    scale = 1e5 / count
    parts = sorted(figures["threads"].items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {used * scale:.2f}" for name, used in parts if used * scale >= 0.005)


def queued(folder: Path, port: int, count: int) -> None:
    """A configuration whose session waits at the broker with `count` messages."""
    write_mqtt_config(empty(folder), port)
    with Product(folder) as product:  # makes the session
        time.sleep(0.5)
        product.ask("figures")
    fill(port, count)


def drain(folder: Path, full: bool) -> list[Figure]:
    """CPU per 100,000 messages, and messages per second, of draining a queue."""
    count = 400_000 if full else 100_000
    with broker(folder) as mosquitto:
        queued(folder / "drain", mosquitto.port, count)
        with Product(folder / "drain") as product:
            found = product.wait_until(count)
            broker_cpu = cpu_of(mosquitto.pid)
            derived = product.ask("derive")
        if found["stored"] != count or found["unbalanced"] or found["readings"]["stored"] != 4 * count:
            raise RuntimeError(f"{count} messages were to be stored once: {found}")
    per = 1e5 / count
    note = f"load {os.getloadavg()[0]:.1f}; {found['batches']} batches; broker {broker_cpu * per:.2f} with filling"
    return [
        Figure(
            "collector CPU per 100,000 messages, draining",
            derived["cpu"] * per,
            "CPU-s",
            0.6,
            0.4,
            "less",
            seen(derived, count),
        ),
        Figure("messages drained", count / found["wall"], "1/s", 100_000, 200_000, "more", note),
        Figure("memory, draining", found["peak_mb"], "MB", note="largest"),
    ]
