"""The history: 400 days in columns, marked as what it is, with its gaps."""

from itertools import pairwise

import numpy as np
import pytest

from metering.clock import DAY_US, HOUR_US, QUARTER_US, from_us
from metering.quantity import QUANTITIES, Kind
from simulators.history import REPLAYED, SIMULATED, history

from .conftest import STORY_AT

START = STORY_AT - 400 * DAY_US


@pytest.fixture(scope="module")
def batches(bureau, world):
    return list(history(bureau, START, STORY_AT, world=world, received_at=STORY_AT))


def column(batches, meter, quantity):
    at, value = [], []
    for batch in batches:
        i = [str(point) for point in batch.points].index(f"riverside/{meter}/{quantity}/total")
        at.append(batch.at[batch.point == i])
        value.append(batch.value[batch.point == i])
    return np.concatenate(at), np.concatenate(value)


def test_four_hundred_days_of_about_a_hundred_and_fifty_points(batches):
    assert 120 <= len(batches[0].points) <= 170
    assert 4e6 < sum(len(batch) for batch in batches) < 5.5e6
    assert min(batch.at.min() for batch in batches) == START
    assert max(batch.at.max() for batch in batches) == STORY_AT - QUARTER_US


def test_rows_are_sorted_by_point_and_time_finite_and_possible(batches):
    for batch in batches:
        order = np.lexsort((batch.at, batch.point))
        assert np.array_equal(order, np.arange(len(batch)))
        assert np.isfinite(batch.value).all()
        lowest = np.array([QUANTITIES[point.quantity].lowest for point in batch.points])[batch.point]
        highest = np.array([QUANTITIES[point.quantity].highest for point in batch.points])[batch.point]
        assert ((batch.value >= lowest) & (batch.value <= highest)).all()
    for earlier, later in pairwise(batches):
        assert earlier.at.max() < later.at.min()


def test_each_row_says_whether_it_is_simulated_or_replayed(bureau, batches):
    batch = batches[-1]
    assert [origin.source for origin in batch.origins] == [SIMULATED, REPLAYED]
    replayed = {meter.id for meter in bureau.installation.meters if meter.replayed}
    for i, point in enumerate(batch.points):
        origins = set(batch.origin[batch.point == i].tolist())
        assert origins <= {1 if point.meter in replayed else 0}


def test_counters_never_fall_but_at_a_swap(bureau, batches):
    for point in batches[0].points:
        if QUANTITIES[point.quantity].kind is Kind.COUNTER:
            at, value = column(batches, point.meter, point.quantity)
            falls = np.flatnonzero(np.diff(value) < 0)
            if point.meter == "canteen-water":
                assert len(falls) == 1
            else:
                assert len(falls) == 0, f"{point} falls at {from_us(int(at[falls[0] + 1]))}"


def test_a_swap_in_the_readings_fits_its_dated_fact(bureau, batches):
    fact = bureau.installation.by_id["canteen-water"].facts[0]
    at, value = column(batches, "canteen-water", fact.quantity)
    before, after = value[at < fact.valid_from][-1], value[at >= fact.valid_from][0]
    assert 0 <= fact.last - before < 1.5
    assert 0 <= after - fact.first < 1.5


def test_mean_power_and_counter_tell_the_same_story(batches):
    at, power = column(batches, "school-main", "active_power")
    _, counter = column(batches, "school-main", "active_energy_import")
    assert np.diff(counter) == pytest.approx(power[1:] / 4000, abs=0.011)
    assert (np.diff(at) == QUARTER_US).all()


def test_the_story_is_in_the_readings(bureau, batches):
    at, volume = column(batches, "school-water", "water_volume")
    hour = (at // HOUR_US + 8) % 24
    flow = np.append(np.diff(volume) * 4, 0)
    night = (hour >= 1) & (hour < 4)
    lately = at > STORY_AT - 3.5 * DAY_US
    assert flow[night & ~lately & (at > STORY_AT - 30 * DAY_US)].mean() < 0.05
    assert 0.38 < flow[night & lately].mean() < 0.5

    at, power = column(batches, "office-hvac", "active_power")
    hour = (at // HOUR_US + 8) % 24
    night = (hour >= 1) & (hour < 4)
    before = power[night & (at > STORY_AT - 13 * DAY_US) & (at < STORY_AT - 7 * DAY_US)].mean()
    assert power[night & (at > STORY_AT - 5 * DAY_US)].mean() - before == pytest.approx(12_000, rel=0.15)

    at, _ = column(batches, "depot-charger-3", "active_power")
    assert STORY_AT - 5.5 * HOUR_US < at.max() < STORY_AT - 4.5 * HOUR_US


def test_missing_readings_of_the_archive_make_no_rows(world, batches):
    at, _ = column(batches, "library-main", "active_power")
    quiet = world.grid.edges[1:][world.silent["library-main"]]
    quiet = quiet[(quiet >= START) & (quiet < STORY_AT)]
    assert len(quiet) > 10
    assert not np.isin(quiet, at).any()


def test_a_coarser_step_holds_the_same_counters(bureau, world, batches):
    hourly = list(history(bureau, START, STORY_AT, world=world, step=HOUR_US))
    at, value = column(hourly, "office-main", "active_energy_import")
    all_at, all_value = column(batches, "office-main", "active_energy_import")
    assert np.array_equal(value, all_value[np.isin(all_at, at)])
    with pytest.raises(ValueError, match="quarter"):
        next(history(bureau, START, STORY_AT, world=world, step=1000))
