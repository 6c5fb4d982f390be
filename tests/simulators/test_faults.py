"""Each named fault does what it says, in the history and live alike; the truth is written down."""

import json
from dataclasses import replace

import numpy as np
import pytest

from metering.clock import DAY_US, HOUR_US, QUARTER_US
from metering.explain import ExplainedError
from simulators.changes import Change
from simulators.faults import FOREVER, KINDS, Fault, distort, told_at, write_truth
from simulators.history import history
from simulators.world import build

from .conftest import STORY_AT

AT = np.arange(0, 96, dtype=np.int64) * QUARTER_US
COUNT = np.arange(96) * 2.0 + 100
POWER = np.full(96, 800.0)
FROM, TO = 40 * QUARTER_US, 60 * QUARTER_US
INSIDE = (AT >= FROM) & (AT < TO)


def count_at(at):
    return float(100 + 2 * at / QUARTER_US)


def told(kind, quantity, value, **more):
    return distort([Fault(kind, "m", FROM, TO, **more)], quantity, AT, value, count_at)


@pytest.mark.parametrize("kind", ["gap", "dead_unit", "broker_gone"])
def test_silence_is_no_reading_at_all(kind):
    _, value, said = told(kind, "active_power", POWER)
    assert np.array_equal(~said, INSIDE)
    assert np.array_equal(value, POWER)


def test_a_stuck_meter_repeats_one_value():
    at, value, said = told("stuck", "active_energy_import", COUNT)
    assert set(value[INSIDE]) == {count_at(FROM)}
    assert np.array_equal(value[~INSIDE], COUNT[~INSIDE])
    assert said.all() and at is AT


def test_a_spike_is_lone_and_spares_the_counter():
    _, value, _ = told("spike", "active_power", POWER, amount=50.0)
    assert (value != POWER).sum() == 1
    assert value.max() == 40_000
    assert np.array_equal(told("spike", "active_energy_import", COUNT, amount=50.0)[1], COUNT)


def test_a_reset_begins_at_zero_and_a_swap_at_its_first_value():
    _, value, _ = told("reset", "active_energy_import", COUNT)
    assert value[AT == FROM][0] == 0
    assert np.array_equal(np.diff(value[AT >= FROM]), np.diff(COUNT[AT >= FROM]))
    _, value, _ = told("swap", "water_volume", COUNT, last=5000.0, first=3.5)
    assert value[AT == FROM][0] == 3.5
    assert value[AT == FROM - QUARTER_US][0] == 4998.0


def test_a_unit_error_multiplies_and_a_clock_step_moves_the_stamps():
    _, value, _ = told("unit_error", "active_power", POWER, amount=1000.0)
    assert np.array_equal(value, np.where(INSIDE, 800_000.0, 800.0))
    at, value, _ = told("clock_step", "active_power", POWER, amount=-3600.0)
    assert np.array_equal(at, np.where(INSIDE, AT - HOUR_US, AT))
    assert np.array_equal(value, POWER)


def with_fault(young, *faults):
    return replace(young, faults=faults)


def test_a_leak_runs_through_every_meter_above_it(young):
    fault = Fault("leak", "school-water", STORY_AT - DAY_US, STORY_AT - HOUR_US, amount=0.4)
    without, leaking = build(with_fault(young), STORY_AT), build(with_fault(young, fault), STORY_AT)
    for meter in ("school-water", "water-main"):
        i = without.row[meter]
        more = leaking.flows(STORY_AT)[1][i] - without.flows(STORY_AT)[1][i]
        assert more == pytest.approx(0.4 * 23, rel=1e-9)


def test_a_night_load_adds_at_night_and_not_by_day(young):
    fault = Fault("night_load", "office-hvac", STORY_AT - 10 * DAY_US, amount=12_000)
    without, loaded = build(with_fault(young), STORY_AT), build(with_fault(young, fault), STORY_AT)
    i = without.row["office-main"]
    night, day = STORY_AT - 13 * HOUR_US, STORY_AT - HOUR_US
    assert loaded.flows(night)[0][i] - without.flows(night)[0][i] == pytest.approx(12_000, rel=0.1)
    assert loaded.flows(day)[0][i] == pytest.approx(without.flows(day)[0][i], abs=1e-6)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("leak", "night_load", "broker_gone")])
def test_history_and_live_show_the_same_fault(young, kind):
    start = STORY_AT - 6 * HOUR_US
    fault = Fault(kind, "office-power", start, STORY_AT - 2 * HOUR_US, amount=10.0, first=1.0, last=70_000.0)
    world = build(with_fault(young, fault), STORY_AT)
    meter = young.installation.by_id["office-power"]
    batch = next(history(world.bureau, STORY_AT - 9 * HOUR_US, STORY_AT, world=world))
    which = [str(p) for p in batch.points].index("riverside/office-power/active_energy_import/total")
    rows = dict(zip(batch.at[batch.point == which].tolist(), batch.value[batch.point == which].tolist(), strict=True))
    for at in range(STORY_AT - 9 * HOUR_US, STORY_AT, QUARTER_US):
        said = world.values(meter, at)
        stamp = at if said is None else said[0]
        live = None if said is None else said[1]["active_energy_import", "total"]
        if kind == "clock_step":
            assert rows[stamp] == live
        else:
            assert rows.get(at) == live


def test_a_broker_that_is_gone_silences_its_devices_and_no_others(young):
    fault = Fault("broker_gone", "demo", STORY_AT - HOUR_US, STORY_AT + HOUR_US)
    world = build(with_fault(young, fault), STORY_AT)
    for device in young.installation.devices():
        silent = world.values(device, STORY_AT) is None
        assert silent == device.connection.startswith("mqtt"), device.id


def test_a_dead_unit_is_dead_live_too(bureau, world):
    charger = bureau.installation.by_id["depot-charger-3"]
    assert world.values(charger, STORY_AT) is None
    assert world.values(charger, STORY_AT - 6 * HOUR_US) is not None


def test_the_story_counts_back_from_when_it_is_told(bureau):
    leak = next(fault for fault in bureau.faults if fault.device == "school-water")
    assert leak.start == STORY_AT - 4 * DAY_US + 8 * HOUR_US  # 23:00 local, four days ago
    dead = next(fault for fault in bureau.faults if fault.kind == "dead_unit")
    assert dead.start == STORY_AT - 5 * HOUR_US
    assert dead.end == FOREVER
    assert all(fault.cause and fault.cause_zh for fault in bureau.faults)


def test_the_truth_is_written_and_remembers_when_the_story_was_told(tmp_path, bureau):
    path = tmp_path / "truth.json"
    assert told_at(path) is None
    write_truth(path, bureau.faults, seed=1, story_at=STORY_AT)
    assert told_at(path) == STORY_AT
    rows = json.loads(path.read_text(encoding="utf-8"))["faults"]
    assert {row["kind"] for row in rows} >= {"leak", "night_load", "dead_unit", "swap", "gap"}
    assert all(row["start"] and row["cause"] for row in rows)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ExplainedError, match="delete it"):
        told_at(path)


def test_a_change_on_purpose_scales_a_meters_own_flow_from_its_day_on(young):
    at = STORY_AT - 2 * DAY_US
    change = Change("archive-hvac", at, factor=0.5, added=100.0)
    plain, altered = (build(replace(young, changes=each), STORY_AT) for each in ((), (change,)))
    row, step = plain.row["archive-hvac"], plain.grid.step_of(at)
    assert (altered.own[row, :step] == plain.own[row, :step]).all()
    assert np.allclose(altered.own[row, step:], 0.5 * plain.own[row, step:] + 100)
    others = [i for i in range(len(plain.own)) if i != row]
    assert (altered.own[others] == plain.own[others]).all()
