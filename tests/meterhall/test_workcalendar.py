"""The calendar of a site."""

from datetime import date

import pytest

from meterhall.workcalendar import official, read_overrides, site_calendar
from metering.explain import ExplainedError


def test_chinese_make_up_work_days_are_known_and_an_undecreed_year_is_provisional():
    calendar = site_calendar("CN")
    assert not calendar.works(date(2026, 10, 1)) and calendar.works(date(2026, 10, 10))  # a Saturday
    assert not calendar.provisional(date(2026, 5, 1))
    assert calendar.provisional(date(2035, 5, 1)) and calendar.works(date(2035, 5, 1))
    assert official("DE").table == {}


def test_a_sites_own_dates_come_before_the_official_ones(tmp_path):
    path = tmp_path / "calendar.toml"
    path.write_text("work_days = [2026-10-01]\ndays_off = [2026-11-24]\n")
    calendar = site_calendar("CN", read_overrides(path))
    assert calendar.works(date(2026, 10, 1)) and not calendar.works(date(2026, 11, 24))


@pytest.mark.parametrize(
    "text", ['work_days = ["2026-10-01"]', "work_days = 3", "work_days = [2026-10-01]\ndays_off = [2026-10-01]", "x ="]
)
def test_a_mistake_in_the_dates_names_its_place_and_the_mend(tmp_path, text):
    path = tmp_path / "calendar.toml"
    path.write_text(text)
    with pytest.raises(ExplainedError, match=r"calendar\.toml"):
        read_overrides(path)
