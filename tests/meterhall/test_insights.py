"""Baselines and incidents of a small installation: real store, real ledger, fits in processes of their own."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from analytics.baseline.model import BaselineModel
from meterhall import fitters
from meterhall.fitters import FitFailed, Worker
from metering.clock import DAY_US, HOUR_US
from storage.ledger.incidents import FeedbackRow
from storage.ledger.ledger import Ledger
from storage.opening import open_store
from tests.usual import (
    DAYS,
    FANS,
    FAULT,
    HALL,
    LEFT_ON_KW,
    MAIN,
    NOW,
    PLANT,
    PV,
    START,
    Clock,
    insights_of,
    loads,
    put,
)


@pytest.fixture
def store(usual):
    return usual.store


@pytest.fixture
def changing(store):
    """Puts other hours into the store, and those of before back at the end."""
    yield lambda measure, kwh: put(store, measure, kwh)
    fans, main = loads()
    put(store, FANS, fans)
    put(store, MAIN, main)


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield ledger
    ledger.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def insights(store, ledger, clock):
    return insights_of(store, ledger, clock)


@pytest.fixture
def fitted(usual, tmp_path, clock):
    """With a baseline of everything, and everything judged up to now."""
    ledger = usual.copy(tmp_path)
    insights = insights_of(usual.store, ledger, clock)
    insights.watcher.step(NOW)
    yield insights
    ledger.close()


def brief(rows):
    return sorted((row.node, row.kind, row.since, row.until, row.detected) for row in rows)


def only(insights, node):
    (row,) = insights.incidents(node=node, causes_only=False)
    return row


def test_meters_buildings_and_sites_get_a_baseline_that_knows_nothing_of_the_last_weeks(fitted):
    rows = {row.measure: row for row in fitted.baselines()}
    assert rows.keys() == {MAIN, FANS, HALL, PLANT}, "neither what is generated nor a thermometer has a usual"
    for row in rows.values():
        assert row.kind == "hourly" and row.quality["cvrmse_out"] < 0.1 and row.quality["guideline14"] == "pass"
        assert NOW - row.end >= DAYS * DAY_US // 6 - DAY_US and row.start == START
        assert row.learnt_from["temperature"] == ["plant/sky/outdoor_temperature/total"]
    assert fitted.baseliner.due(NOW) == []


def test_what_is_left_on_is_one_incident_at_the_meter_where_it_is(fitted):
    (cause,) = fitted.incidents()
    assert (cause.node, cause.until) == ("fans", None) and cause.kind in ("night_load", "step_up")
    assert abs(cause.since - FAULT) <= 12 * HOUR_US and 6 < cause.rate < 1.1 * LEFT_ON_KW
    assert [part.node for part in fitted.parts(cause.id)] == ["main"]


@pytest.mark.slow
def test_hour_by_hour_is_the_same_as_all_at_once(fitted, store, tmp_path, clock):
    at_once = brief(fitted.incidents(causes_only=False))
    other = Ledger.open(f"sqlite:///{tmp_path / 'other.sqlite'}")
    clock.now = FAULT - DAY_US
    stepped = insights_of(store, other, clock)
    for row in fitted.baselines():
        other.baselines.put(row, fitted.ledger.baselines.body(row.id))
    for hour in range((NOW - clock.now) // HOUR_US + 1):
        stepped.watcher.step(clock.now + hour * HOUR_US)
    assert brief(other.incidents.list()) == at_once
    other.close()


def test_a_restart_tells_nothing_twice(fitted, store, clock):
    before = fitted.incidents(causes_only=False)
    again = insights_of(store, fitted.ledger, clock)
    again.watcher.step(NOW)
    after = again.incidents(causes_only=False)
    assert [row.id for row in after] == [row.id for row in before]
    assert [(row.since, row.kind, row.part_of) for row in after] == [(r.since, r.kind, r.part_of) for r in before]


def test_late_readings_are_judged_as_if_they_had_been_there(fitted, changing):
    fans, main = loads(fault=False)
    changing(FANS, fans)
    changing(MAIN, main)
    fitted.watcher.step(NOW)
    assert fitted.incidents(open_only=True, causes_only=False) == [], "what was no load left on has ended"


@pytest.mark.slow
def test_a_gap_is_told_when_it_is_one_and_ends(store, changing, ledger, clock):
    fans, main = loads(fault=False)
    fans[-8:-4] = np.nan
    changing(FANS, fans)
    changing(MAIN, main)
    insights = insights_of(store, ledger, clock)
    insights.fit_what_is_due()
    row = only(insights, "fans")
    assert (row.kind, (row.until - row.since) // HOUR_US) == ("gap", 4)


def test_a_week_later_it_is_fitted_anew_without_what_is_known_to_be_wrong(fitted, clock):
    ledger = fitted.ledger
    clock.now = NOW + 8 * DAY_US
    assert len(fitted.baseliner.due(clock.now)) == 4
    cause = only(fitted, "fans")
    ledger.incidents.write([replace(cause, since=START + 20 * DAY_US, until=START + 30 * DAY_US)], NOW)
    history = fitted.baseliner.history(FANS, clock.now)
    assert history.left_out.sum() == 240
    ledger.incidents.say(saying(cause.id, "false_alarm"))
    assert fitted.baseliner.history(FANS, clock.now).left_out.sum() == 0
    ledger.incidents.write([replace(cause, since=START, until=START + 60 * DAY_US)], NOW)
    ledger.incidents.say(saying(cause.id, "confirmed"))
    assert fitted.baseliner.history(FANS, clock.now).left_out.sum() == 0, "what lasts for months is another building"


def saying(incident, feedback):
    return FeedbackRow(incident, feedback, "", "front desk", NOW)


def test_a_new_baseline_goes_on_with_the_incident_that_lasts(fitted, clock):
    before = only(fitted, "fans")
    clock.now = NOW + 7 * DAY_US + HOUR_US  # nothing has been heard for a week
    assert fitted.fit_what_is_due() == 4
    (row,) = [row for row in fitted.incidents(node="fans", causes_only=False) if row.family == "use"]
    assert (row.id, row.since) == (before.id, before.since)
    assert len(fitted.versions(FANS)) == 2 and fitted.versions(FANS)[1].superseded_at == clock.now


def test_a_changed_history_is_learnt_anew(fitted, changing):
    fans, _ = loads()
    fans[200:210] += 1.0
    changing(FANS, fans)
    assert fitted.baseliner.due(NOW) == [], "not at once: it may still be changing"
    assert fitted.baseliner.due(NOW + 2 * HOUR_US) == [FANS]


def test_what_people_say_is_used(fitted):
    cause = only(fitted, "fans")
    limits = fitted.watcher._watched[FANS].detector.habits.limits
    said = fitted.say(cause.id, "false_alarm", "cleaning", "front desk")
    assert said.feedback == "false_alarm" and fitted.said_of(cause.id)[0].note == "cleaning"
    fitted.watcher.step(NOW)
    raised = fitted.watcher._watched[FANS].detector.habits.limits
    assert raised.day == pytest.approx(limits.day * 1.2) and raised.shape == limits.shape
    assert fitted.say(999, "planned", "", "front desk") is None


@pytest.mark.slow
def test_another_alarm_budget_is_tried_on_the_past_and_then_set(fitted):
    ledger = fitted.ledger
    tried = fitted.try_budget(FANS, 3.0)
    assert (tried.start, tried.missed) == (START, ()) and tried.end <= NOW
    cause = only(fitted, "fans")
    ledger.incidents.write([replace(cause, since=START + 20 * DAY_US, until=START + 21 * DAY_US)], NOW)
    ledger.incidents.say(saying(cause.id, "confirmed"))
    assert [row.id for row in fitted.try_budget(FANS, 0.1).missed] == [cause.id]
    fitted.watch(FANS, 0.0, "front desk")
    assert fitted.budget(FANS) == 0.0 and fitted.budget(MAIN) == 0.1
    assert fitted.baseliner.due(NOW + 1) == [FANS]
    fitted._now.now = NOW + 1
    fitted.fit_what_is_due()
    fitted.watcher.step(NOW + 1)
    assert FANS not in fitted.watcher._watched, "a meter without a budget is not watched"


def test_what_is_usual_is_told_for_any_time(fitted):
    usual = fitted.usual(HALL, NOW - DAY_US, NOW + DAY_US)
    assert len(usual.expected.amount) == 49 and (usual.expected.low <= usual.expected.value).all()
    day = fitted.totals(usual, "all")
    assert day.amount.tolist() == [usual.expected.amount.sum()]
    assert fitted.usual(PV, NOW - DAY_US, NOW) is None
    degc, sources = fitted.outdoor("hall", NOW - DAY_US, NOW)
    assert np.isfinite(degc[:-1]).all() and sources == ("plant/sky/outdoor_temperature/total",)


def test_a_baseline_is_kept_to_the_bit(fitted):
    row = next(row for row in fitted.baselines() if row.measure == FANS)
    kept = fitted.ledger.baselines.body(row.id)["model"]
    assert BaselineModel.from_dict(kept).to_dict() == kept
    fitted._models.clear()
    assert fitted.model_of(row)[0].to_dict() == kept


def test_too_short_a_history_is_refused_and_says_what_is_missing(ledger, tmp_path, clock):
    store = open_store(f"duckdb:///{tmp_path / 'short.duckdb'}")
    fans, _ = loads()
    fans[: -9 * 24] = np.nan
    put(store, FANS, fans)
    insights = insights_of(store, ledger, clock)
    assert insights.fit_what_is_due() == 1
    (row,) = insights.baselines()
    assert row.kind == "none" and "baseline.too_few_days" in {f.code for f in row.findings}
    insights.watcher.step(NOW)
    assert insights.baseliner.due(NOW + HOUR_US) == [] and insights.baseliner.due(NOW + 2 * DAY_US) == [FANS]
    store.close()


@pytest.mark.slow
def test_a_meter_that_has_never_moved_has_a_baseline_of_nothing_and_stops_no_other(ledger, tmp_path, clock):
    store = open_store(f"duckdb:///{tmp_path / 'still.duckdb'}")
    fans, main = loads()
    put(store, FANS, fans * 0)
    put(store, MAIN, main)
    insights = insights_of(store, ledger, clock)
    assert insights.fit_what_is_due() == 2
    rows = {row.measure: row.quality["guideline14"] for row in insights.baselines()}
    assert rows == {FANS: "none", MAIN: "pass"}
    assert insights.usual(FANS, NOW - DAY_US, NOW).expected.amount.sum() == 0
    store.close()


@pytest.mark.slow
def test_an_answer_that_cannot_be_kept_stops_no_other(insights, monkeypatch):
    fit = Worker.fit

    def odd(self, job):
        answer = fit(self, job)
        if not odd.done:
            odd.done = True
            answer["habits"]["largest"] = float("nan")
        return answer

    odd.done = False
    monkeypatch.setattr(Worker, "fit", odd)
    assert insights.fit_what_is_due() == 3 and len(insights.baselines()) == 3


def test_a_fit_that_fails_stops_nothing_and_is_tried_later(insights, monkeypatch):
    fit = Worker.fit

    def sometimes(self, job):
        if job["unit"] == "kWh" and not job["time"].flags.writeable:
            raise AssertionError
        if sometimes.calls == 0:
            sometimes.calls += 1
            raise FitFailed("out of memory")
        return fit(self, job)

    sometimes.calls = 0
    monkeypatch.setattr(Worker, "fit", sometimes)
    assert insights.fit_what_is_due() == 3 and len(insights.baselines()) == 3
    assert insights.baseliner.due(NOW + HOUR_US) == []
    assert len(insights.baseliner.due(NOW + 7 * HOUR_US)) == 1


def test_a_process_that_dies_is_a_failure_and_the_next_job_gets_another(monkeypatch):
    worker = Worker()
    with pytest.raises(FitFailed, match="KeyError"):
        worker.fit({})
    worker._process.kill()
    worker._process.wait()
    with pytest.raises(FitFailed, match=r"gone|died"):
        worker.fit({})
    with pytest.raises(FitFailed, match="KeyError"):
        worker.fit({})
    worker.close()
    monkeypatch.setattr(fitters, "_start", lambda: pytest.fail("nothing is fitted once it is to stop"))
    stop = threading.Event()
    stop.set()
    assert list(fitters.fit_all([("a", dict)], stop)) == []
