import json
from dataclasses import replace

import numpy as np
import pytest

from analytics.baseline.fitting import fit
from analytics.savings import Adjustment, avoided_energy, fractional_uncertainty
from metering.clock import DAY_US

NEW_YEAR_US = int(np.datetime64("2022-01-01", "us").astype(np.int64))


@pytest.fixture(scope="module")
def baseline(office):
    p = office.past
    return fit(office.time[p], office.value[p], office.temperature[p], zone="Europe/London", purpose="savings")


def of(office, baseline, value, **more):
    return avoided_energy(baseline, office.time[office.now], value, office.temperature[office.now], **more)


def test_a_saving_of_an_eighth_is_found_within_its_interval(office, baseline):
    observed = office.value[office.now]
    s = of(office, baseline, observed * 0.875, price_per_unit=0.8, co2_kg_per_unit=0.5)
    truth = 0.125 * observed.sum()
    assert s.low < truth < s.high
    assert s.verdict == "significant"
    assert s.money == pytest.approx(0.8 * s.avoided)
    assert s.co2_kg == pytest.approx(0.5 * s.avoided)
    assert (s.adjusted_baseline - s.observed) / 1000 == s.routine == s.avoided
    json.dumps(s.to_dict(), allow_nan=False)


def test_nothing_saved_is_not_significant(office, baseline):
    s = of(office, baseline, office.value[office.now])
    assert s.verdict == "not significant"
    assert s.money is None


def test_a_non_routine_adjustment_counts_with_its_share_of_the_time(office, baseline):
    value = office.value[office.now] * 0.9
    plain = of(office, baseline, value)
    half_before = Adjustment(NEW_YEAR_US - 10 * DAY_US, NEW_YEAR_US + 10 * DAY_US, -400.0, "hall let", "ann")
    inside = Adjustment(NEW_YEAR_US + 20 * DAY_US, NEW_YEAR_US + 30 * DAY_US, 1000.0, "server room built", "ann")
    s = of(office, baseline, value, adjustments=[half_before, inside])
    assert s.adjustments == pytest.approx(800.0)
    assert s.routine == plain.routine
    assert s.avoided == pytest.approx(plain.avoided + 800.0)
    assert s.high - s.low == pytest.approx(plain.high - plain.low)


def test_gaps_are_left_out_on_both_sides_and_told(office, baseline):
    value = office.value[office.now] * 0.9
    value[:2000] = np.nan
    s = of(office, baseline, value)
    assert s.observed == round(np.nansum(value) * 1000)
    assert s.coverage == pytest.approx(1 - 2000 / 8760, abs=0.001)
    assert "savings.low_coverage" in {f.code for f in s.findings}


def test_without_a_baseline_there_is_no_saving_and_a_reason(office, baseline):
    s = of(office, replace(baseline, kind="none"), office.value[office.now])
    assert s.verdict == "refused"
    assert "savings.refused" in {f.code for f in s.findings}


def test_an_overlap_of_the_periods_disqualifies(office, baseline):
    s = avoided_energy(baseline, office.time[8000:9000], office.value[8000:9000], office.temperature[8000:9000])
    assert any(f.code == "savings.overlap" and f.severity == "disqualifies" for f in s.findings)


def test_fractional_uncertainty_is_that_of_guideline_14():
    # 1.26 x 0.10 / 0.2 x sqrt((1 + 2/12) / 12), twelve months without autocorrelation
    assert fractional_uncertainty(0.10, 12, 3, 12, 0.2) == pytest.approx(0.63 * np.sqrt((1 + 2 / 12) / 12))
    assert fractional_uncertainty(0.1, 365, 5, 365, 0.1, lag1=0.6) > fractional_uncertainty(0.1, 365, 5, 365, 0.1)
