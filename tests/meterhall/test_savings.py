"""Projects of measurement and verification: a known saving found through store, process and ledger; what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from meterhall.projects import check_project, counted_by
from metering.clock import DAY_US, HOUR_US
from metering.explain import ExplainedError
from metering.quantity import Carrier
from metering.reading import Measure
from metering.site import Building, Name
from storage.ledger.ledger import Ledger
from storage.ledger.savings import AdjustmentRow
from tests.saved import (
    DONE,
    FANS,
    FIRST,
    HALL,
    INSTALLATION,
    LAMPS,
    MAIN,
    NOW,
    WORK,
    at,
    make_saved,
    put,
    savings_over,
    truth,
)  # fmt: skip

END = at(2026, 4, 2)  # the last local midnight before NOW


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = make_saved(tmp_path_factory.mktemp("saved"))
    yield store
    store.close()


@pytest.fixture(scope="module")
def fitted(store, tmp_path_factory):
    """The project with its baseline, in a ledger that tests do not write to."""
    ledger = Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.sqlite'}")
    savings = savings_over(store, ledger)
    savings.propose(LAMPS)
    savings.report("lamps")
    yield savings
    ledger.close()


@pytest.fixture
def savings(store, tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield savings_over(store, ledger)
    ledger.close()


def test_a_known_saving_is_recovered_within_the_stated_interval(fitted):
    report = fitted.report("lamps")
    _, would, used = truth()
    inside = slice((DONE - FIRST) // HOUR_US, (END - FIRST) // HOUR_US)
    real = float((would - used)[inside].sum())
    assert report.end == END and report.model.quality["guideline14"] == "pass"
    assert report.savings["low"] < real < report.savings["high"]
    assert report.savings["avoided"] == pytest.approx(real, rel=0.05)
    assert report.savings["verdict"] == "significant" and report.savings["coverage"] == 1.0
    assert report.savings["observed"] == pytest.approx(used[inside].sum() * 1000, rel=1e-4)


def test_months_and_days_add_up_and_stand_on_local_midnights(fitted):
    report = fitted.report("lamps")
    for columns in (report.months, report.days):
        assert sum(columns["adjusted_baseline"]) == report.savings["adjusted_baseline"]
        assert sum(columns["observed"]) == report.savings["observed"]
        assert sum(columns["avoided"]) == pytest.approx(report.savings["avoided"])
        assert columns["start"][0] == DONE and columns["end"][-1] == END
    assert report.months["start"][1:] == [at(2026, 2, 1), at(2026, 3, 1), at(2026, 4, 1)]
    assert len(report.days["start"]) == (END - DONE) // DAY_US


def test_a_year_without_official_calendar_and_the_weather_used_are_told(fitted):
    report = fitted.report("lamps")
    assert report.provisional_years == (2025, 2026)  # this calendar knows no year
    assert "savings.calendar_provisional" in {finding.code for finding in report.findings}
    ((mast, share),) = report.weather.used
    assert (mast.point.meter, mast.place, mast.distance_km, share) == ("mast", "site", 0.0, 1.0)


def test_a_report_is_kept_until_something_changes_and_its_baseline_for_good(fitted):
    report = fitted.report("lamps")
    assert fitted.report("lamps") is report
    again = savings_over(fitted.store, fitted.ledger).report("lamps")  # as after a restart
    assert again.model == report.model and again.savings == report.savings


def test_a_project_that_does_not_exist_has_no_report(fitted):
    assert fitted.report("nothing") is None and fitted.fit("nothing") is None


def test_adjustments_change_the_saving_and_correct_each_other(fitted, tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    own = savings_over(fitted.store, ledger)
    own.propose(LAMPS)
    plain = own.report("lamps").savings
    first = own.adjust(AdjustmentRow("lamps", DONE, DONE + 10 * DAY_US, 500.0, "repairs", "energy office", NOW))
    with_it = own.report("lamps")
    assert with_it.savings["avoided"] == pytest.approx(plain["avoided"] + 500)
    assert with_it.savings["routine"] == plain["routine"] and with_it.in_force == (first,)
    own.adjust(replace(first, amount=-200.0, corrects=first.row, row=0))
    mended = own.report("lamps")
    assert mended.savings["adjustments"] == pytest.approx(-200) and len(mended.adjustments) == 2
    with pytest.raises(ExplainedError, match="corrects"):
        own.adjust(replace(first, corrects=first.row, row=0))  # it is corrected already
    with pytest.raises(ExplainedError, match="not after start"):
        own.adjust(replace(first, end=first.start))
    ledger.close()


def test_too_short_a_baseline_is_refused_and_says_what_is_missing(savings):
    savings.propose(replace(LAMPS, baseline_start=WORK - 200 * DAY_US))
    report = savings.report("lamps")
    assert report.savings is None and report.model.kind == "none" and not report.days
    codes = {finding.code for finding in report.findings if finding.severity == "disqualifies"}
    assert {"baseline.too_few_days", "baseline.months_missing"} <= codes


def test_a_reporting_period_that_has_not_begun_has_no_saving(fitted, tmp_path):
    late = savings_over(fitted.store, fitted.ledger, lambda: DONE + HOUR_US)
    report = late.report("lamps")
    assert report.savings is None and "savings.not_begun" in {finding.code for finding in report.findings}


def test_a_baseline_whose_history_changed_is_kept_told_and_fitted_anew_only_when_asked(tmp_path):
    store, ledger = make_saved(tmp_path), Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    savings = savings_over(store, ledger)
    savings.propose(LAMPS)
    before = savings.report("lamps")
    _, _, used = truth()
    used[1000:3000] *= 1.1
    put(store, HALL, used)
    after = savings_over(store, ledger).report("lamps")
    assert after.model.row == before.model.row and after.savings["avoided"] == before.savings["avoided"]
    assert "savings.history_changed" in {finding.code for finding in after.findings}
    savings.fit("lamps")
    anew = savings.report("lamps")
    assert anew.model.row > before.model.row
    assert "savings.history_changed" not in {finding.code for finding in anew.findings}
    store.close()
    ledger.close()


def test_a_gap_of_any_node_is_a_gap_of_the_sum(store, savings):
    found = savings._hours(replace(LAMPS, measures=(HALL, MAIN)), FIRST // HOUR_US, FIRST // HOUR_US + 48)
    assert np.isnan(found.value).all()  # nothing is known of the main


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"measures": (MAIN, FANS)}, "twice"),
        ({"measures": (HALL, MAIN)}, "twice"),
        ({"measures": (HALL, Measure("plant", "meter", "gas", "gas_volume", "m3"))}, "do not count the same"),
        ({"measures": ()}, "is empty"),
        ({"baseline_end": FIRST}, "not after baseline_start"),
        ({"baseline_end": WORK + DAY_US}, "after the retrofit"),
        ({"reporting_start": WORK - DAY_US}, "before the retrofit"),
        ({"reporting_end": DONE}, "not after reporting_start"),
        ({"baseline_start": FIRST - 4 * 366 * DAY_US}, "three years"),
    ],
)
def test_what_cannot_be_a_project_is_refused(changes, words):
    with pytest.raises(ExplainedError, match=words):
        check_project(INSTALLATION, replace(LAMPS, **changes))


def test_a_building_inside_another_ones_main_is_not_counted_with_it():
    annex = Building("annex", "plant", Name("Annex"))
    meters = tuple(replace(m, building="annex") if m.id == "fans" else m for m in INSTALLATION.meters)
    parted = replace(INSTALLATION, buildings=(*INSTALLATION.buildings, annex), meters=meters)
    other = Measure("plant", "building", "annex", Carrier.ELECTRICITY.value, "kWh")
    assert counted_by(parted, HALL) == {"main"} and counted_by(parted, other) == {"fans"}
    check_project(parted, replace(LAMPS, measures=(HALL, other)))
