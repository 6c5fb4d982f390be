"""Run one machine: collector, store, derivation, API and page in one process, until a signal."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import date

from analytics.workdays import Workdays
from api.app import App, create_app
from api.page.routes import mount_page
from api.services import Services
from api.serving import server_of
from collector.service import Collector
from devices.settings import Settings
from meterhall.attend import Attender
from meterhall.backup import Backups
from meterhall.forgetting import forget_what_is_old
from meterhall.logs import set_up_logging
from meterhall.node import Node, open_node
from meterhall.notify import notify, watchdog_period_s
from meterhall.workcalendar import read_overrides, site_calendar
from metering.clock import now_us
from metering.explain import ExplainedError
from metering.site import Name
from storage.ledger.ledger import Event
from storage.store import StoreUnavailable

log = logging.getLogger("meterhall")

OK, FAILED = 0, 1
DERIVE_S = 5.0
REST = 9.0  # times as long as they took the background jobs rest: they get at most a tenth of the time
LONGEST_REST_S = 60.0
ATTEND_S = 20.0
FORGET_S = 6 * 3600.0
BACKUP_S = 30.0  # how long a stop waits for a backup under way
Announce = Callable[[str], None]


class Jobs:
    """What is done in the background from time to time: derive touched ranges, look for what needs somebody."""

    def __init__(self, node: Node, collector: Collector, calendar_of: Callable[[str], Workdays]) -> None:
        self._node, self._collector, self._started_at = node, collector, now_us()
        self._attender = Attender(
            node.settings.installation, node.store, calendar_of=calendar_of, started_at=self._started_at
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is under way and stop."""
        self._stop.set()
        self._thread.join(30)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        attended, forgot = -ATTEND_S, -FORGET_S
        while True:
            begun = time.monotonic()
            self._try(lambda: self._node.deriver.run_once(now_us()), "intervals are derived again later")
            if time.monotonic() - attended >= ATTEND_S:
                attended = time.monotonic()
                self._try(self._attend, "what needs somebody is looked for again later")
            if time.monotonic() - forgot >= FORGET_S:
                forgot = time.monotonic()
                self._try(lambda: forget_what_is_old(self._node, now_us()), "old readings are deleted later")
            if self._stop.wait(min(max(DERIVE_S, REST * (time.monotonic() - begun)), LONGEST_REST_S)):
                return

    def _attend(self) -> None:
        """Enter what needs somebody now into the ledger; what no longer does is closed there."""
        now = now_us()
        found = self._attender.current(now, self._collector.lines(), self._node.deriver.findings())
        events = [
            Event(each.kind, each.node, each.text, each.since, each.site, each.severity, {**each.data})
            for each in found
        ]
        events += [
            Event("data_folder_mended", f"data-{i}", Name(text, text), self._started_at, "", "broken")
            for i, text in enumerate(self._node.findings)
        ]
        self._node.ledger.sync_events(events, now)

    def _try(self, job: Callable[[], object], consequence: str) -> None:
        try:
            job()
        except StoreUnavailable as refusal:
            log.error("%s; %s", refusal, consequence)
        except Exception:
            log.exception("a background job failed; %s", consequence)


def calendars(settings: Settings) -> dict[str, Workdays]:
    """The work days of each country that a site names; a site's own dates stand in calendar.toml."""
    path = settings.folder / "calendar.toml"
    overrides = read_overrides(path) if path.exists() else None
    return {site.country: site_calendar(site.country, overrides) for site in settings.installation.sites}


def make_app(
    node: Node, collector: Collector, known: dict[str, Workdays], *, simulated: bool, backups: Backups | None = None
) -> App:
    """API and page over an open node."""
    services = Services(
        installation=node.settings.installation,
        store=node.store,
        ledger=node.ledger,
        quarantine=node.quarantine,
        collector=collector,
        live=node.live,
        admin_token=node.admin_token,
        data_folder=node.settings.data,
        started_at=now_us(),
        simulated=simulated,
        working_day=lambda country, day: known[country].works(date.fromisoformat(day)),
        backups=backups,
    )
    return create_app(services, mounts=[mount_page])


def open_port(host: str, port: int) -> socket.socket:
    """A listening socket, bound before anything else is opened.

    Raises
    ------
    ExplainedError
        If the address is in use or may not be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        raise ExplainedError(
            f"{host}:{port}",
            f"cannot be used: {error.strerror}",
            "choose another: PORT=8421, or server.port in meterhall.toml",
        ) from None
    return sock


async def serve(node: Node, sock: socket.socket, *, simulated: bool, announce: Announce, stop: asyncio.Event) -> int:
    """Collect and serve until `stop` is set; everything received is durable when this returns."""
    known = calendars(node.settings)
    collector = Collector(node.settings, node.decoders, node.spool, node.books, node.quarantine, node.pipeline, now_us)
    backups = Backups(node)
    app = make_app(node, collector, known, simulated=simulated, backups=backups)
    server = server_of(app, *sock.getsockname()[:2])
    jobs = Jobs(node, collector, lambda site: known[node.settings.installation.site(site).country])
    serving = asyncio.create_task(server.serve(sockets=[sock]), name="server")
    collecting = asyncio.create_task(collector.run(), name="collector")
    jobs.start()
    while not server.started and not serving.done():
        await asyncio.sleep(0.02)
    host, port = sock.getsockname()[:2]
    announce(f"http://{'[' + host + ']' if ':' in host else host}:{port}")
    notify("READY=1")
    telling = asyncio.create_task(tell_watchdog(collector, jobs), name="watchdog")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    done, _ = await asyncio.wait({serving, collecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    notify("STOPPING=1")
    telling.cancel()
    server.should_exit = True
    collecting.cancel()
    results = await asyncio.gather(serving, collecting, return_exceptions=True)
    stopping.cancel()
    await asyncio.to_thread(jobs.stop)
    await asyncio.to_thread(backups.wait, BACKUP_S)
    for result in results:
        if isinstance(result, Exception):
            log.error("stopped by a fault", exc_info=result)
    return OK if stopping in done else FAILED


async def tell_watchdog(collector: Collector, jobs: Jobs) -> None:
    """Tell systemd that we are alive, as long as the loop turns and no thread of ours has ended."""
    period_s = watchdog_period_s()
    while period_s is not None:
        if collector.alive and jobs.alive:
            notify("WATCHDOG=1")
        await asyncio.sleep(period_s)


def on_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """SIGINT and SIGTERM stop in good order."""
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)


def run_until_stopped(settings: Settings) -> int:
    """Run a configuration until SIGINT or SIGTERM. Returns the exit code."""

    async def main() -> int:
        stop = asyncio.Event()
        on_signals(asyncio.get_running_loop(), stop)
        set_up_logging(settings.log, [broker.password.reveal() for broker in settings.brokers])
        with open_port(settings.host, settings.port) as sock, open_node(settings) as node:
            for finding in node.findings:
                log.warning("%s", finding)
            return await serve(
                node,
                sock,
                simulated=is_simulated(settings),
                announce=lambda url: log.info("Meterhall runs at %s", url),
                stop=stop,
            )

    try:
        return asyncio.run(main())
    except ExplainedError as problem:
        print(problem, file=sys.stderr)
        return FAILED


def is_simulated(settings: Settings) -> bool:
    """Does any device say that it is simulated or replayed?"""
    return any(device.simulated or getattr(device, "replayed", False) for device in settings.installation.devices())
