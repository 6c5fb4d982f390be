"""The demo's broker: real ones, on loopback."""

import contextlib
import os
import socket
import subprocess
import threading
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from meterhall.broker import find_mosquitto, start_broker
from metering.explain import ExplainedError

pytestmark = pytest.mark.broker
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def mosquitto_path():
    found = find_mosquitto()
    if not found:
        if os.environ.get("CI") == "true":
            pytest.fail("Mosquitto is not installed")
        pytest.skip("Mosquitto is not installed; install it: sudo apt-get install mosquitto")
    return found


def client(port, client_id, **more):
    made = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5)
    if more:
        made.username_pw_set(more["username"], more["password"])
    made.connect("127.0.0.1", port)
    return made


def passes_a_message(port):
    arrived = threading.Event()
    receiver = client(port, "receiver")
    receiver.on_subscribe = lambda *_: client_publish(port)
    receiver.on_message = lambda c, u, m: m.payload == b"hello" and arrived.set()
    receiver.subscribe("site/#", qos=1)
    receiver.loop_start()
    try:
        return arrived.wait(10)
    finally:
        receiver.disconnect()
        receiver.loop_stop()


def client_publish(port):
    sender = client(port, "sender")
    sender.loop_start()
    sender.publish("site/a", b"hello", qos=1).wait_for_publish(10)
    sender.disconnect()
    sender.loop_stop()


def is_running(pid):
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("kind", ["Mosquitto", "iotcore (built in)"])
def test_it_listens_on_loopback_passes_messages_and_is_gone_after_stop(kind, tmp_path, port, mosquitto_path):
    broker = start_broker(tmp_path, port, mosquitto=mosquitto_path if kind == "Mosquitto" else "")
    try:
        assert (broker.name, broker.port) == (kind, port)
        assert passes_a_message(port)
        with pytest.raises(ExplainedError, match="is in use"):
            start_broker(tmp_path / "other", port)
    finally:
        broker.stop()
    assert not is_running(broker.pid)
    broker.stop()


def test_with_users_nobody_else_gets_in_and_passwords_are_not_kept_in_clear(tmp_path, port, mosquitto_path):
    broker = start_broker(tmp_path, port, users={"col": "canary"}, mosquitto=mosquitto_path)
    try:
        codes = []
        for more in ({}, {"username": "col", "password": "wrong"}, {"username": "col", "password": "canary"}):
            made = client(port, "c", **more)
            answered = threading.Event()
            made.on_connect = lambda c, u, f, reason, p, answered=answered: (codes.append(reason.value), answered.set())
            made.loop_start()
            assert answered.wait(10)
            made.disconnect()
            made.loop_stop()
        assert codes == [135, 135, 0]
    finally:
        broker.stop()
    assert all(b"canary" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_broker_left_over_by_a_killed_run_is_replaced(tmp_path, port, mosquitto_path):
    first = start_broker(tmp_path, port, mosquitto=mosquitto_path)
    second = start_broker(tmp_path, port, mosquitto=mosquitto_path)
    try:
        assert not is_running(first.pid)
        assert passes_a_message(port)
    finally:
        second.stop()
        first.stop()


def test_a_broker_that_cannot_start_says_why(tmp_path, port):
    program = tmp_path / "mosquitto"
    program.write_text("#!/bin/sh\necho 'Error: no memory' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(ExplainedError, match="no memory"):
        start_broker(tmp_path / "data", port, mosquitto=str(program))


def test_the_production_configuration_is_one_that_mosquitto_takes(tmp_path, port, mosquitto_path):
    """As shipped, but for paths and the port; a device may write below its own name and read nothing."""
    text = (ROOT / "docs" / "mosquitto.conf").read_text()
    for name in ("ca.crt", "broker.crt", "broker.key"):
        assert f"/etc/mosquitto/certs/{name}" in text
    assert "\nallow_anonymous false\n" in text
    assert "\nmessage_size_limit " in text
    assert "\nmax_queued_bytes " in text
    acl, passwords = tmp_path / "acl", tmp_path / "passwords"
    acl.write_text((ROOT / "docs" / "mosquitto.acl").read_text())
    passwords.write_text("meterhall:one\nboiler:two\n")
    acl.chmod(0o600)
    passwords.chmod(0o600)
    subprocess.run(["mosquitto_passwd", "-U", passwords], check=True)
    lines = []
    for line in text.splitlines():
        key = line.partition(" ")[0]
        value = {
            "listener": f"listener {port} 127.0.0.1",
            "password_file": f"password_file {passwords}",
            "acl_file": f"acl_file {acl}",
            "persistence_location": f"persistence_location {tmp_path}/",
            "log_dest": "log_dest stderr",
        }.get(key, "" if key in ("cafile", "certfile", "keyfile", "tls_version") else line)
        lines.append(value)
    config = tmp_path / "mosquitto.conf"
    config.write_text("\n".join([*lines, *(["user root"] if os.getuid() == 0 else [])]) + "\n")
    process = subprocess.Popen([mosquitto_path, "-c", config], stderr=(tmp_path / "log").open("wb"))
    try:
        _wait_for(port, process, tmp_path / "log")
        heard = []
        receiver = client(port, "c", username="meterhall", password="one")
        ready = threading.Event()
        receiver.on_message = lambda c, u, m: heard.append(m.topic)
        receiver.on_subscribe = lambda *_: ready.set()
        receiver.subscribe("site/#", qos=1)
        receiver.loop_start()
        assert ready.wait(10)
        device = client(port, "d", username="boiler", password="two")
        device.loop_start()
        sent = [device.publish(topic, b"1", qos=1) for topic in ("site/pump/a", "site/boiler/a")]
        for each in sent:
            each.wait_for_publish(10)
        deadline = threading.Event()
        for _ in range(200):
            if heard:
                break
            deadline.wait(0.02)
        for each in (device, receiver):
            each.disconnect()
            each.loop_stop()
        assert heard == ["site/boiler/a"]
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port, process, log):
    pause = threading.Event()
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        assert process.poll() is None, log.read_text()
        pause.wait(0.02)
    pytest.fail("Mosquitto does not listen")
