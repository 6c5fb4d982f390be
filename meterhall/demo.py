"""The whole product with simulated meters and vehicles: broker, simulators, collector, store, API and page."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from devices.catalog import ConfigurationError
from devices.settings import Settings
from meterhall.broker import Broker, start_broker
from meterhall.configuring import read_settings
from meterhall.demoproject import tell_savings
from meterhall.history import load_history
from meterhall.node import Node, open_node
from meterhall.run import FAILED, on_signals, open_port, serve
from metering.clock import DAY_US, QUARTER_US, now_us
from metering.explain import ExplainedError
from metering.reading import Point
from metering.site import Meter
from simulators.config import open_bureau

BUREAU_FILES = ("meterhall.toml", "site.toml", "factors.toml", "calendar.toml", "story.toml")
VARIABLE = re.compile(r"\$\{((?:LINE|DEMO)_[A-Z0-9_]+)\}")


def run_demo(*, port: int, data: Path, days: int) -> int:
    """Run until Ctrl-C; leaves nothing behind but the data folder. Returns the exit code."""
    data = data.resolve()
    try:
        with open_port("127.0.0.1", port) as sock:
            data.mkdir(parents=True, exist_ok=True)
            log_to(data / "demo.log")
            demo = prepare(data)
            with contextlib.ExitStack() as running:
                broker = start_broker(data / "broker", demo.ports["DEMO_BROKER"])
                running.callback(broker.stop)
                return asyncio.run(_main(demo, sock, broker, days))
    except ConfigurationError as error:
        print(f"The demo's configuration cannot be used:\n{error}", file=sys.stderr)
    except ExplainedError as problem:
        print(problem, file=sys.stderr)
    except PermissionError as error:
        print(f"{error.filename}: may not be written; choose another folder: make demo DATA=...", file=sys.stderr)
    return FAILED


class Demo:
    """What one demo folder remembers from start to start: its ports, and up to when its history goes."""

    def __init__(self, data: Path) -> None:
        self.data, self.config = data, data / "config"
        self.truth = data / "truth.json"  # when the story was told, and what is wrong: for tests, never for the product
        self._path = data / "demo.json"
        known: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            known = json.loads(self._path.read_text(encoding="utf-8"))
        self.ports: dict[str, int] = known.get("ports", {})
        self.history_end: int = known.get("history_end") or now_us() // QUARTER_US * QUARTER_US
        self.history_loaded: bool = known.get("history_loaded", False)

    def remember(self) -> None:
        """Write what the next start needs."""
        names = ("ports", "history_end", "history_loaded")
        self._path.write_text(json.dumps({name: getattr(self, name) for name in names}), encoding="utf-8")


def prepare(data: Path) -> Demo:
    """The configuration folder of the demo, with a free port for the broker and for each Modbus line."""
    demo = Demo(data)
    demo.config.mkdir(exist_ok=True)
    with as_file(files("simulators").joinpath("bureau")) as bureau:
        for name in BUREAU_FILES:
            shutil.copyfile(bureau / name, demo.config / name)
    text = "".join((demo.config / name).read_text(encoding="utf-8") for name in BUREAU_FILES)
    wanted = sorted(set(VARIABLE.findall(text)) - {"DEMO_DATA"})
    with contextlib.ExitStack() as held:
        demo.ports = {name: _free_port(demo.ports.get(name, 0), held) for name in wanted}
    demo.remember()
    os.environ.update({name: str(port) for name, port in demo.ports.items()}, DEMO_DATA=str(data))
    return demo


def _free_port(wanted: int, held: contextlib.ExitStack) -> int:
    """The wanted port if it is free, else another; held until all are chosen."""
    for port in (wanted, 0):
        sock = held.enter_context(socket.socket())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return int(sock.getsockname()[1])
    raise ExplainedError("127.0.0.1", "has no free port", "stop something that listens there")


async def _main(demo: Demo, sock: socket.socket, broker: Broker, days: int) -> int:
    stop = asyncio.Event()
    on_signals(asyncio.get_running_loop(), stop)
    settings = read_settings(demo.config)
    with open_node(settings, cadence_of=lambda point: _cadence(settings, point, demo.history_end)) as node:
        if not demo.history_loaded:
            await asyncio.to_thread(_load, node, demo, days)
        simulators = start_simulators(demo)
        try:
            return await serve(
                node, sock, simulated=True, announce=lambda url: tell(settings, broker, demo, url), stop=stop
            )
        finally:
            await asyncio.to_thread(end, simulators)


def _cadence(settings: Settings, point: Point, history_end: int) -> list[tuple[int, int]] | None:
    """A polled meter: each 15 minutes in the history, at its poll period since; so a stop of the demo is a gap."""
    device = settings.installation.by_id.get(point.meter)
    if not isinstance(device, Meter) or not device.connection.startswith("modbus"):
        return None
    return [(0, QUARTER_US), (history_end, round(device.poll_s * 1e6))]


def _load(node: Node, demo: Demo, days: int) -> None:
    """The same history however often the first start is cut short: what is there already counts as repeated."""
    if days:
        bureau = open_bureau(demo.config, demo.truth)
        load_history(node, bureau, demo.history_end - days * DAY_US, demo.history_end)
        tell_savings(node, bureau.story_at, days)
    demo.history_loaded = True
    demo.remember()


def start_simulators(demo: Demo) -> subprocess.Popen[bytes]:
    """The simulators, in a process of their own: they speak only Modbus and MQTT."""
    with open(demo.data / "simulators.log", "ab") as log_file:
        return subprocess.Popen(
            [sys.executable, "-m", "meterhall", "simulate", "--config", str(demo.config), "--truth", str(demo.truth)],
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
            start_new_session=True,  # Ctrl-C is for us: we end it when its last message is durable
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def tell(settings: Settings, broker: Broker, demo: Demo, url: str) -> None:
    """What runs, where, and how to stop: at most ten lines."""
    found = settings.installation
    lines = len({meter.connection for meter in found.meters if meter.connection.startswith("modbus")})
    print(
        f"Meterhall demo: {len(found.buildings)} buildings, {len(found.meters)} meters, {len(found.vehicles)} vehicles,"
        " simulated or replayed.\n"
        f"  broker      {broker.name} on port {demo.ports['DEMO_BROKER']}\n"
        f"  simulators  {lines} Modbus lines and MQTT, on loopback\n"
        f"  data        {demo.data}\n"
        f"\n  Open  {url}\n\n"
        "Ctrl-C stops it.",
        flush=True,
    )


def log_to(path: Path) -> None:
    """Logs go to a file in the data folder, so that the terminal stays readable."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", filename=path, force=True
    )
    for name in ("uvicorn", "pymodbus", "alembic", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
