"""What the one-shot services of docker-compose.yml write: secrets for each reader, a configuration, keys and tokens."""

import os
import stat

import pytest

from devices.catalog import load_settings
from meterhall.configuring import read_settings
from meterhall.stack import vault as vaults
from meterhall.stack.configuration import write_configuration
from meterhall.stack.secrets import add_broker_user, set_up, tell_password
from meterhall.stack.vault import OWNERS, Owner, Vault, broker_line
from metering.explain import ExplainedError
from tests.conftest import wait_until

ROOT = os.geteuid() == 0
ENVIRONMENT = {
    "METERHALL_DATA": "/tmp/nowhere",
    "METERHALL_ADDRESS": "http://localhost:8420",
    "METERHALL_INFLUXDB": "influxdb:8086",
    "METERHALL_BROKER": "mosquitto:1883",
    "METERHALL_SIMULATORS": "simulators",
    "METERHALL_MQTT_USER": "meterhall",
}


def owners():
    """As in the containers where we may give files away, else our own."""
    return OWNERS if ROOT else dict.fromkeys(OWNERS, Owner(os.getuid(), os.getgid()))


@pytest.fixture
def vault(tmp_path):
    return Vault(tmp_path / "secrets", owners())


def tree(folder):
    """{path: (mode, owner, content)} of every file."""
    return {
        str(path.relative_to(folder)): (stat.S_IMODE(path.stat().st_mode), path.stat().st_uid, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_each_reader_has_its_own_copy_that_nobody_else_can_read(vault, tmp_path):
    set_up(vault, tmp_path / "config", demo=True)
    found = tree(vault.folder)
    assert {name for name in found if not name.startswith("setup/")} == {
        "grafana/grafana-password",
        "influxdb/influx-admin-password",
        "influxdb/influx-admin-token",
        "mosquitto/passwords",
        "server/mqtt-password",
        "simulators/mqtt-password",
    }
    for name, (mode, owner, content) in found.items():
        service = name.partition("/")[0]
        assert mode == 0o400, name
        assert owner == (os.geteuid() if service == "setup" else owners()[service].uid), name
        assert content or name == "setup/told"
    assert stat.S_IMODE((vault.folder / "setup").stat().st_mode) == 0o700
    secrets = {content for name, (_, _, content) in found.items() if name.startswith("setup/") and content}
    assert len(secrets) == 6 and all(len(content) >= 48 for content in secrets)
    assert found["server/mqtt-password"][2] != found["simulators/mqtt-password"][2]
    assert found["simulators/mqtt-password"][2] not in found["mosquitto/passwords"][2]


def test_done_again_it_changes_nothing_and_the_password_is_told_once(vault, tmp_path):
    said, seen = [], []
    for _ in range(3):
        said += set_up(vault, tmp_path / "config", demo=True)
        tell_password(vault, said.append)
        seen.append(tree(tmp_path))
    assert seen[0] == seen[1] == seen[2]
    assert len(said) == 2 and said[0].startswith("Configuration: wrote")
    password = (vault.folder / "setup" / "grafana-password").read_text()
    assert password in said[1] and password.isalnum()


@pytest.mark.parametrize("cut", range(12))
def test_cut_short_anywhere_the_next_run_completes_it(tmp_path, monkeypatch, cut):
    vault, writes, write = Vault(tmp_path / "secrets", owners()), [], vaults._write

    def cut_short(path, value, owner):
        if len(writes) == cut:
            raise OSError("the machine went off")
        writes.append(path)
        write(path, value, owner)

    monkeypatch.setattr(vaults, "_write", cut_short)
    with pytest.raises(OSError, match="went off"):
        set_up(vault, tmp_path / "config", demo=True)
    monkeypatch.setattr(vaults, "_write", write)
    set_up(vault, tmp_path / "config", demo=True)
    found = tree(vault.folder)
    assert found["mosquitto/passwords"][2] == found["setup/mosquitto-passwords"][2]
    assert found["mosquitto/passwords"][2].count(b"\n") == 2
    for copy, kept in (("grafana/grafana-password", "grafana-password"), ("server/mqtt-password", "mqtt-meterhall")):
        assert found[copy][2] == found[f"setup/{kept}"][2]


def test_without_the_demo_nobody_may_simulate(vault, tmp_path):
    set_up(vault, tmp_path / "config", demo=False)
    assert not (vault.folder / "simulators").exists()
    assert b"simulators" not in (vault.folder / "mosquitto" / "passwords").read_bytes()


def test_the_demos_configuration_is_valid_in_each_container(vault, tmp_path, monkeypatch):
    folder = tmp_path / "config"
    set_up(vault, folder, demo=True)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for reader in ("server", "simulators"):
        monkeypatch.setenv("METERHALL_SECRETS", str(vault.folder / reader))
        settings = read_settings(folder)
        kept = vault.folder / reader / "mqtt-password"
        assert settings.brokers[0].password.reveal() == kept.read_text()
    assert settings.store_url.startswith("influxdb://influxdb:8086/meterhall?")
    assert len(settings.installation.meters) == 48 and len(settings.installation.vehicles) == 20
    hosts = {meter.connection for meter in settings.installation.meters if meter.connection.startswith("modbus")}
    assert hosts and all("://simulators:150" in connection for connection in hosts)


def test_a_configuration_that_is_there_is_kept(tmp_path, monkeypatch):
    (tmp_path / "site.toml").write_text('[[site]]\nid = "s"\nname = "S"\ntimezone = "UTC"\n')
    assert write_configuration(tmp_path, demo=True) == ["Configuration: wrote meterhall.toml"]
    assert write_configuration(tmp_path, demo=True) == []
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "mqtt-password").write_text("x")
    (tmp_path / "mqtt-password").chmod(0o400)
    monkeypatch.setenv("METERHALL_SECRETS", str(tmp_path))
    assert [site.id for site in load_settings(tmp_path).installation.sites] == ["s"]


@pytest.mark.slow
@pytest.mark.broker
def test_mosquitto_takes_the_passwords_and_the_rights_as_they_are_written(vault, tmp_path, start_mosquitto):
    from pathlib import Path

    import paho.mqtt.client as paho

    set_up(vault, tmp_path / "config", demo=True)
    device = add_broker_user(vault, "boiler-house")
    readable = tmp_path / "passwords"
    readable.write_bytes((vault.folder / "mosquitto" / "passwords").read_bytes())
    acl = Path(__file__).parents[2] / "docker" / "mosquitto.acl"
    broker = start_mosquitto(
        lines=("per_listener_settings false", f"password_file {readable}", f"acl_file {acl}"), anonymous=False
    )
    got = []

    def client(user, password):
        it = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        it.username_pw_set(user, password)
        answers = []
        it.on_connect = lambda _c, _u, _f, reason, _p: answers.append(reason.value)
        it.on_message = lambda _c, _u, message: got.append((message.topic, message.payload))
        it.connect("127.0.0.1", broker.port)
        it.loop_start()
        wait_until(lambda: answers, what=f"an answer to {user}")
        return it, answers[0]

    password = {name: (vault.folder / "setup" / f"mqtt-{name}").read_text() for name in ("meterhall", "simulators")}
    collector, answer = client("meterhall", password["meterhall"])
    assert answer == 0
    collector.subscribe("#", qos=1)
    wrong, answer = client("meterhall", password["simulators"])
    assert answer == 135  # not authorised
    gateway, answer = client("boiler-house", device)
    assert answer == 0
    town, answer = client("simulators", password["simulators"])
    assert answer == 0
    forger, answer = client("boiler-house", device)  # refused, this client hangs up
    assert answer == 0
    forger.publish("site/other-house/m", b"forged", qos=1).wait_for_publish(5)
    gateway.publish("site/boiler-house/m", b"own", qos=1).wait_for_publish(5)
    town.publish("teslamate/cars/1/speed", b"5", qos=1).wait_for_publish(5)
    wait_until(lambda: len(got) >= 2, what="two messages")
    assert sorted(got) == [("site/boiler-house/m", b"own"), ("teslamate/cars/1/speed", b"5")]
    for each in (collector, wrong, gateway, forger, town):
        each.disconnect()
        each.loop_stop()


@pytest.mark.parametrize("user", ["meterhall", "simulators", "", "a b", "../x", "a:b", "x" * 65])
def test_a_name_that_cannot_be_an_account_is_refused(vault, user):
    with pytest.raises(ExplainedError, match="cannot be added"):
        add_broker_user(vault, user)


def test_an_accounts_new_password_takes_the_place_of_its_old_one(vault, tmp_path):
    set_up(vault, tmp_path / "config", demo=True)
    first, second = (add_broker_user(vault, "boiler-house") for _ in range(2))
    lines = (vault.folder / "mosquitto" / "passwords").read_text().splitlines()
    assert first != second and [line.partition(":")[0] for line in lines] == ["meterhall", "simulators", "boiler-house"]
    assert broker_line("a", "b") != broker_line("a", "b"), "salted"
