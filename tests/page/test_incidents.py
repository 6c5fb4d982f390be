"""Incidents and expected lines on the page, over real fits of a small installation."""

import re
from dataclasses import replace

import numpy as np
import pytest
from fastapi.testclient import TestClient

from api.insights import expectation
from api.live import LiveFeed
from api.page.usual import at_rest
from api.periods import Period
from api.services import Services
from metering.clock import DAY_US, HOUR_US, from_us
from metering.explain import Finding
from storage.ledger.ledger import Ledger
from tests.api.plant import TOKEN
from tests.page.installation import app_of, served
from tests.page.test_browser import axe_finds, settle, until, widths
from tests.usual import FAULT, INSTALLATION, NOW, Clock, insights_of

DAY = f"?period=day&date={from_us(FAULT + 2 * DAY_US):%Y-%m-%d}"


@pytest.fixture
def watched(usual, tmp_path):
    ledger: Ledger = usual.copy(tmp_path)
    yield Services(
        INSTALLATION, usual.store, ledger, None, None, LiveFeed(), TOKEN, tmp_path, NOW, now=lambda: NOW,
        insights=insights_of(usual.store, ledger, Clock()),
    )  # fmt: skip
    ledger.close()


@pytest.fixture
def page(watched):
    return TestClient(app_of(watched), base_url="http://localhost:8420")


@pytest.fixture
def number(watched):
    (row,) = watched.insights.incidents(open_only=True)
    return row.id


def main_of(reply):
    assert reply.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", reply.text.split("<main", 1)[1])).replace("\u202f", " ")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("show", ["nonsense", "year"])
def test_the_list_says_how_many_and_what_they_cost(page, language, show):
    text = main_of(page.get(f"/incidents?show={show}&lang={language}"))
    assert ("CNY" in text) and not re.search(r"\b(NaN|nan|None|inf)\b|\{", text)
    assert ("1 incident" in text) if language == "en" else ("1起异常" in text)


def test_the_parts_of_an_incident_are_listed_at_their_own_meter_alone(page):
    assert "main" not in main_of(page.get("/incidents")).lower().split("what and where")[1]
    assert "Hall › main" in main_of(page.get("/incidents?node=main"))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_incident_says_why_and_what_it_was_judged_by(page, number, language):
    text = main_of(page.get(f"/incidents/{number}?lang={language}"))
    assert not re.search(r"\b(NaN|nan|None|inf)\b|\{", text)
    for words in ("CV(RMSE)", "CNY/kWh", "Hall › main", "R²"):
        assert words in text
    assert page.get("/incidents/999999").status_code == 404
    assert page.get("/incidents/nonsense").status_code == 422


def test_the_evidence_stands_out_of_its_band(page, number):
    chart = page.get(f"/page/incident/{number}").json()
    rows = zip(chart["value"], chart["expected_high"], strict=True)
    assert sum(v is not None and v > h for v, h in rows) > 60 and chart["unit"] == "W"
    assert len(chart["marks"]) == 1 and "lie above the band" in chart["words"]


def test_building_and_meter_show_what_is_expected_unless_asked_otherwise(page):
    html = page.get(f"/buildings/hall{DAY}").text
    assert "expected=1" in html and re.search(r'compare=expected[^>]*aria-current="true"', html)
    src = "/page/use/hall/electricity" + DAY
    shown = page.get(src + "&expected=1").json()
    assert shown["before"] is None and len(shown["expected"]) == len(shown["x"]) == 96
    low, usual, high = (shown[name] for name in ("expected_low", "expected", "expected_high"))
    assert all(a <= b <= c for a, b, c in zip(low, usual, high, strict=True))
    other = page.get(src + "&expected=1&compare=before").json()
    assert other["before"] is not None and "expected" not in other
    assert "expected" not in page.get(src).json()
    assert page.get(src + "&compare=expected").json()["expected"] == shown["expected"]


@pytest.mark.parametrize(("period", "grain"), [("week", "15min"), ("month", "day"), ("year", "month")])
def test_expected_amounts_follow_the_grain_of_the_chart(page, period, grain):
    chart = page.get(
        f"/page/use/fans/active_energy_import{DAY.replace('period=day', f'period={period}')}&expected=1"
    ).json()
    assert chart["grain"] == grain and len(chart["expected"]) == len(chart["x"])


def test_of_a_meter_that_rests_nothing_is_expected_at_zero(watched):
    around = Period(NOW - 6 * HOUR_US, NOW + HOUR_US)
    found = expectation(watched, "meter", "fans", "active_energy_import", around, "hour")
    assert not at_rest(found).any()
    rests = Finding("baseline.rests", "info", "")
    observed = np.array([2.0, 0.0, 3.0, 0.0, np.nan, np.nan, np.nan, np.nan])
    resting = replace(found, baseline=replace(found.baseline, findings=(rests,)), observed=observed)
    assert at_rest(resting).tolist() == [False, True, False, True, True, True, True, True]


def test_where_there_is_no_baseline_the_chart_compares_as_before(page):
    chart = page.get(f"/page/use/pv/active_energy_export{DAY}&expected=1").json()
    assert "expected" not in chart and chart["before"] is not None
    assert "How well" not in page.get("/meters/pv").text


@pytest.mark.parametrize("path", ["/buildings/hall", "/meters/fans"])
def test_the_quality_of_a_baseline_is_told_in_full(page, path):
    text = main_of(page.get(path))
    for words in ("CV(RMSE)", "NMBE", "R²", "Hours learnt from", "Of the period observed", "ASHRAE Guideline 14"):
        assert words in text
    assert "days are too few for all it can do" in text, "findings in the reader's words"


def test_where_nothing_is_fitted_pages_work_without(watched):
    bare = TestClient(app_of(replace(watched, insights=None)), base_url="http://localhost:8420")
    assert "not looked for" in main_of(bare.get("/incidents"))
    assert "How well" not in bare.get("/meters/fans").text and bare.get("/buildings/hall").status_code == 200


def test_what_needs_somebody_leads_to_the_incident_that_is_the_same_thing(page, watched, number):
    from meterhall.needs import merged

    events = merged(INSTALLATION, [], watched.insights.incidents(open_only=True, causes_only=False), {1, 2, 3, 4})
    watched.ledger.sync_events(events, NOW)
    html = page.get("/").text
    assert f'href="/incidents/{number}"' in html and "1 thing needs you" in main_of(page.get("/"))


@pytest.mark.browser
@pytest.mark.parametrize(("width", "language", "theme"), [(1280, "en", "light"), (360, "zh", "dark")])
def test_incident_pages_load_clean_fit_and_axe_finds_nothing(open_page, watched, number, width, language, theme):
    with served(replace(watched, live=LiveFeed())) as address:
        for path in ("/incidents", f"/incidents/{number}", f"/meters/fans{DAY}", f"/buildings/hall{DAY}"):
            mark = "&" if "?" in path else "?"
            shown = settle(open_page(address, f"{path}{mark}lang={language}&theme={theme}", width=width))
            full, seen = widths(shown)
            assert full <= seen, f"{path} scrolls sideways at {width}"
            assert axe_finds(shown) == [], path


@pytest.mark.browser
def test_a_person_says_what_an_incident_is(open_page, watched, number):
    with served(replace(watched, live=LiveFeed())) as address:
        shown = settle(open_page(address, f"/incidents/{number}?lang=en", forgiving=True))
        shown.get_by_text("False alarm", exact=True).click()
        shown.get_by_label("Note").fill("cleaning in the evening")
        shown.get_by_label("Your name").fill("front desk")
        shown.get_by_label("Admin token").fill("a wrong one")
        shown.get_by_role("button", name="Keep").click()
        until(shown, lambda: "not the right one" in shown.locator("[data-reply]").inner_text(), "the token is refused")
        shown.get_by_label("Admin token").fill(TOKEN)
        shown.get_by_role("button", name="Keep").click()
        until(shown, lambda: "cleaning in the evening" in shown.locator("#said").inner_text(), "what was said is shown")
    assert [each.feedback for each in watched.insights.said_of(number)] == ["false_alarm"]


@pytest.mark.browser
def test_another_sensitivity_is_tried_on_the_past(open_page, watched):
    with served(replace(watched, live=LiveFeed())) as address:
        shown = settle(open_page(address, "/meters/fans?lang=en"))
        shown.get_by_text("Try another sensitivity").click()
        shown.get_by_label("False alarms allowed").fill("3")
        shown.get_by_role("button", name="Try").click()
        found = shown.locator("[data-found]")
        until(shown, lambda: "would have been told" in found.inner_text(), "the trial is told")
        assert "that people had confirmed would be missed" in found.inner_text()
