"""Values as they arrive: published from any thread, conflated, never waiting for a listener."""

import asyncio
import json
import threading

import pytest

from api.app import create_app
from api.live import LiveFeed, TooManyListeners
from api.services import Limits
from metering.reading import Point
from tests.api.plant import NOW

POWER = Point("plant", "main", "active_power")
LAB = Point("plant", "lab-e", "active_power")


def listen(services, query, after_listening, until, disconnect=None):
    """Everything an SSE client gets until `until(text)`; `after_listening` runs in a thread once it listens."""
    got = []

    async def run():
        app = create_app(services)
        done = asyncio.Event()
        first = True

        async def receive():
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": b"", "more_body": False}
            await done.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            if message["type"] == "http.response.body":
                got.append(message["body"].decode())
                if len(got) == 1:
                    threading.Thread(target=after_listening, daemon=True).start()
                if until("".join(got)):
                    done.set()
            else:
                got_headers.update({k.decode(): v.decode() for k, v in message.get("headers", [])})

        scope = {
            "type": "http", "method": "GET", "scheme": "http", "path": "/api/v1/live", "raw_path": b"/api/v1/live",
            "query_string": query.encode(), "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2), "http_version": "1.1", "root_path": "", "extensions": {},
            "asgi": {"version": "3.0", "spec_version": "2.3"},
        }  # fmt: skip
        await asyncio.wait_for(app(scope, receive, send), 20)

    got_headers: dict[str, str] = {}
    asyncio.run(run())
    return "".join(got), got_headers


def test_a_published_value_reaches_a_listener_with_its_facts_applied(services):
    def publish():
        services.live.publish([(LAB, NOW, 1500.0, 0), (POWER, NOW, 1.0, 0)])

    text, headers = listen(services, "points=plant/lab-e/active_power", publish, lambda text: "data:" in text)
    assert headers["content-type"].startswith("text/event-stream")
    (data,) = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data:")]
    assert json.loads(data) == [
        {"point": "plant/lab-e/active_power/total", "at": NOW // 1000, "value": 3000.0, "quality": 0, "unit": "W"}
    ]


def test_a_listener_that_nothing_happens_to_gets_heartbeats(services):
    from dataclasses import replace

    quick = replace(services, limits=Limits(heartbeat_s=0.02))
    text, _ = listen(quick, "", lambda: None, lambda text: text.count(": heartbeat") >= 2)
    assert "data:" not in text


def test_a_listener_that_has_gone_is_forgotten(services):
    listen(services, "", lambda: services.live.publish([(POWER, NOW, 1.0, 0)]), lambda text: "data:" in text)
    assert services.live.listeners == 0


def test_a_feed_that_is_full_says_so(client, services):
    feed = services.live

    async def fill():
        held = [feed.listen(None) for _ in range(64)]
        for each in held:
            each.__enter__()
        reply = await asyncio.to_thread(client.get, "/api/v1/live")
        assert reply.status_code == 429
        assert "retry-after" in reply.headers
        for each in held:
            each.__exit__(None, None, None)

    asyncio.run(fill())
    assert feed.listeners == 0


@pytest.mark.parametrize(("points", "status"), [("x", 422), ("plant/nobody/active_power", 404), (",", 422)])
def test_points_that_do_not_exist_are_refused_before_anything_is_streamed(client, points, status):
    assert client.get("/api/v1/live", params={"points": points}).status_code == status


def test_a_slow_listener_blocks_nobody_and_keeps_one_value_a_point():
    feed = LiveFeed()

    async def run():
        with feed.listen(None), feed.listen([POWER]) as slow:
            publisher = threading.Thread(
                target=lambda: [feed.publish([(POWER, i, float(i), 0), (LAB, i, 0.0, 0)]) for i in range(10_000)]
            )
            publisher.start()
            while publisher.is_alive():
                await asyncio.sleep(0.001)
            changes = await anext(slow.changes(0.0, 5.0))
            assert changes == {POWER: (9_999, 9_999.0, 0)}
            feed.publish([(POWER, 5, 5.0, 0)])
            late = await anext(slow.changes(0.0, 5.0))
            assert late[POWER].at == 5

    asyncio.run(run())


def test_a_value_of_earlier_does_not_replace_one_of_later():
    feed = LiveFeed()

    async def run():
        with feed.listen([POWER]) as listener:
            feed.publish([(POWER, 7, 7.0, 0)])
            feed.publish([(POWER, 6, 6.0, 0)])
            assert await anext(listener.changes(0.0, 5.0)) == {POWER: (7, 7.0, 0)}

    asyncio.run(run())


def test_a_listener_whose_loop_has_ended_does_not_hinder_a_publisher():
    feed = LiveFeed()

    listening = feed.listen(None)

    async def run():
        listening.__enter__()

    asyncio.run(run())
    feed.publish([(POWER, 1, 1.0, 0)])
    assert feed.listeners == 1


def test_a_feed_takes_no_more_listeners_than_it_may():
    feed = LiveFeed(listeners_at_most=1)

    async def run():
        with feed.listen(None), pytest.raises(TooManyListeners), feed.listen(None):
            pass
        with feed.listen(None):
            assert feed.listeners == 1

    asyncio.run(run())


def test_the_newest_value_of_each_point_is_served_with_its_age(client):
    rows = client.get("/api/v1/latest", params={"points": "plant/lab-e/active_power,plant/main/active_power"}).json()
    assert [row["point"] for row in rows] == ["plant/lab-e/active_power/total", "plant/main/active_power/total"]
    assert rows[0]["value"] == 6000.0  # with the ratio
    assert rows[0]["age_s"] == 7 * 60
    assert rows[0]["unit"] == "W"
    everything = client.get("/api/v1/latest").json()
    assert len(everything) >= 16
