"""Run one machine: collector, store, derivation, API and page in one process, until a signal."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable

from api.app import create_app
from api.page.routes import mount_page
from api.serving import server_of
from devices.settings import Settings
from meterhall.collecting import Collecting, is_simulated
from meterhall.exposure import address_of, offer_first_account, refuse_exposed, tls_of
from meterhall.logs import set_up_logging
from meterhall.node import Node, open_node
from meterhall.notify import notify, watchdog_period_s
from metering.explain import ExplainedError

log = logging.getLogger("meterhall")

OK, FAILED = 0, 1
BACKUP_S = 30.0  # how long a stop waits for a backup under way
Announce = Callable[[str], None]


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
    """Collect and serve until `stop` is set; SIGHUP reloads. Everything received is durable when this returns."""
    part = Collecting(node, simulated=simulated)
    app = create_app(part.services, mounts=[mount_page])
    host, port = sock.getsockname()[:2]
    server = server_of(app, host, port, tls_of(node.settings))
    serving = asyncio.create_task(server.serve(sockets=[sock]), name="server")
    part.start(app)
    while not server.started and not serving.done():
        await asyncio.sleep(0.02)
    announce(address_of(node.settings, host, port))
    offer_first_account(node.settings, part.access)
    notify("READY=1")
    hung_up = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up.set)
    helpers = [
        asyncio.create_task(tell_watchdog(part), name="watchdog"),
        asyncio.create_task(reload_when(hung_up, part), name="reload"),
    ]
    stopping = asyncio.create_task(stop.wait(), name="stop")
    done, _ = await asyncio.wait({serving, part.ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
    notify("STOPPING=1")
    for task in (*helpers, stopping):
        task.cancel()
    await asyncio.gather(*helpers, return_exceptions=True)
    server.should_exit = True
    results = await asyncio.gather(serving, part.stop(), return_exceptions=True)
    await asyncio.to_thread(part.backups.wait, BACKUP_S)
    for result in results:
        if isinstance(result, Exception):
            log.error("stopped by a fault", exc_info=result)
    return OK if stopping in done else FAILED


async def tell_watchdog(part: Collecting) -> None:
    """Tell systemd that we are alive, as long as the loop turns and no thread of ours has ended."""
    period_s = watchdog_period_s()
    while period_s is not None:
        if part.alive:
            notify("WATCHDOG=1")
        await asyncio.sleep(period_s)


async def reload_when(hung_up: asyncio.Event, part: Collecting) -> None:
    """Reload at each SIGHUP."""
    while True:
        await hung_up.wait()
        hung_up.clear()
        await part.reload_or_say()


def on_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """SIGINT and SIGTERM stop in good order."""
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)


def run_until_stopped(settings: Settings) -> int:
    """Run a configuration until SIGINT or SIGTERM. Returns the exit code."""

    async def main() -> int:
        stop = asyncio.Event()
        on_signals(asyncio.get_running_loop(), stop)
        set_up_logging(settings.log, settings.secrets)
        refuse_exposed(settings)
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
