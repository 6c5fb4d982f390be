"""A building with a year before and a quarter after a retrofit that saves a known share: for tests of savings."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from analytics.daykinds import SiteCalendar
from analytics.edges import local_days
from meterhall.savings import Savings
from metering.clock import DAY_US, HOUR_US, QUARTER_US, to_us
from metering.quantity import Carrier
from metering.reading import IntervalSeries, Measure, Origin, Point, ReadingBatch
from metering.site import Building, Factor, Installation, Meter, Name, Site
from storage.ledger.ledger import Ledger
from storage.ledger.savings import ProjectRow
from storage.opening import open_store

ZONE = "Asia/Shanghai"
SAVED = 0.2  # of what would have been used, from the retrofit on


def at(*parts: int) -> int:
    """Midnight of Shanghai [us since 1970]."""
    return to_us(datetime(*parts, tzinfo=UTC)) - 8 * HOUR_US


FIRST, WORK, DONE, NOW = at(2025, 1, 1), at(2026, 1, 5), at(2026, 1, 8), at(2026, 4, 2) + 3 * HOUR_US
HALL = Measure("plant", "building", "hall", "electricity", "kWh")
MAIN, FANS = (Measure("plant", "meter", id, "active_energy_import", "kWh") for id in ("main", "fans"))
PRICE_RISES = at(2026, 3, 1)


def meter(id, carrier=Carrier.ELECTRICITY, role="load", parent="", building="hall"):
    return Meter(id, "plant", building, Name(id), carrier, role, "p", f"mqtt://demo/{id}", parent=parent)


INSTALLATION = Installation(
    sites=(Site("plant", Name("Plant"), ZONE, 34.75, 113.62),),
    buildings=(Building("hall", "plant", Name("Hall", "大厅")),),
    factors=(
        Factor("price.electricity", 0.8, "CNY/kWh", 0, PRICE_RISES, source="contract", status="verified"),
        Factor("price.electricity", 1.0, "CNY/kWh", PRICE_RISES, source="contract", status="verified"),
        Factor("co2.electricity", 0.5, "kgCO2/kWh", 0, source="a table"),
    ),
    meters=(
        meter("main", role="grid"), meter("fans", parent="main"), meter("gas", Carrier.GAS),
        meter("mast", Carrier.CLIMATE, "sensor", building=""),
    ),
)  # fmt: skip
LAMPS = ProjectRow(
    "lamps", Name("New lamps", "照明改造"), "C", (HALL,), FIRST, WORK, WORK, DONE, None,
    Name("All lamps replaced by LED", "全部灯具更换为 LED"), "energy office", NOW,
)  # fmt: skip


def truth():
    """Hourly outdoor temperature, what would have been used, and what was [degC, kWh]."""
    hours = (NOW - FIRST) // HOUR_US
    i, random = np.arange(hours), np.random.default_rng(8)
    air = 14 - 13 * np.cos(2 * np.pi * (i / 8766 - 0.05)) + 4 * np.sin(2 * np.pi * (i % 24 - 9) / 24)
    air = air + np.convolve(random.normal(0, 1.5, hours + 47), np.ones(48) / 7, "valid")
    busy = (i % 24 >= 7) & (i % 24 < 18) & ((i // 24 + 2) % 7 < 5)  # 1 January 2025 was a Wednesday
    use = 25 + 45 * busy + 1.6 * np.maximum(15 - air, 0) + 2.2 * np.maximum(air - 22, 0)
    use = use + np.convolve(random.normal(0, 1, hours + 5), np.ones(6) / 3, "valid")
    after = FIRST + i * HOUR_US >= DONE
    return air, use, np.where(after, use * (1 - SAVED), use)


def put(store, measure, kwh):
    """Quarter hours and days of hourly amounts [kWh]; NaN is a gap."""
    keep = np.repeat(np.isfinite(kwh), 4)
    amount = np.repeat(np.rint(np.nan_to_num(kwh) * 250).astype(np.int64), 4)[keep]
    start = (FIRST + np.arange(len(keep)) * QUARTER_US)[keep]
    one, none = np.ones(len(start)), np.zeros(len(start), np.int64)
    rows = IntervalSeries(measure, start, start + QUARTER_US, amount, one, none, none.astype(np.uint8))
    store.write_intervals("15min", [rows], (FIRST, NOW))
    days, place = np.unique(local_days(ZONE, start), return_inverse=True)
    begin = days * DAY_US - 8 * HOUR_US
    total = np.zeros(len(days), np.int64)
    np.add.at(total, place, amount)
    one, none = np.ones(len(days)), np.zeros(len(days), np.int64)
    rows = IntervalSeries(measure, begin, begin + DAY_US, total, one, none, none.astype(np.uint8))
    store.write_intervals("day", [rows], (FIRST, NOW))


def make_saved(folder: Path):
    """A store with all of it."""
    store = open_store(f"duckdb:///{folder / 'saved.duckdb'}")
    air, _, used = truth()
    put(store, HALL, used)
    times = FIRST + np.arange(len(air)) * HOUR_US
    store.write(
        ReadingBatch(
            (Point("plant", "mast", "outdoor_temperature"),), np.zeros(len(air), np.int32), times, air,
            np.zeros(len(air), np.uint8), np.zeros(len(air), np.int32), (Origin("demo", NOW, "p@1", "1:0"),),
        )
    )  # fmt: skip
    return store


def savings_over(store, ledger: Ledger, now=lambda: NOW) -> Savings:
    """The projects of the installation."""
    return Savings(INSTALLATION, store, ledger, SiteCalendar, now)
