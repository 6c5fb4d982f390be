"""A wrong configuration is named: file, line, key, value found and the mend."""

import pytest

from devices.catalog import ConfigurationError, load_settings

MAIN = """
[server]
port = 8420
[[broker]]
id = "plant"
url = "mqtt://127.0.0.1:1883"
"""
SITE = """
[[site]]
id = "town"
name = "Town hall"
timezone = "Europe/London"

[[building]]
id = "hall"
name = "Hall"
floor_area = [{ value = 1000, from = 2020-01-01 }, { value = 1200, from = 2024-07-01 }]

[[meter]]
id = "main"
name = "Main"
building = "hall"
carrier = "electricity"
role = "grid"
profile = "eastron_sdm630"
connection = "modbus-tcp://127.0.0.1:502"
unit_id = 1
    [[meter.fact]]
    kind = "ratio"
    from = 2026-01-01
    factor = 40

[[meter]]
id = "lights"
name = "Lights"
building = "hall"
carrier = "electricity"
parent = "main"
profile = "tasmota"
connection = "mqtt://plant/tele/lights"

[[vehicle]]
id = "car-1"
name = "Car 1"
drive = "electric"
profile = "teslamate"
connection = "mqtt://plant/teslamate/cars/1"
"""


def known(_folder):
    return {"eastron_sdm630": "modbus", "tasmota": "mqtt", "teslamate": "mqtt"}


def load(folder, *, main=MAIN, site=SITE):
    (folder / "meterhall.toml").write_text(main)
    (folder / "site.toml").write_text(site)
    return load_settings(folder, profile_ids=known)


def test_a_good_configuration_is_read_whole(tmp_path):
    settings = load(tmp_path)
    assert [meter.id for meter in settings.installation.meters] == ["main", "lights"]
    assert settings.installation.meters[0].facts[0].factor == 40
    assert [area.value for area in settings.installation.buildings[0].floor_area] == [1000, 1200]
    assert settings.installation.vehicles[0].site == "town"
    assert settings.data == tmp_path / "data"


MISTAKES = [
    ('timezone = "Europe/London"', 'timezone = "Europe/Londom"', "site.toml:5", "timezone", "IANA"),
    ('carrier = "electricity"\nrole', 'carrier = "electrcity"\nrole', "site.toml:16", "carrier", "electricity"),
    ("unit_id = 1", "unit_id = 300", "site.toml:20", "unit_id", "255"),
    ("unit_id = 1\n", "", "site.toml:12", "unit_id", "unit_id = 1"),
    ('parent = "main"', 'parent = "mian"', "site.toml", "parent", "name a meter"),
    ('parent = "main"', 'parent = "lights"', "site.toml", "circle", "no parent"),
    ('profile = "tasmota"', 'profile = "tasmotta"', "site.toml:32", "profile", "tasmota"),
    ('profile = "tasmota"', 'profile = "eastron_sdm630"', "site.toml:32", "profile", "mqtt"),
    ("mqtt://plant/tele", "mqtt://plan/tele", "site.toml:33", "connection", "[[broker]]"),
    ('id = "car-1"', 'id = "main"', "site.toml", "twice", "of its own"),
    ('id = "car-1"', 'id = "car+1"', "site.toml:36", "car+1", "letters"),
    ("from = 2026-01-01", 'from = "2026-02-30"', "site.toml:23", "2026-02-30", "date"),
    ("factor = 40", "factor = nan", "site.toml:24", "nan", "number from"),
    ("factor = 40", "factor = true", "site.toml:24", "true", "number"),
    ('drive = "electric"', 'drive = "electrik"', "site.toml:38", "electrik", "electric"),
    ('drive = "electric"', 'dirve = "electric"', "site.toml", "dirve", "drive"),
    ("[[vehicle]]", "[[vehicles]]", "site.toml:35", "vehicles", "vehicle"),
    ('id = "lights"', 'id = "lights', "site.toml", "TOML", "line"),
]


@pytest.mark.parametrize(("right", "wrong", "place", "found", "mend"), MISTAKES, ids=[m[1][:30] for m in MISTAKES])
def test_a_mistake_is_named_with_place_value_and_mend(tmp_path, right, wrong, place, found, mend):
    assert right in SITE
    with pytest.raises(ConfigurationError) as error:
        load(tmp_path, site=SITE.replace(right, wrong, 1))
    text = str(error.value)
    assert place in text, text
    assert found in text, text
    assert mend in text, text


def test_all_mistakes_are_named_at_once(tmp_path):
    site = SITE.replace("unit_id = 1", "unit_id = 300").replace("factor = 40", "factor = -1")
    with pytest.raises(ConfigurationError) as error:
        load(tmp_path, site=site)
    assert len(error.value.problems) == 2


def test_a_password_in_the_file_or_readable_by_everybody_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="password_file"):
        load(tmp_path, main=MAIN + 'password = "secret"\n')
    (tmp_path / "pw").write_text("secret")
    (tmp_path / "pw").chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load(tmp_path, main=MAIN + 'password_file = "pw"\n')
    (tmp_path / "pw").chmod(0o600)
    broker = load(tmp_path, main=MAIN + 'password_file = "pw"\n').brokers[0]
    assert broker.password.reveal() == "secret"
    assert "secret" not in f"{broker!r} {broker.password} {broker.password:>10}"


def test_an_address_beyond_this_machine_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="others can listen in; add cert_file and key_file, or behind_proxy"):
        load(tmp_path, main=MAIN.replace("[server]", '[server]\nhost = "0.0.0.0"'))


def test_a_text_may_name_an_environment_variable(tmp_path, monkeypatch):
    site = SITE.replace("127.0.0.1:502", "127.0.0.1:${LINE_1}")
    monkeypatch.setenv("LINE_1", "5020")
    assert load(tmp_path, site=site).installation.meters[0].connection == "modbus-tcp://127.0.0.1:5020"
    monkeypatch.delenv("LINE_1")
    with pytest.raises(ConfigurationError, match="LINE_1"):
        load(tmp_path, site=site)


def test_a_folder_without_files_says_what_to_do(tmp_path):
    with pytest.raises(ConfigurationError, match="meterhall init"):
        load_settings(tmp_path)
