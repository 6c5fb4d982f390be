"""Distances between places."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.distance import EARTH_RADIUS_KM, Position, distance_km

places = st.builds(Position, st.floats(-90, 90), st.floats(-180, 180))


def test_known_distances():
    beijing, shanghai = Position(39.9042, 116.4074), Position(31.2304, 121.4737)
    assert distance_km(beijing, shanghai) == pytest.approx(1067, abs=2)
    assert distance_km(Position(0, 0), Position(0, 1)) == pytest.approx(111.195, abs=0.001)
    assert distance_km(Position(89, 0), Position(89, 180)) == pytest.approx(2 * 111.195, abs=0.01)


@given(places, places)
def test_there_and_back_are_as_far_and_no_place_is_further_than_half_round(a, b):
    assert distance_km(a, b) == pytest.approx(distance_km(b, a), abs=1e-6)
    assert 0 <= distance_km(a, b) <= 3.15 * EARTH_RADIUS_KM
    assert distance_km(a, a) == pytest.approx(0, abs=1e-6)


@given(places, places, places)
def test_no_way_round_is_shorter(a, b, c):
    assert distance_km(a, b) <= distance_km(a, c) + distance_km(c, b) + 1e-4
