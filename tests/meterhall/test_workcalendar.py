"""The calendar of a site: official days, its own dates, terms, opening hours, heating season."""

import re
from datetime import date
from pathlib import Path

import pytest

from analytics.daykinds import SiteCalendar
from devices.catalog import ConfigurationError, load_settings
from meterhall.workcalendar import official, site_calendars

SITE = """
[[site]]
id = "plant"
name = "Plant"
timezone = "Asia/Shanghai"
[[site]]
id = "annex"
name = "Annex"
timezone = "Europe/Berlin"
country = "DE-BY"
[[building]]
id = "school"
site = "plant"
name = "School"
[[building]]
id = "library"
site = "plant"
name = "Library"
"""


def configured(folder, text, site=SITE):
    (folder / "meterhall.toml").write_text("")
    (folder / "site.toml").write_text(site)
    (folder / "calendar.toml").write_text(text)
    return load_settings(folder)


def calendar(folder, text, site="plant"):
    settings = configured(folder, text)
    return settings.installation, site_calendars(settings)[site]


def test_chinese_make_up_work_days_are_known_and_an_undecreed_year_is_provisional():
    calendar = SiteCalendar("plant", official("CN"))
    national_day, make_up = calendar.day(date(2026, 10, 1)), calendar.day(date(2026, 10, 10))
    assert (national_day.kind, national_day.source, national_day.name.zh) == ("holiday", "official", "国庆节")
    assert (make_up.kind, make_up.works, make_up.provisional) == ("make_up", True, False)  # a Saturday
    later = calendar.day(date(2035, 5, 1))
    assert (later.works, later.source, later.provisional) == (True, "weekday", True)
    assert calendar.provisional_years(date(2025, 1, 1), date(2035, 1, 1))[-1] == 2035


def test_the_six_make_up_days_of_2026_are_work_days():
    calendar = SiteCalendar("plant", official("CN"))
    days = [date(2026, 1, 1).fromordinal(date(2026, 1, 1).toordinal() + n) for n in range(365)]
    made_up = [day for day in days if calendar.day(day).kind == "make_up"]
    assert [f"{day:%m-%d}" for day in made_up] == ["01-04", "02-14", "02-28", "05-09", "09-20", "10-10"]


def test_other_countries_have_their_own_holidays_and_weekends():
    bavaria, germany = SiteCalendar("x", official("DE-BY")), SiteCalendar("x", official("DE"))
    epiphany = date(2026, 1, 6)
    assert bavaria.day(epiphany).kind == "holiday" and germany.day(epiphany).kind == "work"
    assert bavaria.day(epiphany).name.en == "Epiphany" and not bavaria.day(epiphany).provisional
    emirates = SiteCalendar("x", official("AE"))
    assert emirates.day(date(2035, 6, 3)).provisional  # its feasts are fixed by the moon: estimated
    nowhere = SiteCalendar("x", official("XX")).day(epiphany)
    assert nowhere.works and nowhere.provisional


def test_a_sites_own_dates_come_before_the_official_ones(tmp_path):
    text = """
work_days = [2026-10-01]
[[days]]
from = 2026-11-24
to = 2026-11-25
work = false
reason = "Stocktaking"
site = "plant"
"""
    _, plant = calendar(tmp_path, text)
    assert plant.day(date(2026, 10, 1)).works and plant.day(date(2026, 10, 1)).source == "site"
    closed = plant.day(date(2026, 11, 25))
    assert (closed.kind, closed.name.en, closed.provisional) == ("closed", "Stocktaking", False)
    assert not plant.workdays.works(date(2026, 11, 24))
    _, annex = calendar(tmp_path, text, "annex")
    assert annex.day(date(2026, 11, 24)).works


def test_a_year_that_the_site_has_written_out_is_not_provisional(tmp_path):
    _, plant = calendar(tmp_path, "complete_years = [2035]\ndays_off = [2035-10-01]\n")
    assert not plant.day(date(2035, 10, 1)).works
    assert not plant.day(date(2035, 5, 3)).provisional and plant.day(date(2036, 5, 3)).provisional


def test_terms_opening_hours_and_heating_seasons_hold_from_their_dates(tmp_path):
    text = """
[[term]]
building = "school"
name = "Autumn term"
name_zh = "秋季学期"
from = 2026-09-01
to = 2027-01-15
[[hours]]
building = "library"
from = 2026-06-01
days = ["tue", "wed", "sat"]
opens = "09:00"
closes = "20:00"
[[heating]]
site = "plant"
from = 2026-11-15
to = 2027-03-15
source = "Notice of the municipality, 2026"
"""
    installation, plant = calendar(tmp_path, text)
    school, library = installation.by_id["school"], installation.by_id["library"]
    assert plant.day(date(2027, 1, 15), school).term.zh == "秋季学期"
    assert plant.day(date(2027, 1, 16), school).term is None and plant.day(date(2026, 9, 1), library).term is None
    assert plant.day(date(2026, 5, 30), library).opens == ""  # a Saturday, before its own hours hold
    assert plant.day(date(2026, 6, 6), library)[-2:] == ("09:00", "20:00")
    assert plant.day(date(2026, 6, 8), library).opens == ""  # a Monday
    assert [plant.day(date(2026, 11, day)).heating for day in (14, 15)] == [False, True]
    _, annex = calendar(tmp_path, text, "annex")
    assert annex.day(date(2026, 12, 1)).heating is None


@pytest.mark.parametrize(
    ("text", "where", "mend"),
    [
        ('work_days = ["2026-10-01"]', "calendar.toml:1: work_days", "without quotes"),
        ("work_days = 3", "calendar.toml:1: work_days", "2026-10-10"),
        ("work_days = [2026-10-01]\ndays_off = [2026-10-01]", "days", "once for each site"),
        ("x =", "calendar.toml:1", "mend that line"),
        ("holidays = []", "holidays", '"days"'),
        ("complete_years = [27]", "complete_years", "2027"),
        ('[[days]]\nfrom = 2026-10-02\nreason = "x"', "days[0].work", "work = true"),
        ('[[days]]\nfrom = 2026-10-02\nto = 2026-10-01\nwork = true\nreason = "x"', "days[0].to", "0 to"),
        ('[[term]]\nbuilding = "scool"\nname = "A"\nfrom = 2026-09-01\nto = 2026-12-01', "calendar.toml:2", "school"),
        ('[[hours]]\nbuilding = "library"\nfrom = 2026-09-01\ndays = ["monday"]', "days", "mon, tue"),
        (
            '[[hours]]\nbuilding = "library"\nfrom = 2026-09-01\ndays = ["mon"]\nopens = "20:00"\ncloses = "06:00"',
            "closes",
            "midnight",
        ),
        ('[[heating]]\nsite = "plant"\nfrom = 2026-11-15\nto = 2027-03-15', "heating[0].source", "who says so"),
    ],
)
def test_a_mistake_in_the_calendar_names_its_place_and_the_mend(tmp_path, text, where, mend):
    with pytest.raises(ConfigurationError) as caught:
        configured(tmp_path, text)
    assert any(where in problem.where and mend in problem.mend for problem in caught.value.problems), caught.value


def test_a_country_that_has_no_calendar_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r'country: is "Bavaria"'):
        configured(tmp_path, "", SITE.replace("DE-BY", "Bavaria"))


def test_the_examples_of_the_document_are_valid(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "calendar-and-weather.md").read_text()
    days, station, fetch = re.findall(r"```toml\n(.*?)```", text, re.S)
    (tmp_path / "weather.toml").write_text(fetch)
    site = SITE.split("[[site]]")[1].replace('"plant"', '"riverside"')
    homes = '[[building]]\nid = "school"\nname = "School"\n[[building]]\nid = "library"\nname = "Library"\n'
    settings = configured(tmp_path, days, f"[[site]]{site}{homes}{station}")
    assert len(settings.timetable.heating) == 1 and settings.fetches[0].station == "airport"
