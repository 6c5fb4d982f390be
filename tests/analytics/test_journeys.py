"""Trips, charging and refuelling of a vehicle, from readings alone."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.journeys import charges, refuellings, stretches, trips, value_at
from metering.clock import HOUR_US, MINUTE_US

M = MINUTE_US


def arrays(rows):
    return np.array([at for at, _ in rows], np.int64), np.array([value for _, value in rows], np.float64)


def test_a_trip_runs_from_the_last_reading_at_rest_to_the_first_at_rest_again():
    found = trips(*arrays([(0, 100.0), (15 * M, 100.0), (20 * M, 103.0), (25 * M, 108.5), (60 * M, 108.5)]))
    assert found == [(15 * M, 25 * M, 8.5, True)]


def test_a_short_stop_does_not_end_a_trip_and_a_long_one_does():
    short = arrays([(0, 0.0), (10 * M, 5.0), (20 * M, 5.0), (29 * M, 5.0), (35 * M, 9.0)])
    assert trips(*short) == [(0, 35 * M, 9.0, True)]
    long = arrays([(0, 0.0), (10 * M, 5.0), (20 * M, 5.0), (40 * M, 5.0), (45 * M, 9.0)])
    assert trips(*long) == [(0, 10 * M, 5.0, True), (40 * M, 45 * M, 4.0, True)]


def test_a_trip_during_which_nothing_was_heard_is_told_as_uncertain():
    found = trips(*arrays([(0, 0.0), (5 * HOUR_US, 42.0), (6 * HOUR_US, 42.0)]))
    assert found == [(0, 5 * HOUR_US, 42.0, False)]


def test_an_odometer_that_was_set_back_invents_no_trip():
    found = trips(*arrays([(0, 500.0), (5 * M, 510.0), (10 * M, 3.0), (15 * M, 4.0), (20 * M, 4.0)]))
    assert found == [(0, 5 * M, 10.0, True), (10 * M, 15 * M, 1.0, True)]


def test_a_trickle_is_no_session():
    assert charges(*arrays([(0, 10.0), (15 * M, 10.05), (30 * M, 10.05)])) == []


def test_refuelling_is_a_rise_beyond_the_gauges_swing():
    swinging = [(0, 50.0), (5 * M, 51.0), (10 * M, 49.5), (15 * M, 49.0)]
    assert refuellings(*arrays(swinging)) == []
    filled = [*swinging, (40 * M, 96.0), (45 * M, 96.5), (50 * M, 95.0)]
    assert refuellings(*arrays(filled)) == [(15 * M, 45 * M, 49.0, 96.5)]


def test_a_value_is_known_only_as_long_as_it_is_fresh():
    at, value = arrays([(0, 80.0), (10 * M, 70.0)])
    assert value_at(at, value, 12 * M) == 70.0
    assert value_at(at, value, 5 * HOUR_US) is None
    assert value_at(at, value, -1) is None


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="entries"):
        stretches(np.zeros(2, np.int64), np.zeros(3), 0.1)


@given(
    st.lists(st.tuples(st.integers(1, 90), st.sampled_from([0.0, 0.0, 0.5, 3.0, 40.0])), min_size=1, max_size=60),
)
def test_what_is_told_adds_up_to_the_counter_and_never_overlaps(steps):
    at = np.cumsum([0, *(minutes * M for minutes, _ in steps)]).astype(np.int64)
    value = np.cumsum([7.0, *(amount for _, amount in steps)])
    found = stretches(at, value, 0.0)
    assert sum(each.amount for each in found) == pytest.approx(float(value[-1] - value[0]))
    assert all(a.end <= b.start for a, b in pairwise(found))
    assert all(each.start in at and each.end in at for each in found)
