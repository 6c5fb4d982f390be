"""How far apart two places are."""

from __future__ import annotations

from math import asin, cos, radians, sin, sqrt
from typing import NamedTuple

EARTH_RADIUS_KM = 6371.0088  # mean radius R1 of the IUGG; the earth's flattening is worth 0.6 % at most


class Position(NamedTuple):
    """A place on earth [deg]."""

    latitude: float
    longitude: float


def distance_km(a: Position, b: Position) -> float:
    """Great-circle distance by the haversine formula [km]."""
    north, east = radians(b.latitude - a.latitude), radians(b.longitude - a.longitude)
    h = sin(north / 2) ** 2 + cos(radians(a.latitude)) * cos(radians(b.latitude)) * sin(east / 2) ** 2
    return 2 * EARTH_RADIUS_KM * asin(min(1.0, sqrt(h)))
