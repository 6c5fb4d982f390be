"""Backups and restores: nothing is missing, nothing is half there."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from meterhall import replacing
from meterhall.backup import MANIFEST, MOST, Backups, make_backup
from meterhall.node import open_node
from meterhall.restore import restore_backup
from metering.clock import DAY_US
from metering.explain import ExplainedError
from storage.store import StoreUnavailable
from tests.conftest import free_port, wait_until
from tests.filled import FIRST, POWER, configure, contents, drain, fill, filled_node, leave_waiting, message

pytestmark = pytest.mark.slow

EVER = (-(2**60), 2**60)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A backup of a filled folder with something waiting in its spool, and what it must hold."""
    folder = tmp_path_factory.mktemp("made")
    with filled_node(folder / "plant") as node:
        leave_waiting(node)
        expected = contents(node)
        make_backup(node, folder / "backup")
    return folder / "backup", expected


def meterhall(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "meterhall", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_a_restored_copy_has_equal_books_sums_events_and_positions(made, tmp_path):
    backup, expected = made
    assert {"b", "ingest"} == set(expected["books"]["messages"])
    assert expected["pending"] == {"b": 20}
    settings = configure(tmp_path)
    found = restore_backup(settings, backup)
    assert (found["readings"], found["pending_messages"]) == (expected["readings"], 20)
    with open_node(settings) as node:
        assert node.findings == ()
        assert contents(node) == expected
        drain(node)
        assert node.store.count() == expected["readings"] + 20


def test_files_of_a_backup_and_of_a_restored_folder_are_for_the_owner_alone(made, tmp_path):
    settings = configure(tmp_path)
    restore_backup(settings, made[0])
    for top in (made[0], settings.data):
        for path in top.rglob("*"):
            assert path.stat().st_mode & 0o077 == 0, path


def test_what_was_acknowledged_before_a_backup_began_is_in_it_while_everything_goes_on(tmp_path):
    end = FIRST + 5 * DAY_US
    acknowledged, stop = [0], threading.Event()
    with open_node(configure(tmp_path / "plant")) as node:

        def collect():
            while not stop.is_set():
                k = acknowledged[0]
                node.spool.append([message(end + (k + i) * 1_000_000, float(k + i)) for i in range(20)])
                acknowledged[0] = k + 20

        collecting = threading.Thread(target=collect)
        node.pipeline.start()
        collecting.start()
        try:
            wait_until(lambda: node.store.count() > 200)
            before, during = acknowledged[0], []
            for number in range(3):
                make_backup(node, tmp_path / f"backup-{number}")
                during.append((before, acknowledged[0]))
                before = acknowledged[0]
                node.store.checkpoint()
                node.spool.release(node.pipeline.position)
        finally:
            stop.set()
            collecting.join()
            node.pipeline.stop()
    for number, (least, most) in enumerate(during):
        settings = configure(tmp_path / f"restored-{number}")
        restore_backup(settings, tmp_path / f"backup-{number}")
        with open_node(settings) as node:
            assert node.findings == ()
            drain(node)
            values = node.store.series(POWER, *EVER).value.tolist()
            assert values == [float(k) for k in range(len(values))], "none is missing, none is double"
            assert least <= len(values) <= most + 20
            books = node.books.snapshot()
            assert books["total"]["messages"]["received"] == books["total"]["messages"]["decoded"] == len(values)
            assert books["total"]["readings"]["stored"] == len(values)


def test_a_backup_is_not_made_where_something_is(made, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    with open_node(configure(tmp_path / "plant")) as node, pytest.raises(ExplainedError, match="not empty"):
        make_backup(node, tmp_path / "used")
    assert (tmp_path / "used" / "file").read_text() == "mine"


def test_a_backup_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    with open_node(configure(tmp_path / "plant")) as node:

        def full(target, meanwhile):
            raise StoreUnavailable("No space left on device")

        monkeypatch.setattr(node.store, "backup", full)
        with pytest.raises(ExplainedError, match="No space left"):
            make_backup(node, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_restoring_over_data_needs_force_and_keeps_what_was_there(made, tmp_path):
    backup, expected = made
    settings = configure(tmp_path)
    with open_node(settings) as node:
        node.spool.append([message(FIRST, 1.0)])
        drain(node)
        token = node.admin_token
    with pytest.raises(ExplainedError, match=r"not empty.*--force"):
        restore_backup(settings, backup)
    found = restore_backup(settings, backup, force=True)
    assert (Path(found["replaced"]) / "meterhall.duckdb").exists()
    with open_node(settings) as node:
        assert contents(node) == expected
        assert node.admin_token == token


def test_a_restore_into_a_running_folder_is_refused(made, tmp_path):
    settings = configure(tmp_path)
    with open_node(settings), pytest.raises(ExplainedError, match="stop it first"):
        restore_backup(settings, made[0], force=True)


def test_a_damaged_backup_is_refused_and_the_damaged_files_are_named(made, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(made[0], copy)
    path = copy / "quarantine.sqlite"
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    (copy / "spool" / "newest").unlink()
    settings = configure(tmp_path / "plant")
    with pytest.raises(ExplainedError, match=r"quarantine\.sqlite, spool/newest"):
        restore_backup(settings, copy)
    assert not settings.data.exists()
    (copy / MANIFEST).unlink()
    with pytest.raises(ExplainedError, match="no whole backup"):
        restore_backup(settings, copy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "newer Meterhall"),
        ({"formats": {"store": 99}}, "its store has format 99"),
        ({"sha256": {"../../outside": "00"}}, "newer Meterhall"),
        ({"sha256": 3}, "cannot be read"),
    ],
)
def test_a_backup_that_this_version_does_not_know_is_refused(made, tmp_path, change, said):
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / MANIFEST).write_text(json.dumps({**json.loads((made[0] / MANIFEST).read_text()), **change}))
    with pytest.raises(ExplainedError, match=said):
        restore_backup(configure(tmp_path / "plant"), copy)


@pytest.mark.slow
def test_a_restore_that_was_cut_short_at_any_step_ends_as_the_old_or_the_new_folder(made, tmp_path, monkeypatch):
    backup, expected = made
    replace = os.replace
    seen = set()
    for step in range(100):
        settings = configure(tmp_path / str(step))
        with open_node(settings) as node:
            node.spool.append([message(FIRST, 1.0)])
            drain(node)
            old = contents(node)
        calls = [0]

        def cut(source, target, step=step, calls=calls, within=str(settings.data)):
            if str(target).startswith(within):
                calls[0] += 1
                if calls[0] > step:
                    raise KeyboardInterrupt
            replace(source, target)

        monkeypatch.setattr(replacing.os, "replace", cut)
        try:
            restore_backup(settings, backup, force=True)
            done = True
        except KeyboardInterrupt:
            done = False
        monkeypatch.setattr(replacing.os, "replace", replace)
        with open_node(settings) as node:
            found = contents(node)
        assert found in (old, expected), f"after step {step}"
        seen.add(found == expected)
        if done:
            break
    assert seen == {False, True}
    assert step > 5


def test_the_running_server_makes_one_at_a_time_and_keeps_a_few(tmp_path):
    with filled_node(tmp_path) as node:
        backups = Backups(node)
        with node.store._writing:  # it has to wait
            first = backups.start()
            with pytest.raises(ExplainedError, match="under way"):
                backups.start()
        backups.wait(30)
        assert [(each.name, each.state, each.readings) for each in backups.list()] == [
            (first.name, "done", node.store.count())
        ]
        for _ in range(MOST - 1):
            backups.start()
            backups.wait(30)
        with pytest.raises(ExplainedError, match="move them"):
            backups.start()
        assert [each.state for each in Backups(node).list()] == ["done"] * MOST


@pytest.mark.slow
def test_backup_and_restore_from_the_command_line_while_it_runs(tmp_path):
    port = free_port()
    settings = configure(tmp_path / "plant", port=port)
    with open_node(settings) as node:
        fill(node)
        leave_waiting(node)
    server = subprocess.Popen(
        [sys.executable, "-m", "meterhall", "run", "--config", tmp_path / "plant"], stderr=subprocess.PIPE
    )

    def books():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/books", timeout=5) as reply:
                return json.load(reply)
        except OSError:
            return None

    try:
        found = wait_until(lambda: (b := books()) and b["total"]["messages"]["pending"] == 0 and b, 30)
        done = meterhall("backup", tmp_path / "copy", "--config", tmp_path / "plant", "--json")
        assert done.returncode == 0, done.stderr
        readings = json.loads(done.stdout)["readings"]
        again = meterhall("backup", tmp_path / "copy", "--config", tmp_path / "plant")
        assert (again.returncode, "not empty" in again.stderr) == (1, True)
        over = meterhall("restore", tmp_path / "copy", "--config", tmp_path / "plant", "--force")
        assert (over.returncode, "stop it first" in over.stderr) == (1, True)
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)
    configure(tmp_path / "other")
    done = meterhall("restore", tmp_path / "copy", "--config", tmp_path / "other")
    assert done.returncode == 0, done.stderr
    assert f"{readings:,} readings" in done.stdout
    with open_node(configure(tmp_path / "other")) as node:
        assert node.books.snapshot()["total"] == found["total"]
        assert node.store.count() == readings


def test_a_stopped_folder_is_copied_without_a_server_and_none_is_made_up(tmp_path):
    configure(tmp_path / "plant")
    done = meterhall("backup", tmp_path / "copy", "--config", tmp_path / "plant", "--json")
    assert done.returncode == 1
    assert "nothing has run" in json.loads(done.stdout)["error"]["mend"]
    assert not (tmp_path / "plant" / "data").exists()
    with filled_node(tmp_path / "plant"):
        pass
    done = meterhall("backup", tmp_path / "copy", "--config", tmp_path / "plant")
    assert (done.returncode, done.stderr) == (0, "")
