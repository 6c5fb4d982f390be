"""The calendar over the wire: each day, who says so, and what is provisional."""

from datetime import date

import pytest

from analytics.daykinds import Official, SiteCalendar
from analytics.workdays import Workdays
from metering.site import Name
from metering.timetable import HeatingSeason, OwnDays, Term, Timetable

OFFICIAL = Official(
    Workdays({date(2026, 5, 1): False}, frozenset({2026})), {date(2026, 5, 1): Name("Labour Day", "劳动节")}
)
OWN = Timetable(
    own=(OwnDays(date(2026, 5, 2), date(2026, 5, 2), True, "Open day"),),
    terms=(Term("hall", date(2026, 4, 20), date(2026, 7, 1), Name("Summer term")),),
    heating=(HeatingSeason("plant", date(2025, 10, 1), date(2026, 4, 30), "house rules"),),
)


def ask(client_of, query):
    return client_of(calendar_of=lambda site: SiteCalendar(site, OFFICIAL, OWN)).get(f"/api/v1/calendar?{query}")


def test_each_day_says_what_it_is_and_who_says_so(client_of):
    reply = ask(client_of, "building=hall&start=2026-04-30&end=2026-05-03").json()
    assert [row["kind"] for row in reply["rows"]] == ["work", "holiday", "make_up"]
    assert [row["source"] for row in reply["rows"]] == ["official", "official", "site"]
    assert [row["heating"] for row in reply["rows"]] == [True, False, False]
    assert reply["rows"][1]["name"] == {"en": "Labour Day", "zh": "劳动节"}
    assert reply["rows"][1]["opens"] is None and reply["rows"][0]["opens"] == "08:30"
    assert {row["term"]["en"] for row in reply["rows"]} == {"Summer term"}
    assert reply["work_days"] == 2 and reply["provisional_years"] == []


def test_a_year_without_an_official_calendar_is_flagged_day_by_day(client_of):
    reply = ask(client_of, "start=2026-12-31&end=2027-01-02").json()
    assert reply["provisional_years"] == [2027]
    assert [row["provisional"] for row in reply["rows"]] == [False, True]
    assert reply["rows"][1]["source"] == "weekday"


def test_without_dates_the_running_year_is_told(client_of):
    reply = ask(client_of, "").json()
    assert reply["rows"][0]["date"] == "2026-01-01" and len(reply["rows"]) == 365


def test_what_cannot_be_asked_is_refused(client_of):
    assert ask(client_of, "start=2026-05-02&end=2026-05-01").status_code == 422
    assert ask(client_of, "start=yesterday").status_code == 422
    assert ask(client_of, "building=nowhere").status_code == 404
    assert ask(client_of, "start=0001-01-01").status_code == 422


def degrees(client, query):
    return client.get(f"/api/v1/degree-days?{query}")


def test_degree_days_say_base_method_and_where_the_temperature_comes_from(client):
    reply = degrees(client, "node=hall&start=2026-03-10&end=2026-03-12").json()
    # the plant's weather is 10 + 5 sin over the UTC day: never above 18, never above 26
    assert [row["heating"] for row in reply["rows"]] == [pytest.approx(8.0, abs=0.15)] * 2
    assert reply["heating"] == pytest.approx(16.0, abs=0.3) and reply["cooling"] == 0
    assert (reply["heating_base_degc"], reply["method"], reply["days_known"]) == (18.0, "hourly", 2)
    (source,) = reply["sources"]
    assert (source["point"], source["place"], source["share"]) == ("plant/sky/outdoor_temperature/total", "site", 1.0)
    assert source["distance_km"] is None  # no position is configured


def test_integrating_over_hours_finds_more_degree_days_than_the_mean_of_the_day(client):
    query = "node=hall&start=2026-03-10&end=2026-03-11&heating_base=10"
    hourly, daily = (degrees(client, f"{query}&method={each}").json()["heating"] for each in ("hourly", "daily_mean"))
    assert hourly == pytest.approx(5 / 3.14159, abs=0.1) and daily == pytest.approx(0.0, abs=0.1)


def test_a_day_of_which_too_little_is_known_has_no_degree_days(client):
    reply = degrees(client, "node=hall&start=2026-04-06&end=2026-04-08").json()
    assert reply["days"] == 2 and reply["days_known"] == 0 and reply["heating"] is None


def test_the_day_of_23_hours_is_one_day(client):
    reply = degrees(client, "node=hall&start=2026-03-29&end=2026-03-30").json()
    assert [row["hours"] for row in reply["rows"]] == [23] and reply["rows"][0]["heating"] < 9
