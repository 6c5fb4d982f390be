"""The simulators' publisher against a real Mosquitto."""

import asyncio
import time

import paho.mqtt.client as paho
import pytest

from simulators import mqtt_publisher
from simulators.mqtt_publisher import Publisher

pytestmark = pytest.mark.broker


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(mqtt_publisher, "RETRY_S", 0.05)


class Listener:
    """Hears everything below site/, in a session that lasts."""

    def __init__(self, port):
        self.heard, self.subscribed = [], False
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="ear", clean_session=False)
        self.client.on_connect = lambda c, *_: c.subscribe("site/#", qos=1)
        self.client.on_subscribe = lambda *_: setattr(self, "subscribed", True)
        self.client.on_message = lambda c, u, m: self.heard.append((m.topic, m.payload, m.retain))
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()


async def until(condition, timeout_s=15.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_messages_go_out_in_order_and_none_is_left_behind_at_the_end(mosquitto):
    async def scenario():
        async with Publisher("127.0.0.1", mosquitto.port, "sim") as publisher:
            await publisher.publish_all([("site/a", b"%d" % i, 1, False) for i in range(500)])
            await publisher.publish("site/b", b"last", qos=0)
            await publisher.drain()
        assert (publisher.sent, publisher.lost) == (501, 0)

    with Listener(mosquitto.port) as ear:
        asyncio.run(until_subscribed(ear))
        asyncio.run(scenario())
        asyncio.run(until(lambda: len(ear.heard) == 501))
        assert [payload for _, payload, _ in ear.heard] == [*(b"%d" % i for i in range(500)), b"last"]


async def until_subscribed(ear):
    await until(lambda: ear.subscribed)


def test_while_the_broker_is_gone_messages_wait_and_come_late_and_in_order(mosquitto):
    async def scenario():
        async with Publisher("127.0.0.1", mosquitto.port, "sim") as publisher:
            await publisher.publish("site/a", b"0")
            await publisher.drain()
            await asyncio.to_thread(mosquitto.stop)
            for i in range(1, 50):
                await publisher.publish("site/a", b"%d" % i)
            await until(lambda: not publisher.connected)
            assert publisher.sent == 1
            await asyncio.to_thread(mosquitto.start)
            await asyncio.wait_for(publisher.drain(), 15)

    with Listener(mosquitto.port) as ear:
        asyncio.run(until_subscribed(ear))
        asyncio.run(scenario())
        asyncio.run(until(lambda: len(ear.heard) >= 50))
        assert list(dict.fromkeys(payload for _, payload, _ in ear.heard)) == [b"%d" % i for i in range(50)]


def test_what_finds_no_room_is_lost_and_the_device_is_told(monkeypatch):
    monkeypatch.setattr(mqtt_publisher, "MOST_KEPT", 3)

    async def scenario():
        async with Publisher("127.0.0.1", 1, "sim") as publisher:
            await publisher.publish_all([("site/a", b"1", 1, False)] * 3)
            with pytest.raises(OSError, match="1 are lost"):
                await publisher.publish("site/a", b"2")
            assert publisher.lost == 1

    asyncio.run(scenario())
