"""The doctor finds what is wrong with an installation, says the mend, and changes nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest

from meterhall import brokerdoctor, doctor, timekeeping
from meterhall.doctor import check_calendar, examine, say_disk
from meterhall.node import open_node
from metering.clock import DAY_US, now_us, to_us
from tests.conftest import free_port, wait_until
from tests.filled import configure, fill, filled_node, leave_waiting
from tests.test_releases import fingerprint


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """A filled installation, stopped, something waiting in its spool."""
    folder = tmp_path_factory.mktemp("installation")
    with filled_node(folder) as node:
        leave_waiting(node)
    return folder


@pytest.fixture
def folder(installation, tmp_path):
    """A copy of it, to be hurt."""
    return shutil.copytree(installation, tmp_path / "plant")


def found(folder, state, **options):
    return [str(each) for each in examine(folder, **options) if each.state == state]


def test_a_sound_stopped_installation_has_nothing_broken_and_is_left_as_it_is(folder):
    before = fingerprint(folder / "data")
    remarks = {each.subject: each for each in examine(folder)}
    assert not [each for each in remarks.values() if each.state == "broken"]
    assert remarks["books"].what == "balance, 20 messages wait and are stored at the next start"
    assert remarks["store"].what == "1,010 readings"
    assert remarks["broker b"].state == "warning", "nothing listens there, and its limits cannot be seen"
    after = fingerprint(folder / "data")
    assert {name: each[2] for name, each in after.items() if not name.endswith(("-shm", "-wal"))} == {
        name: each[2] for name, each in before.items() if not name.endswith(("-shm", "-wal"))
    }


def test_a_wrong_configuration_is_all_that_is_said(folder):
    (folder / "site.toml").write_text((folder / "site.toml").read_text().replace("plain_json_water", "plain_jsn"))
    (remark,) = examine(folder)
    assert remark.state == "broken"
    assert "plain_jsn" in str(remark)
    assert "site.toml:" in str(remark)


def test_files_that_others_can_read_are_named_with_the_command_that_closes_them(folder):
    (folder / "data" / "meterhall.duckdb").chmod(0o644)
    (words,) = found(folder, "broken")
    assert "meterhall.duckdb is 0644" in words
    assert f"chmod -R go= {folder / 'data'}" in words


def test_a_hole_in_the_spool_is_told_of_and_not_mended(folder):
    (path,) = (folder / "data" / "spool").glob("*.spool")
    data = bytearray(path.read_bytes())
    data[300:400] = bytes(100)
    path.write_bytes(data)
    assert any("cannot be read" in each for each in found(folder, "warning"))
    assert path.read_bytes() == bytes(data)
    assert not (folder / "data" / "spool" / "damaged").exists()


@pytest.mark.parametrize(
    ("name", "subject"),
    [("meterhall.duckdb", "store"), ("quarantine.sqlite", "quarantine"), ("ledger.sqlite", "ledger")],
)
def test_a_damaged_file_is_named_and_what_the_next_start_does(folder, name, subject):
    path = folder / "data" / name
    path.write_bytes(path.read_bytes()[:5000])
    words = [each for each in found(folder, "broken") + found(folder, "warning") if subject in each]
    assert any("the next start" in each for each in words)


def test_books_that_do_not_balance_are_broken(folder, monkeypatch):
    from storage.books import Books

    monkeypatch.setattr(Books, "balance", lambda self, pending=None: ["messages of b: 3 more came out than in"])
    assert any("3 more came out" in each for each in found(folder, "broken"))


def test_a_clock_that_has_gone_back_is_noticed_by_the_files(folder):
    ahead = datetime(2040, 1, 1, tzinfo=UTC)
    os.utime(folder / "data" / "ledger.sqlite", (ahead.timestamp(), ahead.timestamp()))
    (words,) = found(folder, "broken")
    assert "ledger.sqlite was written" in words
    settings = configure(folder)
    assert [
        each.state for each in timekeeping.check_clock(settings, lambda: to_us(datetime(2001, 1, 1, tzinfo=UTC)))
    ] == ["broken"]


@pytest.mark.parametrize(
    ("free", "days", "state"),
    [(10**12, 4000.0, "ok"), (10**12, None, "ok"), (10**12, 30.0, "warning"), (10**8, 9.0, "broken")],
)
def test_a_disk_that_is_full_soon_is_said_in_days(free, days, state):
    (remark,) = say_disk(free, days, 1000.0)
    assert remark.state == state
    assert (days is None) or f"{days:,.0f} days" in remark.what


def test_a_year_without_official_work_days_is_a_warning_when_it_is_this_one(tmp_path):
    settings = configure(tmp_path)
    (remark,) = check_calendar(settings, lambda: to_us(datetime(2060, 5, 1, tzinfo=UTC)))
    assert (remark.state, "2060 and 2061" in remark.what) == ("warning", True)
    (remark,) = check_calendar(settings, lambda: to_us(datetime(2025, 5, 1, tzinfo=UTC)))
    assert remark.state == "ok"


def test_a_broker_on_this_machine_is_read_and_one_without_tls_afar_is_named(folder, monkeypatch, tmp_path):
    conf = tmp_path / "mosquitto.conf"
    conf.write_text("listener 1883\nmax_queued_messages 100\n")
    monkeypatch.setattr(brokerdoctor, "BROKER_FILES", (conf,))
    assert any("mosquitto.conf:2" in each and "beyond 100 " in each for each in found(folder, "warning"))
    path = folder / "meterhall.toml"
    path.write_text(path.read_text().replace("mqtt://127.0.0.1:1", "mqtt://127.0.0.2:1"))
    assert any("pass in clear" in each for each in found(folder, "warning"))


def test_a_time_zone_that_is_not_there_is_broken(folder, monkeypatch):
    from zoneinfo import ZoneInfoNotFoundError

    def missing(name):
        raise ZoneInfoNotFoundError(f"no time zone found with key {name}")

    monkeypatch.setattr(doctor, "ZoneInfo", missing)
    assert any("install the package tzdata" in each for each in found(folder, "broken"))


def test_an_installation_that_never_ran_is_no_fault(tmp_path):
    configure(tmp_path)
    assert found(tmp_path, "broken") == []
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_a_running_installation_is_asked_over_its_own_api(tmp_path):
    port = free_port()
    with open_node(configure(tmp_path, port=port)) as node:
        fill(node)
    command = [sys.executable, "-m", "meterhall"]
    server = subprocess.Popen([*command, "run", "--config", tmp_path], stderr=subprocess.PIPE)
    threading.Thread(target=server.stderr.read, daemon=True).start()
    try:
        wait_until(lambda: any("b is broken: nobody listens" in str(each) for each in examine(tmp_path)), 60)
        done = subprocess.run([*command, "doctor", "--config", tmp_path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        assert "ok books: balance, 0 messages wait" in done.stdout
        assert "▲  server: b is broken: nobody listens there" in done.stdout, "its broker is not there"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
    (tmp_path / "data").chmod(0o755)
    done = subprocess.run(
        [*command, "doctor", "--config", tmp_path, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["broken"] == 1


def test_days_until_the_disk_is_full_follow_from_what_comes_in_a_day(tmp_path):
    from api.disk import disk_of
    from tests.filled import POWER, batch_record, drain

    now = now_us()
    with open_node(configure(tmp_path)) as node:
        assert disk_of(tmp_path, node.store.statistics()).days_until_full is None, "nothing is known yet"
        some = [(POWER, now - DAY_US + i * 60_000_000, float(i)) for i in range(1440)]
        node.spool.append([batch_record([*some, (POWER, now + 9 * DAY_US, 1.0)], now)])
        drain(node)
        disk = disk_of(tmp_path, node.store.statistics())
    assert disk.readings_a_day == pytest.approx(1440, rel=0.01), "a reading from the future does not count"
    assert disk.days_until_full == pytest.approx(disk.free_bytes / (disk.readings_a_day * 16), rel=0.05)
