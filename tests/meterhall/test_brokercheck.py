"""What a broker's settings can lose is said, with the setting that avoids it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from meterhall.brokercheck import check_broker, installed_version, parse_version
from metering.explain import ExplainedError
from tests.conftest import find_mosquitto

ROOT = Path(__file__).parents[2]
GOOD = (ROOT / "docs" / "mosquitto.conf").read_text()


def check(folder, text, version=None):
    path = folder / "mosquitto.conf"
    path.write_text(text)
    (folder / "mosquitto.acl").write_text((ROOT / "docs" / "mosquitto.acl").read_text())
    return check_broker(path, version)


def said(remarks, state):
    return [str(each) for each in remarks if each.state == state]


def test_the_configuration_we_ship_passes():
    remarks = check_broker(ROOT / "docs" / "mosquitto.conf", (2, 0, 18))
    assert {each.state for each in remarks} == {"ok"}, said(remarks, "warning")


@pytest.mark.parametrize(
    ("was", "now", "state", "words"),
    [
        ("persistence true", "persistence false", "broken", "loses every waiting message"),
        ("persistence true", "", "broken", "loses every waiting message"),
        ("persistence_location /var/lib/mosquitto/", "", "warning", "wherever the broker was started"),
        ("autosave_interval 5", "", "broken", "up to 1800 s; autosave_interval 5"),
        ("autosave_interval 5", "autosave_interval 0", "broken", "only when the broker ends in order"),
        ("max_queued_messages 0", "", "broken", "every message beyond 1000 is dropped"),
        ("max_queued_messages 0", "max_queued_messages 50000", "broken", "beyond 50000"),
        ("max_queued_bytes 2147483648", "", "warning", "no limit"),
        ("max_queued_bytes 2147483648", "max_queued_bytes 1000000", "broken", "about 8333 messages"),
        ("max_inflight_messages 5000", "", "warning", "max_inflight_messages 20"),
        ("queue_qos0_messages true", "", "warning", "QoS 0 are lost"),
        ("message_size_limit 1048576", "", "warning", "any size"),
        ("message_size_limit 1048576", "message_size_limit 1000", "broken", "longer than 1000 bytes"),
        ("message_size_limit 1048576", "message_size_limit 65536", "warning", "Meterhall takes 262144"),
        ("persistent_client_expiration 14d", "", "warning", "grows for ever"),
        ("persistent_client_expiration 14d", "persistent_client_expiration 2h", "broken", "over a weekend"),
        ("persistent_client_expiration 14d", "persistent_client_expiration soon", "broken", "write 14d"),
        ("allow_anonymous false", "allow_anonymous true", "broken", "anybody who reaches the broker"),
        ("password_file /etc/mosquitto/passwords", "", "broken", "nobody can connect"),
        ("acl_file /etc/mosquitto/mosquitto.acl", "", "broken", "in the name of every other"),
        ("listener 8883", "listener 1883 0.0.0.0\nlistener 8883", "broken", "1883 0.0.0.0 listens to the network"),
        ("certfile /etc/mosquitto/certs/broker.crt", "", "broken", "without TLS"),
        ("tls_version tlsv1.2", "tls_version tlsv1.1", "broken", "broken since long"),
        ("max_keepalive 600", "max_qos 0", "broken", "nobody can publish with an acknowledgement"),
        ("max_keepalive 600", "memory_limit 1000000", "warning", "refuses messages of everybody"),
        ("max_keepalive 600", "max_keepalives 600", "broken", "did you mean max_keepalive?"),
        ("max_keepalive 600", "autosave_interval often", "broken", "whole number"),
        ("persistence true", "persistence yes", "broken", "write true or false"),
        ("max_keepalive 600", "connection up\ntopic # out 0", "warning", "with QoS 0: lost"),
        ("max_keepalive 600", "connection up\ntopic # out 1\ncleansession true", "broken", "forgets what waits"),
    ],
)
def test_each_setting_that_can_lose_something_is_named_with_its_mend(tmp_path, was, now, state, words):
    changed = GOOD.replace(f"{was}\n", f"{now}\n", 1)
    assert changed != GOOD
    found = said(check(tmp_path, changed), state)
    assert any(words in each for each in found), found
    assert all(each.count(";") for each in found), "each has a mend"


def test_the_listener_of_old_without_a_name_is_one_too(tmp_path):
    found = said(check(tmp_path, "port 1883\nallow_anonymous false\n"), "broken")
    assert any("port 1883 listens to the network without TLS" in each for each in found)


def test_the_line_of_a_setting_is_named(tmp_path):
    text = GOOD.replace("autosave_interval 5", "autosave_interval 1800")
    line = text.splitlines().index("autosave_interval 1800") + 1
    assert any(f"mosquitto.conf:{line}:" in each for each in said(check(tmp_path, text), "broken"))


def test_on_this_machine_alone_an_open_broker_is_a_warning(tmp_path):
    remarks = check(tmp_path, "listener 1883 127.0.0.1\nallow_anonymous true\n")
    assert any("anybody" in each for each in said(remarks, "warning"))
    assert not any("anybody" in each or "without TLS" in each for each in said(remarks, "broken"))


def test_settings_of_each_listener_count_where_they_are_its_own(tmp_path):
    text = GOOD.replace("per_listener_settings false", "per_listener_settings true")
    text += "listener 1884 127.0.0.1\nallow_anonymous true\n"
    found = check(tmp_path, text)
    assert any("listener 1884 127.0.0.1: anybody" in each for each in said(found, "warning"))
    assert any("listener 8883: no anonymous" in each for each in said(found, "ok"))


def test_an_acl_that_lets_everybody_write_everywhere_is_named(tmp_path):
    path = tmp_path / "mosquitto.conf"
    path.write_text(GOOD)
    (tmp_path / "mosquitto.acl").write_text("topic readwrite #\nuser meterhall\ntopic read #\n")
    found = said(check_broker(path), "warning")
    assert found == [
        "▲  mosquitto.acl:1: everybody may publish on every topic; give each device its own: pattern write site/%u/#"
    ]


def test_included_files_are_read(tmp_path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "queue.conf").write_text("max_queued_messages 100\n")
    text = GOOD.replace("max_queued_messages 0", "") + "include_dir conf.d\n"
    assert any("queue.conf:1:" in each and "beyond 100 " in each for each in said(check(tmp_path, text), "broken"))


@pytest.mark.parametrize(
    ("version", "state"), [("1.4.10", "broken"), ("2.0.11", "warning"), ("2.0.16", "ok"), ("2.1", "ok")]
)
def test_old_versions_are_named(tmp_path, version, state):
    (remark,) = [each for each in check(tmp_path, GOOD, parse_version(version)) if each.subject == "version"]
    assert remark.state == state


def test_what_is_no_file_or_no_version_is_said(tmp_path):
    with pytest.raises(ExplainedError, match="cannot be read"):
        check_broker(tmp_path / "none.conf")
    with pytest.raises(ExplainedError, match=r"write a version such as 2\.0\.18"):
        parse_version("newest")


@pytest.mark.broker
def test_every_option_we_know_as_wrong_is_wrong_to_mosquitto_too(tmp_path):
    """And the file we ship names none that the installed one does not know."""
    program = find_mosquitto()
    assert installed_version(program) >= (1, 5)
    for text, refused in (("max_keepalives 600\n", True), ("queue_qos0_messages true\nautosave_interval 5\n", False)):
        path = tmp_path / "some.conf"
        path.write_text(text + "listener 0 127.0.0.1\nno_such_option_to_stop_it 1\n")
        done = subprocess.run([program, "-c", path], capture_output=True, text=True, check=False, timeout=20)
        assert ("max_keepalives" in done.stderr + done.stdout) is refused
        assert done.returncode != 0


def test_the_command_exits_1_when_readings_can_be_lost(tmp_path):
    path = tmp_path / "mosquitto.conf"
    path.write_text("listener 1883\n")
    command = [sys.executable, "-m", "meterhall", "broker", "check", str(path), "--json", "--version", "2.0.18"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["broken"] == sum(each["state"] == "broken" for each in found["remarks"]) > 3
    path.write_text(GOOD)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
