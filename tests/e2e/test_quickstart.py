"""docs/quickstart.md, command by command."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
COMMANDS = re.findall(r"```sh\n(.+?)\n```", (ROOT / "docs/quickstart.md").read_text())


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not so within {seconds} s: {condition}")


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return json.load(reply)
    except OSError:
        return None


@pytest.fixture
def shell(tmp_path):
    running = []
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(command, *, background=False):
        process = subprocess.Popen(
            command.split(), cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if background:
            running.append(process)
            return process
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    yield run
    for process in running:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()


def test_the_quickstart_works_word_for_word(shell, tmp_path):
    init, check, simulate, run, import_ = COMMANDS
    assert shell(init)[0] == 0
    assert shell(check) == (0, "Valid: 1 site, 1 building, 1 meter, 0 vehicles, 0 brokers.\n")

    port, line = free_port(), free_port()  # the only difference: ports that are free on this machine
    for name, was, now in (("meterhall.toml", "port = 8420", f"port = {port}"), ("site.toml", ":5020", f":{line}")):
        path = tmp_path / "my-site" / name
        path.write_text(path.read_text().replace(was, now).replace("poll_s = 10", "poll_s = 1"))

    shell(simulate, background=True)
    server = shell(run, background=True)
    base = f"http://127.0.0.1:{port}"
    until(lambda: get(f"{base}/health/live"))
    latest = until(lambda: get(f"{base}/api/v1/latest"), 60)
    points = {row["point"] for row in latest}
    assert {"my-site/main-incomer/active_power/total", "my-site/main-incomer/active_energy_import/total"} <= points

    (tmp_path / "history.csv").write_text("time,kwh\n2020-01-01T00:00:00,1.5\n2020-01-01T01:00:00,2.5\n,\n")
    code, said = shell(import_)
    assert "2 accepted by the running server" in said
    assert "line 4" in said
    assert code == 1, "one row was refused, and the exit code says so"

    server.send_signal(signal.SIGINT)
    assert server.wait(20) == 0
    code, said = shell(import_)
    assert "2 duplicate" in said, "without the server it goes into the folder, where the rows are already"


def test_a_wrong_configuration_stops_the_process_before_anything_is_opened(shell, tmp_path):
    shell("meterhall init my-site")
    path = tmp_path / "my-site" / "site.toml"
    path.write_text(path.read_text().replace("unit_id = 1", "unit_id = 300"))
    code, said = shell("meterhall run --config my-site")
    assert code == 2
    assert "unit_id" in said
    assert "300" in said
    assert not (tmp_path / "my-site" / "data").exists()


def test_a_second_process_on_the_same_data_folder_stops_and_says_why(shell, tmp_path):
    shell("meterhall init my-site")
    port = free_port()
    path = tmp_path / "my-site" / "meterhall.toml"
    path.write_text(path.read_text().replace("port = 8420", f"port = {port}"))
    shell("meterhall run --config my-site", background=True)
    until(lambda: get(f"http://127.0.0.1:{port}/health/live"))
    path.write_text(path.read_text().replace(f"port = {port}", f"port = {free_port()}"))
    code, said = shell("meterhall run --config my-site")
    assert code == 1
    assert "another Meterhall uses this data folder" in said
