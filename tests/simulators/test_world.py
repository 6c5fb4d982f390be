"""The simulated world adds up, is the same each time, and its live values join its history."""

from dataclasses import replace

import numpy as np
import pytest

from metering.clock import DAY_US, HOUR_US, MINUTE_US, QUARTER_US, SECOND_US
from metering.quantity import QUANTITIES, Kind
from simulators import replay
from simulators.history import history
from simulators.vehicle import CHARGER_EFFICIENCY, STANDBY_W
from simulators.world import build

from .conftest import STORY_AT


def test_the_submeters_of_a_main_never_add_up_to_more_than_the_main(bureau, world):
    total = world.tree @ world.own
    for meter in world.meters:
        below = bureau.installation.children[meter.id]
        if below:
            sign = [-1 if child.role == "generation" else 1 for child in below]
            parts = sum(s * total[world.row[child.id]] for s, child in zip(sign, below, strict=True))
            assert (total[world.row[meter.id]] - parts).min() >= -1e-6, meter.id


def test_flows_stay_below_what_a_meter_is_rated_for(world):
    total = world.tree @ world.own
    for meter in world.meters:
        if meter.rated_power_w:
            assert total[world.row[meter.id]].max() < meter.rated_power_w, meter.id
        assert total[world.row[meter.id]].max() > 0, meter.id


def test_the_same_seed_gives_the_same_world_and_another_seed_another(young):
    one, again, other = (build(replace(young, seed=seed), STORY_AT) for seed in (1, 1, 2))
    assert np.array_equal(again.own, one.own)
    assert not np.array_equal(other.own, one.own)
    at = STORY_AT + 1_234_567_890
    for device in young.installation.devices():
        assert again.values(device, at) == one.values(device, at)


def test_a_longer_look_ahead_changes_nothing_before(young):
    world, longer = build(young, STORY_AT), build(young, STORY_AT + 45 * DAY_US)
    known = world.grid.step_of(world.end)
    assert np.array_equal(longer.own[:, :known], world.own[:, :known])
    for device in young.installation.devices():
        assert longer.values(device, STORY_AT + 12_345_678) == world.values(device, STORY_AT + 12_345_678)


@pytest.mark.slow
def test_a_live_world_without_its_past_says_the_same(bureau, world):
    live = build(bureau, STORY_AT + 3 * DAY_US, keep_from=STORY_AT - HOUR_US)
    assert live.own.shape[1] < 12 * 96
    for at in (STORY_AT, STORY_AT + 7 * MINUTE_US + 1, STORY_AT + DAY_US):
        for device in bureau.installation.devices():
            assert live.values(device, at) == world.values(device, at), device.id
    with pytest.raises(ValueError, match="outside"):
        live.flows(STORY_AT - 30 * DAY_US)


def test_live_values_join_the_history(bureau, world):
    """At each quarter's edge the live counter is the history's; in between it stands between its neighbours."""
    batch = next(history(bureau, STORY_AT - 2 * HOUR_US, STORY_AT + QUARTER_US, world=world))
    compared = 0
    for i, point in enumerate(batch.points):
        device = bureau.installation.by_id[point.meter]
        mine = batch.point == i
        for at, value in zip(batch.at[mine], batch.value[mine], strict=True):
            said = world.values(device, int(at))
            assert said is not None
            live = said[1][point.quantity, point.phase]
            if QUANTITIES[point.quantity].kind is Kind.COUNTER or point.quantity.endswith("temperature"):
                assert live == value, f"{point} at {at}"
                compared += 1
    assert compared > 500


def test_live_counters_never_fall_and_grow_by_the_power_they_show(bureau, world):
    meter = bureau.installation.by_id["office-main"]
    every = 10 * SECOND_US
    instants = range(STORY_AT, STORY_AT + HOUR_US + 1, every)
    pairs = [world.flows(at) for at in instants]
    i = world.row[meter.id]
    counter = np.array([count[i] for _, count in pairs])
    power = np.array([flow[i] for flow, _ in pairs])
    assert np.diff(counter).min() > 0
    trapezoid = ((power[1:] + power[:-1]) / 2).sum() * 10 / 3.6e6
    assert trapezoid == pytest.approx(counter[-1] - counter[0], rel=0.01)


def test_a_charger_counts_what_the_vehicles_take_plus_its_losses(bureau, world):
    at = (STORY_AT - world.grid.start) / SECOND_US
    plugs = sum(float(course.value("plug", at)) for course in world.fleet.courses.values())
    meters = sum(float(world.flows(STORY_AT)[1][world.row[meter]]) for meter in world.fleet.chargers)
    standby = len(world.fleet.chargers) * STANDBY_W * at / 3.6e6
    assert plugs > 10_000
    assert meters == pytest.approx(plugs / CHARGER_EFFICIENCY + standby, rel=1e-9)


def test_vehicles_keep_within_battery_and_tank_and_their_counters_never_fall(bureau, world):
    for vehicle in bureau.installation.vehicles:
        course = world.fleet.courses[vehicle.id]
        assert np.diff(course.at).min() >= 0, vehicle.id
        for name in ("odometer", "used", "recovered", "plug", "fuel_used"):
            assert np.diff(course.columns[name]).min() >= -1e-9, (vehicle.id, name)
        if vehicle.battery_kwh:
            assert course.columns["battery"].min() > 0
            assert course.columns["battery"].max() <= vehicle.battery_kwh + 1e-6
        if vehicle.tank_l:
            assert course.columns["fuel"].min() > 0, vehicle.id
        a_year = (course.value("odometer", 365 * 86400.0) - course.value("odometer", 0.0)).item()
        assert 4_000 < a_year < 30_000


def test_vehicles_are_out_by_day_and_home_at_night(bureau, world):
    noon, night = STORY_AT - 5 * HOUR_US, STORY_AT - 13 * HOUR_US  # 10:00 and 02:00 local, a Tuesday

    def away(at):
        seconds = (at - world.grid.start) / SECOND_US
        return sum(float(course.value("away", seconds)) > 0 for course in world.fleet.courses.values())

    assert away(noon) >= 3
    assert away(night) == 0


def test_a_replayed_meter_has_the_archives_energy_in_every_hour(world):
    for meter, column in (("hall-main", "b112_electricity_kwh"), ("library-gas", "b118_gas_kwh")):
        hours = replay.archive().energy[column]
        total = (world.tree @ world.own)[world.row[meter]]
        energy = (total / 4000).reshape(-1, 4).sum(axis=1)
        expected = hours[replay.source_hour(world.grid)[::4]]
        known = ~np.isnan(expected)
        assert known.mean() > 0.99
        assert energy[known] == pytest.approx(expected[known], abs=1e-9)


def test_a_replay_keeps_weekday_and_clock_hour(world):
    hour = replay.source_hour(world.grid)
    assert ((hour % 168) == (world.grid.local_hour - 96) % 168).all()  # 1970-01-01 was a Thursday


def test_gaps_of_the_archive_are_gaps_and_zeros_of_gas_are_zeros(bureau, world):
    library = bureau.installation.by_id["library-main"]
    quiet = np.flatnonzero(world.silent["library-main"])
    assert len(quiet) > 100
    at = int(world.grid.edges[quiet[-1]]) + MINUTE_US
    assert world.values(library, at) is None
    counted = world.counted[world.row["library-main"]]
    assert (np.diff(counted)[quiet] > 0).all(), "the counter counts on while nobody hears it"
    assert (replay.archive().energy["b118_gas_kwh"] == 0).sum() > 1000
    assert not (replay.archive().energy["b112_electricity_kwh"] == 0).any()
