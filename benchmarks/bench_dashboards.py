"""How fast every panel of the dashboards is answered, on a real InfluxDB 1.x holding a city.

60 institutions, 300 buildings, 3,000 meters, 300 vehicles. In full: a year of quarter hours of all of them and a month
of raw readings, one field a minute. Else the same series, but quarter hours of a year for one institution only, of a
week for the other buildings and institutions, of two days for the meters, and an hour of raw readings: what panels ask
is there in full either way. Ranges are those that dashboards open with, and a year.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.figures import Figure
from benchmarks.rig import cpu_of, free_port
from devices.settings import Thresholds
from grafana.asking import choose, questions
from meterhall import noting
from metering.clock import DAY_US, HOUR_US, MINUTE_US, QUARTER_US, now_us
from metering.quantity import CONSUMPTION, Carrier
from metering.reading import Measure
from metering.site import Building, Dated, Installation, Meter, Name, Site, Vehicle
from storage.influx.address import Address
from storage.influx.client import Client
from storage.influx.line_protocol import interval_line, interval_measurement, measure_tags, note_line, series_key
from storage.notes import Note

FOLDER = Path(__file__).parent.parent / "grafana" / "dashboards"
TARGET_MS, WALL_MS = 300.0, 1000.0
ROUNDS = 20
QUIET, SETTLE_S = 0.1, 300.0  # of a core; how long a server that has been filled tidies at most
LINES = 10_000  # in one request
BUILDINGS_PER_SITE = 5
HALVES = ("lighting-1", "lighting-2", "hvac-1", "hvac-2", "power-1", "power-2", "common")
RANGES = {"overview": 1.0, "building": 7.0, "vehicles": 7.0, "collector": 0.25, "heatmap": 35.0}  # others: 30 days
LONG = ("building", "heatmap", "water", "meter")  # also asked for a year


class Scale(NamedTuple):
    """How much is there beside what panels ask: days of quarter hours, minutes of raw readings."""

    places_days: int  # of buildings and institutions but the first
    meters_days: int
    raw_minutes: int


QUICK, FULL = Scale(9, 2, 60), Scale(365, 365, 30 * 1440)


def city(buildings: int) -> Installation:
    """Ten meters and a vehicle for each building."""
    sites, houses, meters, vehicles = [], [], [], []
    for n in range(buildings):
        site = f"s{n // BUILDINGS_PER_SITE:03d}"
        if n % BUILDINGS_PER_SITE == 0:
            sites.append(Site(site, Name(f"Institution {site}", f"单位 {site}"), "Asia/Shanghai"))
        house = f"{site}-b{n % BUILDINGS_PER_SITE}"
        houses.append(Building(house, site, Name(f"Building {house}"), floor_area=(Dated(5000, 0),)))

        def meter(name: str, carrier: Carrier, parent: str = "", house: str = house) -> Meter:
            own = f"{house}-{name}"
            return Meter(own, house[:4], house, Name(f"{house} {name}"), carrier, "load", "p", "c", parent=parent)

        meters.append(meter("main", Carrier.ELECTRICITY))
        meters += [meter(half, Carrier.ELECTRICITY, f"{house}-main") for half in HALVES]
        meters += [meter("water", Carrier.WATER), meter("heat", Carrier.HEAT)]
        vehicles.append(Vehicle(f"v{n:04d}", site, Name(f"Vehicle {n}"), "electric", "p", "c", battery_kwh=60))
    return Installation(tuple(sites), tuple(houses), tuple(meters), tuple(vehicles))


def measures(found: Installation) -> Iterator[Measure]:
    """What intervals are kept of."""
    for meter in found.meters:
        name = CONSUMPTION[meter.carrier][0]
        yield Measure(meter.site, "meter", meter.id, name, "m3" if meter.carrier is Carrier.WATER else "kWh")
    for scope, things in (("building", found.buildings), ("site", found.sites)):
        for thing in things:
            for carrier, unit in (("electricity", "kWh"), ("heat", "kWh"), ("water", "m3")):
                yield Measure(getattr(thing, "site", thing.id), scope, thing.id, carrier, unit)
    for vehicle in found.vehicles:
        for name, unit in (("odometer", "km"), ("charge_energy", "kWh")):
            yield Measure(vehicle.site, "meter", vehicle.id, name, unit)


class Filler:
    """Writes lines in requests of a good size."""

    def __init__(self, client: Client) -> None:
        self._client, self._lines, self.written = client, list[str](), 0

    def add(self, lines: Iterator[str]) -> None:
        """Take lines; they are sent as enough are there."""
        for line in lines:
            self._lines.append(line)
            if len(self._lines) >= LINES:
                self.flush()

    def flush(self) -> None:
        """Send what is left."""
        if self._lines:
            self._client.write("\n".join(self._lines).encode())
            self.written += len(self._lines)
            self._lines = []


def interval_rows(measure: Measure, resolution: str, start: int, end: int, step: int) -> Iterator[str]:
    """A measure's intervals: a plausible day, the same each week."""
    key = series_key(interval_measurement(resolution), measure_tags(measure))
    for at in range(start, end, step):
        hour = (at // HOUR_US + 8) % 24
        amount = int(1000 * (2 + (10 if 8 <= hour < 18 else 0)) * step / QUARTER_US)
        yield interval_line(key, at, at + step, amount, 1.0, 0, 0)


def profile_rows(measure: Measure, start: int, end: int) -> Iterator[str]:
    """A measure's days, hour by hour."""
    tags = (*measure_tags(measure),)
    rates = {f"h{hour:02d}": 48.0 if 8 <= hour < 18 else 8.0 for hour in range(24)}
    for at in range(start, end, DAY_US):
        yield note_line(Note("profile_day", tags, at, {**rates, "base": 8.0, "peak": 48.0, "mean": 24.7}))


def told(found: Installation, now: int) -> Iterator[str]:
    """Names, thresholds, events and a month of a collector's minutes."""
    from api.states import DeviceFigure

    yield from map(note_line, noting.places(found, [], now))
    figures = (DeviceFigure(meter, "ok", now, None, {}, "", "") for meter in found.meters)
    yield from map(note_line, noting.devices(found, figures, now))
    for vehicle in found.vehicles:
        fields = {"plate": "-", "drive": "electric", "activity": 0, "charge": 80.0, "last_ms": now // 1000}
        yield note_line(noting._node(vehicle, "vehicle", now // DAY_US * DAY_US, fields))
    yield from map(note_line, noting.thresholds(Thresholds(), now))
    books = {name: 1000 for name in noting.counts({}, {})}
    for i in range(30 * 1440):
        at = now - i * MINUTE_US
        fields = {name: n * (43_200 - i) for name, n in books.items()}
        state = {"waiting": 0, "oldest_s": 0.0, "needs": 3, "disk_free": 10**11, "disk_total": 10**12}
        yield note_line(Note("collector", (("collector", "box"),), at, {**fields, **state}))
        yield note_line(Note("collector_source", (("collector", "box"), ("source", "demo")), at, fields))
    line = {"state": 0, "units": 40, "units_ok": 40, "address": "tcp", "note": ""}
    tags = (("collector", "box"), ("line", "a"), ("kind", "modbus"))
    yield note_line(Note("collector_line", tags, now - MINUTE_US, line))


def raw_rows(found: Installation, now: int, minutes: int) -> Iterator[str]:
    """One field a minute of every meter and vehicle."""
    for i in range(minutes):
        at = (now - i * MINUTE_US) * 1000
        for meter in found.meters:
            yield f"raw,meter={meter.id},site={meter.site} active_power=1234.5,batch=1i {at}"
    for vehicle in found.vehicles:
        own = minutes if vehicle.site != found.sites[0].id else 7 * 1440
        for i in range(own):
            at = (now - i * MINUTE_US) * 1000
            yield f"vehicle_raw,site={vehicle.site},vehicle={vehicle.id} state_of_charge=80.5,batch=1i {at}"


def fill(client: Client, found: Installation, now: int, scale: Scale) -> int:
    """Write a city; returns how many rows."""
    filler = Filler(client)
    today = now // DAY_US * DAY_US
    year = today - 365 * DAY_US
    for measure in measures(found):
        filler.add(interval_rows(measure, "day", year - 8 * HOUR_US, now, DAY_US))
        days = scale.meters_days if measure.scope == "meter" else scale.places_days
        if measure.site == found.sites[0].id and measure.scope != "meter":
            days = 365
        quarters = interval_rows(measure, "15min", today - days * DAY_US, now // QUARTER_US * QUARTER_US, QUARTER_US)
        filler.add(quarters)
        if measure.scope != "meter":
            filler.add(profile_rows(measure, year - 8 * HOUR_US, now))
    filler.add(told(found, now))
    filler.add(raw_rows(found, now, scale.raw_minutes))
    filler.flush()
    return filler.written


@contextlib.contextmanager
def influxdb(folder: Path) -> Iterator[tuple[Client, int]]:
    """A private InfluxDB 1.x: a client of an empty database, and its process.

    Raises
    ------
    RuntimeError
        If it is not installed, or does not start.
    """
    program = shutil.which("influxd")
    if program is None:
        raise RuntimeError("influxd is not installed: sudo apt-get install influxdb")
    port, config = free_port(), folder / "influxdb.conf"
    config.write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{free_port()}"\n[meta]\ndir = "{folder}/meta"\n'
        f'[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\nquery-log-enabled = false\n'
        f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n[monitor]\nstore-enabled = false\n'
    )
    with (folder / "influxd.log").open("wb") as log:
        process = subprocess.Popen([program, "-config", str(config)], stdout=log, stderr=log)
    client = Client(Address("127.0.0.1", port, "city"))
    try:
        for _ in range(600):
            with contextlib.suppress(Exception):
                client.manage('CREATE DATABASE "city"')
                break
            time.sleep(0.1)
        else:
            raise RuntimeError(f"influxd does not answer; see {folder}/influxd.log")
        yield client, process.pid
    finally:
        client.close()
        process.terminate()
        process.wait(30)


def settle(pid: int) -> None:
    """Wait until a server that has been filled has tidied what was written."""
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        before = cpu_of(pid)
        time.sleep(3.0)
        if cpu_of(pid) - before < 3.0 * QUIET:
            return


def ask(client: Client, query: str) -> float:
    """Milliseconds until an answer was there whole; all of it is read."""
    begin = time.perf_counter()
    for _ in client.query(query):
        pass
    return (time.perf_counter() - begin) * 1e3


def opened(
    client: Client, board: dict[str, Any], wanted: dict[str, str], days: float, now: int
) -> dict[str, list[str]]:
    """The queries of each panel of a dashboard, filled in; of annotations and variables, too."""
    chosen = choose(board, lambda query: [piece.values for piece in client.query(query)], wanted)
    end = now // 1000
    out: dict[str, list[str]] = defaultdict(list)
    for question in questions(board, chosen, end - int(days * 86_400_000), end):
        out[question.panel].append(question.query)
    return out


def visits(client: Client, found: Installation, now: int) -> tuple[dict[str, list[float]], list[float]]:
    """Milliseconds of each panel, asked for places drawn by chance; and of the whole wall, asked all at once."""
    rng = random.Random(1)
    took: dict[str, list[float]] = defaultdict(list)
    boards = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((FOLDER / "en").glob("*.json"))}
    asked = [(name, RANGES.get(name, 30.0), name) for name in boards]
    asked += [(name, 365.0, f"{name}, a year") for name in LONG]
    for round_ in range(ROUNDS + 1):
        for name, days, words in asked:
            houses = [b for b in found.buildings if b.site == found.sites[0].id] if days > 300 else found.buildings
            house = rng.choice(houses)
            wanted = {"site": house.site, "building": house.id, "meter": f"{house.id}-main", "carrier": "electricity"}
            shown = {v["name"]: v for v in boards[name]["templating"]["list"]}
            wanted = {k: v for k, v in wanted.items() if k in shown and not shown[k].get("includeAll")}
            for panel, queries in opened(client, boards[name], wanted, days, now).items():
                spent = sum(ask(client, query) for query in queries)
                if round_:  # the first one only warms up
                    took[f"{words}: {panel}"].append(spent)
    walls = []
    wall = [query for queries in opened(client, boards["overview"], {}, 1.0, now).values() for query in queries]
    with ThreadPoolExecutor(len(wall)) as pool:
        for _ in range(2 * ROUNDS):
            begin = time.perf_counter()
            list(pool.map(lambda query: ask(client, query), wall))
            walls.append((time.perf_counter() - begin) * 1e3)
    return took, walls


def boards(folder: Path, full: bool) -> list[Figure]:
    """Every panel's answer at p95, the slowest first, and the wall as a whole."""
    return measured(folder, FULL if full else QUICK)


def measured(folder: Path, scale: Scale) -> list[Figure]:
    """The same, at any scale."""
    found, now = city(300), now_us()
    with influxdb(folder) as (client, pid):
        begin = time.monotonic()
        rows = fill(client, found, now, scale)
        loading = time.monotonic() - begin
        settle(pid)
        took, walls = visits(client, found, now)
    slowest = sorted(((float(np.quantile(times, 0.95)), panel) for panel, times in took.items()), reverse=True)
    size = f"{len(found.meters):,} meters, {len(found.buildings)} buildings, {rows:,} rows; InfluxDB 1.x"
    size += f"; quarter hours of {scale.places_days} d, of meters {scale.meters_days} d; raw {scale.raw_minutes} min"
    over = sum(ms > TARGET_MS for ms, _ in slowest)
    return [
        Figure("dashboards: slowest panel, p95", slowest[0][0], "ms", TARGET_MS, note=slowest[0][1]),
        Figure("dashboards: panels over 300 ms", over, f"of {len(slowest)}", 0, note=size),
        Figure("dashboards: the wall as a whole, p95", float(np.quantile(walls, 0.95)), "ms", WALL_MS),
        *(Figure(f"dashboards: {panel}, p95", ms, "ms", TARGET_MS) for ms, panel in slowest[1:8]),
        Figure("dashboards: filling the database", loading, "s", note=f"{rows / loading:,.0f} rows/s"),
    ]
