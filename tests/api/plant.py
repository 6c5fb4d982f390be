"""A small real installation in a real store, shared by the tests of API and page."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from fastapi.testclient import TestClient

from analytics.daykinds import SiteCalendar
from analytics.workdays import Workdays
from api.app import create_app
from api.live import LiveFeed
from api.services import Services
from meterhall.derive import Deriver
from meterhall.insights import Insights
from meterhall.savings import Savings
from metering.clock import DAY_US, HOUR_US, QUARTER_US, SECOND_US, to_us
from metering.health import LineHealth, SpoolHealth, UnitHealth
from metering.quantity import Carrier
from metering.reading import Origin, Point, ReadingBatch
from metering.site import Building, Dated, Fact, Factor, Installation, Meter, Name, Site, Vehicle
from storage.ledger.ledger import Event, Ledger
from storage.opening import open_store
from storage.quarantine import Quarantine
from storage.record import Record, Wire

BERLIN = ZoneInfo("Europe/Berlin")
TOKEN = "a-token-for-tests-0123456789"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
IN, OUT = "active_energy_import", "active_energy_export"


def local(*parts: int) -> int:
    """An instant of Berlin's wall clock [us since 1970]."""
    return to_us(datetime(*parts, tzinfo=BERLIN))


NOW = local(2026, 4, 6, 14, 7)  # a Monday
SPRING = (local(2026, 3, 2), NOW)  # with the day of 23 hours, 29 March
AUTUMN = (local(2025, 10, 25), local(2025, 10, 28))  # with the day of 25 hours, 26 October
GAP = (local(2026, 3, 20), local(2026, 3, 22))  # water: nothing known; the counter began anew
SPREAD = (local(2026, 3, 24, 10), local(2026, 3, 24, 16))  # hall: the counter went on unseen


def installation() -> Installation:
    """Two buildings, six meters and a sensor, two vehicles."""

    def meter(id, building, carrier, role="load", parent="", **more):
        return Meter(
            id, "plant", building, Name(f"{id} meter", f"{id} 表"), carrier, role, "generic", f"mqtt://demo/{id}",
            parent=parent, cadence_s=900.0, **more,
        )  # fmt: skip

    power, water = Carrier.ELECTRICITY, Carrier.WATER
    ratio = Fact("ratio", local(2026, 3, 30), factor=2.0, reason="new transformers")
    prices = (
        Factor("price.electricity", 0.25, "EUR/kWh", local(2025, 1, 1), local(2026, 4, 1), source="contract 2025"),
        Factor("price.electricity", 0.30, "EUR/kWh", local(2026, 4, 1), source="contract 2026", status="verified"),
        Factor("co2.electricity", 0.4, "kgCO2/kWh", local(2026, 3, 25), source="a table"),
    )
    return Installation(
        sites=(Site("plant", Name("Plant", "厂区"), "Europe/Berlin", country="DE"),),
        buildings=(
            Building("hall", "plant", Name("Hall", "大厅"), floor_area=(Dated(1000.0, 0),), persons=(Dated(40, 0),)),
            Building("lab", "plant", Name("Lab", "实验楼"), floor_area=(Dated(500.0, 0),)),
        ),
        meters=(
            meter("main", "", power, "grid"),
            meter("hall-e", "hall", power, parent="main"),
            meter("lab-e", "lab", power, parent="main", facts=(ratio,)),
            meter("pv", "hall", power, "generation", parent="main"),
            meter("hall-w", "hall", water),
            meter("sky", "", Carrier.CLIMATE, "sensor"),
        ),
        vehicles=(
            Vehicle("ev-1", "plant", Name("Car 1"), "electric", "p", "mqtt://demo/ev-1", "hall", battery_kwh=60.0),
            Vehicle("van-2", "plant", Name("Van 2"), "petrol", "p", "mqtt://demo/van-2", tank_l=55.0),
        ),
        factors=prices,
    )


def quarters(start: int, end: int) -> np.ndarray:
    """Quarter hours of [start, end)."""
    return np.arange(-(-start // QUARTER_US) * QUARTER_US, end, QUARTER_US, np.int64)


def batch(columns: dict[Point, tuple[np.ndarray, np.ndarray]], source="demo", position="00000001:0") -> ReadingBatch:
    """Readings of some points as one batch that came in two seconds after the newest of them."""
    points = tuple(columns)
    at = np.concatenate([a for a, _ in columns.values()]).astype(np.int64)
    received = int(at.max()) + 2 * SECOND_US if len(at) else 0
    return ReadingBatch(
        points,
        np.repeat(np.arange(len(points), dtype=np.int32), [len(a) for a, _ in columns.values()]),
        at,
        np.concatenate([v for _, v in columns.values()]).astype(np.float64),
        np.zeros(len(at), np.uint8),
        np.zeros(len(at), np.int32),
        (Origin(source, received, "generic@1", position),),
    )


def readings(start: int, end: int, seed: int) -> dict[Point, tuple[np.ndarray, np.ndarray]]:
    """Counters and gauges of a stretch of time, the same for the same seed."""
    at = quarters(start, end)
    hour = (at // HOUR_US) % 24
    busy = 1.0 + 2.0 * ((hour > 6) & (hour < 18))
    random = np.random.default_rng(seed)

    def counter(scale: float, begin: float) -> np.ndarray:
        return np.round(begin + np.cumsum(scale * busy * random.uniform(0.8, 1.2, len(at))), 3)

    hall, lab, pv = counter(1.0, 500.0), counter(0.5, 100.0), counter(0.3, 10.0)
    lab_in_fact = np.cumsum(np.diff(lab, prepend=lab[0]) * np.where(at > local(2026, 3, 30), 2.0, 1.0))
    water = counter(0.02, 30.0)
    anew = at >= GAP[1]
    water[anew] -= water[anew][:1] if anew.any() else 0.0
    by_name = {
        ("hall-e", IN): hall,
        ("lab-e", IN): lab,
        ("pv", OUT): pv,
        ("main", IN): np.round(3000.0 + hall + lab_in_fact + 0.05 * np.arange(len(at)), 3),
        ("main", OUT): np.full(len(at), 7.0),
        ("main", "active_power"): 4000.0 * busy,
        ("hall-e", "active_power"): 3000.0 * busy,
        ("lab-e", "active_power"): 1000.0 * busy,
        ("pv", "active_power"): -1200.0 * busy,
        ("hall-w", "water_volume"): water,
        ("sky", "outdoor_temperature"): 10.0 + 5.0 * np.sin(at / DAY_US * 2 * np.pi),
        ("ev-1", "state_of_charge"): 50.0 + 30.0 * np.sin(at / DAY_US),
        ("ev-1", "odometer"): np.round(12_000 + np.arange(len(at)) * 0.7, 1),
        ("ev-1", "charging"): (hour < 6).astype(float),
        ("van-2", "fuel_level"): 60.0 + 20.0 * np.cos(at / DAY_US),
        ("van-2", "odometer"): np.round(80_000 + np.arange(len(at)) * 0.3, 1),
    }
    out = {}
    for (meter, quantity), value in by_name.items():
        kept = np.ones(len(at), bool)
        if meter == "hall-w":
            kept = (at < GAP[0]) | (at >= GAP[1])
        if (meter, quantity) == ("hall-e", IN):
            kept = (at <= SPREAD[0]) | (at >= SPREAD[1])
        if meter == "van-2":
            kept = at < NOW - 2 * DAY_US  # silent since
        out[Point("plant", meter, quantity)] = (at[kept], value[kept])
    return out


@dataclass
class DirectCollector:
    """A collector whose batches go straight into the store; lines and books are made up."""

    store: object
    now: int = NOW
    batches: list = field(default_factory=list)
    replayed: list = field(default_factory=list)
    refuse: Exception | None = None
    state: str = "ok"
    note: str = ""

    def books(self):
        messages = {
            "received": 12,
            "decoded": 10,
            "repeated": 1,
            "rejected": {"malformed": 1},
            "dropped": {},
            "pending": 0,
        }
        rows = {
            "decoded": 40, "stored": 37, "duplicate": 2, "conflict": 1, "missing": 0, "rejected": {}, "dropped": {},
            "pending": 0,
        }  # fmt: skip
        return {
            "messages": {"demo": messages},
            "readings": {"demo": rows},
            "total": {"messages": messages, "readings": rows},
        }

    def lines(self):
        unit = UnitHealth("hall-e", "ok", NOW - SECOND_US, None, 100, 98, {"timeout": 2}, unit_id=3)
        return [LineHealth("demo", "mqtt", "mqtt://127.0.0.1:1883", self.state, NOW - HOUR_US, "", 1, [unit])]

    def spool(self):
        return SpoolHealth(0, 4096, 1, None, (), True)

    async def ingest(self, source, key, payload, rows, rejected):
        if self.refuse:
            raise self.refuse
        columns = {}
        for row in rows:
            at, value = columns.setdefault(row.point, ([], []))
            at.append(row.at)
            value.append(row.value)
        if rows:
            arrays = {point: (np.array(a), np.array(v)) for point, (a, v) in columns.items()}
            self.store.write(batch(arrays, source, f"00000002:{len(self.batches)}"))
        self.batches.append((source, key, payload, rows, rejected))
        return f"00000002:{len(self.batches)}"

    def replay(self, ids):
        self.replayed.extend(ids)
        return len(ids)


def fill_ledger(ledger: Ledger) -> None:
    """Two open events and one that is over."""

    def event(kind, node, since, text):
        return Event(kind, node, Name(text), since, site="plant", data={"figure": 1.5})

    stuck = event("stuck", "hall-e", NOW - 5 * DAY_US, "The counter stood still")
    ledger.sync_events([stuck], NOW - 5 * DAY_US)
    silent = event("silent", "van-2", NOW - 2 * DAY_US, "Van 2 has been silent")
    ledger.sync_events([silent], NOW - 2 * DAY_US)
    ledger.sync_events([silent, event("water_at_night", "hall-w", NOW - DAY_US, "Water runs at night")], NOW - DAY_US)


def fill_quarantine(quarantine: Quarantine) -> None:
    """Three rejected payloads: text, bytes, and one that would be a formula in a spreadsheet."""
    rows = [
        ("tele/plug/SENSOR", b'{"power": "much"}', "malformed"),
        ("tele/raw", b"\xff\x00\x01", "not_text"),
        ("tele/odd", b"=cmd|' /C calc'!A0", "malformed"),
    ]
    for number, (key, payload, reason) in enumerate(rows):
        record = Record(Wire.MQTT, "demo", key, payload, NOW - number * SECOND_US)
        quarantine.put(record, position=f"00000001:{number}/0", reason=reason, detail="why")


@pytest.fixture(scope="session")
def plant_store(tmp_path_factory):
    """The small installation's store, filled and derived once; tests only add to it."""
    folder: Path = tmp_path_factory.mktemp("plant")
    store = open_store(f"duckdb:///{folder / 'energy.duckdb'}")
    for span, seed in ((AUTUMN, 1), (SPRING, 2)):
        store.write(batch(readings(*span, seed=seed)))
    Deriver(installation(), store).rebuild()
    yield store
    store.close()


@pytest.fixture
def ledger(tmp_path):
    """A real ledger with three events."""
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    fill_ledger(ledger)
    yield ledger
    ledger.close()


@pytest.fixture
def quarantine(tmp_path):
    """A real quarantine with three payloads."""
    quarantine = Quarantine.open(tmp_path / "quarantine.sqlite")
    fill_quarantine(quarantine)
    yield quarantine
    quarantine.close()


@pytest.fixture
def services(plant_store, ledger, quarantine, tmp_path) -> Services:
    """The services of the small installation; the clock stands at NOW."""
    return Services(
        installation=installation(),
        store=plant_store,
        ledger=ledger,
        quarantine=quarantine,
        collector=DirectCollector(plant_store),
        live=LiveFeed(),
        admin_token=TOKEN,
        data_folder=tmp_path,
        started_at=NOW - DAY_US,
        now=lambda: NOW,
        insights=Insights(installation(), plant_store, ledger, lambda site: Workdays(), now=lambda: NOW),
        savings=Savings(installation(), plant_store, ledger, SiteCalendar, lambda: NOW),
    )


@pytest.fixture
def client(services):
    """A browser on the same machine."""
    with TestClient(create_app(services), base_url="http://localhost:8420") as client:
        yield client


@pytest.fixture
def client_of(services):
    """A client of the same services with some of them replaced."""

    def make(**changes) -> TestClient:
        return TestClient(create_app(replace(services, **changes)), base_url="http://localhost:8420")

    return make


def utc(*parts: int) -> int:
    """An instant [us since 1970]."""
    return to_us(datetime(*parts, tzinfo=UTC))
