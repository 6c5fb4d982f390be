"""A vehicle's trips, charging and refuelling over the API."""

import numpy as np
import pytest

from api.journeys import journeys
from api.periods import Period
from metering.clock import HOUR_US, MINUTE_US
from metering.reading import Origin, Point, ReadingBatch
from tests.api.plant import NOW


@pytest.fixture
def after_a_night(services):
    """The store with a night's readings of car ev-1: home in the evening, charged until the morning."""
    start = NOW - 60 * 24 * HOUR_US  # long before the plant's own readings of it
    rows = [
        ("odometer", [(0, 100.0), (10, 104.0), (20, 112.0), (90, 112.0), (600, 112.0)]),
        ("state_of_charge", [(0, 40.0), (20, 32.0), (90, 32.0), (300, 90.0), (600, 90.0)]),
        ("charge_energy", [(0, 500.0), (90, 500.0), (150, 516.0), (300, 536.5), (600, 536.5)]),
    ]
    points = tuple(Point("plant", "ev-1", name) for name, _ in rows)
    flat = [(i, start + m * MINUTE_US, value) for i, (_, column) in enumerate(rows) for m, value in column]
    point, at, value = map(np.array, zip(*flat, strict=True))
    zeros = np.zeros(len(flat))
    origins = (Origin("test", start, "", ""),)
    services.store.write(
        ReadingBatch(points, point.astype(np.int32), at, value, zeros.astype(np.uint8), zeros.astype(np.int32), origins)
    )
    return services, start


def test_a_night_is_told_as_one_trip_and_one_charging_session(after_a_night):
    services, start = after_a_night
    car = services.installation.by_id["ev-1"]
    found = journeys(services, car, Period(start - 1, start + 12 * HOUR_US))
    (trip,) = found.trips
    assert (trip.start, trip.end, trip.distance) == (start, start + 20 * MINUTE_US, 12.0)
    assert (trip.charge_before, trip.charge_after, trip.fuel) == (40.0, 32.0, None)
    (charge,) = found.charges
    assert (charge.start, charge.end, charge.energy) == (start + 90 * MINUTE_US, start + 300 * MINUTE_US, 36.5)
    assert not charge.certain, "for two and a half hours nothing was heard"
    assert found.refuellings == []


def test_what_ends_outside_the_period_is_not_told(after_a_night):
    services, start = after_a_night
    found = journeys(services, services.installation.by_id["ev-1"], Period(start, start + 15 * MINUTE_US))
    assert found.trips == found.charges == []


def test_the_route_gives_units_in_its_schema_and_refuses_a_year(client):
    reply = client.get("/api/v1/vehicles/ev-1/journeys")
    assert reply.status_code == 200
    assert set(reply.json()) == {"vehicle", "start", "end", "trips", "charges", "refuellings"}
    reply = client.get("/api/v1/vehicles/ev-1/journeys", params={"start": "2024-01-01", "end": "2026-01-01"})
    assert reply.status_code == 422 and "at most 100" in reply.json()["mend"]
    assert client.get("/api/v1/vehicles/main/journeys").status_code == 404
