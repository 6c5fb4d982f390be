"""Faults that are known, found and named."""

import json

import numpy as np
import pytest

from analytics.anomaly.detection import Remark, detect, judged
from analytics.anomaly.detector import Detector
from analytics.anomaly.habits import Habits
from analytics.anomaly.learning import learn
from metering.clock import HOUR_US

ZONE = "Europe/London"
AT = 4000  # the hour of the second year at which things happen: a work day in June


@pytest.fixture(scope="module")
def learnt(office):
    p = office.past
    return learn(office.time[p], office.value[p], office.temperature[p], zone=ZONE)


def found(office, learnt, value, **more):
    n = office.now
    return detect(learnt, office.time[n], value, office.temperature[n], **more)


def test_a_quiet_year_stays_within_the_alarm_budget(office, learnt):
    assert len(found(office, learnt, office.value[office.now])) <= 4


def damage(kind, value):
    if kind == "gap":
        value[AT : AT + 8] = np.nan
    elif kind == "stuck":
        value[AT : AT + 30] = value[AT]
    elif kind == "spike":
        value[AT] += 900.0
    elif kind == "unit":
        value[AT : AT + 10] *= 1000.0
    elif kind == "negative":
        value[AT : AT + 5] *= -1.0
    elif kind == "night_load":
        night = (np.arange(len(value)) % 24 >= 22) | (np.arange(len(value)) % 24 < 6)
        value[AT : AT + 7 * 24] += 14.0 * night[AT : AT + 7 * 24]
    elif kind == "step_up":
        value[AT : AT + 14 * 24] *= 1.35
    elif kind == "step_down":
        value[AT : AT + 14 * 24] *= 0.65
    elif kind == "clock_shift":
        value[AT : AT + 7 * 24] = value[AT - 6 : AT - 6 + 7 * 24].copy()
    elif kind == "swap":
        random = np.random.default_rng(5)
        value[AT : AT + 9 * 24] = np.round(120 * random.random(9 * 24), 1)
    return value


KINDS = "gap", "stuck", "spike", "unit", "negative", "night_load", "step_up", "step_down", "clock_shift", "swap"


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_is_found_once_in_time_and_named(office, learnt, kind):
    value = damage(kind, office.value[office.now].copy())
    start = int(office.time[office.now][AT].astype(np.int64))
    quiet = {(i.kind, i.start) for i in found(office, learnt, office.value[office.now])}
    told = [i for i in found(office, learnt, value) if (i.kind, i.start) not in quiet]
    near = [i for i in told if start - 24 * HOUR_US <= i.start <= start + 60 * HOUR_US]
    assert kind in [i.kind for i in near]
    incident = next(i for i in near if i.kind == kind)
    assert incident.detected - start <= 49 * HOUR_US
    assert incident.end is not None
    assert incident.text.en and incident.text.zh
    assert 0.5 <= incident.confidence <= 1
    if not incident.about_data:
        assert np.sign(incident.size) == (-1 if kind == "step_down" else 1)
        assert len(near) == 1


def test_a_stream_tells_what_a_batch_tells(office, learnt):
    value = damage("night_load", damage("gap", office.value[office.now].copy()))
    n = office.now
    batch = found(office, learnt, value, price=0.5)
    stream = Detector(Habits.from_dict(json.loads(json.dumps(learnt.habits.to_dict()))), zone=ZONE, price=0.5)
    told = {}
    for row in zip(*judged(learnt, office.time[n], value, office.temperature[n], None), strict=True):
        for incident in stream.push(*row):
            told[incident.key] = incident
    assert sorted(told.values(), key=lambda i: (i.start, i.detected)) == batch
    assert all(i.cost is None if i.about_data else i.cost == i.size * 0.5 for i in batch)


def test_hours_that_never_came_are_a_gap_and_an_earlier_hour_is_refused(office, learnt):
    n = office.now
    keep = np.ones(8760, bool)
    keep[AT : AT + 12] = False
    told = detect(learnt, office.time[n][keep], office.value[n][keep], office.temperature[n][keep])
    gap = next(i for i in told if i.kind == "gap")
    assert gap.end - gap.start == 12 * HOUR_US
    detector = Detector(learnt.habits, zone=ZONE)
    detector.push(500_000, 30.0)
    with pytest.raises(ValueError, match="in order"):
        detector.push(499_999, 30.0)


def test_what_was_planned_is_left_out_and_a_false_alarm_raises_its_threshold(office, learnt):
    value = damage("step_up", office.value[office.now].copy())
    first = next(i for i in found(office, learnt, value) if i.kind == "step_up")
    planned = Remark("step_up", first.start, first.start + 20 * 24 * HOUR_US, "planned")
    assert first.detected not in {i.detected for i in found(office, learnt, value, remarks=[planned])}
    confirmed = planned._replace(feedback="confirmed")
    assert first in found(office, learnt, value, remarks=[confirmed])
    elsewhere = Remark("step_up", 0, 1, "false_alarm")
    later = [i for i in found(office, learnt, value, remarks=[elsewhere] * 3) if i.start >= first.start - HOUR_US * 24]
    assert not later or later[0].detected >= first.detected


def test_a_smaller_alarm_budget_raises_thresholds(office, learnt):
    p = office.past
    strict = learn(office.time[p], office.value[p], office.temperature[p], zone=ZONE, alarms_per_month=0.01)
    assert all(a >= b for a, b in zip(strict.habits.limits, learnt.habits.limits, strict=True))
    assert strict.habits.limits != learnt.habits.limits


def test_water_that_never_rests_is_a_leak_and_hours_of_full_flow_a_burst():
    random = np.random.default_rng(2)
    n = 400 * 24
    time = np.datetime64("2021-01-01", "us") + np.arange(n) * np.timedelta64(HOUR_US, "us")
    hour = np.arange(n) % 24
    value = np.round(random.gamma(1.2, 14.0, n) * random.poisson(0.4 * ((hour > 6) & (hour < 23))), 1)
    learnt = learn(time[: 300 * 24], value[: 300 * 24], unit="l", zeros="value")
    later, flow = time[300 * 24 :], value[300 * 24 :].copy()
    flow[24 * 20 : 24 * 26] += 5.0
    flow[24 * 60 : 24 * 60 + 5] += 250.0
    told = {i.kind: i for i in detect(learnt, later, flow, flow=True) if i.kind in ("leak", "burst")}
    assert abs(told["leak"].start - later[24 * 20].astype(np.int64)) <= 3 * HOUR_US
    assert told["leak"].rate >= 5.0
    assert told["burst"].size > 1000.0


def test_a_meter_without_a_baseline_is_still_watched_for_bad_data(office):
    few = slice(0, 24 * 9)
    learnt = learn(office.time[few], office.value[few], zone=ZONE)
    assert not learnt.model.usable
    value = office.value[office.now].copy()
    value[100:110] = np.nan
    value[300:305] *= 1000
    assert {"gap", "unit"} <= {i.kind for i in detect(learnt, office.time[office.now], value)}
