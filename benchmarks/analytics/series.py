"""The real series, and the years they are judged on."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

import numpy as np

from analytics.workdays import Workdays

DATA = Path(__file__).parent / "data"
ZONE = "Europe/London"


@dataclass(frozen=True)
class Meter:
    """An hourly series. time: datetime64[us] (n,), UTC starts of hours; value [kWh], NaN a gap; temperature [degC]."""

    name: str
    carrier: str
    time: np.ndarray
    value: np.ndarray
    temperature: np.ndarray

    def year(self, year: int) -> Meter:
        start, end = np.datetime64(f"{year}-01-01", "us"), np.datetime64(f"{year + 1}-01-01", "us")
        use = (self.time >= start) & (self.time < end)
        return Meter(self.name, self.carrier, self.time[use], self.value[use], self.temperature[use])


def read(name: str) -> tuple[np.ndarray, list[str], np.ndarray]:
    with gzip.open(DATA / name, "rt", encoding="ascii") as file:
        rows = csv.reader(file)
        names = next(rows)[1:]
        table = list(rows)
    time = np.array([row[0].replace(" ", "T") for row in table], "datetime64[us]")
    return time, names, np.array([[float(cell or "nan") for cell in row[1:]] for row in table])


@lru_cache(maxsize=1)
def meters() -> tuple[Meter, ...]:
    """The five electricity and three gas meters; missing readings, zero in the archive, are gaps."""
    clock, _, weather = read("cambridge_weather_hourly.csv.gz")
    out = []
    for carrier in ("electricity", "gas"):
        time, names, table = read(f"cambridge_{carrier}_kwh_hourly.csv.gz")
        air = weather[np.searchsorted(clock, time), 0]
        for name, column in zip(names, table.T, strict=True):
            value = column.copy()
            if carrier == "electricity":
                value[value == 0] = np.nan
            value[value >= 9.8 * np.nanmean(value)] = np.nan
            out.append(Meter(f"{name} {carrier}", carrier, time, value, air))
    return tuple(out)


@lru_cache(maxsize=1)
def bank_holidays() -> Workdays:
    with (DATA / "bank_holidays.csv").open(encoding="utf-8") as file:
        days = [date.fromisoformat(row["date"]) for row in csv.DictReader(file)]
    return Workdays(dict.fromkeys(days, False), frozenset(day.year for day in days))


def pairs() -> list[tuple[Meter, Meter]]:
    """(a year to learn from, the next year to be judged on) of each meter."""
    return [
        (meter.year(year), meter.year(year + 1))
        for meter in meters()
        for year in ((2017, 2018) if meter.carrier == "electricity" else (2018,))
    ]
