"""The demo as a newcomer meets it: one command, a story in three faults, Ctrl-C, and again."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.broker]
STORY = {("water_at_night", "school-water"), ("night_load", "office-hvac"), ("dead_unit", "depot-charger-3")}


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return json.load(reply)
    except OSError:
        return None


def until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {seconds} s")


class Demo:
    def __init__(self, data, port, days):
        self.base, self.data = f"http://127.0.0.1:{port}", data
        self.began = time.monotonic()
        command = [sys.executable, "-m", "meterhall", "demo", "--port", port, "--data", data, "--days", days]
        self.process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        until(lambda: get(f"{self.base}/health/live"), 180, "the demo serves")

    def open_events(self):
        events = get(f"{self.base}/api/v1/events") or []
        return {(event["kind"], event["subject"]) for event in events if event["until"] is None}

    def baselines(self):
        """All baselines; None as long as some are being fitted."""
        found = get(f"{self.base}/api/v1/baselines")
        return found["rows"] if found and found["rows"] and not found["waiting"] else None

    def incidents(self):
        """The kinds of open events that name the incident that is the same thing."""
        events = get(f"{self.base}/api/v1/events?open=true") or []
        return {event["kind"] for event in events if event["data"].get("incident")}

    def balanced(self):
        """Everything received so far has an outcome; None while something is under way."""
        books = get(f"{self.base}/api/v1/books")["total"]
        messages, readings = books["messages"], books["readings"]
        if messages["pending"] or readings["pending"]:
            return None
        return messages, readings

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        output, _ = self.process.communicate(timeout=30)
        return self.process.returncode, output


def children_of(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in (Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split() or [""])[0]


def test_the_demo_tells_its_story_from_the_readings_and_leaves_nothing_behind(tmp_path):
    data, port = tmp_path / "demo", free_port()
    demo = Demo(data, port, 120)
    try:
        until(lambda: demo.open_events() >= STORY, 120, "the three faults are found")
        assert demo.open_events() == STORY, "and nothing else is said to need somebody"
        kinds = {row["kind"] for row in get(f"{demo.base}/api/v1/lines")}
        assert kinds == {"modbus", "mqtt"}
        assert get(f"{demo.base}/health/ready")["simulated"] is True
        messages, readings = until(demo.balanced, 60, "the books balance")
        assert messages["received"] == messages["decoded"] + messages["repeated"]
        assert readings["rejected"] == {}
        baselines = until(demo.baselines, 90, "every meter, building and site has its baseline")
        assert len(baselines) > 60 and {row["scope"] for row in baselines} == {"meter", "building", "site"}
        until(lambda: demo.incidents() >= {"water_at_night"}, 60, "the leak is an incident too")
        assert demo.open_events() == STORY, "what two finders know is one item"
        children = children_of(demo.process.pid)
        assert len(children) == 2, "broker and simulators; who fitted is gone"
    finally:
        code, output = demo.stop()
    assert code == 0, output
    assert len(output.strip().splitlines()) <= 10, output
    assert demo.base in output
    assert not any(alive(pid) for pid in children)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo"]

    stored = readings["stored"]
    again = Demo(data, port, 120)
    try:
        until(lambda: again.open_events() >= STORY, 120, "the story goes on")
        books = get(f"{again.base}/api/v1/books")["total"]
        assert books["readings"]["stored"] >= stored, "the books go on"
        assert books["readings"]["conflict"] == 0
    finally:
        code, output = again.stop()
    assert code == 0, output


def test_a_taken_port_is_said_before_anything_is_made(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "meterhall", "demo", "--port", str(port), "--data", str(tmp_path / "d")],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "PORT=" in done.stderr
    assert not (tmp_path / "d").exists()
