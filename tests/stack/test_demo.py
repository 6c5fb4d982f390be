"""The simulated town's history over HTTP, and InfluxDB's tokens on a server that the environment names."""

import json
import os
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from meterhall.stack import demo
from meterhall.stack.demo import send_history
from meterhall.stack.influx import READERS, prepare_influx
from meterhall.stack.vault import OWNERS, Owner, Vault
from metering.explain import ExplainedError
from simulators.config import open_bureau
from storage.influx.address import parse_address
from storage.influx.client import Client
from storage.store import StoreUnavailable
from tests.influx import named_server

SITE = """
[[site]]
id = "town"
name = "Town"
timezone = "Asia/Shanghai"
[[building]]
id = "hall"
name = "Hall"
floor_area = 1000
[[meter]]
id = "main"
name = "Main"
building = "hall"
carrier = "electricity"
role = "grid"
profile = "eastron_sdm630"
connection = "modbus-tcp://127.0.0.1:5020"
unit_id = 1
poll_s = 10
simulated = true
"""


@pytest.fixture
def bureau(tmp_path):
    (tmp_path / "site.toml").write_text(SITE)
    return open_bureau(tmp_path, tmp_path / "truth.json")


class Server:
    """Takes batches as the ingest route does; `answers` are given first."""

    def __init__(self):
        self.batches, self.answers = {}, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = outer.answers.pop(0) if outer.answers else 200
                if self.headers["Authorization"] != "Bearer the-key":
                    status = 401
                rows = [json.loads(line) for line in body.splitlines()]
                if status == 200:
                    outer.batches[self.headers["Idempotency-Key"]] = rows
                reply = json.dumps({"accepted": len(rows), "rejected": []}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    @property
    def rows(self):
        return [
            (row["meter"], row["quantity"], row["at"], row["value"]) for rows in self.batches.values() for row in rows
        ]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(demo, "WAIT_S", 0.01)
    monkeypatch.setattr(demo, "ROWS", 100)
    it = Server()
    yield it
    it.http.shutdown()
    it.http.server_close()


def send(bureau, server, folder, key="the-key"):
    return send_history(bureau, url=server.url, key=key, days=2, done=folder / "history.done", tell=lambda words: None)


def test_it_is_sent_once_also_to_a_server_that_is_not_ready_at_first(bureau, server, tmp_path):
    server.answers = [503, 429, 200, 503]
    taken = send(bureau, server, tmp_path)
    assert taken == len(server.rows) == len(set(server.rows)) and taken >= 2 * 96 * 2 - 4
    assert len(server.batches) == -(-taken // 100)
    counter = sorted((at, value) for _, quantity, at, value in server.rows if quantity == "active_energy_import")
    assert [value for _, value in counter] == sorted(value for _, value in counter)
    server.batches = {}
    assert send(bureau, server, tmp_path) == 0 and server.batches == {}


def test_cut_short_the_same_readings_come_again(bureau, server, tmp_path):
    server.answers = [200, 200, 400]
    with pytest.raises(ExplainedError, match="answers 400"):
        send(bureau, server, tmp_path)
    first = dict(server.batches)
    send(bureau, server, tmp_path)
    assert len(first) == 2 and all(server.batches[name] == rows for name, rows in first.items())


def test_a_wrong_key_is_said_without_it(bureau, server, tmp_path):
    with pytest.raises(ExplainedError, match="answers 401") as told:
        send(bureau, server, tmp_path, key="a-wrong-one")
    assert "a-wrong-one" not in str(told.value)


@pytest.fixture
def influx():
    """The address of a bucket of a 2.x server that the environment names; none can be had in CI."""
    named = named_server()
    if named is None:
        pytest.skip("no InfluxDB 2.x is named; set INFLUX_URL, INFLUX_TOKEN and INFLUX_ORG to try one")
    address = parse_address(f"{named[0]}/{named[1]}_stack_{os.getpid()}")
    if not Client(address).version().startswith("2."):
        pytest.skip("the server that INFLUX_URL names is no 2.x")
    yield address
    from storage.influx.setup import client_2

    with client_2(address) as client:
        buckets, tokens = client.buckets_api(), client.authorizations_api()
        bucket = buckets.find_bucket_by_name(address.database)
        for token in tokens.find_authorizations(org_id=bucket.org_id):
            if any(permission.resource.id == bucket.id for permission in token.permissions):
                tokens.delete_authorization(token)
        buckets.delete_bucket(bucket)


@pytest.mark.slow
def test_each_reader_gets_a_token_that_opens_no_more_than_it_needs(influx, tmp_path):
    me = Owner(os.getuid(), os.getgid())
    vault = Vault(tmp_path / "secrets", dict.fromkeys(OWNERS, me))
    assert len([words for words in prepare_influx(vault, influx) if "a token of" in words]) == 3
    assert prepare_influx(vault, influx) == []
    for reader in READERS:
        token = (vault.folder / reader / "influx-token").read_text()
        client = Client(replace(influx, token=token))
        list(client.query("SHOW MEASUREMENTS"))
        if reader == "grafana":
            with pytest.raises(StoreUnavailable):
                client.write(b"m,a=b v=1 0")
        else:
            client.write(b"m,a=b v=1 0")
        client.close()
        elsewhere = Client(replace(influx, token=token, database="_monitoring"))
        with pytest.raises(StoreUnavailable):
            elsewhere.write(b"m,a=b v=1 0")
        elsewhere.close()
    kept = vault.folder / "setup" / "influx-token-grafana"
    kept.unlink()
    kept.write_text("of-a-server-that-is-gone")
    assert any("another token for grafana" in words for words in prepare_influx(vault, influx))
    assert (vault.folder / "grafana" / "influx-token").read_text() == kept.read_text()
    assert prepare_influx(vault, influx) == []
