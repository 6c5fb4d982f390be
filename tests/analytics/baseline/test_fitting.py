"""What a baseline promises, whatever the data."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from analytics.baseline.expected import predict, totals
from analytics.baseline.fitting import fit
from analytics.baseline.model import BaselineModel
from analytics.workdays import Workdays
from metering.clock import HOUR_US

GOLDEN = Path(__file__).parent.parent / "golden"
ZONE = "Europe/London"
KNOWN = Workdays({}, frozenset({2021, 2022}))


@pytest.fixture(scope="module")
def model(office):
    p = office.past
    return fit(office.time[p], office.value[p], office.temperature[p], zone=ZONE, calendar=KNOWN)


@pytest.fixture(scope="module")
def expected(office, model):
    return predict(model, office.time[office.now], office.temperature[office.now], calendar=KNOWN)


def codes(model):
    return {f.code for f in model.findings}


def test_the_next_year_of_a_building_that_stays_as_it_is_is_foretold(office, model, expected):
    observed = office.value[office.now]
    assert np.sqrt(np.mean((expected.value - observed) ** 2)) / observed.mean() < 0.12
    assert 0.86 < np.mean((observed >= expected.low) & (observed <= expected.high)) < 0.97
    total = totals(model, expected, "all")
    assert total.low[0] < observed.sum() < total.high[0]
    assert model.quality.guideline14 == "pass"
    assert model.quality.cvrmse_out >= model.quality.cvrmse


@pytest.mark.parametrize("by", ["day", "week", "month", "all"])
def test_the_hours_add_up_to_the_last_digit(model, expected, by):
    total = totals(model, expected, by)
    assert total.amount.sum() == expected.amount.sum()
    assert total.hours.sum() == len(expected.amount)
    if by == "day":
        assert set(total.hours.tolist()) == {23.0, 24.0, 25.0}


def test_a_model_comes_back_from_json_to_the_bit(office, model, expected):
    back = BaselineModel.from_dict(json.loads(json.dumps(model.to_dict(), allow_nan=False)))
    again = predict(back, office.time[office.now], office.temperature[office.now], calendar=KNOWN)
    assert all(np.array_equal(a, b) for a, b in zip(expected, again, strict=True))
    assert back.to_dict() == model.to_dict()


def test_a_model_of_another_version_is_refused(model):
    with pytest.raises(ValueError, match="version 99"):
        BaselineModel.from_dict({**model.to_dict(), "version": 99})


def test_the_same_data_give_the_same_bytes_in_whatever_order_they_come(office, model):
    order = np.random.default_rng(3).permutation(365 * 24)
    p = office.past
    again = fit(office.time[p][order], office.value[p][order], office.temperature[p][order], zone=ZONE, calendar=KNOWN)
    assert json.dumps(again.to_dict()) == json.dumps(model.to_dict())


@pytest.mark.parametrize(("factor", "constant"), [(1000.0, 0.0), (0.25, 0.0), (1.0, 500.0)])
def test_scaled_or_lifted_data_give_scaled_or_lifted_expectations(office, expected, factor, constant):
    p, n = office.past, office.now
    other = fit(office.time[p], office.value[p] * factor + constant, office.temperature[p], zone=ZONE, calendar=KNOWN)
    e = predict(other, office.time[n], office.temperature[n], calendar=KNOWN)
    scale = np.mean(expected.value)
    for mine, theirs in ((e.value, expected.value), (e.low, expected.low), (e.high, expected.high)):
        away = np.abs((mine - constant) / factor - theirs)
        # a tie between two questions of a tree may fall the other way: rounding, not arithmetic
        assert np.quantile(away, 0.99) < 0.01 * scale
        assert abs(np.mean((mine - constant) / factor - theirs)) < 1e-3 * scale


def test_another_zone_with_the_clock_put_accordingly_changes_nothing(office):
    p = office.past
    eight = np.timedelta64(8 * HOUR_US, "us")
    here = fit(office.time[p], office.value[p], office.temperature[p], zone="UTC")
    there = fit(office.time[p] - eight, office.value[p], office.temperature[p], zone="Asia/Shanghai")
    fixed = fit(office.time[p] - eight, office.value[p], office.temperature[p], zone="+08:00")
    a, b, c = (m.to_dict() | {"zone": "", "baseline_period": []} for m in (here, there, fixed))
    assert a == b == c


def test_without_temperature_a_dst_zone_is_foretold_too(office, model):
    e = predict(model, office.time[office.now])
    assert np.isfinite(e.value).all()
    assert not e.measured.any()
    blind = fit(office.time[office.past], office.value[office.past], zone=ZONE)
    assert "baseline.no_temperature" in codes(blind)
    assert predict(blind, office.time[office.now]).value.mean() == pytest.approx(office.value.mean(), rel=0.1)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda v: v[:0], "baseline.no_readings"),
        (lambda v: np.full_like(v, np.nan), "baseline.no_readings"),
        (lambda v: v[: 24 * 10], "baseline.too_few_days"),
        (lambda v: np.where(np.arange(len(v)) % 5 == 0, v, np.nan), "baseline.low_coverage"),
    ],
)
def test_too_little_is_refused_and_what_is_missing_is_said(office, change, code):
    value = change(office.value[office.past].copy())
    refused = fit(office.time[: len(value)], value, office.temperature[: len(value)], zone=ZONE)
    assert not refused.usable
    assert code in codes(refused)
    with pytest.raises(ValueError, match="refused"):
        predict(refused, office.time[:5])
    assert BaselineModel.from_dict(json.loads(json.dumps(refused.to_dict()))).to_dict() == refused.to_dict()


def test_savings_ask_for_twelve_months_and_monitoring_does_not(office):
    nine = slice(0, 274 * 24)
    args = office.time[nine], office.value[nine], office.temperature[nine]
    assert fit(*args, zone=ZONE).usable
    refused = fit(*args, zone=ZONE, purpose="savings")
    assert not refused.usable
    missing = next(f for f in refused.findings if f.code == "baseline.months_missing")
    assert missing.data["months"] == ["Oct", "Nov", "Dec"]


def test_a_constant_meter_has_a_baseline_and_a_remark(office):
    m = fit(office.time[office.past], np.full(8760, 5.0), office.temperature[office.past], zone=ZONE)
    assert "baseline.constant" in codes(m)
    assert np.allclose(predict(m, office.time[office.now]).value, 5.0, atol=0.002)


def test_few_zeros_far_below_everything_else_are_gaps_and_a_resting_boiler_is_not(office):
    value = office.value[office.past].copy()
    value[1000:1040] = 0.0
    m = fit(office.time[office.past], value, office.temperature[office.past], zone=ZONE)
    assert m.zeros_are_gaps
    assert m.quality.n == 8760 - 40
    boiler = np.maximum(np.round(office.value[office.past] - 45), 0)
    assert fit(office.time[office.past], boiler, office.temperature[office.past], zone=ZONE).quality.n == 8760


def test_a_step_is_reported_to_a_person(office):
    value = office.value[office.past].copy()
    value[200 * 24 :] += 15
    m = fit(office.time[office.past], value, office.temperature[office.past], zone=ZONE)
    change = next(f for f in m.findings if f.code == "baseline.change_point")
    assert abs((np.datetime64(change.data["day"]) - np.datetime64("2021-07-20")).astype(int)) < 15
    assert change.data["shift"] > 8


def test_days_and_months_have_rungs_of_their_own(office):
    for unit, kind in (("D", "daily"), ("M", "monthly")):
        names, place = np.unique(office.time.astype(f"datetime64[{unit}]"), return_inverse=True)
        amount = np.bincount(place, office.value)
        air = np.bincount(place, office.temperature) / np.bincount(place)
        m = fit(names.astype("datetime64[us]"), amount, air, zone="UTC")
        assert m.kind == kind
        e = predict(m, names.astype("datetime64[us]"), air)
        assert np.sqrt(np.mean((e.value - amount) ** 2)) / amount.mean() < 0.15
        assert np.mean((amount >= e.low) & (amount <= e.high)) > 0.8
        assert BaselineModel.from_dict(json.loads(json.dumps(m.to_dict()))).to_dict() == m.to_dict()


def test_the_golden_model_is_what_it_was(office, model, expected):
    total = totals(model, expected, "month")
    now = {
        "weights": model.weights.tolist(), "quality": [float(x) for x in model.quality[:5]],
        "months": total.amount.tolist(), "band": float(np.mean(expected.high - expected.low)),
        "interval": [total.low.tolist(), total.high.tolist()],
    }  # fmt: skip
    file = GOLDEN / "office.json"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(json.dumps(now, indent=1) + "\n")
    was = json.loads(file.read_text())
    for key, value in was.items():
        assert np.allclose(now[key], value, rtol=1e-9, atol=1e-9 if key == "quality" else 0), key


def test_arrays_of_different_length_and_a_zone_that_is_none_are_named(office):
    with pytest.raises(ValueError, match="5 times, 4 values"):
        fit(office.time[:5], office.value[:4])
    with pytest.raises(ValueError, match="Nowhere/Land"):
        fit(office.time[:5], office.value[:5], zone="Nowhere/Land")
