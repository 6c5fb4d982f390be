"""Every time zone's clock changes of a year, one after another, in the running product: days, quarters, total.

Zones whose clocks do the same in that year share one site. The wall clock is set to two seconds before each
change; counters go on meanwhile. In the end each site's local days must be days, and days and quarter hours must
add up to what the counter moved, exactly.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

from collector.decoders import profile_protocols
from devices.catalog import load_settings
from faults.product import BROKER, Product, write_configuration
from faults.report import Row
from faults.rig import Rig
from faults.untimed import Sender
from faults.values import SECOND_US, device_id
from meterhall.node import open_node
from metering.clock import now_us
from metering.reading import IntervalSeries

YEAR_S = 366 * 86_400
STEP_S = 6 * 3600
COUNTER = "active_energy_import"


def changes_of(zone: ZoneInfo, first: int, last: int) -> list[tuple[int, float]]:
    """Instants [s since 1970] at which a zone's clocks change, and the offset after each [s]; the first offset too."""

    def offset(at: int) -> float:
        found = datetime.fromtimestamp(at, UTC).astimezone(zone).utcoffset()
        assert found is not None
        return found.total_seconds()

    out, before = [(first, offset(first))], first
    for after in range(first + STEP_S, last, STEP_S):
        if offset(after) != out[-1][1]:
            low, high = before, after
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle) == offset(before) else (low, middle)
            out.append((high, offset(high)))
        before = after
    return out


def alike(first: int, last: int) -> dict[tuple[tuple[int, float], ...], list[str]]:
    """Zone names by what their clocks do in a span."""
    groups: dict[tuple[tuple[int, float], ...], list[str]] = defaultdict(list)
    for name in sorted(available_timezones()):
        if name not in ("localtime", "Factory"):
            groups[tuple(changes_of(ZoneInfo(name), first, last))].append(name)
    return groups


def every_zone(folder: Path, *, phase_s: float, seed: int, most: int | None = None) -> Row:
    """All changes of all zones in the year to come; `most` bounds the changes, for a shorter run."""
    now = int(time.time())
    groups = alike(now, now + YEAR_S)
    zones = [names[0] for names in groups.values()]
    instants = sorted({at for changes in groups for at, _ in changes[1:]})
    instants = instants if most is None else sorted(random.Random(seed).sample(instants, most))
    row = Row("clock: every zone's changes", "changes", count=len(instants))
    offset = folder / "offset"
    folder.mkdir(parents=True, exist_ok=True)
    offset.write_text("0")
    with Rig(folder, seed=seed, devices=1) as rig:
        product = rig.product = Product(folder / "zones", launch=["--clock", str(offset)])
        write_configuration(product.folder, port=product.port, broker=rig.broker.url)
        _write_sites(product.folder, zones)
        product.start().wait_live()
        product.wait_connected()
        sender, stop, said = Sender(rig.broker.port, quantity="kwh"), threading.Event(), [0]

        def publish() -> None:
            while not stop.wait(1.0):
                said[0] += 1
                for k in range(len(zones)):
                    sender.send(k, said[0])

        publishing = threading.Thread(target=publish, daemon=True)
        publishing.start()
        time.sleep(3.0)
        for at in instants:
            fresh = folder / "offset.new"
            fresh.write_text(repr(at - 2 - time.time()))
            fresh.replace(offset)
            time.sleep(phase_s)
            row.expect(product.alive(5.0), f"the API does not answer after {datetime.fromtimestamp(at, UTC)}")
        stop.set()
        publishing.join(20)
        row.expect(sender.finish() == 0, "the publisher did not get all its acknowledgements")
        product.wait_drained(sender.acknowledged.total())
        product.stop()
        _judge(row, product, zones, len(sender.acknowledged))
    row.notes |= {"zones": sum(map(len, groups.values())), "that differ": len(zones), "readings": len(sender.sent)}
    return row


def _write_sites(folder: Path, zones: list[str]) -> None:
    """A site with one meter for each zone."""
    parts = [
        f'[[site]]\nid = "z{k:03d}"\nname = "{name}"\ntimezone = "{name}"\ncountry = "CN"\n\n'
        f'[[meter]]\nid = "{device_id(k)}"\nsite = "z{k:03d}"\nname = "{name}"\ncarrier = "electricity"\n'
        f'profile = "plain_json"\nconnection = "mqtt://{BROKER}/plant/{device_id(k)}"'
        for k, name in enumerate(zones)
    ]
    (folder / "site.toml").write_text("\n\n".join(parts) + "\n")


def _judge(row: Row, product: Product, zones: list[str], acknowledged: int) -> None:
    """Every reading is stored, and every site's days and quarters add up."""
    settings = load_settings(product.folder, profile_ids=profile_protocols)
    with open_node(settings) as node:
        while node.deriver.pending():
            node.deriver.run_once(now_us() + YEAR_S * SECOND_US)
        row.lost = max(0, acknowledged - node.store.count())
        row.invented = max(0, node.store.count() - acknowledged)
        row.missed += node.books.balance(node.spool.pending(node.pipeline.position))
        measures = {each.site: each for each in node.store.measures() if each.scope == "meter" and each.name == COUNTER}
        for k, name in enumerate(zones):
            point = next(each for each in node.store.points() if each.meter == device_id(k))
            value = node.store.series(point, 0, 1 << 62).value
            moved = round((value[-1] - value[0]) * 1000)
            days, quarters = (
                node.store.intervals([measures[point.site]], resolution, 0, 1 << 61)[0]
                for resolution in ("day", "15min")
            )
            sums = int(days.amount.sum()), int(quarters.amount.sum())
            row.expect(sums == (moved, moved), f"{name}: days and quarters add up to {sums}, the counter moved {moved}")
            wrong = _no_days(days, ZoneInfo(name))
            row.expect(not wrong, f"{name}: no local days: {wrong[:2]}")


def _no_days(days: IntervalSeries, zone: ZoneInfo) -> list[str]:
    """Day intervals that are not exactly one local day."""

    def local(at: int) -> date:
        return datetime.fromtimestamp(at, UTC).astimezone(zone).date()

    wrong = []
    for start, end in zip((days.start // SECOND_US).tolist(), (days.end // SECOND_US).tolist(), strict=True):
        if not local(start - 1) < local(start) == local(end - 1) < local(end):
            wrong.append(f"{datetime.fromtimestamp(start, UTC)} to {datetime.fromtimestamp(end, UTC)}")
    return wrong
