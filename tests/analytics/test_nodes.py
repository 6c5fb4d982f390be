"""Sums over the meter tree."""

import numpy as np

from analytics.nodes import combine, meter_measure, node_parts, rest
from metering.clock import QUARTER_US
from metering.quantity import Carrier, Quality
from metering.reading import IntervalSeries, Measure
from metering.site import Building, Installation, Meter, Name, Site

IN, OUT = "active_energy_import", "active_energy_export"


def meter(id, building="", parent="", role="load", carrier=Carrier.ELECTRICITY):
    return Meter(id, "plant", building, Name(id), carrier, role, "p", "mqtt://b/t", parent=parent)


def installation(*meters):
    houses = (Building("a", "plant", Name("A")), Building("b", "plant", Name("B")))
    return Installation((Site("plant", Name("Plant"), "Asia/Shanghai"),), houses, meters)


def parts_of(world, scope, node, name="electricity", unit="kWh"):
    available = {meter_measure(m, q) for m in world.meters for q in (IN, OUT)}
    parts = node_parts(world, available)[Measure("plant", scope, node, name, unit)]
    return {(p.measure.node, p.measure.name[14:]): p.sign for p in parts}


def series(amounts, node="m", coverage=1.0, first=0, quality=0):
    n = len(amounts)
    start = (first + np.arange(n)) * QUARTER_US
    return IntervalSeries(
        Measure("plant", "meter", node, IN, "kWh"),
        start,
        start + QUARTER_US,
        np.array(amounts, np.int64),
        np.full(n, coverage),
        np.zeros(n, np.int64),
        np.full(n, quality, np.uint8),
    )


def test_a_site_uses_import_less_export_plus_generation():
    world = installation(meter("main", role="grid"), meter("pv", "a", "main", "generation"), meter("am", "a", "main"))
    assert parts_of(world, "site", "plant") == {
        ("main", "import"): 1,
        ("main", "export"): -1,
        ("pv", "export"): 1,
        ("pv", "import"): -1,
    }
    assert parts_of(world, "site", "plant", "generation") == {("pv", "export"): 1, ("pv", "import"): -1}


def test_a_roof_that_feeds_the_main_is_not_its_buildings_use_but_one_behind_the_buildings_meter_is():
    main = meter("main", role="grid")
    above = installation(main, meter("am", "a", "main"), meter("pv", "a", "main", "generation"))
    behind = installation(main, meter("am", "a", "main"), meter("pv", "a", "am", "generation"))
    assert ("pv", "export") not in parts_of(above, "building", "a")
    assert parts_of(behind, "building", "a")[("pv", "export")] == 1


def test_a_building_is_net_of_sub_meters_that_belong_to_others_and_of_what_those_generate():
    world = installation(
        meter("am", "a"), meter("bm", "b", "am"), meter("bpv", "b", "bm", "generation"), meter("lamp", "a", "am")
    )
    a, b = parts_of(world, "building", "a"), parts_of(world, "building", "b")
    assert a == {("am", "import"): 1, ("am", "export"): -1, ("bm", "import"): -1, ("bm", "export"): 1}
    assert b[("bm", "import")] == 1 and b[("bpv", "export")] == 1
    site = parts_of(world, "site", "plant")
    assert all(site.get(key, 0) == a.get(key, 0) + b.get(key, 0) for key in {*site, *a, *b})


def test_storage_is_taken_out_of_consumption():
    world = installation(meter("main", role="grid"), meter("cell", "a", "main", "storage"))
    assert parts_of(world, "site", "plant")[("cell", "import")] == -1


def test_a_carrier_measured_in_two_units_gives_two_sums():
    world = installation(meter("g1", "a", carrier=Carrier.GAS), meter("g2", "a", carrier=Carrier.GAS))
    one, two = meter_measure(world.meters[0], "gas_volume"), meter_measure(world.meters[1], "gas_energy")
    nodes = node_parts(world, {one, two})
    assert {m.unit for m in nodes if m.node == "a"} == {"m3", "kWh"}


def test_a_sum_with_a_missing_part_says_so():
    m = Measure("plant", "site", "plant", "electricity", "kWh")
    got = combine(m, [(series([5, 5, 5], "x"), 1), (series([2], "y"), 1)])
    assert got.amount.tolist() == [7, 5, 5]
    assert got.coverage.tolist() == [1.0, 0.0, 0.0]
    assert got.quality.tolist() == [0, Quality.ESTIMATED, Quality.ESTIMATED]


def test_a_meter_installed_later_is_no_missing_part_before_it_was_there():
    m = Measure("plant", "site", "plant", "electricity", "kWh")
    late = series([2], "y", first=2)
    assert combine(m, [(series([5, 5, 5], "x"), 1), (late, 1)]).coverage.tolist() == [1.0] * 3
    since = {late.measure: QUARTER_US}
    assert combine(m, [(series([5, 5, 5], "x"), 1), (late, 1)], since).coverage.tolist() == [1.0, 0.0, 1.0]


def test_the_rest_of_a_main_meter_is_what_its_parts_did_not_count_and_can_be_negative():
    got = rest(series([10, 10], "main"), [series([4, 7], "x", 0.5), series([1, 5], "y")])
    assert got.amount.tolist() == [5, -2]
    assert got.coverage.tolist() == [0.5, 0.5]


def test_without_any_part_there_is_no_row():
    assert len(combine(Measure("plant", "site", "plant", "water", "m3"), [])) == 0
