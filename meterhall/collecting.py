"""The collecting part of a running machine, which a changed configuration replaces while the rest goes on.

A reload is atomic: the new configuration is read, checked and built whole before the old one stops; on any
mistake the old one goes on. Then the old collector spools and acknowledges what it has, the pipeline finishes its
batch, and the new one begins where it stopped: same spool, store, books and broker session, so nothing is lost,
and what a broker sends again is known by the spool.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any, NamedTuple

from analytics.workdays import Workdays
from api.access import Access
from api.app import App
from api.services import IngestRow, Services
from collector.decoders import Decoders, build_decoders
from collector.pipeline import Pipeline
from collector.service import INGEST, Collector
from devices.catalog import ConfigurationError
from devices.settings import Settings
from meterhall.backup import Backups
from meterhall.configuring import read_settings
from meterhall.insights import Insights
from meterhall.jobs import Jobs
from meterhall.logs import set_up_logging
from meterhall.node import Node
from meterhall.savings import Savings
from meterhall.stations import Row, StationFetcher
from meterhall.telling import Telling
from meterhall.workcalendar import site_calendars
from metering.clock import now_us
from metering.explain import ExplainedError
from metering.reading import Point
from storage.notes import NoteStore

log = logging.getLogger("meterhall")

PATIENCE_S = 60.0
# What is opened once, for the life of the process.
FIXED = {
    "[data] folder": lambda settings: settings.data,
    "[store] url": lambda settings: settings.store_url,
    "[ledger] url": lambda settings: settings.ledger_url,
    "[server] host": lambda settings: settings.host,
    "[server] port": lambda settings: settings.port,
    "[server]": lambda settings: settings.server,
    "[limits] spool_bytes": lambda settings: settings.limits.spool_bytes,
    "[limits] quarantine_rows": lambda settings: settings.limits.quarantine_rows,
    "[limits] store_memory_mb": lambda settings: settings.limits.store_memory_mb,
}


class Prepared(NamedTuple):
    """A configuration that is valid as a whole, and what was built from it."""

    settings: Settings
    decoders: Decoders
    widths: dict[Point, float]  # of counters: see `Decoders.rollovers`


def prepare(settings: Settings) -> Prepared:
    """Build what a configuration needs; nothing that runs is touched. ExplainedError if it cannot be."""
    decoders = build_decoders(settings)
    return Prepared(settings, decoders, dict(decoders.rollovers))


def read_again(before: Settings) -> Prepared:
    """The configuration as it is on disk now.

    Raises
    ------
    ConfigurationError, ExplainedError
        Naming file, line and mend; also if something is changed that only a restart can change.
    """
    settings = read_settings(before.folder)
    for name, of in FIXED.items():
        if of(settings) != of(before):
            raise ExplainedError(
                f"{before.folder / 'meterhall.toml'}: {name}",
                f"is {of(settings)!r} now and was {of(before)!r}, which cannot change while it runs",
                "restart Meterhall, or put it back",
            )
    return prepare(settings)


class Collecting:
    """Collector, pipeline and background jobs over an open node.

    node : with the settings, decoders and pipeline of now
    ended : set when collecting ends by itself; holds its fault, if any
    """

    def __init__(self, node: Node, *, simulated: bool) -> None:
        self.node, self.backups = node, Backups(node)
        self.access = Access(node.ledger.access)
        self._always_simulated = simulated
        self._prepared = Prepared(node.settings, node.decoders, dict(node.decoders.rollovers))
        self._app: App | None = None
        self._loop = asyncio.get_running_loop()
        self._reloading = asyncio.Lock()
        self._switching = False
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._build()

    def _build(self) -> None:
        node = self.node
        self.collector = Collector(
            node.settings, node.decoders, node.spool, node.books, node.quarantine, node.pipeline, now_us
        )
        installation, own = node.settings.installation, site_calendars(node.settings)

        def calendar_of(site: str) -> Workdays:
            return own[site].workdays

        self.jobs = Jobs(node, self.collector, calendar_of)
        self.insights = Insights(installation, node.store, node.ledger, calendar_of)
        self.savings = Savings(installation, node.store, node.ledger, own.__getitem__)
        self.stations = StationFetcher(installation, node.store, node.settings.fetches, self._take)
        simulated = self._always_simulated or is_simulated(node.settings)
        self.services = Services(
            installation=installation,
            store=node.store,
            ledger=node.ledger,
            quarantine=node.quarantine,
            collector=self.collector,
            live=node.live,
            admin_token=node.admin_token,
            data_folder=node.settings.data,
            started_at=self.services.started_at if self._app else now_us(),
            simulated=simulated,
            calendar_of=own.__getitem__,
            backups=self.backups,
            insights=self.insights,
            savings=self.savings,
            reload=self.reload_from_outside,
            **reach(node.settings),
            access=self.access,
        )

        if isinstance(node.store, NoteStore):
            self.jobs.tell = Telling(node, self.services, calendar_of).run

    def _take(self, rows: list[Row]) -> None:
        """Take what a weather service knew, as a batch that came over HTTP; from any thread but the loop's."""
        batch = [IngestRow(i, *row) for i, row in enumerate(rows)]
        taken = self.collector.ingest(INGEST, "", b"", batch, [])
        asyncio.run_coroutine_threadsafe(taken, self._loop).result(PATIENCE_S)

    def start(self, app: App) -> None:
        """Begin to collect; `app` gets the services of now, and of each reload."""
        self._app = app
        app.state.services = self.services
        self._task = asyncio.create_task(self.collector.run(), name="collector")
        self._task.add_done_callback(self._note_end)
        self.jobs.start()
        self.insights.start()
        self.savings.start()
        self.stations.start()

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if self._switching or self.ended.done():
            return
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            log.error("collecting stopped by a fault", exc_info=fault)
        self.ended.set_result(None)

    @property
    def alive(self) -> bool:
        """Whether what stores readings and the background jobs run."""
        return self._switching or (self.collector.alive and self.jobs.alive and self.insights.alive)

    async def stop(self) -> None:
        """Everything received is durable, and acknowledged, when this returns."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        stops = (self.jobs.stop, self.insights.stop, self.savings.stop, self.stations.stop)
        await asyncio.gather(*(asyncio.to_thread(stop) for stop in stops))

    def reload_from_outside(self) -> list[str]:
        """`reload`, called from any thread but the loop's."""
        return asyncio.run_coroutine_threadsafe(self.reload(), self._loop).result(2 * PATIENCE_S)

    async def reload_or_say(self) -> None:
        """`reload`; a mistake becomes lines in the log."""
        try:
            await self.reload()
        except ConfigurationError as error:
            for problem in error.problems:
                log.error("not reloaded, the old configuration goes on: %s", problem)
        except ExplainedError as problem:
            log.error("not reloaded, the old configuration goes on: %s", problem)

    async def reload(self) -> list[str]:
        """Take the configuration as it is on disk now; returns what is different, in words.

        Raises
        ------
        ConfigurationError, ExplainedError
            If it has a mistake: the old one goes on, as if nothing had been asked.
        """
        async with self._reloading:
            before = self._prepared
            fresh = await asyncio.to_thread(read_again, before.settings)
            changed = differences(before.settings, fresh.settings)
            assert self._app is not None
            self._switching = True
            try:
                self._app.state.services = replace(self.services, collector=None)  # "send it again", for a moment
                await self.stop()
                if not await self._pipeline_has_ended():
                    self.ended.set_result(None)
                    raise ExplainedError("reload", "the pipeline does not end", "Meterhall stops; start it again")
                try:
                    await self._switch(fresh)
                except Exception:
                    log.exception("the new configuration cannot be run; the old one goes on")
                    await self._switch(before)
                    raise ExplainedError(
                        str(fresh.settings.folder), "cannot be run; the old configuration goes on", "see the log"
                    ) from None
            finally:
                self._switching = False
        log.info("reloaded: %s", ", ".join(changed) or "nothing is different")
        return changed

    async def _pipeline_has_ended(self) -> bool:
        deadline = self._loop.time() + PATIENCE_S
        while self.node.pipeline.alive and self._loop.time() < deadline:
            await asyncio.sleep(0.05)
        return not self.node.pipeline.alive

    async def _switch(self, prepared: Prepared) -> None:
        node, fresh = self.node, prepared.decoders
        rollovers = node.decoders.rollovers  # the deriver's own: it reads the widths of counters there
        rollovers.clear()
        rollovers.update(prepared.widths)
        fresh.rollovers = rollovers
        installation = prepared.settings.installation
        await asyncio.to_thread(node.deriver.reload, installation)
        pipeline = Pipeline(
            node.spool, node.store, node.books, node.quarantine, fresh.named, fresh.points, installation, node.live,
            node.deriver, now_us, node.settings.data,
        )  # fmt: skip
        self.node = replace(node, settings=prepared.settings, decoders=fresh, pipeline=pipeline)
        self._prepared = prepared
        self._build()
        if prepared.settings.log != node.settings.log:
            set_up_logging(prepared.settings.log, prepared.settings.secrets)
        assert self._app is not None
        self.start(self._app)


def reach(settings: Settings) -> dict[str, Any]:
    """What of the services is decided by how page and API are reached."""
    return {
        "open_reading": not settings.sign_in,
        "allowed_hosts": settings.allowed_hosts,
        "public_url": settings.server.behind_proxy,
        "proxies": settings.server.proxies if settings.server.behind_proxy else (),
        "secure": settings.url.startswith("https://"),
    }


def is_simulated(settings: Settings) -> bool:
    """Does any device say that it is simulated or replayed?"""
    return any(device.simulated or getattr(device, "replayed", False) for device in settings.installation.devices())


def differences(before: Settings, after: Settings) -> list[str]:
    """What is different between two configurations, in words."""
    words = []
    for what, rows in (
        ("site", lambda settings: settings.installation.sites),
        ("building", lambda settings: settings.installation.buildings),
        ("meter", lambda settings: settings.installation.meters),
        ("vehicle", lambda settings: settings.installation.vehicles),
        ("factor", lambda settings: settings.installation.factors),
        ("broker", lambda settings: settings.brokers),
    ):
        old: dict[str, list[Any]] = _by_id(rows(before))
        new: dict[str, list[Any]] = _by_id(rows(after))
        words += [f"{what} {each} is new" for each in new if each not in old]
        words += [f"{what} {each} is gone" for each in old if each not in new]
        words += [f"{what} {each} is changed" for each in new if each in old and new[each] != old[each]]
    for name in ("modbus", "limits", "retention", "thresholds", "log", "timetable", "fetches"):
        if getattr(before, name) != getattr(after, name):
            words.append(f"[{name}] is changed")
    return words


def _by_id(rows: Any) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {}
    for row in rows:
        out.setdefault(row.id, []).append(row)
    return out
