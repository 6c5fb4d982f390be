"""A small installation with 100 days of use; for six days its fans have run all night: for tests of what is usual."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analytics.workdays import Workdays
from meterhall.insights import Insights
from metering.clock import DAY_US, HOUR_US, QUARTER_US
from metering.quantity import Carrier
from metering.reading import IntervalSeries, Measure, Origin, Point, ReadingBatch
from metering.site import Building, Factor, Installation, Meter, Name, Site
from storage.ledger.ledger import Ledger
from storage.opening import open_store

DAYS = 100
START = 20_400 * DAY_US
NOW = START + DAYS * DAY_US + HOUR_US + 60_000_000
FAULT = NOW - 6 * DAY_US
LEFT_ON_KW = 12.0


def meter(id, carrier=Carrier.ELECTRICITY, role="load", parent="", building="hall"):
    return Meter(id, "plant", building, Name(id), carrier, role, "p", f"mqtt://demo/{id}", parent=parent)


INSTALLATION = Installation(
    sites=(Site("plant", Name("Plant"), "UTC"),),
    buildings=(Building("hall", "plant", Name("Hall")),),
    factors=(
        Factor("price.electricity", 0.8, "CNY/kWh", 0, source="contract", status="verified"),
        Factor("co2.electricity", 0.5, "kgCO2/kWh", 0, source="a table"),
    ),
    meters=(
        meter("main", role="grid"),
        meter("fans", parent="main"),
        meter("pv", role="generation", parent="main"),
        meter("sky", Carrier.CLIMATE, "sensor"),
    ),
)
MAIN, FANS = (Measure("plant", "meter", id, "active_energy_import", "kWh") for id in ("main", "fans"))
HALL, PLANT = (Measure("plant", s, n, "electricity", "kWh") for s, n in (("building", "hall"), ("site", "plant")))
PV = Measure("plant", "meter", "pv", "active_energy_export", "kWh")


def quarters(measure, kwh):
    """Quarter hours of hourly amounts [kWh]; NaN is a gap."""
    amount = np.repeat(np.nan_to_num(kwh) * 250, 4).astype(np.int64)
    start = START + np.arange(len(amount)) * QUARTER_US
    keep = np.repeat(np.isfinite(kwh), 4)
    columns = (start, start + QUARTER_US, amount, np.ones(len(start)), np.zeros(len(start), np.int64),
               np.zeros(len(start), np.uint8))  # fmt: skip
    return IntervalSeries(measure, *(column[keep] for column in columns))


def loads(fault=True):
    """Hourly use of fans and main [kWh]: a work day's shape; in the last six days the fans run all night."""
    n = (NOW - START) // HOUR_US
    random = np.random.default_rng(5)
    hour, day = np.arange(n) % 24, np.arange(n) // 24
    busy = ((day + 20_400 + 3) % 7 < 5) & (hour >= 8) & (hour < 18)
    fans = (6 + 20 * busy) * random.normal(1, 0.03, n)
    rest = (8 + 15 * busy) * random.normal(1, 0.03, n)
    if fault:
        late = START + np.arange(n) * HOUR_US >= FAULT
        fans[late & ~busy] += LEFT_ON_KW
    return np.round(fans, 2), np.round(fans + rest, 2)


def put(store, measure, kwh):
    series = quarters(measure, kwh)
    store.write_intervals("15min", [series], (START, NOW))
    day = series.start // DAY_US
    days = np.unique(day)
    amount = np.bincount(day - days[0], series.amount).astype(np.int64)[days - days[0]]
    ones = np.ones(len(days))
    store.write_intervals(
        "day",
        [IntervalSeries(measure, days * DAY_US, (days + 1) * DAY_US, amount, ones, ones.astype(np.int64) * 0,
                        np.zeros(len(days), np.uint8))],
        (START, NOW),
    )  # fmt: skip


def fill(store, fault=True):
    fans, main = loads(fault)
    for measure, kwh in ((FANS, fans), (MAIN, main), (HALL, main), (PLANT, main), (PV, fans)):
        put(store, measure, kwh)
    at = START + np.arange(0, NOW - START, HOUR_US)
    degc = 10 + 5 * np.sin(at / DAY_US * 2 * np.pi)
    late = NOW - np.arange(4, 0, -1) * QUARTER_US
    columns = [(Point("plant", "sky", "outdoor_temperature"), at, degc)]
    columns += [(Point("plant", m, "active_energy_import"), late, 500.0 + np.arange(4)) for m in ("fans", "main")]
    size = [len(times) for _, times, _ in columns]
    n = sum(size)
    store.write(
        ReadingBatch(
            tuple(point for point, _, _ in columns), np.repeat(np.arange(3, dtype=np.int32), size),
            np.concatenate([times for _, times, _ in columns]), np.concatenate([values for _, _, values in columns]),
            np.zeros(n, np.uint8), np.zeros(n, np.int32), (Origin("demo", NOW, "p@1", "1:0"),),
        )
    )  # fmt: skip


class Clock:
    """Stands at NOW until it is set."""

    now = NOW

    def __call__(self) -> int:
        return self.now


def insights_of(store, ledger, clock) -> Insights:
    """Baselines and incidents of the installation."""
    return Insights(INSTALLATION, store, ledger, lambda site: Workdays(), now=clock)


@dataclass
class Usual:
    """The store, and the file of a ledger with a baseline of everything, judged up to NOW."""

    store: object
    ledger: Path

    def copy(self, folder: Path) -> Ledger:
        """The ledger, for one test."""
        return Ledger.open(f"sqlite:///{shutil.copy(self.ledger, folder / 'usual.sqlite')}")


def make_usual(folder: Path) -> Usual:
    """Fill a store, fit and judge everything."""
    store = open_store(f"duckdb:///{folder / 'usual.duckdb'}")
    fill(store)
    ledger = Ledger.open(f"sqlite:///{folder / 'ledger.sqlite'}")
    insights = insights_of(store, ledger, Clock())
    assert insights.fit_what_is_due() == 4
    insights.watcher.step(NOW)
    ledger.close()
    return Usual(store, folder / "ledger.sqlite")
