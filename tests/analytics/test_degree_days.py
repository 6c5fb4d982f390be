import numpy as np

from analytics.degree_days import degree_days


def test_by_the_hour_a_day_about_the_base_has_both_and_by_its_mean_none():
    day = np.zeros(24, np.int64)
    air = np.r_[np.full(12, 10.0), np.full(12, 26.0)]
    hourly = degree_days(day, air, heating_base_degc=18, cooling_base_degc=18)
    assert (hourly.heating[0], hourly.cooling[0]) == (4.0, 4.0)
    daily = degree_days(day, air, heating_base_degc=18, cooling_base_degc=18, method="daily_mean")
    assert (daily.heating[0], daily.cooling[0]) == (0.0, 0.0)
    assert daily.method == "daily_mean"


def test_a_day_of_25_hours_is_one_day_and_a_day_with_few_hours_is_none():
    day = np.r_[np.zeros(25, np.int64), np.ones(24, np.int64)]
    air = np.r_[np.full(25, 8.0), np.full(10, 8.0), np.full(14, np.nan)]
    found = degree_days(day, air)
    assert found.heating[0] == 10.0
    assert np.isnan(found.heating[1])
    assert found.hours.tolist() == [25, 10]
