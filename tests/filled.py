"""A small data folder that holds something of everything: made by the product's own pipeline, the same each time."""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from pathlib import Path

from collector import ingest
from collector.decoders import profile_protocols
from devices.catalog import load_settings
from meterhall.node import open_node
from metering.clock import DAY_US, HOUR_US, QUARTER_US
from metering.reading import Point
from metering.site import Name
from storage.ledger.ledger import Event
from storage.record import REPEATED, RETAINED, Record, Wire

FIRST = 1_788_220_800_000_000  # 2026-09-01T00:00:00Z
SITE = """
[[site]]
id = "plant"
name = "Plant"
timezone = "Asia/Shanghai"

[[building]]
id = "hall"
name = "Hall"

[[meter]]
id = "main"
name = "Main"
carrier = "electricity"
role = "grid"
profile = "plain_json"
connection = "mqtt://b/plant/main"

[[meter]]
id = "water"
name = "Water"
building = "hall"
carrier = "water"
profile = "plain_json_water"
connection = "mqtt://b/plant/water"
"""
MAIN = Point("plant", "main", "active_energy_import")
POWER = Point("plant", "main", "active_power")


def configure(folder: Path, *, port: int = 8420, more: str = ""):
    """Write a configuration of two meters behind a broker; returns its settings."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meterhall.toml").write_text(
        f'[server]\nport = {port}\n[[broker]]\nid = "b"\nurl = "mqtt://127.0.0.1:1"\n{more}'
    )
    (folder / "site.toml").write_text(SITE)
    return load_settings(folder, profile_ids=profile_protocols)


def rows(days: int, first: int = FIRST):
    """Quarter-hourly readings of a counter and a gauge."""
    for i in range(days * 96):
        at = first + i * QUARTER_US
        yield MAIN, at, round(1000 + i * 0.75 + 0.2 * math.sin(i / 5), 3)
        yield POWER, at, round(3000 + 500 * math.sin(i / 9), 1)


def batch_record(some, received_at: int) -> Record:
    """Readings as a record that came over HTTP."""
    return Record(Wire.INGEST, "ingest", ingest.KEY, ingest.encode_batch(some), received_at)


def message(at: int, value: float, *, topic: str = "plant/main", flags: int = 0, tag: int = 1) -> Record:
    """A payload as a broker delivers it; it is received a second after it was measured."""
    payload = json.dumps({"ts": at // 1_000_000, "w": value}).encode()
    return Record(Wire.MQTT, "b", topic, payload, at + 1_000_000, flags, tag)


def fill(node, *, days: int = 5) -> None:
    """Readings sealed and hot, a conflict, duplicates, missing and rejected ones, events, intervals, quarantine."""
    end = FIRST + days * DAY_US
    for record in (
        batch_record(rows(days), end),
        batch_record(rows(1), end + 1),  # again: duplicates
        batch_record([(POWER, FIRST, 9999.5)], end + 2),  # another value: a conflict
    ):
        node.spool.append([record])
        while node.pipeline.run_once():
            pass
    node.store.maintain(end)
    live = [message(end + i * 1_000_000, 100.5 + i, tag=i + 1) for i in range(50)]
    live += [live[3]._replace(flags=REPEATED), message(end, 1.0, topic="plant/stranger")]
    live += [Record(Wire.MQTT, "b", "plant/main", b"\xffnot json", end, 0, 60)]
    live += [message(end, 7.0, flags=RETAINED)]
    node.spool.append(live)
    while node.pipeline.run_once():
        pass
    node.deriver.run_once(end + HOUR_US)
    silent = Event("silent", "water", Name("Water has been silent", "水表无数据"), FIRST, site="plant")
    stuck = Event("stuck", "main", Name("Main stands still", "总表不动"), FIRST + HOUR_US, site="plant")
    node.ledger.sync_events([silent, stuck], FIRST + 2 * HOUR_US)
    node.ledger.sync_events([silent], FIRST + 3 * HOUR_US)


def leave_waiting(node, days: int = 5) -> None:
    """Messages that are acknowledged and not yet stored."""
    end = FIRST + days * DAY_US
    node.spool.append([message(end + (100 + i) * 1_000_000, 200.5 + i, tag=100 + i) for i in range(20)])


def drain(node) -> None:
    """Store what waits in the spool."""
    while node.pipeline.run_once():
        pass


def contents(node) -> dict:
    """Everything that must be the same in a copy, as JSON."""
    store = node.store
    ever = (-(2**60), 2**60)
    points = sorted(store.points())
    totals = {}
    for point in points:
        series = store.series(point, *ever)
        totals[str(point)] = {
            "n": len(series.at),
            "sum": math.fsum(series.value.tolist()),
            "first": int(series.at[0]),
            "last": int(series.at[-1]),
            "latest": store.latest([point])[point].value,
        }
    intervals = {}
    for resolution in ("15min", "day"):
        for each in store.intervals(store.measures(), resolution, *ever):
            if len(each.amount):
                intervals[f"{each.measure} {resolution}"] = [len(each.amount), int(each.amount.sum())]
    return {
        "position": str(node.pipeline.position),
        "readings": store.count(),
        "points": totals,
        "conflicts": [[str(c.point), c.at, c.value, c.served] for c in store.conflicts(None, *ever)],
        "intervals": intervals,
        "books": node.books.snapshot(),
        "pending": node.spool.pending(node.pipeline.position),
        "quarantine": [[e.position, e.reason, e.size] for e in node.quarantine.entries()],
        "events": [[e.kind, e.node, e.since, e.until] for e in node.ledger.events()],
    }


@contextmanager
def filled_node(folder: Path, **options):
    """An open node over a configuration of its own, filled."""
    with open_node(configure(folder, **options)) as node:
        fill(node)
        yield node
