"""Simulated devices from the command line: real Modbus sockets and real MQTT messages, until a signal."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from devices.settings import LogSettings, Settings
from meterhall.history import load_history
from meterhall.logs import set_up_logging
from meterhall.node import open_node
from meterhall.run import FAILED, OK, on_signals
from metering.clock import DAY_US, QUARTER_US, now_us
from metering.explain import ExplainedError
from simulators.city import write_city
from simulators.config import open_bureau
from simulators.live import run
from simulators.mqtt_publisher import Publisher

CITY = """# A simulated city; broker and Modbus lines are on loopback.

[server]
port = {port}

[[broker]]
id = "demo"
url = "{broker}"
client_id = "meterhall-city"
"""
MARGIN_DAYS = 2  # between the day on which the counters begin and the first day of history


def make_city(folder: Path, *, buildings: int, days: int, broker: str, port: int = 8420, first_port: int) -> None:
    """Write a city's configuration into an empty folder: ten meters and a vehicle for each building.

    Raises
    ------
    ExplainedError
        If the folder has a site.toml already.
    """
    if (folder / "site.toml").exists():
        raise ExplainedError(str(folder / "site.toml"), "is there already", "give a folder that is not there yet")
    begin = now_us() - (days + MARGIN_DAYS) * DAY_US
    write_city(
        folder,
        buildings=buildings,
        meters=10 * buildings,
        vehicles=buildings,
        first_port=first_port,
        anchor=datetime.fromtimestamp(begin / 1e6, UTC).date().isoformat(),
    )
    (folder / "meterhall.toml").write_text(CITY.format(broker=broker, port=port), encoding="utf-8")


def fill(settings: Settings, *, days: int) -> int:
    """Load so many days of history of a city, one value of each meter a quarter hour; returns how many values.

    Raises
    ------
    ExplainedError
        If the data folder is in use.
    """
    end = now_us() // QUARTER_US * QUARTER_US
    with open_node(settings) as node:
        bureau = open_bureau(settings.folder, settings.folder / "truth.json")
        stored = load_history(node, bureau, end - days * DAY_US, end, counters_only=True)
        node.store.maintain(now_us())
        node.store.checkpoint()
    return stored


def simulate_until_stopped(settings: Settings, *, truth: Path, seed: int | None = None) -> int:
    """Answer as the simulated devices of a configuration until SIGINT or SIGTERM. Returns the exit code."""
    set_up_logging(LogSettings())
    try:
        bureau = open_bureau(settings.folder, truth, seed=seed)
        if not any(device.simulated or getattr(device, "replayed", False) for device in bureau.installation.devices()):
            raise ExplainedError(
                str(settings.folder / "site.toml"),
                "has no simulated device",
                "write simulated = true at the meters to simulate",
            )
        return asyncio.run(_main(settings, bureau))
    except ExplainedError as problem:
        print(problem, file=sys.stderr)
        return FAILED


async def _main(settings: Settings, bureau) -> int:  # type: ignore[no-untyped-def]
    stop = asyncio.Event()
    on_signals(asyncio.get_running_loop(), stop)
    async with contextlib.AsyncExitStack() as open_connections:
        outlets = {}
        for broker in settings.brokers:
            address = urlsplit(broker.url)
            publisher = Publisher(
                address.hostname or "127.0.0.1", address.port or 1883, f"simulators-{broker.id}",
                username=broker.username or None, password=broker.password.reveal() or None,
            )  # fmt: skip
            outlets[broker.id] = await open_connections.enter_async_context(publisher)
        await run(bureau, outlets=outlets, stop=stop, ready=lambda: print("Simulators are up.", flush=True))
    return OK
