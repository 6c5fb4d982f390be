"""Profiles as files: what is read, and how mistakes are named."""

import re
from pathlib import Path

import pytest

from devices.registers import load_modbus_profile, modbus_profile, modbus_profiles
from metering.explain import ExplainedError

GOOD = """\
id = "mine"
version = 3
manufacturer = "M"
model = "X"
protocol = "modbus"
source = "a paper"
confidence = "ours"
max_words = 20
defaults = { table = "input", type = "u16" }

[[register]]
quantity = "voltage"
address = { l1 = 0, l2 = 1 }
scale = 0.1
unit = "V"

[[register]]
quantity = "active_energy_import"
address = 8
type = "u32"
scale = 0.01
unit = "kWh"
rollover_counts = 100000000

[[register]]
type = "string"
name = "serial_number"
table = "holding"
address = 100
words = 8
"""
ILLEGAL = "[[illegal]]\ntable = 'input'\nfirst = 9\nlast = 9"


def write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def test_a_profile_is_read_with_its_defaults_phases_and_texts(tmp_path):
    profile = load_modbus_profile(write(tmp_path, GOOD))
    assert profile.name == "mine@3"
    assert profile.slots == (("voltage", "l1"), ("voltage", "l2"), ("active_energy_import", "total"))
    assert profile.rollovers() == {("active_energy_import", "total"): 1_000_000.0}
    assert [(t.name, t.table, t.address, t.words) for t in profile.texts] == [("serial_number", "holding", 100, 8)]


@pytest.mark.parametrize(
    ("old", "new", "place", "found", "mend"),
    [
        ('type = "u32"', 'type = "f23"', "mine.toml:20: register[1].type", '"f23"', 'did you mean "f32"?'),
        ('type = "u32"', 'type = "word"', "register[1].type", '"word"', "use one of u16, i16, u32, i32, f32, u64"),
        ('"voltage"', '"voltag"', "register[0].quantity", '"voltag"', 'did you mean "voltage"?'),
        ('unit = "kWh"', 'unit = "kW"', "register[1].unit", '"kW"', "use one of GJ"),
        ("address = 8", "address = 65535", "register[1].address", "65535", "end after 65535"),
        ("address = 8", "address = -1", "register[1].address", "-1", "use 0 to 65535"),
        ("address = 8\n", "", "register[1].address", "missing", "add address"),
        ("l2 = 1", "l4 = 1", "register[0].address.l4", "l4", "use total, l1, l2, l3 or n"),
        ("scale = 0.1\n", "scale = 0\n", "register[0].scale", "0", "unit per count"),
        ("scale = 0.1", "scael = 0.1", "register[0].scael", "not known", 'did you mean "scale"?'),
        ("scale = 0.1", "scale = 0.1\ninvalid = [70000]", "register[0].invalid", "70000", "0 to 0xFFFF"),
        ("scale = 0.1", "scale = 0.1\nrollover = 5", "register[0].rollover", "gauge", "leave it out"),
        ("max_words = 20", "max_words = 200", "mine.toml:8: max_words", "200", "1 to 125"),
        ("max_words = 20", "max_words = 1", "register[1].address", "2 registers", "max_words is 1"),
        ("version = 3", 'version = "3"', "version", "'3'", "whole number"),
        ('id = "mine"', 'id = "yours"', "mine.toml:1: id", "yours", 'write id = "mine"'),
        ('"active_energy_import"\naddress = 8', '"voltage"\nphase = "l2"\naddress = 8', "register[1]", "", ""),
        ('table = "input", ', 'tabel = "input", ', "defaults", "tabel", "known: table"),
        ("[[register]]", f"{ILLEGAL}\n[[register]]", "register[1].address", "8", "declared illegal"),
        ("version = 3", "version = ", "mine.toml", "not valid TOML", "mend that line"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_file_register_key_value_and_mend(tmp_path, old, new, place, found, mend):
    assert old in GOOD
    with pytest.raises(ExplainedError) as error:
        load_modbus_profile(write(tmp_path, GOOD.replace(old, new, 1)))
    assert place in error.value.where
    assert found in error.value.what
    assert mend in error.value.mend


def test_the_example_of_the_document_is_a_profile(tmp_path):
    document = (Path(__file__).parent.parent.parent / "docs" / "adding-a-device.md").read_text()
    example = re.search(r"```toml\n(id = .*?)```", document, re.DOTALL).group(1)
    path = tmp_path / "acme_m1.toml"
    path.write_text(example)
    assert len(load_modbus_profile(path).registers) == 5


def test_every_shipped_profile_says_where_it_is_from_and_how_sure_that_is():
    for name in modbus_profiles():
        profile = modbus_profile(name)
        assert profile.source and profile.confidence and profile.protocol == "modbus"


def test_a_pulse_counter_has_a_profile_for_each_input():
    third = modbus_profile("wirenboard_mcm8_water.3")
    assert third.id == "wirenboard_mcm8_water.3"
    assert [r.address for r in third.registers] == [64]
    assert third.rollovers() == {("water_volume", "total"): 4294967.296}
    with pytest.raises(ExplainedError, match="has no input 9; use 1 to 8"):
        modbus_profile("wirenboard_mcm8_water.9")
    with pytest.raises(ExplainedError, match="leave the number out"):
        modbus_profile("eastron_sdm630").for_input(1)


def test_own_profiles_stand_beside_the_shipped_ones_and_win(tmp_path):
    write(tmp_path, GOOD)
    (tmp_path / "eastron_sdm120.toml").write_text(GOOD.replace('id = "mine"', 'id = "eastron_sdm120"'))
    (tmp_path / "wifi_plug.toml").write_text('id = "wifi_plug"\nprotocol = "mqtt"\n')
    known = modbus_profiles(tmp_path)
    assert known["mine"] == tmp_path / "mine.toml"
    assert "wifi_plug" not in known
    assert modbus_profile("eastron_sdm120", tmp_path).version == 3
    with pytest.raises(ExplainedError, match="did you mean eastron_sdm630"):
        modbus_profile("eastron_sdm63", tmp_path)
