"""The demo's bureau is a valid configuration and holds what is promised of it."""

from collections import Counter
from dataclasses import replace
from datetime import date

import pytest

from devices.catalog import load_settings
from devices.payload.profile import mqtt_profiles
from devices.registers import modbus_profiles
from metering.explain import ExplainedError
from metering.quantity import Carrier
from simulators.config import load_bureau
from simulators.meter import registers
from simulators.workdays import is_workday, workdays
from simulators.world import build, counter_of


def test_the_bureau_loads_with_every_profile_known(folder):
    known = {name: "modbus" for name in modbus_profiles()} | {name: "mqtt" for name in mqtt_profiles()}
    load_settings(folder, profile_ids=lambda _own: known)


def test_the_bureau_has_the_buildings_meters_and_vehicles_promised(bureau):
    installation = bureau.installation
    assert len(installation.buildings) >= 6
    assert {"office", "service_hall", "canteen", "school", "library", "depot"} <= {
        b.use for b in installation.buildings
    }
    assert len(installation.meters) >= 40
    assert Counter(v.drive for v in installation.vehicles).keys() >= {"electric", "plug_in_hybrid", "petrol"}
    assert len(installation.vehicles) == 20
    assert {m.carrier for m in installation.meters} >= {
        Carrier.ELECTRICITY, Carrier.WATER, Carrier.GAS, Carrier.HEAT, Carrier.CLIMATE,
    }  # fmt: skip
    assert {m.end_use for m in installation.meters} >= {"lighting", "hvac", "power", "special"}
    modbus = {m.profile.partition(".")[0] for m in installation.meters if m.connection.startswith("modbus")}
    formats = {device.profile for device in installation.devices() if device.connection.startswith("mqtt")}
    assert len(modbus) >= 5
    assert len(formats) >= 4
    assert {m.building for m in installation.meters if m.replayed} == {"hall", "library"}


def test_every_thing_has_both_names_and_every_unit_a_place_of_its_own(bureau):
    installation = bureau.installation
    for thing in (*installation.sites, *installation.buildings, *installation.devices()):
        assert thing.name.en and thing.name.zh, thing.id
    units = Counter((m.connection, m.unit_id) for m in installation.meters if m.unit_id is not None)
    topics = Counter(d.connection for d in installation.devices() if d.connection.startswith("mqtt"))
    assert set(units.values()) == set(topics.values()) == {1}


def test_every_meter_can_say_the_quantity_it_counts(bureau):
    for meter in bureau.installation.meters:
        if meter.carrier is not Carrier.CLIMATE:
            assert (counter_of(bureau, meter), "total") in registers(meter.profile), meter.id


def test_a_mistake_in_the_story_is_named(folder, tmp_path):
    for name in ("site.toml", "factors.toml"):
        (tmp_path / name).write_text((folder / name).read_text(encoding="utf-8"), encoding="utf-8")
    story = (folder / "story.toml").read_text(encoding="utf-8")
    for right, wrong, found in (
        ('kind = "leak"', 'kind = "leek"', "leek"),
        ('device = "school-water"', 'device = "school-wtaer"', "school-wtaer"),
        ("anchor = 2025-01-01", 'anchor = "once"', "once"),
        ('shape = "kitchen"', 'shape = "kitschen"', "kitschen"),
    ):
        assert right in story
        (tmp_path / "story.toml").write_text(story.replace(right, wrong, 1), encoding="utf-8")
        with pytest.raises(ExplainedError, match=found):
            load_bureau(tmp_path)


def test_a_time_before_the_anchor_is_refused(bureau):
    with pytest.raises(ExplainedError, match="anchor"):
        build(replace(bureau, anchor=date(2030, 1, 1)), bureau.story_at)


def test_make_up_days_are_worked_and_an_unknown_year_is_provisional():
    assert is_workday(date(2026, 10, 1), "CN") == (False, False)  # a Thursday
    assert is_workday(date(2026, 10, 10), "CN") == (True, False)  # a Saturday made up for it
    assert is_workday(date(2031, 10, 1), "CN") == (True, True)
    days = workdays([date(2031, 10, 4), date(2026, 7, 20)], "CN")
    assert days.work.tolist() == [False, True]
    assert days.school.tolist() == [False, False]
    assert days.provisional.tolist() == [True, False]
