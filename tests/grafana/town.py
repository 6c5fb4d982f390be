"""The simulated compound in a real InfluxDB, by the product's own way: history, intervals, what dashboards are told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from api.live import LiveFeed
from api.services import Services
from collector.service import Collector
from meterhall.configuring import read_settings
from meterhall.demo import BUREAU_FILES, VARIABLE
from meterhall.history import load_history
from meterhall.node import Node, open_node
from meterhall.telling import Telling
from meterhall.workcalendar import site_calendars
from metering.clock import DAY_US, HOUR_US, MINUTE_US, QUARTER_US, now_us
from metering.reading import Point
from metering.site import Name
from simulators.config import open_bureau
from storage.ledger.ledger import Event
from tests.filled import batch_record, drain
from tests.influx import fresh_database

BUREAU = Path(__file__).parent.parent.parent / "simulators" / "bureau"


def configure(folder: Path, root: str):
    """The bureau's configuration with a database of a server as its store, and one car that tells its position."""
    folder.mkdir(parents=True, exist_ok=True)
    text = ""
    for name in BUREAU_FILES:
        shutil.copyfile(BUREAU / name, folder / name)
        text += (folder / name).read_text("utf-8")
    os.environ.update({name: "19999" for name in set(VARIABLE.findall(text))}, DEMO_DATA=str(folder / "data"))
    url = fresh_database(root, folder, prefix="meterhall_boards")
    site = (folder / "site.toml").read_text("utf-8")
    (folder / "site.toml").write_text(site.replace("[[vehicle]]", "[[vehicle]]\nposition = true", 1), "utf-8")
    with (folder / "meterhall.toml").open("a", encoding="utf-8") as file:
        file.write(f'\n[store]\nurl = "{url}"\n')
    return read_settings(folder), url


def services_of(node: Node, collector: Collector) -> Services:
    """What the composition root hands to what tells dashboards."""
    return Services(
        installation=node.settings.installation,
        store=node.store,
        ledger=node.ledger,
        quarantine=node.quarantine,
        collector=collector,
        live=LiveFeed(),
        admin_token="x" * 32,
        data_folder=node.settings.data,
        started_at=now_us(),
        simulated=True,
    )


@contextmanager
def town(folder: Path, root: str, *, days: int = 16) -> Iterator[tuple[Node, str]]:
    """An open node over the compound with its history up to now, told for two minutes."""
    settings, url = configure(folder, root)
    with open_node(settings, cadence_of=lambda point: QUARTER_US) as node:
        end = now_us() // QUARTER_US * QUARTER_US
        load_history(node, open_bureau(folder, folder / "truth.json"), end - days * DAY_US, end)
        tracked = next(vehicle for vehicle in settings.installation.vehicles if vehicle.position)
        where = [
            (Point(tracked.site, tracked.id, name), end - i * QUARTER_US, value + i * 0.001)
            for i in range(8)
            for name, value in (("latitude", 35.0), ("longitude", 113.0))
        ]
        node.spool.append([batch_record(where, end)])
        drain(node)
        node.deriver.run_once(now_us())
        name = Name("Charger 3 is silent", "3 号充电桩无数据")
        name = Name("Charger 3 is silent", "3 号充电桩无数据")
        silent = Event("silent", "depot-charger-3", name, end - 5 * HOUR_US, tracked.site)
        node.ledger.sync_events([silent], now_us())
        collector = Collector(settings, node.decoders, node.spool, node.books, node.quarantine, node.pipeline, now_us)
        own = site_calendars(settings)
        telling = Telling(node, services_of(node, collector), lambda site: own[site].workdays)
        telling.run(now_us() - MINUTE_US)
        telling.run(now_us())
        yield node, url
