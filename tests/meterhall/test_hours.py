"""Which thermometer serves a node: its own, its site's, then the nearest; gaps stay gaps."""

from dataclasses import replace

import numpy as np
import pytest

from meterhall.hours import read_outdoor, thermometers
from metering.clock import HOUR_US
from metering.quantity import Carrier
from metering.reading import Point
from metering.site import Building, Installation, Meter, Name, Site
from storage.store import Rollup

HERE = Site("plant", Name("Plant"), "Asia/Shanghai", 34.75, 113.62)
NEAR = Site("annex", Name("Annex"), "Asia/Shanghai", 34.76, 113.95)
FAR = Site("coast", Name("Coast"), "Asia/Shanghai", 31.2, 121.5)


def station(id, site="plant", building="", **more):
    return Meter(id, site, building, Name(id), Carrier.CLIMATE, "sensor", "imported", "import://", **more)


INSTALLATION = Installation(
    (HERE, NEAR, FAR),
    (Building("hall", "plant", Name("Hall")), Building("school", "plant", Name("School"))),
    (
        station("mast"),
        station("wall", building="hall"),
        station("airport", latitude=34.52, longitude=113.84),
        station("annex-roof", "annex"),
        station("coast-roof", "coast"),
        replace(station("main"), carrier=Carrier.ELECTRICITY, role="load"),
    ),
)


class Thermometers:
    """A store of thermometers; each knows the hours it is given."""

    def __init__(self, **known):
        self.known = known

    def points(self):
        return [
            Point(INSTALLATION.by_id[id.replace("_", "-")].site, id.replace("_", "-"), "outdoor_temperature")
            for id in self.known
        ]

    def rollup(self, point, start, end, step):
        known = self.known[point.meter.replace("-", "_")]
        hours = np.array([h for h in sorted(known) if start <= h * HOUR_US < end], np.int64)
        mean = np.array([known[h] for h in hours.tolist()])
        return Rollup(point, hours * HOUR_US, mean, mean, mean, np.ones(len(hours), np.int64))


def test_the_own_buildings_comes_first_then_the_sites_then_the_nearest_with_its_distance():
    store = Thermometers(coast_roof={}, annex_roof={}, airport={}, mast={}, wall={})
    found = thermometers(INSTALLATION, store, "hall")
    assert [each.point.meter for each in found] == ["wall", "mast", "annex-roof", "airport"]
    assert [each.place for each in found] == ["building", "site", "elsewhere", "elsewhere"]
    assert [round(each.distance_km) for each in found] == [0, 0, 30, 33]
    assert [each.point.meter for each in thermometers(INSTALLATION, store, "main")] == [
        "mast", "wall", "annex-roof", "airport",
    ]  # fmt: skip


def test_weather_of_another_place_is_not_taken():
    assert thermometers(INSTALLATION, Thermometers(coast_roof={}), "hall") == []


def test_gaps_are_filled_by_the_next_thermometer_and_else_stay_gaps():
    store = Thermometers(mast={0: 1.0, 1: 2.0}, airport={1: 50.0, 2: 3.0})
    found = read_outdoor(INSTALLATION, store, "plant", 0, 4)
    assert found.degc[:3].tolist() == [1.0, 2.0, 3.0] and np.isnan(found.degc[3])
    assert [(each.point.meter, share) for each, share in found.used] == [("mast", 0.5), ("airport", 0.25)]


def test_a_thermometer_of_the_same_site_serves_though_no_position_is_known():
    bare = replace(INSTALLATION, sites=(replace(HERE, latitude=None), NEAR, FAR))
    (mast,) = thermometers(bare, Thermometers(mast={}), "hall")
    assert mast.distance_km is None and mast.place == "site"
    assert bare.position_of("airport") == pytest.approx((34.52, 113.84))
