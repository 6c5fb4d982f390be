"""Meters that rest for weeks, and what a night load comes to."""

import numpy as np
import pytest

from analytics.anomaly.detection import detect
from analytics.anomaly.learning import learn, learn_held_out
from analytics.anomaly.rests import rests
from metering.clock import HOUR_US

ZONE = "Europe/London"


@pytest.fixture(scope="module")
def heating(office):
    """Heat of the office: by temperature from October to April, nothing in summer."""
    month = office.time.astype("datetime64[M]").astype(int) % 12
    on = (month >= 9) | (month <= 3)
    noise = np.random.default_rng(3).normal(1, 0.05, len(on))
    return np.round(np.where(on, (40 + 6 * np.maximum(16 - office.temperature, 0)) * noise, 0.0), 1)


@pytest.fixture(scope="module")
def of_office(office):
    p = office.past
    return learn(office.time[p], office.value[p], office.temperature[p], zone=ZONE)


@pytest.fixture(scope="module")
def learnt(office, heating):
    p = office.past
    return learn(office.time[p], heating[p], office.temperature[p], zone=ZONE, zeros="value")


def test_a_meter_that_rests_in_summer_is_learnt_from_its_work_and_says_so(office, heating, learnt):
    assert learnt.habits.rests and learnt.model.quality.guideline14 == "pass"
    (finding,) = [f for f in learnt.model.findings if f.code == "baseline.rests"]
    assert finding.data["share"] == pytest.approx(153 / 365, abs=0.01)
    assert learnt.model.quality.coverage == pytest.approx(1.0)


def test_neither_the_summer_nor_the_first_days_of_heating_is_an_incident(office, heating, learnt):
    n = office.now
    found = detect(learnt, office.time[n], heating[n], office.temperature[n])
    assert not {i.kind for i in found} & {"stuck", "swap", "clock_shift"} and len(found) <= 4
    began = [np.datetime64(i.start, "us").astype("datetime64[D]") for i in found]
    assert not [day for day in began if np.datetime64("2022-05-02") < day < np.datetime64("2022-10-06")], began


def test_a_meter_that_never_rests_has_no_rests_and_a_week_at_zero_is_none(office):
    time = office.time.astype(np.int64)
    assert not rests(time, office.value).any()
    weak = office.value.copy()
    weak[1000:1168] = 0.0
    assert not rests(time, weak).any()
    assert not rests(time, np.zeros(len(time))).any(), "nothing but rest is nothing to learn from"


def test_rests_are_found_in_any_order_of_the_hours(office, heating):
    time = office.time.astype(np.int64)
    order = np.random.default_rng(1).permutation(len(time))
    assert np.array_equal(rests(time[order], heating[order]), rests(time, heating)[order])


def test_what_is_left_out_is_not_learnt_and_expected_all_the_same(office):
    p = office.past
    left_out = np.zeros(p.stop, np.bool_)
    left_out[4000:4400] = True
    odd = office.value[p].copy()
    odd[4000:4400] *= 3
    one, held = learn_held_out(office.time[p], odd, office.temperature[p], zone=ZONE, left_out=left_out)
    other, _ = learn_held_out(office.time[p], office.value[p], office.temperature[p], zone=ZONE, left_out=left_out)
    assert one.model.to_dict() == other.model.to_dict()
    at = (office.time[4000:4400].astype(np.int64) // HOUR_US) - held.start[0]
    assert np.isnan(held.value[at]).all() and np.isfinite(held.expected[at]).all()


def test_a_night_load_comes_to_what_is_used_at_night(office, of_office):
    n = office.now
    value = office.value[n].copy()
    hour = np.arange(len(value)) % 24
    night = (hour >= 22) | (hour < 6)
    value[4000 : 4000 + 7 * 24] += 14.0 * night[4000 : 4000 + 7 * 24]
    (found,) = [i for i in detect(of_office, office.time[n], value, office.temperature[n]) if i.kind == "night_load"]
    assert found.size == pytest.approx(14.0 * 6 * 7, rel=0.35), "six hours are the night of this meter"


def test_more_at_night_is_not_taken_for_a_clock_that_is_off(office, of_office):
    n = office.now
    value = office.value[n].copy()
    hour = np.arange(4000, 4168) % 24
    value[4000:4168] += 20.0 * ((hour >= 20) | (hour < 7))  # left on through the nights
    kinds = {i.kind for i in detect(of_office, office.time[n], value, office.temperature[n])}
    assert kinds & {"night_load", "step_up"} and "clock_shift" not in kinds
