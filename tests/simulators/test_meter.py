"""Counters in registers, and the course inside a quarter hour."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.meter import Register, corners, registers, within
from simulators.replay import spread

flows = st.lists(st.floats(0, 1e6), min_size=3, max_size=3)


def test_a_counter_stands_on_its_count_and_wraps_at_its_limit():
    register = Register(step=0.01, limit=1000.0, counter=True)
    assert register.hold(np.array([12.3456, 999.999, 1000.0, 1234.567])).tolist() == [12.34, 999.99, 0.0, 234.56]


def test_a_float_register_loses_resolution_as_it_grows():
    register = registers("eastron_sdm630")["active_energy_import", "total"]
    held = register.hold(np.array([1048576.06]))
    assert held[0] == 1048576.0  # f32 counts in eighths here


def test_the_registers_of_real_models_are_known():
    assert registers("gavazzi_em24")["active_energy_import", "total"].step == pytest.approx(0.1)
    assert registers("acrel_adw300")["active_energy_import", "total"].limit == pytest.approx(2**32 * 0.01)
    assert registers("wirenboard_mcm8_water.1")["water_volume", "total"].limit == pytest.approx(2**32 / 1000)
    assert registers("teltonika_json")["odometer", "total"].step == pytest.approx(0.001)


@given(flows, st.floats(0, 6.28), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_the_course_inside_a_step_has_the_steps_own_mean_and_never_falls_below_zero(three, wave, step):
    before, here, after = (np.array([value]) for value in three)
    phase = np.array([wave])
    passed = [float(within(before, here, after, share, phase, step)[1][0]) for share in np.linspace(0, 1, 41)]
    now = [float(within(before, here, after, share, phase, step)[0][0]) for share in np.linspace(0, 0.999, 41)]
    assert passed[0] == pytest.approx(0, abs=1e-9)
    assert passed[-1] == pytest.approx(three[1], rel=1e-9, abs=1e-9)
    assert min(np.diff(passed)) >= -1e-9
    assert min(now) >= 0
    assert all(float(corner[0]) <= 1.36 * three[1] + 1e-9 for corner in corners(before, here, after))


@given(st.lists(st.floats(0, 1e4), min_size=3, max_size=60))
@settings(max_examples=40, deadline=None)
def test_an_hour_spread_over_its_quarters_keeps_its_energy(hours):
    quarters = spread(np.array(hours))
    assert quarters.min() >= -1e-9
    assert quarters.sum(axis=1) == pytest.approx(np.array(hours), abs=1e-9)
