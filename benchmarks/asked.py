"""A whole city and its visitors: every page and API call, asked again and again beside the ingest of its meters."""

from __future__ import annotations

import contextlib
import http.client
import random
import subprocess
import sys
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from benchmarks.rig import broker, cpu_of, free_port
from meterhall.configuring import read_settings
from meterhall.simulating import fill, make_city
from metering.site import Installation

TARGET_MS = 300.0
SETTLE_S, ROUNDS, PAUSE_S = 20.0, 20, 0.02
PATIENCE_S = 120.0
STREAMED = "format="  # of a download only the first byte is waited for


def questions(found: Installation, rng: random.Random) -> Iterator[tuple[str, str]]:
    """(kind, path and query) of one visit to everything; which building, meter and vehicle is drawn anew."""
    site, building = rng.choice(found.sites), rng.choice(found.buildings)
    meter = rng.choice([m for m in found.meters if m.carrier.value == "electricity"])
    vehicle = rng.choice(found.vehicles)
    counter = "active_energy_import"
    for page in ("/", "/buildings", "/meters", "/vehicles", "/collector"):
        yield page, f"{page}?site={site.id}"
    for period in ("day", "week", "month", "year"):
        yield f"/buildings/ID {period}", f"/buildings/{building.id}?period={period}"
        yield f"/meters/ID {period}", f"/meters/{meter.id}?period={period}"
    yield "/vehicles/ID", f"/vehicles/{vehicle.id}"
    for path in ("sites", "buildings", "meters", "vehicles", "factors", "events", "devices", "lines", "books", "disk"):
        yield f"/api/v1/{path}", f"/api/v1/{path}"
    for path in ("conflicts", "quarantine", "backups"):
        yield f"/api/v1/{path}", f"/api/v1/{path}"
    yield "/api/v1/sites/ID", f"/api/v1/sites/{site.id}"
    yield "/api/v1/buildings/ID", f"/api/v1/buildings/{building.id}"
    yield "/api/v1/meters/ID", f"/api/v1/meters/{meter.id}"
    yield "/api/v1/vehicles/ID", f"/api/v1/vehicles/{vehicle.id}"
    yield "/api/v1/tree", f"/api/v1/tree/{building.id}/electricity"
    yield "/api/v1/latest", f"/api/v1/latest?site={site.id}"
    yield "/api/v1/series", f"/api/v1/series/{meter.site}/{meter.id}/{counter}"
    yield "/api/v1/series CSV", f"/api/v1/series/{meter.site}/{meter.id}/{counter}?format=csv"
    for resolution in ("15min", "day", "month"):
        ask = f"/api/v1/consumption?scope=building&node={building.id}&carrier=electricity&resolution={resolution}"
        yield f"/api/v1/consumption {resolution}", ask
    yield "/api/v1/consumption site", f"/api/v1/consumption?scope=site&node={site.id}&carrier=electricity"
    for path in ("/health/live", "/health/ready", "/metrics"):
        yield path, path


def ask(port: int, path: str) -> tuple[int, float, int]:
    """Status, milliseconds to the last byte (of a download: to the first) and bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        begin = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(1) if STREAMED in path else answer.read()
        return answer.status, (time.perf_counter() - begin) * 1e3, len(body)
    finally:
        connection.close()


def visits(port: int, found: Installation, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Milliseconds of each kind of question, asked one after the other in a shuffled order.

    Raises
    ------
    RuntimeError
        If an answer is neither 200 nor 404 (a drawn meter may have no such point).
    """
    rng = random.Random(1)
    took: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        visit = list(questions(found, rng))
        rng.shuffle(visit)
        for kind, path in visit:
            status, milliseconds, _ = ask(port, path)
            if status != 200:
                raise RuntimeError(f"{path}: {status}")
            took[kind].append(milliseconds)
            time.sleep(PAUSE_S)
    return took


@contextlib.contextmanager
def running(config: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """One command of the product on a configuration, ended at the end."""
    with open(config / f"{command[0]}.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "meterhall", *command, "--config", str(config)], stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def ready(port: int) -> None:
    """Wait until the page is up and every line answers."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if ask(port, "/health/ready")[0] == 200:
                return
        time.sleep(0.2)
    raise TimeoutError("the product did not become ready")


def city(folder: Path, full: bool) -> list[Figure]:
    """Pages and API calls at p95 beside the ingest of 300 buildings; in full with three years of history."""
    days = 1096 if full else 14
    config, port = folder / "city", free_port()
    with broker(folder) as started:
        make_city(
            config, buildings=300, days=days, broker=f"mqtt://127.0.0.1:{started.port}", port=port, first_port=15_020
        )
        begin, settings = time.process_time(), read_settings(config)
        stored = fill(settings, days=days)
        loading = time.process_time() - begin
        with running(config, "simulate"), running(config, "run") as product:
            ready(port)
            time.sleep(SETTLE_S)
            visits(port, settings.installation, 1)
            cpu, wall = cpu_of(product.pid), time.monotonic()
            time.sleep(SETTLE_S)
            idle = (cpu_of(product.pid) - cpu) / (time.monotonic() - wall)
            took = visits(port, settings.installation)
            resident = int(Path(f"/proc/{product.pid}/statm").read_text(encoding="ascii").split()[1]) * 4096 / 1e6
    everything = np.concatenate([np.asarray(times) for times in took.values()])
    slowest = sorted(((float(np.quantile(times, 0.95)), kind) for kind, times in took.items()), reverse=True)
    size = f"300 buildings, 3,000 meters, 300 vehicles, {days} days, {stored:,} readings"
    return [
        Figure("city: every page and API call, p95", float(np.quantile(everything, 0.95)), "ms", TARGET_MS, note=size),
        *(Figure(f"city: {kind}, p95", ms, "ms", TARGET_MS) for ms, kind in slowest[:12]),
        Figure("city: product beside its meters", idle * 100, "% of a core", note=f"{resident:.0f} MB resident"),
        Figure("city: loading a million readings, derived and sealed", loading / stored * 1e6, "CPU-s"),
    ]


if __name__ == "__main__":  # python -m benchmarks.asked CONFIG: a city that runs already
    where = Path(sys.argv[1])
    listening = tomllib.loads((where / "meterhall.toml").read_text(encoding="utf-8"))["server"]["port"]
    found_times = visits(listening, read_settings(where).installation, 4)
    for name, times in sorted(found_times.items(), key=lambda row: -max(row[1])):
        print(f"{name:40} {min(times):8.1f} {np.median(times):8.1f} {max(times):8.1f}")
