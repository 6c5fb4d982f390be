"""What needs a person: found from arrays alone, and no false alarm on plausible data."""

import numpy as np
import pytest

from analytics import wording
from analytics.attention import lines_silent, lowest_in_tree, onset, resting, rises, silent_since
from metering.clock import DAY_US, HOUR_US, MINUTE_US
from metering.site import Name

NOW = 1_795_500_600_000_000  # Tue 24 Nov 2026 14:10 in Shanghai
DAYS = 84


def nights(seed, meters=40):
    """Night values of meters of all sorts: steady, irregular, seasonal, often nothing, with nights not observed."""
    random = np.random.default_rng(seed)
    out = np.empty((meters, DAYS))
    for i in range(meters):
        level = random.gamma(2.0, 3.0)
        sort = i % 4
        if sort == 0:
            out[i] = level * (1 + 0.05 * random.standard_normal(DAYS))
        elif sort == 1:
            out[i] = level * random.gamma(4.0, 0.25, DAYS)
        elif sort == 2:
            out[i] = level * (1 + 0.004 * np.arange(DAYS)) + 0.3 * random.standard_normal(DAYS)
        else:
            out[i] = np.where(random.random(DAYS) < 0.4, level, 0.0)  # a charger
        out[i, random.random(DAYS) < 0.03] = np.nan
    return out


@pytest.mark.parametrize("seed", range(8))
def test_no_alarm_on_plausible_nights(seed):
    data, work = nights(seed), np.arange(DAYS) % 7 < 5
    found = rises(data, np.full(len(data), 0.5), 0.3, work)
    assert (found.first >= 0).sum() == 0


@pytest.mark.parametrize("seed", range(4))
def test_a_rise_is_found_on_its_second_night_with_its_size(seed):
    data = nights(seed)[0::4]
    steady = np.nanmedian(data, axis=1)
    data[:, -2:] = steady[:, None] * 2 + 1
    found = rises(data, np.full(len(data), 0.5), 0.3)
    assert (found.first == DAYS - 2).all()
    assert np.allclose(found.rise, steady + 1, rtol=0.15)
    one = nights(seed)[0::4]
    one[:, -1] = steady * 2 + 1
    assert (rises(one, np.full(len(one), 0.5), 0.3).first < 0).all()


def test_a_rise_that_has_lasted_three_weeks_keeps_its_beginning_and_a_missing_night_ends_nothing():
    data = nights(3)[0:1]
    data[0, -21:] += 10.0
    data[0, -1] = data[0, -9] = np.nan
    assert rises(data, np.array([0.5]), 0.3).first.tolist() == [DAYS - 21]


def test_a_weekend_night_is_compared_with_weekend_nights():
    work = np.arange(DAYS) % 7 < 5
    data = np.where(work, 10.0, 2.0)[None] + 0.05 * np.random.default_rng(1).standard_normal((1, DAYS))
    data[0, -2:] = 5.0  # a Saturday and a Sunday
    assert rises(data, np.array([0.5]), 0.3, work).first.tolist() == [DAYS - 2]
    assert rises(data, np.array([0.5]), 0.3).first.tolist() == [-1]


def test_a_rise_on_the_hottest_nights_of_the_season_may_be_the_weathers():
    data, outdoor = nights(5)[0:1], np.full(DAYS, 18.0) + np.random.default_rng(2).standard_normal(DAYS)
    data[0, -3:] *= 1.6
    assert rises(data, np.array([0.1]), 0.3, None, outdoor).first.tolist() == [DAYS - 3]
    outdoor[-3:] = 27.0
    assert rises(data, np.array([0.1]), 0.3, None, outdoor).first.tolist() == [-1]


def test_a_meter_with_too_few_nights_is_not_judged():
    data = np.full((1, DAYS), np.nan)
    data[0, -8:] = [1, 1, 1, 1, 1, 1, 9, 9]
    assert rises(data, np.array([0.1]), 0.3).first.tolist() == [-1]


def test_the_beginning_of_a_rise_is_found_to_the_hour():
    start = np.arange(24) * HOUR_US
    flow = np.full(24, 0.02)
    flow[8:18], flow[21:] = 1.5, 0.42
    assert onset(start, flow, 24 * HOUR_US, 0.02, 0.4) == 21 * HOUR_US
    assert onset(start, np.full(24, 0.0), 24 * HOUR_US, 0.02, 0.4) == 24 * HOUR_US
    flow[22] = np.nan
    assert onset(start, flow, 24 * HOUR_US, 0.02, 0.4) == 23 * HOUR_US


def test_a_leak_is_seen_at_the_lowest_meter_and_not_again_at_its_main():
    parent = {"tap": "house", "house": "main", "main": "", "other": "main"}
    found = {"tap": (0.4, 0), "house": (0.41, HOUR_US), "main": (0.45, 0)}
    assert list(lowest_in_tree(found, parent, DAY_US)) == ["tap"]
    assert list(lowest_in_tree({"tap": (0.4, 0), "main": (1.4, 0)}, parent, DAY_US)) == ["tap", "main"]


def test_a_silent_line_is_one_cause_and_a_single_silent_meter_is_none():
    line = ["a", "a", "a", "b", "b", "c"]
    silent = np.array([True, True, True, True, False, True])
    since = np.array([100, 160, 130, 100, 0, 100]) * 1_000_000
    assert {k: v.tolist() for k, v in lines_silent(line, silent, since).items()} == {"a": [0, 1, 2]}
    since[1] -= 3 * HOUR_US
    assert lines_silent(line, silent, since) == {}


def test_silence_is_three_cadences_and_ten_minutes_and_not_the_time_before_we_listened():
    latest = NOW - np.array([9, 11, 40, 46]) * MINUTE_US
    cadence = np.array([1, 1, 15, 15]) * MINUTE_US
    assert silent_since(latest, cadence, NOW, 0).tolist() == [False, True, False, True]
    assert not silent_since(latest, cadence, NOW, NOW - 5 * MINUTE_US).any()


def test_a_rest_is_compared_with_the_longest_one_before():
    amount = np.array([1, 0, 0, 1, 0, 0, 0])
    assert resting(amount, np.ones(7, bool)) == (3, 2)
    assert resting(np.zeros(5, np.int64), np.ones(5, bool)) == (5, 5)
    assert resting(amount[:0], np.ones(0, bool)) == (0, 0)


def test_the_words_say_where_what_since_when_how_much_and_what_to_do():
    since = wording.moment(NOW - 15 * HOUR_US - 10 * MINUTE_US, NOW, "Asia/Shanghai")
    text = wording.water_at_night(Name("School", "学校"), Name("School water", "学校用水"), 0.4, since, "18:00")
    assert text.en.startswith("School: water runs at night, 0.4 m³/h since Mon 23:00, about 9.6 m³ a day.")
    assert text.zh.startswith("学校：夜间持续用水 0.4 m³/h，始于11月23日 周一 23:00，约 9.6 m³/天。")
    assert "18:00" in text.en and "18:00" in text.zh


def test_moments_are_said_as_people_do():
    zone = "Asia/Shanghai"
    assert wording.moment(NOW - 3 * MINUTE_US, NOW, zone) == Name("14:07", "今天 14:07")
    assert wording.moment(NOW - 13 * DAY_US, NOW, zone) == Name("Wed 11 Nov 14:10", "11月11日 周三 14:10")
    assert wording.moment(NOW - 400 * DAY_US, NOW, zone).zh == "2025年10月20日 周一 14:10"


def test_figures_have_three_significant_digits():
    said = [wording.figure(v) for v in (0.0, 0.4, 9.6, 12.34, 123.4, 98765.4)]
    assert said == ["0", "0.4", "9.6", "12.3", "123", "98,765"]
