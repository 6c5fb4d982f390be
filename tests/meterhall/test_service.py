"""As a service of systemd: the unit says what it may do, and the process tells how it does."""

import configparser
import os
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from meterhall.cli import app
from meterhall.notify import notify, watchdog_period_s
from meterhall.service import HEAD, NAME, unit_of
from metering.explain import ExplainedError
from tests.conftest import free_port
from tests.filled import configure

HARDENING = ("NoNewPrivileges", "ProtectSystem", "PrivateTmp", "RestrictAddressFamilies", "SystemCallFilter", "UMask")


def settings_of(text):
    """A unit's [Service] settings; of those that stand twice, the last."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(text)
    assert set(parser.sections()) == {"Unit", "Service", "Install"}
    return parser["Service"]


def test_the_unit_runs_as_a_user_without_rights_hardened_and_watched(tmp_path):
    unit = settings_of(unit_of(configure(tmp_path)))
    assert unit["User"] == "meterhall"
    assert (unit["Type"], unit["Restart"], int(unit["WatchdogSec"])) == ("notify", "on-failure", 60)
    assert all(name in unit for name in HARDENING)
    assert unit["ReadWritePaths"] == str(tmp_path / "data")
    assert unit["ExecStart"].endswith(f"meterhall run --config {tmp_path}")
    assert unit["CapabilityBoundingSet"] == ""


def test_the_unit_passes_systemds_own_check(tmp_path):
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed; install it: sudo apt-get install systemd")
    (tmp_path / NAME).write_text(unit_of(configure(tmp_path / "with space"), "nobody"))
    done = subprocess.run([program, "verify", tmp_path / NAME], capture_output=True, text=True, check=False)
    assert "Unknown" not in done.stderr, done.stderr
    assert "Failed to parse" not in done.stderr, done.stderr


def test_paths_with_spaces_and_percent_signs_are_quoted(tmp_path):
    folder = tmp_path / 'Bürgerhaus 100% "neu"'
    unit = settings_of(unit_of(configure(folder)))
    assert unit["ReadWritePaths"] == '"' + str(folder / "data").replace("%", "%%").replace('"', '\\"') + '"'


def test_a_serial_line_is_let_through_and_only_that(tmp_path):
    configure(tmp_path)
    text = (tmp_path / "site.toml").read_text()
    meter = """[[meter]]\nid = "serial"\nname = "S"\ncarrier = "electricity"\nprofile = "eastron_sdm630"
connection = "modbus-rtu:///dev/ttyUSB0?baud=9600"\nunit_id = 1\n"""
    (tmp_path / "site.toml").write_text(text + meter)
    from meterhall.configuring import read_settings

    unit = settings_of(unit_of(read_settings(tmp_path)))
    assert unit["DeviceAllow"] == "/dev/ttyUSB0 rw"
    assert unit["SupplementaryGroups"] == "dialout"
    assert "PrivateDevices" not in unit


@pytest.mark.parametrize("user", ["root", "", "a b", "-x"])
def test_it_never_runs_as_root(tmp_path, user):
    with pytest.raises(ExplainedError, match="not root"):
        unit_of(configure(tmp_path), user)


def test_install_writes_it_prints_what_to_type_and_uninstall_removes_it(tmp_path):
    configure(tmp_path / "plant")
    units = tmp_path / "units"
    units.mkdir()
    where = ["--config", str(tmp_path / "plant"), "--unit-folder", str(units)]
    run = CliRunner().invoke
    dry = run(app, ["service", "install", *where, "--dry-run"])
    assert HEAD in dry.output
    assert list(units.iterdir()) == []
    done = run(app, ["service", "install", *where])
    assert "sudo systemctl enable --now meterhall.service" in done.output
    assert "useradd --system" in done.output
    assert (units / NAME).read_text().startswith(HEAD)
    assert run(app, ["service", "uninstall", *where, "--dry-run"]).exit_code == 0
    assert (units / NAME).exists()
    done = run(app, ["service", "uninstall", *where])
    assert (done.exit_code, list(units.iterdir())) == (0, [])
    assert (tmp_path / "plant" / "data").exists()
    (units / NAME).write_text("[Unit]\n")
    done = run(app, ["service", "uninstall", *where])
    assert (done.exit_code, "not written by Meterhall" in done.stderr) == (1, True)


@pytest.mark.parametrize("abstract", [False, True])
def test_a_state_goes_to_the_socket_that_systemd_names(tmp_path, monkeypatch, abstract):
    address = f"@meterhall-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + address[1:] if abstract else address)
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        assert notify("READY=1")
        assert listener.recv(100) == b"READY=1"
    assert not notify("WATCHDOG=1"), "who is gone is a line in the log, not the end"
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert not notify("READY=1")


def test_the_watchdog_is_told_twice_in_its_time_and_only_by_the_process_it_watches(monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    assert watchdog_period_s() == 30.0
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_period_s() == 30.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_period_s() is None


def test_the_running_process_says_ready_alive_and_stopping(tmp_path):
    configure(tmp_path / "plant", port=free_port())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(30)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        server = subprocess.Popen(
            [sys.executable, "-m", "meterhall", "run", "--config", tmp_path / "plant"],
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        try:
            said = [listener.recv(100) for _ in range(4)]
            assert said == [b"READY=1", *[b"WATCHDOG=1"] * 3]
            server.send_signal(signal.SIGTERM)
            while (last := listener.recv(100)) == b"WATCHDOG=1":
                pass
            assert last == b"STOPPING=1"
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
