from datetime import date

import pytest

from api.page.period import Filters
from api.page.wording import words
from metering.clock import HOUR_US

TODAY = date(2026, 11, 24)  # a Tuesday


def filters(language="en", zone="Asia/Shanghai", today=TODAY, **query):
    return Filters.read(query, today, zone, language)


def test_an_empty_address_is_today_against_last_week():
    read = filters()
    assert read.span.first == TODAY and read.span.days == 1 and read.is_now
    assert read.compared.first == date(2026, 11, 17)
    assert read.label(words("en")) == "Today"
    assert read.compared_label(words("en")) == "last Tuesday"
    assert filters("zh").compared_label(words("zh")) == "上周二"


@pytest.mark.parametrize("query", [
    {"period": "fortnight"}, {"date": "yesterday"}, {"date": "9999-99-99"}, {"compare": "<script>"},
    {"period": "custom", "date": "2026-11-24", "until": "2020-01-01"}, {"date": "0001-01-01"},
])  # fmt: skip
def test_a_mistyped_address_still_opens_a_page(query):
    read = filters(**query)
    assert read.span.start < read.span.end


def test_links_keep_everything_the_address_says():
    read = filters(period="week", date="2026-11-03", compare="year", lang="zh", theme="dark")
    assert read.link("/meters/m1") == "/meters/m1?period=week&date=2026-11-03&compare=year&lang=zh&theme=dark"
    assert read.link("/", compare=None) == "/?period=week&date=2026-11-03&lang=zh&theme=dark"


def test_the_day_the_clocks_change_has_its_23_or_25_hours():
    spring = filters(zone="Europe/Berlin", date="2026-03-29").span
    autumn = filters(zone="Europe/Berlin", date="2026-10-25").span
    assert (spring.end - spring.start) // HOUR_US == 23
    assert (autumn.end - autumn.start) // HOUR_US == 25


@pytest.mark.parametrize(("period", "first", "after", "before"), [
    ("week", date(2026, 11, 23), date(2026, 11, 30), date(2026, 11, 16)),
    ("month", date(2026, 11, 1), date(2026, 12, 1), date(2026, 10, 1)),
    ("year", date(2026, 1, 1), date(2027, 1, 1), date(2025, 1, 1)),
])  # fmt: skip
def test_periods_are_the_local_calendars(period, first, after, before):
    read = filters(period=period)
    assert (read.span.first, read.span.after, read.compared.first) == (first, after, before)
    assert read.stepped(-1) == before and read.stepped(1) == after


def test_a_year_back_is_the_same_weekday():
    read = filters(compare="year")
    assert read.compared.first.weekday() == TODAY.weekday()
    assert read.compared.first == date(2025, 11, 25)


def test_a_custom_period_is_compared_by_whole_weeks():
    read = filters(period="custom", date="2026-11-01", until="2026-11-10")
    assert read.compared.first == date(2026, 10, 18)
    assert read.label(words("en")) == "1 Nov – 10 Nov"
    chinese = filters("zh", period="custom", date="2026-11-01", until="2026-11-10")
    assert chinese.label(words("zh")) == "11月1日至11月10日"
