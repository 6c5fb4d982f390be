"""Counters to curves: nothing lost, nothing invented."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.counters import Step, cumulative, learned_cadence
from analytics.edges import grid_edges
from analytics.facts import scales, sources
from analytics.intervals import curve_at, intervals
from analytics.verdicts import settled
from metering.clock import DAY_US, HOUR_US, MINUTE_US, QUARTER_US
from metering.quantity import Quality
from metering.reading import Measure, Point, Series
from metering.site import Fact

POINT = Point("plant", "main", "active_energy_import")
MEASURE = Measure("plant", "meter", "main", "active_energy_import", "kWh")
T0 = 1_767_225_600_000_000  # 2026-01-01


def series_of(values, at=None, point=POINT):
    value = np.asarray(values, float)
    at = T0 + np.arange(len(value)) * QUARTER_US if at is None else np.asarray(at, np.int64)
    return Series(point, at, value, np.zeros(len(value), np.uint8))


def used(series, edges=None, **how):
    how.setdefault("cadence_us", QUARTER_US)
    curve = cumulative(series, **how)
    if edges is None:
        edges = grid_edges(int(series.at[0]), int(series.at[-1]))
    return intervals(curve, edges, MEASURE), curve


def codes(curve):
    return [finding.code for finding in curve.findings]


@settings(max_examples=60)
@given(start=st.integers(0, 99_999), used_=st.lists(st.integers(0, 5_000), min_size=1, max_size=60))
def test_increments_are_the_energy_used_however_often_the_counter_wraps(start, used_):
    counter = (start + np.cumsum([0, *used_])) % 100_000
    limit = 5_000 / (QUARTER_US / 1e6)
    got, _ = used(series_of(counter), rollover=100_000, largest_step_per_s=limit)
    assert got.amount.tolist() == [1000 * u for u in used_]


@settings(max_examples=60)
@given(
    st.lists(st.floats(0, 50), min_size=2, max_size=60),
    st.lists(st.integers(1, 4 * QUARTER_US), min_size=60, max_size=60),
    st.floats(0, 1e7),
)
def test_any_periods_sum_is_the_counters_difference_at_its_ends(increments, spacing, start):
    at = T0 + np.cumsum(spacing[: len(increments)])
    counter = start + np.cumsum(increments)
    got, curve = used(series_of(counter, at))
    exact = np.floor(counter * 1000 + 0.5).astype(int)
    assert got.amount.sum() == exact[-1] - exact[0]
    assert (got.amount >= 0).all() and (got.estimated <= got.amount).all()
    assert (np.diff(curve_at(curve, at)) == np.diff(exact)).all()


@settings(max_examples=30)
@given(st.lists(st.integers(0, 50), min_size=2, max_size=60), st.integers(0, 10**6), st.sampled_from([2.0, 0.5, 40.0]))
def test_a_constant_added_changes_nothing_and_a_factor_scales(increments, constant, factor):
    counter = np.cumsum(increments).astype(float)
    plain, _ = used(series_of(counter))
    shifted, _ = used(series_of(counter + constant))
    scaled, _ = used(series_of(counter), scales=scales((Fact("ratio", 0, factor),), POINT.quantity))
    assert plain.amount.tolist() == shifted.amount.tolist()
    assert scaled.amount.tolist() == [int(a * factor) for a in plain.amount]


def test_a_step_back_of_one_tick_is_noise_and_not_a_reset():
    got, curve = used(series_of([215.4, 215.6, 215.5, 215.5, 215.7, 215.9]))
    assert got.amount.tolist() == [200, 0, 0, 100, 200]
    assert codes(curve) == ["counter.noise"]


def test_a_spike_up_or_down_gives_and_takes_no_energy():
    for spike in (0.0, 99_999.0, 4_000_000.0):
        got, curve = used(series_of([500, 501, spike, 503, 504, 505, 506]), rollover=100_000)
        assert got.amount.sum() == 6_000 and got.amount.max() <= 1_000
        assert codes(curve) == ["counter.spike"]


def test_two_spoilt_readings_in_a_row_are_a_spike_too():
    got, _ = used(series_of([500, 501, 0, 0, 504, 505, 506]))
    assert got.amount.tolist() == [1000, 1000, 1000, 1000, 1000, 1000]


def test_a_reset_loses_at_most_the_use_since_the_last_reading_and_shows_a_gap():
    got, curve = used(series_of([500, 501, 502, 0, 1, 2, 3, 4]))
    assert got.amount.tolist() == [1000] * 6
    assert T0 + 2 * QUARTER_US not in got.start
    assert codes(curve) == ["counter.reset"]
    assert curve.findings[0].data["before"] == 502


def test_an_unrecorded_swap_to_another_figure_counts_nothing():
    got, curve = used(series_of([500, 501, 502, 37, 38, 39, 40, 41]))
    assert got.amount.sum() == 6_000
    assert codes(curve) == ["counter.step_back"]


def test_a_jump_beyond_rated_power_counts_nothing():
    got, curve = used(series_of([500, 501, 502, 90_000, 90_001, 90_002, 90_003, 90_004]), largest_step_per_s=0.01)
    assert got.amount.sum() == 6_000
    assert codes(curve) == ["counter.jump"]


def test_what_a_frozen_counter_catches_up_is_spread_over_the_time_it_stood_still():
    got, curve = used(series_of([500, 501, 502, *[502] * 12, 515, 516, 517, 518]), largest_step_per_s=2.0 / 900)
    assert got.amount.tolist() == [1000] * 18
    assert got.coverage.tolist() == [1.0] * 2 + [0.0] * 13 + [1.0] * 3
    assert codes(curve) == ["counter.frozen"]


def test_the_newest_reading_counts_only_when_it_can_be_judged():
    got, curve = used(series_of([500, 501, 502, 0]))
    assert got.amount.sum() == 2_000
    assert codes(curve) == ["counter.pending"]


def test_a_rollover_needs_a_declared_width_and_a_possible_energy():
    values = [99_990, 99_995, 3, 8, 13, 18, 23]
    assert used(series_of(values), rollover=100_000)[0].amount.sum() == 33_000
    assert codes(used(series_of(values))[1]) == ["counter.reset"]
    half = [50_000, 50_001, 3, 8, 13, 18, 23]
    assert codes(used(series_of(half), rollover=100_000)[1]) == ["counter.reset"]


def test_a_recorded_swap_loses_no_energy():
    values = [500, 501, 502, 7.2, 8.2, 9.2]
    swap = Fact("swap", T0 + 2 * QUARTER_US + 5 * MINUTE_US, quantity=POINT.quantity, last=502.4, first=7.0)
    got, curve = used(series_of(values), facts=(swap,))
    assert got.amount.tolist() == [1000, 1000, 600, 1000, 1000]
    assert codes(curve) == ["counter.swap"]


def test_a_swap_noted_some_hours_off_is_found_in_the_readings():
    values = [*np.arange(500, 520), *np.arange(0, 20)]
    for hours in (-6, -1, 0, 2, 5):
        swap = Fact("swap", T0 + 20 * QUARTER_US + hours * HOUR_US, quantity=POINT.quantity, last=519.0, first=0.0)
        got, _ = used(series_of(values), facts=(swap,))
        assert got.amount.sum() == 38_000


def test_a_swap_whose_old_figure_is_unknown_leaves_a_gap():
    swap = Fact("swap", T0 + 2 * QUARTER_US + MINUTE_US, quantity=POINT.quantity)
    got, _ = used(series_of([500, 501, 502, 700, 701, 702]), facts=(swap,))
    assert got.amount.sum() == 4_000


def test_energy_of_a_gap_is_spread_in_proportion_to_time_and_marked():
    at = [T0, T0 + QUARTER_US, T0 + 9 * QUARTER_US, T0 + 10 * QUARTER_US]
    got, curve = used(series_of([0, 1, 9, 10], at))
    assert got.amount.tolist() == [1000] * 10
    assert got.coverage.tolist() == [1.0, *[0.0] * 8, 1.0]
    assert got.estimated.tolist() == [0, *[1000] * 8, 0]
    assert set(got.quality[1:9]) == {Quality.ESTIMATED}
    assert (curve.kind == [Step.KNOWN, Step.GAP, Step.KNOWN]).all()


def test_intervals_finer_than_the_cadence_are_interpolated_and_no_gap():
    got, _ = used(series_of([0, 4, 8], [T0, T0 + HOUR_US, T0 + 2 * HOUR_US]), cadence_us=HOUR_US)
    assert got.amount.tolist() == [1000] * 8
    assert set(got.quality) == {Quality.INTERPOLATED} and set(got.coverage) == {1.0}


def test_before_the_first_and_after_the_last_reading_there_is_no_row_and_no_zero():
    got, _ = used(series_of([5, 6]), grid_edges(T0 - DAY_US, T0 + DAY_US))
    assert got.start.tolist() == [T0]
    assert len(used(series_of([5]), grid_edges(T0, T0 + DAY_US))[0]) == 0
    assert len(used(series_of([]), grid_edges(T0, T0 + DAY_US))[0]) == 0


def test_a_ratio_mended_from_a_date_changes_the_energy_from_that_date_and_not_the_readings():
    values = np.arange(0.0, 9.0)
    series = series_of(values)
    half = T0 + 4 * QUARTER_US + QUARTER_US // 2
    got, _ = used(series, scales=scales((Fact("ratio", 0, 10.0), Fact("ratio", half, 40.0)), POINT.quantity))
    assert got.amount.tolist() == [10_000] * 4 + [25_000] + [40_000] * 3
    assert series.value.tolist() == values.tolist()


def test_a_rescale_names_one_quantity_and_leaves_the_others():
    facts = (Fact("rescale", 0, factor=0.001, offset=5.0, quantity="water_volume"), Fact("ratio", 0, 40.0))
    assert scales(facts, "water_volume")[-1][1:] == (0.001, 5.0)
    assert scales(facts, "active_energy_import")[-1].factor == 40.0


def test_a_clamp_put_on_backwards_makes_import_and_export_change_places_from_its_date():
    facts = (Fact("sign", T0, -1.0), Fact("sign", T0 + DAY_US, 1.0))
    names = [(s.end, s.quantity) for s in sources(facts, "active_energy_import")]
    assert names[:2] == [(T0, "active_energy_import"), (T0 + DAY_US, "active_energy_export")]
    assert names[2][1] == "active_energy_import"


def test_a_value_that_is_no_number_or_a_time_that_goes_back_is_refused_by_index():
    with pytest.raises(ValueError, match=r"value\[1\]"):
        used(series_of([1, np.nan, 2]))
    with pytest.raises(ValueError, match=r"at\[2\]"):
        used(series_of([1, 2, 3], [T0, T0 + 2, T0 + 1]))


def test_a_learned_cadence_is_the_median_spacing_of_each_day_by_itself():
    slow, fast = T0 + np.arange(96) * QUARTER_US, T0 + DAY_US + np.arange(1440) * MINUTE_US
    dated = learned_cadence(np.concatenate([slow, fast]), DAY_US, HOUR_US)
    assert (T0, QUARTER_US) in dated and (T0 + DAY_US, MINUTE_US) in dated


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([0.0, 0.04, 0.3, 1.0, 1.0, 2.0, -0.1, -500.0, 500.0]), min_size=40, max_size=160),
    st.integers(1, 100),
)
def test_from_a_settled_reading_on_the_curve_is_the_same_whatever_came_before(increments, cut):
    counter = np.abs(1000 + np.cumsum(increments))
    whole = series_of(counter)
    part = Series(POINT, whole.at[cut:], whole.value[cut:], whole.quality[cut:])
    if len(part) < 3:
        return
    sure = settled(part.at, part.value, np.inf)
    if not len(sure):
        return
    edges = np.unique(np.concatenate([part.at[sure[0] :], part.at[sure[0] : -1] + 7 * MINUTE_US]))
    a = cumulative(whole, cadence_us=QUARTER_US)
    b = cumulative(part, cadence_us=QUARTER_US)
    first, second = intervals(a, edges, MEASURE), intervals(b, edges, MEASURE)
    assert first.start.tolist() == second.start.tolist()
    assert first.amount.tolist() == second.amount.tolist()
    assert first.coverage.tolist() == second.coverage.tolist()


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from([0.0, 0.3, 1.0, 2.0, -0.1, -700.0, 50_000.0, -50_000.0]), min_size=5, max_size=120),
    st.sampled_from([None, 0.002]),
)
def test_whatever_a_counter_does_energy_is_never_negative_and_never_twice_the_plausible(increments, limit):
    counter = np.abs(1000 + np.cumsum(increments))
    got, _ = used(series_of(counter), rollover=100_000, largest_step_per_s=limit)
    assert (got.amount >= 0).all()
    if limit:
        assert got.amount.max(initial=0) <= 1000 * (limit * 900 + 0.1) + 1
