"""A saving by day and month: the parts add up to the whole; a known saving is recovered within its interval."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.baseline.fitting import fit
from analytics.reporting import avoided_by
from analytics.savings import Adjustment, avoided_energy
from metering.clock import DAY_US, HOUR_US

ZONE = "Europe/Berlin"
FIRST = int(np.datetime64("2024-01-01", "us").astype(np.int64))
REPORT_HOURS = 92 * 24
WARM_UP = 72


def building(hours, seed):
    """A made-up building: work days by the clock, heating below 15, cooling above 22, autocorrelated noise [kWh]."""
    random = np.random.default_rng(seed)
    i = np.arange(hours)
    air = 10 - 10 * np.cos(2 * np.pi * (i / 8766 - 0.05)) + 4 * np.sin(2 * np.pi * (i - 9) / 24)
    air = air + np.convolve(random.normal(0, 1.5, hours + 47), np.ones(48) / 7, "valid")
    open_now = ((i + 1) % 24 >= 7) & ((i + 1) % 24 < 18) & ((i // 24) % 7 < 5)
    noise = np.convolve(random.normal(0, 1, hours + 5), np.ones(6) / 3, "valid")
    return air, 25 + 45 * open_now + 1.6 * np.maximum(15 - air, 0) + 2.2 * np.maximum(air - 22, 0) + noise


@pytest.fixture(scope="module")
def golden():
    """A year of baseline, a quarter of reporting; (model, time, what was used unchanged, temperature)."""
    air, use = building(8784 + REPORT_HOURS, 3)
    time = FIRST + np.arange(len(use)) * HOUR_US
    model = fit(time[:8784], use[:8784], air[:8784], zone=ZONE, purpose="savings")
    late = slice(8784 - WARM_UP, None)
    return model, time[late], use[late], air[late]


def test_a_known_saving_is_recovered_within_the_stated_interval(golden):
    model, time, use, air = golden
    assert model.quality.guideline14 == "pass"
    used = use * 0.85
    found = avoided_energy(model, time, used, air, warm_up=WARM_UP)
    truth = float(0.15 * use[WARM_UP:].sum())
    assert found.low < truth < found.high and abs(found.avoided - truth) < 0.1 * truth
    assert found.verdict == "significant" and found.coverage == 1.0
    assert found.high - found.low < 0.5 * truth, "an interval that says nothing is no recovery"


def test_a_constant_load_taken_away_is_recovered_hour_for_hour(golden):
    model, time, use, air = golden
    found = avoided_energy(model, time, use - 6.0, air, warm_up=WARM_UP)
    assert found.low < 6.0 * REPORT_HOURS < found.high


def test_nothing_done_is_nothing_saved(golden):
    model, time, use, air = golden
    found = avoided_energy(model, time, use, air, warm_up=WARM_UP)
    assert found.low < 0 < found.high and found.verdict == "not significant"


def test_a_saving_hidden_by_a_new_load_is_found_with_its_adjustment(golden):
    model, time, use, air = golden
    start = int(time[WARM_UP])
    used = use * 0.85
    used[WARM_UP : WARM_UP + 1000] += 12.0
    servers = Adjustment(start, start + 1000 * HOUR_US, 12_000.0, "a server room moved in", "energy office")
    plain, adjusted = (avoided_energy(model, time, used, air, warm_up=WARM_UP, adjustments=a) for a in ((), (servers,)))
    truth = 0.15 * use[WARM_UP:].sum()
    assert adjusted.low < truth < adjusted.high and plain.avoided == pytest.approx(adjusted.avoided - 12_000.0)


@pytest.mark.parametrize("by", ["day", "month"])
@settings(max_examples=12)
@given(data=st.data())
def test_days_and_months_add_up_to_the_whole(golden, by, data):
    model, time, use, air = golden
    used = use * data.draw(st.floats(0.3, 1.5))
    gap = data.draw(st.integers(0, len(used) - 1))
    used[gap : gap + data.draw(st.integers(0, 300))] = np.nan
    start = int(time[WARM_UP])
    first = start + data.draw(st.integers(-20, 80)) * DAY_US
    change = Adjustment(
        first, first + data.draw(st.integers(1, 40)) * DAY_US, data.draw(st.floats(-1e4, 1e4)), "x", "y"
    )
    whole = avoided_energy(model, time, used, air, warm_up=WARM_UP, adjustments=[change])
    parts = avoided_by(model, time, used, air, by=by, warm_up=WARM_UP, adjustments=[change])
    assert int(parts.adjusted_baseline.sum()) == whole.adjusted_baseline
    assert int(parts.observed.sum()) == whole.observed
    assert parts.adjustments.sum() == pytest.approx(whole.adjustments, abs=1e-6)
    assert parts.avoided.sum() == pytest.approx(whole.avoided, abs=1e-6)
    assert parts.hours.sum() == REPORT_HOURS and parts.known.sum() == np.isfinite(used[WARM_UP:]).sum()
    assert (parts.low <= parts.avoided + 1e-9).all() and (parts.avoided <= parts.high + 1e-9).all()


def test_using_a_constant_less_saves_that_constant_more(golden):
    model, time, use, air = golden
    less, more = (avoided_energy(model, time, use - k, air, warm_up=WARM_UP) for k in (1.0, 3.0))
    assert more.avoided - less.avoided == pytest.approx(2.0 * REPORT_HOURS, abs=1.0)
    assert more.high - more.low == pytest.approx(less.high - less.low)


def test_local_months_begin_at_local_midnight(golden):
    model, time, use, air = golden
    parts = avoided_by(model, time, use, air, by="month", warm_up=WARM_UP)
    assert [str(np.datetime64(int(day), "D")) for day in parts.start] == [f"2025-0{month}-01" for month in (1, 2, 3, 4)]
    assert parts.hours.tolist() == [743, 672, 743, 50]  # from 01:00 on; March has an hour less
