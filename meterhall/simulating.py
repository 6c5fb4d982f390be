"""Simulated devices from the command line: real Modbus sockets and real MQTT messages, until a signal."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from urllib.parse import urlsplit

from devices.settings import LogSettings, Settings
from meterhall.logs import set_up_logging
from meterhall.run import FAILED, OK, on_signals
from metering.explain import ExplainedError
from simulators.config import open_bureau
from simulators.live import run
from simulators.mqtt_publisher import Publisher


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
            publisher = Publisher(address.hostname or "127.0.0.1", address.port or 1883, f"simulators-{broker.id}")
            outlets[broker.id] = await open_connections.enter_async_context(publisher)
        await run(bureau, outlets=outlets, stop=stop, ready=lambda: print("Simulators are up.", flush=True))
    return OK
