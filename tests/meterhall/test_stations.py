"""Temperature of a weather station from a service: a stand-in built from Open-Meteo's documentation of its reply
(`hourly.time` in ISO 8601 without offset, `hourly.temperature_2m` with null where nothing is known), on loopback."""

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from collector import ingest
from collector.decoders import profile_protocols
from devices.catalog import ConfigurationError, load_settings
from meterhall.cli import app
from meterhall.node import open_node
from meterhall.stations import StationFetcher, days_due, fetch_days, point_of
from metering.clock import DAY_US, HOUR_US, to_us
from metering.explain import ExplainedError
from storage.record import Record, Wire

NOW = to_us(datetime(2026, 11, 24, 12, 30, tzinfo=UTC))
KEY = "a-very-secret-key"
SITE = """
[[site]]
id = "plant"
name = "Plant"
timezone = "Asia/Shanghai"
latitude = 34.75
longitude = 113.62

[[meter]]
id = "airport"
name = "Airport"
carrier = "climate"
role = "sensor"
connection = "import://"
latitude = 34.52
longitude = 113.84
"""
FETCH = """
[[fetch]]
station = "airport"
url = "{base}/v1/archive?latitude={{latitude}}&longitude={{longitude}}&start_date={{first}}&end_date={{last}}\
&hourly=temperature_2m&timezone=GMT&apikey={{key}}"
times = "hourly.time"
temperatures = "hourly.temperature_2m"
source = "a stand-in"
key_env = "WEATHER_KEY"
"""


class OpenMeteo(BaseHTTPRequestHandler):
    """Answers as the documentation says; what is asked is remembered."""

    asked: ClassVar[list] = []
    answer = None  # (status, body) instead

    def do_GET(self):
        asked = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        self.asked.append(asked)
        if self.answer is not None:
            status, body = self.answer
        else:
            first, last = (date.fromisoformat(asked[key]) for key in ("start_date", "end_date"))
            hours = [
                datetime(day.year, day.month, day.day, hour)
                for day in (date.fromordinal(n) for n in range(first.toordinal(), last.toordinal() + 1))
                for hour in range(24)
            ]
            body = json.dumps({
                "latitude": 34.5, "longitude": 113.8, "generationtime_ms": 0.1, "utc_offset_seconds": 0,
                "timezone": "GMT", "timezone_abbreviation": "GMT", "elevation": 110.0,
                "hourly_units": {"time": "iso8601", "temperature_2m": "°C"},
                "hourly": {
                    "time": [f"{hour:%Y-%m-%dT%H:%M}" for hour in hours],
                    "temperature_2m": [None if hour.hour == 3 else 10.0 + hour.hour / 10 for hour in hours],
                },
            }).encode()  # fmt: skip
            status = 200
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def service(answer=None):
    handler = type("Answers", (OpenMeteo,), {"asked": [], "answer": answer})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture
def configured(tmp_path, monkeypatch):
    monkeypatch.setenv("WEATHER_KEY", KEY)

    def configure(base="https://weather.example", fetch=FETCH, site=SITE):
        (tmp_path / "meterhall.toml").write_text("")
        (tmp_path / "site.toml").write_text(site)
        (tmp_path / "weather.toml").write_text(fetch.format(base=base))
        return load_settings(tmp_path, profile_ids=profile_protocols)

    return configure


def test_hours_become_readings_gaps_stay_gaps_and_forecasts_are_none(configured):
    with service() as (base, asked):
        settings = configured(base)
        found = fetch_days(settings.installation, settings.fetches[0], date(2026, 11, 23), date(2026, 11, 24), NOW)
    assert len(found.rows) == 24 + 13 - 2 and found.empty == 2 and found.future == 11
    point, at, value = found.rows[5]
    assert str(point) == "plant/airport/outdoor_temperature/total" and value == 10.6
    assert at == to_us(datetime(2026, 11, 23, 6, tzinfo=UTC))
    assert asked[0]["latitude"] == "34.52" and asked[0]["longitude"] == "113.84"
    assert asked[0]["start_date"] == "2026-11-23" and asked[0]["apikey"] == KEY


def test_only_what_is_due_is_asked_for(configured):
    with service() as (base, _):
        settings = configured(base, FETCH + "days = 3\n")
        (fetch,) = settings.fetches
        with open_node(settings) as node:
            point = point_of(settings.installation, fetch)
            assert list(days_due(node.store, point, fetch, NOW)) == [(date(2026, 11, 21), date(2026, 11, 24))]

            def take(rows):
                node.spool.append([Record(Wire.INGEST, "ingest", ingest.KEY, ingest.encode_batch(rows), NOW)])
                while node.pipeline.run_once():
                    pass

            fetcher = StationFetcher(settings.installation, node.store, settings.fetches, take, lambda: NOW)
            count = fetcher.fetch(fetch)
            assert node.store.count() == count == 3 * 23 + 12
            later = StationFetcher(settings.installation, node.store, settings.fetches, take, lambda: NOW + 2 * HOUR_US)
            later.fetch(fetch)
            assert node.store.count() == count + 2, "what was known already counts as repeated"
            books = node.books.snapshot()["readings"]["ingest"]
            assert books["duplicate"] > 0 and books["conflict"] == 0
            assert next(days_due(node.store, point, fetch, NOW + 9 * DAY_US))[0] == date(2026, 11, 22)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((500, b""), "answers 500"),
        ((302, b""), "answers 302"),
        ((200, b"<html>"), "no JSON"),
        ((200, b'{"error": true}'), 'no list at "hourly.time"'),
        ((200, b'{"hourly": {"time": ["2026-11-24T00:00"], "temperature_2m": []}}'), "1 times and 0 values"),
        ((200, b'{"hourly": {"time": ["noon"], "temperature_2m": [1]}}'), "has the time 'noon'"),
    ],
)
def test_a_service_that_answers_otherwise_is_told_and_the_key_never_shown(configured, answer, words):
    with service(answer) as (base, _):
        settings = configured(base)
        with pytest.raises(ExplainedError) as caught:
            fetch_days(settings.installation, settings.fetches[0], date(2026, 11, 23), date(2026, 11, 24), NOW)
    assert words in str(caught.value) and KEY not in str(caught.value) and "***" in str(caught.value)


def test_impossible_values_are_refused(configured):
    body = b'{"hourly": {"time": ["2026-11-23T00:00", 1763942400], "temperature_2m": [999, 7]}}'
    with service((200, body)) as (base, _):
        settings = configured(base)
        found = fetch_days(settings.installation, settings.fetches[0], date(2026, 11, 23), date(2026, 11, 24), NOW)
    assert found.refused == 1 and [value for _, _, value in found.rows] == [7.0]


def test_the_command_line_fetches_and_imports_a_file(configured, tmp_path):
    with service() as (base, _):
        configured(base)
        reply = CliRunner().invoke(app, ["weather", "fetch", "--config", str(tmp_path), "--days", "2", "--json"])
    assert reply.exit_code == 0, reply.output
    assert json.loads(reply.stdout)["stored"] > 40
    file = tmp_path / "air.csv"
    file.write_text("time,temperature\n2020-01-01T00:00Z,-3.5\n2020-01-01T01:00Z,\n")
    command = ["weather", "import", str(file), "--config", str(tmp_path), "--station", "airport", "--json"]
    reply = CliRunner().invoke(app, command)
    assert reply.exit_code == 0, reply.output
    assert json.loads(reply.stdout)["stored"] == 1 and json.loads(reply.stdout)["empty"] == 1


@pytest.mark.parametrize(
    ("change", "where", "mend"),
    [
        (("https://weather.example", "http://weather.example"), "url", "https://"),
        (("{latitude}", "{lat}"), "url", "known: latitude"),
        (("apikey={key}", "apikey=123"), "url", "key_file"),
        (('station = "airport"', 'station = "airfield"'), "station", "import://"),
        (('times = "hourly.time"', 'times = "hourly..time"'), "times", "hourly.time"),
        (('source = "a stand-in"', ""), "source", "licence"),
        (('source = "a stand-in"', 'source = "x"\nunit = "degF"'), "unit", "degC"),
        (('source = "a stand-in"', 'source = "x"\ntimezone = "GMT+8"'), "timezone", "IANA"),
        (('source = "a stand-in"', 'source = "x"\nkey = "123"'), "key", "key_file"),
    ],
)
def test_a_mistake_in_weather_toml_names_its_place_and_the_mend(configured, change, where, mend):
    text = FETCH.format(base="https://weather.example").replace(*change).replace("{", "{{").replace("}", "}}")
    with pytest.raises(ConfigurationError) as caught:
        configured(fetch=text)
    assert any(problem.where.endswith(f".{where}") and mend in problem.mend for problem in caught.value.problems)
    assert all("weather.toml" in problem.where for problem in caught.value.problems), caught.value


def test_a_key_is_among_the_secrets_that_no_log_may_hold(configured):
    assert KEY in configured().secrets


@pytest.mark.slow
def test_a_running_machine_asks_by_itself_and_the_command_line_beside_it(configured, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def ask(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=5) as reply:
            return json.load(reply)

    with service() as (base, _):
        configured(base, FETCH + "days = 5\n")
        (tmp_path / "meterhall.toml").write_text(f"[server]\nport = {port}\n")
        command = [sys.executable, "-m", "meterhall"]
        running = subprocess.Popen([*command, "run", "--config", str(tmp_path)], stderr=subprocess.PIPE, text=True)
        try:
            deadline, stored = time.monotonic() + 60, 0
            while not stored and time.monotonic() < deadline:
                time.sleep(0.5)
                with suppress(OSError):
                    stored = ask("books")["total"]["readings"]["stored"]
            assert stored > 90, "it asks some seconds after its start"
            (source,) = ask("degree-days?node=plant")["sources"]
            assert source["place"] == "elsewhere" and round(source["distance_km"]) == 33
            said = subprocess.run(
                [*command, "weather", "fetch", "--config", str(tmp_path), "--days", "20"],
                capture_output=True,
                text=True,
            )
            assert said.returncode == 0 and "accepted by the running server" in said.stdout, said.stderr
        finally:
            running.terminate()
            _, log = running.communicate(timeout=40)
    assert "weather of airport" in log and KEY not in log
