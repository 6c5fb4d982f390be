"""The job behind "needs you": each fault found from stored data, one item a cause, and nothing on clean data."""

from datetime import UTC, datetime

import numpy as np
import pytest

from meterhall.attend import Attender, line_of
from meterhall.derive import Deriver
from metering.clock import DAY_US, HOUR_US, MINUTE_US, QUARTER_US, to_us
from metering.health import LineHealth, UnitHealth
from metering.quantity import Carrier
from metering.reading import Origin, Point, ReadingBatch
from metering.site import Building, Fact, Installation, Meter, Name, Site
from storage.opening import open_store

NOW = to_us(datetime(2026, 11, 24, 6, 10, tzinfo=UTC))  # Tuesday 14:10 in Shanghai
DAYS = 40
POWER, ENERGY, WATER = "active_power", "active_energy_import", "water_volume"


def meter(id, building, parent="", carrier=Carrier.ELECTRICITY, line="127.0.0.1:1502", **more):
    role = "grid" if not parent else "load"
    return Meter(
        id, "plant", building, Name(id.title(), f"{id}表"), carrier, role, "p", f"modbus-tcp://{line}",
        parent=parent, cadence_s=900, **more,
    )  # fmt: skip


def world(**swap):
    meters = (
        meter("main", "", rated_power_w=200_000.0),
        meter("office", "house", "main", rated_power_w=100_000.0),
        meter("fan", "house", "office", rated_power_w=60_000.0, **swap),
        meter("well", "", carrier=Carrier.WATER, line="127.0.0.1:1503"),
        meter("taps", "house", "well", Carrier.WATER, "127.0.0.1:1503"),
    )
    site = Site("plant", Name("Plant", "园区"), "Asia/Shanghai")
    return Installation((site,), (Building("house", "plant", Name("House", "办公楼")),), meters)


class Plant:
    """Forty days of quarter hours of a small site, with what a test changes."""

    def __init__(self, seed=1):
        random = np.random.default_rng(seed)
        self.at = np.arange(NOW - DAYS * DAY_US, NOW, QUARTER_US) // QUARTER_US * QUARTER_US + QUARTER_US
        self.at = self.at[self.at <= NOW]
        n = len(self.at)
        local = (self.at - QUARTER_US + 8 * HOUR_US) % DAY_US / HOUR_US
        weekday = ((self.at + 8 * HOUR_US) // DAY_US + 3) % 7
        self.local, self.work = local, weekday < 5
        busy = ((local > 7.5) & (local < 18.5) & self.work).astype(float)
        self.fan = (4 + 20 * busy) * (1 + 0.05 * random.standard_normal(n))
        self.office = self.fan + (2 + 30 * busy) * (1 + 0.05 * random.standard_normal(n))
        self.main = self.office + 5 * (1 + 0.05 * random.standard_normal(n))
        self.taps = random.poisson(0.05 + 30 * busy) * 0.01 * 4
        self.well = self.taps + 0.03
        self.drop = {}

    def counter(self, flow):
        return np.cumsum(flow) / 4 + 1000.0

    def columns(self):
        for name in ("main", "office", "fan"):
            yield Point("plant", name, ENERGY), np.round(self.counter(getattr(self, name)), 1)
            yield Point("plant", name, POWER), getattr(self, name) * 1000
        for name in ("taps", "well"):
            yield Point("plant", name, WATER), np.round(self.counter(getattr(self, name)), 2)


@pytest.fixture
def store(tmp_path):
    opened = open_store(f"duckdb:///{tmp_path / 'energy.duckdb'}")
    yield opened
    opened.close()


def fill(store, plant, change=None, quality=None):
    for point, value in plant.columns():
        if change:
            value = change(point, value)
        keep = np.isfinite(value)
        n = int(keep.sum())
        flags = np.zeros(n, np.uint8) if quality is None else quality(point, plant.at[keep])
        origin = np.zeros(n, np.int32)
        store.write(
            ReadingBatch((point,), origin, plant.at[keep], value[keep], flags, origin, (Origin("t", NOW, "", ""),))
        )


def look(store, installation, now=NOW, lines=(), started_at=0):
    deriver = Deriver(installation, store)
    deriver.rebuild()
    return Attender(installation, store, started_at=started_at).current(now, lines, deriver.findings())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_clean_data_needs_nobody(store, seed):
    fill(store, Plant(seed))
    assert look(store, world()) == []


def test_a_leak_and_a_fan_left_on_are_found_once_each_to_the_hour_with_their_size(store):
    plant = Plant()
    leak = to_us(datetime(2026, 11, 20, 15, tzinfo=UTC))  # Friday 23:00
    plant.taps[plant.at > leak] += 0.4
    plant.well[plant.at > leak] += 0.4
    night = (plant.at > NOW - 3 * DAY_US) & ((plant.local >= 20) | (plant.local < 6))
    for name in ("fan", "office", "main"):
        getattr(plant, name)[night] += 12
    fill(store, plant)
    rows = {row.kind: row for row in look(store, world())}
    assert set(rows) == {"water_at_night", "night_load"}
    water, load = rows["water_at_night"], rows["night_load"]
    assert (water.node, water.since) == ("taps", leak)
    assert water.size == pytest.approx(0.4, abs=0.05)
    assert "House: water runs at night, 0.4" in water.text.en and "since Fri 23:00" in water.text.en
    assert "11月20日 周五 23:00" in water.text.zh
    assert load.node == "fan" and load.size == pytest.approx(12, rel=0.1)
    assert load.since == to_us(datetime(2026, 11, 21, 12, tzinfo=UTC))  # Saturday 20:00


def test_one_night_is_not_enough(store):
    plant = Plant()
    plant.taps[plant.at > NOW - 12 * HOUR_US] += 0.4
    fill(store, plant)
    assert look(store, world()) == []


def test_a_counter_that_stands_still_while_power_flows_is_stuck_and_an_idle_meter_is_not(store):
    since = NOW - 3 * HOUR_US

    def freeze(point, value):
        if point.meter == "fan" and point.quantity == ENERGY:
            return np.minimum(value, value[plant.at <= since][-1])
        return value

    plant = Plant()
    plant.taps[plant.at > NOW - 9 * HOUR_US] = 0  # nobody opens a tap
    fill(store, plant, freeze)
    (row,) = look(store, world())
    assert (row.kind, row.node, row.severity) == ("stuck", "fan", "broken")
    assert abs(row.since - since) <= QUARTER_US
    assert "stands still" in row.text.en and "kW" in row.text.en


def test_a_line_that_falls_silent_is_one_item_and_a_single_meter_is_named(store):
    plant = Plant()
    fill(store, plant, lambda p, v: np.where(plant.at > NOW - 2 * HOUR_US, np.nan, v) if p.quantity == WATER else v)
    (row,) = look(store, world())
    assert row.kind == "silent" and row.node == line_of(world().by_id["taps"])
    assert row.size == 2 and "1503" in row.text.en and "2 块表" in row.text.zh


def test_a_unit_that_does_not_answer_is_dead_and_the_process_start_is_no_silence(store):
    plant = Plant()
    fill(store, plant, lambda p, v: np.where(plant.at > NOW - HOUR_US, np.nan, v) if p.meter == "fan" else v)
    unit = UnitHealth("fan", "broken", offline_since=NOW - HOUR_US, breaker="open")
    lines = [LineHealth("1502", "modbus", "127.0.0.1:1502", "degraded", units=[unit])]
    (row,) = look(store, world(), lines=lines)
    assert (row.kind, row.node, row.severity) == ("dead_unit", "fan", "broken")
    assert look(store, world(), now=NOW + DAY_US, started_at=NOW + DAY_US - MINUTE_US) == []


def test_power_above_rated_is_out_of_range(store):
    plant = Plant()
    plant.fan[-3:] = 75.0
    fill(store, plant)
    (row,) = look(store, world())
    assert (row.kind, row.node, row.unit) == ("out_of_range", "fan", "kW")
    assert row.size == pytest.approx(75, rel=0.02)


def test_values_that_fail_their_check_again_and_again_are_out_of_range(store):
    def flags(point, at):
        return ((point.quantity == POWER) & (point.meter == "fan") & (at > NOW - HOUR_US)).astype(np.uint8)

    fill(store, Plant(), quality=flags)
    (row,) = look(store, world())
    assert (row.kind, row.node, row.since) == ("out_of_range", "fan", NOW // QUARTER_US * QUARTER_US - 3 * QUARTER_US)


def test_a_counter_that_fell_needs_a_swap_record_and_with_one_needs_nobody(store):
    moment = NOW // QUARTER_US * QUARTER_US - 20 * QUARTER_US

    def swapped(point, value):
        if point.meter != "fan" or point.quantity != ENERGY:
            return value
        return np.where(plant.at > moment, value - value[plant.at <= moment][-1] + 2.0, value)

    plant = Plant()
    fill(store, plant, swapped)
    (row,) = look(store, world())
    assert (row.kind, row.node) == ("counter_reset", "fan")
    assert "record the swap" in row.text.en and "登记换表" in row.text.zh
    deriver = Deriver(world(), store)
    deriver.run_once(NOW)  # after a restart, what was found of late is known again
    again = Attender(world(), store).current(NOW, (), deriver.findings())
    assert [each.kind for each in again] == ["counter_reset"]
    last = float(plant.counter(plant.fan)[plant.at <= moment][-1])
    fact = Fact("swap", moment + MINUTE_US, quantity=ENERGY, last=last, first=2.0)
    assert look(store, world(facts=(fact,))) == []


def test_a_broken_thing_comes_first(store):
    plant = Plant()
    plant.taps[plant.at > NOW - 4 * DAY_US] += 0.4
    fill(store, plant, lambda p, v: np.where(plant.at > NOW - HOUR_US, np.nan, v) if p.meter == "fan" else v)
    assert [row.severity for row in look(store, world())] == ["broken", "needs_you"]
