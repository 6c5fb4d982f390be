"""Hosts, origins, sizes, times, headers."""

import asyncio

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.guard import HEADERS, host_of
from api.services import Limits
from tests.api.plant import ADMIN

REPLAY = "/api/v1/quarantine/replay"


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "[::2]:8420"])
def test_a_foreign_host_is_refused(client, host):
    reply = client.get("/api/v1/sites", headers={"host": host})
    assert reply.status_code == 421
    assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8420", "127.0.0.1:1", "[::1]:8420"])
def test_names_of_this_machine_are_answered(client, host):
    assert client.get("/api/v1/sites", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(("header", "host"), [("[::1]:80", "[::1]"), ("a.b:1", "a.b"), ("A", "a"), ("", "")])
def test_the_host_of_a_header_has_no_port(header, host):
    assert host_of(header) == host


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9999"},
        {"origin": "https://localhost:8420"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_write_that_another_page_sends_is_refused_even_with_the_token(client, headers):
    reply = client.post(REPLAY, json={"ids": [1]}, headers={**ADMIN, **headers})
    assert reply.status_code == 403
    assert client.app.state.services.collector.replayed == []


@pytest.mark.parametrize("headers", [{}, {"origin": "http://localhost:8420", "sec-fetch-site": "same-origin"}])
def test_a_write_of_our_own_page_or_of_a_tool_passes(client, headers):
    assert client.post(REPLAY, json={"ids": [1]}, headers={**ADMIN, **headers}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/sites", 200),
        ("GET", "/docs", 200),
        ("GET", "/nowhere", 404),
        ("DELETE", "/api/v1/sites", 405),
        ("GET", "/api/v1/series/plant/main/active_power?tz=Moon", 422),
        ("POST", "/api/v1/ingest", 401),
    ],
)
def test_every_reply_has_the_security_headers(client, method, path, status):
    reply = client.request(method, path)
    assert reply.status_code == status
    for name in HEADERS:
        assert name in reply.headers
    assert "unsafe" not in reply.headers["content-security-policy"]
    assert "access-control-allow-origin" not in reply.headers
    if status >= 400:
        assert reply.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status", "detail"} <= reply.json().keys()


def test_a_fault_of_ours_says_nothing_of_the_inside_and_keeps_the_headers(services):
    from api.deps import READ

    def boom():
        raise KeyError("a secret")

    app = create_app(services, [lambda app: app.get("/boom", dependencies=[READ])(boom)])
    reply = TestClient(app, base_url="http://localhost", raise_server_exceptions=False).get("/boom")
    assert reply.status_code == 500
    assert "secret" not in reply.text
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_a_body_that_is_announced_too_large_is_refused_while_it_comes(client):
    reply = client.post(REPLAY, content=b" " * (1024 * 1024 + 1), headers=ADMIN)
    assert reply.status_code == 413
    assert reply.headers["content-type"] == "application/problem+json"


def test_a_body_that_does_not_say_its_length_is_cut_at_the_limit(client):
    read = 0

    def body():
        nonlocal read
        for _ in range(60):
            read += 1
            yield b" " * 1024 * 1024

    reply = client.post(REPLAY, content=body(), headers={**ADMIN, "content-type": "application/json"})
    assert reply.status_code == 413


def test_ingest_may_be_larger_than_other_bodies(client):
    body = b'{"rows": [' + b" " * 2 * 1024 * 1024 + b"]}"
    headers = {**ADMIN, "content-type": "application/json", "idempotency-key": "large"}
    assert client.post("/api/v1/ingest", content=body, headers=headers).status_code == 422  # no rows; but it was read
    body = b" " * (8 * 1024 * 1024 + 1)
    assert client.post("/api/v1/ingest", content=body, headers=headers).status_code == 413


def raw_exchange(app, messages, path=REPLAY, headers=()):
    """What the app sends to a client that sends these messages and then nothing."""
    sent = []

    async def run():
        waiting = iter(messages)

        async def receive():
            for message in waiting:
                return message
            await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"authorization", ADMIN["authorization"].encode()), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "http_version": "1.1",
            "root_path": "",
            "extensions": {},
        }
        await asyncio.wait_for(app(scope, receive, send), 20)

    asyncio.run(run())
    return sent


def test_a_body_that_trickles_is_given_up(services):
    from dataclasses import replace

    app = create_app(replace(services, limits=Limits(body_s=0.05)))
    trickle = [{"type": "http.request", "body": b"{", "more_body": True}]
    sent = raw_exchange(app, trickle, headers=[(b"content-type", b"application/json")])
    assert sent[0]["status"] == 408


def test_a_client_that_takes_no_byte_is_given_up(services):
    from dataclasses import replace

    app = create_app(replace(services, limits=Limits(send_s=0.05)))

    async def run():
        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            await asyncio.Event().wait()

        scope = {
            "type": "http", "method": "GET", "scheme": "http", "path": "/health/live", "raw_path": b"/health/live",
            "query_string": b"", "headers": [(b"host", b"localhost")], "client": None, "server": None,
            "http_version": "1.1", "root_path": "", "extensions": {},
        }  # fmt: skip
        await asyncio.wait_for(app(scope, receive, send), 20)

    with pytest.raises(TimeoutError):
        asyncio.run(run())


def test_expensive_requests_beyond_the_limit_are_told_to_come_back(client):
    places = client.app.state.places
    taken = 0
    while places.acquire(blocking=False):
        taken += 1
    try:
        reply = client.get("/api/v1/series/plant/main/active_power")
        assert reply.status_code == 429
        assert int(reply.headers["retry-after"]) > 0
        assert client.get("/health/live").status_code == 200
    finally:
        for _ in range(taken):
            places.release()
    assert client.get("/api/v1/series/plant/main/active_power").status_code == 200


def test_a_place_is_given_back_after_good_and_bad_requests(client):
    limit = client.app.state.services.limits.expensive
    for _ in range(2 * limit):
        assert client.get("/api/v1/series/plant/main/active_power?format=csv").status_code == 200
        assert client.get("/api/v1/series/plant/main/active_power?tz=Moon").status_code == 422
