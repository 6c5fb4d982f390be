"""A changed configuration is taken as a whole while everything runs, or not at all; readings under way stay."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import paho.mqtt.client as paho
import pytest

from meterhall.collecting import differences, read_again
from metering.explain import ExplainedError
from tests.conftest import free_port, wait_until
from tests.filled import POWER, SITE, configure

pytestmark = pytest.mark.slow

NEW_METER = """
[[meter]]
id = "new"
name = "New"
carrier = "electricity"
profile = "plain_json"
connection = "mqtt://b/plant/new"
"""
NEW = POWER._replace(meter="new")


class Server:
    """`meterhall run` beside a broker."""

    def __init__(self, folder, broker):
        self.folder, self.port = folder, free_port()
        configure(folder, port=self.port)
        path = folder / "meterhall.toml"
        path.write_text(path.read_text().replace("mqtt://127.0.0.1:1", broker.url))
        self.log = folder / "run.log"
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "meterhall", "run", "--config", folder]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(lambda: self.line_state() == "ok", 30, "the broker is connected")

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as reply:
                return json.load(reply)
        except OSError:
            return None

    def line_state(self):
        lines = self.get("/api/v1/lines")
        return lines[0]["state"] if lines else None

    def totals(self):
        return self.get("/api/v1/books")["total"]

    def logged(self, words):
        return wait_until(lambda: self.log.read_text().count(words), 30, f"{words!r} in the log")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.log.read_text()[-2000:]


@pytest.fixture
def server(tmp_path, mosquitto):
    it = Server(tmp_path / "plant", mosquitto)
    yield it
    if it.process.poll() is None:
        it.process.kill()
        it.process.wait()


def cli(*arguments):
    command = [sys.executable, "-m", "meterhall", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.broker
def test_readings_under_way_survive_reloads_and_new_meters_are_collected(server, mosquitto):
    acknowledged, stop = [0], threading.Event()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "publisher")
    client.connect("127.0.0.1", mosquitto.port)
    client.loop_start()

    def publish():
        k, begin = 0, int(time.time()) - 100_000
        while not stop.is_set() or k % 50:
            sent = client.publish("plant/main", json.dumps({"ts": begin + k, "w": k}), qos=1)
            k += 1
            if k % 50 == 0:
                sent.wait_for_publish(10)
                acknowledged[0] = k

    publishing = threading.Thread(target=publish)
    publishing.start()
    try:
        for number in range(4):
            (server.folder / "site.toml").write_text(SITE + (NEW_METER if number % 2 == 0 else ""))
            if number % 2:
                done = cli("reload", "--config", server.folder)
                assert (done.returncode, done.stdout) == (0, "reloaded: meter new is gone\n"), done.stderr
            else:
                server.process.send_signal(signal.SIGHUP)
                wait_until(lambda n=number: server.log.read_text().count("meter new is new") == n // 2 + 1, 30)
        (server.folder / "site.toml").write_text(SITE + NEW_METER)
        assert cli("reload", "--config", server.folder).returncode == 0
        wait_until(lambda: server.line_state() == "ok", 30)
    finally:
        stop.set()
        publishing.join()
    client.publish("plant/new", json.dumps({"ts": int(time.time()), "w": 7.5}), qos=1).wait_for_publish(10)
    client.loop_stop()
    sent = acknowledged[0] + 1
    wait_until(lambda: server.totals()["readings"]["stored"] >= sent, 30, f"{sent} readings are stored")
    totals = server.totals()
    assert totals["readings"]["stored"] == sent, "none is lost, none is double"
    assert totals["readings"]["conflict"] == totals["readings"]["duplicate"] == totals["messages"]["pending"] == 0
    assert [row["value"] for row in server.get("/api/v1/latest") if "/new/" in row["point"]] == [7.5]
    server.stop()


@pytest.mark.broker
@pytest.mark.parametrize("how", ["signal", "route"])
def test_a_mistake_leaves_the_old_configuration_running_and_its_line_is_said(server, how):
    (server.folder / "site.toml").write_text(SITE.replace('"plain_json_water"', '"no_such_profile"'))
    line = (server.folder / "site.toml").read_text().splitlines().index('profile = "no_such_profile"') + 1
    if how == "signal":
        server.process.send_signal(signal.SIGHUP)
        server.logged(f"site.toml:{line}: ")
        assert "not reloaded, the old configuration goes on" in server.log.read_text()
    else:
        token = (server.folder / "data" / "admin.token").read_text().strip()
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/api/v1/reload", method="POST", headers={"Authorization": f"Bearer {token}"}
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        assert refused.value.code == 422
        assert f"site.toml:{line}: " in refused.value.read().decode()
        done = cli("reload", "--config", server.folder)
        assert (done.returncode, f"site.toml:{line}: " in done.stderr) == (2, True)
    assert server.line_state() == "ok"
    assert len(server.get("/api/v1/meters")) == 2
    server.stop()


def test_what_cannot_change_while_it_runs_is_refused(tmp_path):
    settings = configure(tmp_path, port=8420)
    configure(tmp_path, port=8421)
    with pytest.raises(ExplainedError, match=r"\[server\] port: is 8421 now and was 8420.*restart"):
        read_again(settings)


def test_differences_are_said_in_words(tmp_path):
    before = configure(tmp_path)
    (tmp_path / "site.toml").write_text(SITE.replace('name = "Main"', 'name = "Total"') + NEW_METER)
    path = tmp_path / "meterhall.toml"
    path.write_text(
        path.read_text().replace('id = "b"', 'id = "b"\nclient_id = "other"') + "[retention]\nraw_days = 100\n"
    )
    after = read_again(before).settings
    assert differences(before, after) == [
        "meter new is new",
        "meter main is changed",
        "broker b is changed",
        "[retention] is changed",
    ]
    assert differences(after, before)[0] == "meter new is gone"


def test_a_configuration_that_cannot_be_run_gives_way_to_the_old_one(tmp_path, monkeypatch):
    from api.app import create_app
    from meterhall import collecting
    from meterhall.collecting import Collecting
    from meterhall.node import open_node

    async def scene():
        with open_node(configure(tmp_path)) as node:
            part = Collecting(node, simulated=False)
            app = create_app(part.services)
            part.start(app)
            (tmp_path / "site.toml").write_text(SITE + NEW_METER)
            real = collecting.Collector

            def failing(settings, *rest):
                if "new" in settings.installation.by_id:
                    raise RuntimeError("no such device")
                return real(settings, *rest)

            monkeypatch.setattr(collecting, "Collector", failing)
            with pytest.raises(ExplainedError, match="the old configuration goes on"):
                await part.reload()
            while not part.alive:
                await asyncio.sleep(0.01)
            assert not part.ended.done()
            assert "new" not in app.state.services.installation.by_id
            monkeypatch.setattr(collecting, "Collector", real)
            assert await part.reload() == ["meter new is new"]
            assert "new" in app.state.services.installation.by_id
            await part.stop()

    asyncio.run(scene())
