"""The calendar over the wire: each day, who says so, and what is provisional."""

from datetime import date

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
