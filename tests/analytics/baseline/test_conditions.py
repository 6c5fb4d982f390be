from datetime import date

import numpy as np
import pytest

from analytics.baseline.conditions import DAY_FEATURES, conditions, local_clock, local_hours, zone_of
from analytics.workdays import EPOCH_DAY, Workdays


def hours(start, count):
    return np.datetime64(start, "h").astype(np.int64) + np.arange(count)


@pytest.mark.parametrize(("day", "length"), [("2021-03-28", 23), ("2021-06-01", 24), ("2021-10-31", 25)])
def test_a_local_day_has_the_hours_its_zone_gives_it(day, length):
    h = local_hours("Europe/London", hours("2021-01-01", 8760))
    assert np.sum(h.day == np.datetime64(day, "D").astype(np.int64)) == length


@pytest.mark.parametrize("zone", ["Europe/London", "Asia/Kolkata", "+08:00", "UTC-3:30", "Pacific/Apia", "UTC"])
def test_one_hour_has_the_same_clock_as_all_of_them(zone):
    start = hours("2011-12-20", 24 * 400)
    h = local_hours(zone, start)
    for i in range(0, len(start), 37):
        assert local_clock(zone, int(start[i])) == (h.day[i], h.hour[i])


def test_an_unknown_zone_is_named():
    with pytest.raises(ValueError, match="Mars/Olympus"):
        zone_of("Mars/Olympus")


def test_a_holiday_is_a_sunday_and_a_make_up_day_a_friday():
    calendar = Workdays({date(2021, 5, 3): False, date(2021, 5, 8): True})
    c = conditions("Asia/Shanghai", hours("2021-05-01", 24 * 14), None, calendar)
    kind = {EPOCH_DAY.fromordinal(EPOCH_DAY.toordinal() + int(d)): int(k) for d, k in zip(c.days, c.kind, strict=True)}
    assert kind[date(2021, 5, 3)] == 6
    assert kind[date(2021, 5, 8)] == 4
    assert kind[date(2021, 5, 5)] == 2


def test_days_know_how_far_a_long_break_is():
    holiday = Workdays({date(2021, 10, d): False for d in range(1, 8)})
    c = conditions("UTC", hours("2021-09-20", 24 * 30), None, holiday)
    away = dict(
        zip(
            c.days.astype("datetime64[D]").astype(str),
            c.features[:, DAY_FEATURES.index("from_long_break")],
            strict=True,
        )
    )
    assert away["2021-09-29"] == -2
    assert away["2021-10-04"] == 0
    assert away["2021-10-09"] == 2


def test_a_short_gap_in_the_temperature_is_bridged_and_a_long_one_is_the_season():
    air = np.linspace(0, 10, 240)
    air[10:13] = np.nan
    air[100:150] = np.nan
    climate = np.full((12, 24), 5.0)
    c = conditions("UTC", hours("2021-01-01", 240), air, None, climate)
    assert c.measured[10:13].all()
    assert np.allclose(c.temperature[10:13], np.linspace(0, 10, 240)[10:13])
    assert not c.measured[105:145].any()
    assert (c.temperature[105:145] == 5.0).all()


def test_the_memory_of_the_temperature_is_the_mean_of_the_hours_before():
    air = np.arange(200.0)
    c = conditions("UTC", hours("2021-01-01", 200), air * 0.1)
    assert c.mean_24h[150] == pytest.approx(air[127:151].mean() * 0.1)
    assert c.mean_72h[150] == pytest.approx(air[79:151].mean() * 0.1)
