"""The calendar's page: what is out of turn is marked by a word, what is provisional is said first."""

from dataclasses import replace
from datetime import date

import pytest
from fastapi.testclient import TestClient

from analytics.daykinds import SiteCalendar
from meterhall.workcalendar import official
from metering.site import Name
from metering.timetable import HeatingSeason, OwnDays, Term, Timetable
from tests.page.installation import app_of

TIMETABLE = Timetable(
    own=(OwnDays(date(2026, 3, 4), date(2026, 3, 4), False, "Stock & taking"),),
    terms=(Term("hall", date(2026, 2, 1), date(2026, 7, 1), Name("Spring term", "春季学期")),),
    heating=(HeatingSeason("plant", date(2025, 11, 15), date(2026, 3, 15), "Notice 7"),),
)


@pytest.fixture
def client(services):
    own = replace(services, calendar_of=lambda site: SiteCalendar(site, official("CN"), TIMETABLE))
    with TestClient(app_of(own), base_url="http://localhost:8420") as client:
        yield client


def test_a_year_shows_each_day_and_names_what_is_out_of_turn(client):
    page = client.get("/calendar?year=2026&lang=zh").text
    assert "2026年共247个工作日，其中6天为周末调休上班" in page
    assert page.count("<caption>") == 12 and page.count("<sup>班</sup>") == 6
    for words in ("节假日：国庆节", "本单位休息：Stock &amp; taking", "供暖期", "依据：Notice 7", "春季学期"):
        assert words in page, words


def test_a_year_without_official_calendar_is_said_to_be_provisional_first(client):
    page = client.get("/calendar?year=2035&lang=en").text
    assert "2035 is provisional: there is no official calendar yet" in page


def test_any_other_year_that_is_asked_for_is_the_running_one(client):
    for wish in ("", "year=abcd", "year=0001"):
        assert "Calendar 2026" in client.get(f"/calendar?{wish}&lang=en").text
