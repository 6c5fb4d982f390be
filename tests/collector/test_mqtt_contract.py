"""What every MQTT source promises, shown against a real Mosquitto."""

import asyncio
import contextlib
import re
import socket
import ssl
import subprocess
import time
import uuid

import paho.mqtt.client as paho
import pytest
from paho.mqtt.publish import single

from collector.mqtt import source
from collector.mqtt.paho_source import PahoSource
from collector.mqtt.receiver import MqttReceiver
from collector.mqtt.source import BrokerConfig
from devices.settings import BrokerSettings, Secret

pytestmark = pytest.mark.broker

KINDS = {
    "receiver": (MqttReceiver, "5"),
    "paho-5": (PahoSource, "5"),
    "paho-3.1.1": (PahoSource, "3.1.1"),
}


@pytest.fixture(params=["receiver", "paho-3.1.1", pytest.param("paho-5", marks=pytest.mark.slow)])
def kind(request, monkeypatch):
    monkeypatch.setattr(source, "SHORTEST_WAIT_S", 0.1)
    return request.param


async def until(condition, timeout_s=15.0, what=""):
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what or 'the condition'} did not come true within {timeout_s:g} s")
        await asyncio.sleep(0.01)


class Collecting:
    """A source that runs, and what it delivered."""

    def __init__(self, kind, broker, *, topics=("site/#",), ack=True, client_id=None, **settings):
        make, protocol = KINDS[kind]
        url = settings.pop("url", None) or broker.url
        client_id = client_id or f"c-{uuid.uuid4().hex[:8]}"
        config = BrokerConfig("b", url, client_id, topics=topics, protocol=protocol, **settings)
        self.messages, self.ack = [], ack
        self.source = make(config, self.deliver)

    def deliver(self, messages):
        self.messages += messages
        if self.ack:
            self.acknowledge(messages)

    def acknowledge(self, messages):
        for generation in {m.generation for m in messages}:
            self.source.ack(generation, [m.packet_id for m in messages if m.generation == generation])

    @property
    def payloads(self):
        return [m.payload for m in self.messages]

    @property
    def state(self):
        return self.source.health().state

    async def __aenter__(self):
        self.task = asyncio.create_task(self.source.run())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    async def ready(self):
        await until(lambda: self.state == "ok", what=f"connected: {self.source.health()}")
        return self


def publish_now(broker, messages, *, qos=1, retain=False, username=None, password=None):
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.username_pw_set(username, password) if username else None
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    for sent in [client.publish(topic, payload, qos=qos, retain=retain) for topic, payload in messages]:
        sent.wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


async def publish(*args, **settings):
    await asyncio.to_thread(publish_now, *args, **settings)


def numbered(first, last):
    return [(f"site/m{i % 7}", b"%d" % i) for i in range(first, last)]


def test_messages_arrive_in_order_with_topic_and_payload(kind, mosquitto):
    async def scenario():
        async with Collecting(kind, mosquitto) as collecting:
            await collecting.ready()
            await publish(mosquitto, numbered(0, 300))
            await publish(mosquitto, [("site/x", b"")], qos=0)
            await until(lambda: len(collecting.messages) == 301)
            assert collecting.payloads == [b"%d" % i for i in range(300)] + [b""]
            assert [m.topic for m in collecting.messages[:7]] == [f"site/m{i}" for i in range(7)]
            assert {(m.qos, m.dup, m.retain, m.oversize) for m in collecting.messages[:300]} == {
                (1, False, False, False)
            }
            assert (collecting.messages[-1].qos, collecting.messages[-1].packet_id) == (0, 0)
            assert all(m.packet_id for m in collecting.messages[:300])
            health = collecting.source.health()
            assert (health.kind, health.state, health.connects, health.note) == ("mqtt", "ok", 1, "")

    asyncio.run(scenario())


def test_what_is_not_acknowledged_comes_again_marked_dup_and_what_is_does_not(kind, mosquitto):
    async def scenario():
        async with Collecting(kind, mosquitto, ack=False, client_id="same") as first:
            await first.ready()
            await publish(mosquitto, numbered(0, 20))
            await until(lambda: len(first.messages) == 20)
            first.acknowledge(first.messages[:12])
            await until(lambda: len(first.messages) == 20)
        async with Collecting(kind, mosquitto, client_id="same") as second:
            await until(lambda: len(second.messages) == 8)
            assert second.payloads == [b"%d" % i for i in range(12, 20)]
            assert all(m.dup for m in second.messages)
            await publish(mosquitto, [("site/end", b"end")])
            await until(lambda: b"end" in second.payloads)
            assert len(second.messages) == 9
        async with Collecting(kind, mosquitto, client_id="same") as third:
            await third.ready()
            await publish(mosquitto, [("site/end", b"end")])
            await until(lambda: third.payloads == [b"end"])

    asyncio.run(scenario())


def test_what_is_published_while_away_waits_also_over_a_restart_of_the_broker(kind, mosquitto):
    async def scenario():
        async with Collecting(kind, mosquitto, client_id="same") as first:
            await first.ready()
        await publish(mosquitto, numbered(0, 50))
        mosquitto.restart()
        async with Collecting(kind, mosquitto, client_id="same") as second:
            await until(lambda: len(second.messages) == 50)
            assert second.payloads == [b"%d" % i for i in range(50)]

    asyncio.run(scenario())


def test_a_connected_source_comes_back_after_the_broker_did(kind, mosquitto):
    async def scenario():
        async with Collecting(kind, mosquitto, ack=False) as collecting:
            await collecting.ready()
            await publish(mosquitto, numbered(0, 5))
            await until(lambda: len(collecting.messages) == 5)
            await asyncio.to_thread(mosquitto.stop)
            await until(lambda: collecting.state == "broken")
            assert collecting.source.health().note
            await asyncio.to_thread(mosquitto.start)
            await until(lambda: collecting.state == "ok")
            await until(lambda: len(collecting.messages) == 10)
            assert collecting.payloads[5:] == collecting.payloads[:5]
            assert {m.generation for m in collecting.messages[:5]}.isdisjoint(
                m.generation for m in collecting.messages[5:]
            )
            late = collecting.source.counts["late_acks"]
            collecting.acknowledge(collecting.messages[:5])
            assert collecting.source.counts["late_acks"] == late + 5
            collecting.acknowledge(collecting.messages[5:])
            assert collecting.source.health().connects == 2

    asyncio.run(scenario())


def test_a_broker_that_is_not_there_yet_is_tried_for_ever(kind, mosquitto):
    async def scenario():
        await asyncio.to_thread(mosquitto.stop)
        async with Collecting(kind, mosquitto) as collecting:
            await until(lambda: collecting.state == "broken")
            assert "start the broker" in collecting.source.health().note
            await asyncio.to_thread(mosquitto.start)
            await collecting.ready()

    asyncio.run(scenario())


def test_a_session_the_broker_forgot_is_subscribed_again(kind, mosquitto):
    async def scenario():
        async with Collecting(kind, mosquitto) as collecting:
            await collecting.ready()
            await asyncio.to_thread(mosquitto.kill)
            for path in mosquitto.folder.glob("mosquitto.db*"):
                path.unlink()
            await until(lambda: collecting.state == "broken")
            await asyncio.to_thread(mosquitto.start)
            await collecting.ready()
            await publish(mosquitto, numbered(0, 3))
            await until(lambda: len(collecting.messages) == 3)

    asyncio.run(scenario())


def test_a_paused_source_delivers_nothing_and_everything_after(kind, mosquitto):
    async def scenario():
        async with Collecting(kind, mosquitto) as collecting:
            await collecting.ready()
            collecting.source.pause()
            await publish(mosquitto, numbered(0, 100))
            assert collecting.messages == []
            collecting.source.resume()
            await until(lambda: len(collecting.messages) == 100)

    asyncio.run(scenario())


def test_retained_messages_are_marked_and_live_ones_of_the_same_topic_are_not(kind, mosquitto):
    async def scenario():
        await publish(mosquitto, [("site/r", b"old")], retain=True)
        async with Collecting(kind, mosquitto) as collecting:
            await collecting.ready()
            await until(lambda: len(collecting.messages) == 1)
            await publish(mosquitto, [("site/r", b"new")], retain=True)
            await until(lambda: len(collecting.messages) == 2)
            assert [(m.payload, m.retain) for m in collecting.messages] == [(b"old", True), (b"new", False)]

    asyncio.run(scenario())


def test_a_payload_that_is_too_long_is_cut_marked_and_acknowledged_like_any_other(kind, mosquitto):
    async def scenario():
        big = [b"a" * 70_000, b"b" * 3_000_000, b"c" * 300_000]
        async with Collecting(kind, mosquitto, client_id="same", max_payload=65_536) as collecting:
            await collecting.ready()
            sent = [("site/small", b"1"), *[("site/big", payload) for payload in big], ("site/small", b"2")]
            await publish(mosquitto, sent)
            await until(lambda: len(collecting.messages) == 5)
            assert collecting.payloads == [b"1", b"a" * 4096, b"b" * 4096, b"c" * 4096, b"2"]
            assert [m.oversize for m in collecting.messages] == [False, True, True, True, False]
            assert collecting.source.counts["oversize"] == 3
            assert collecting.source.health().connects == 1
        async with Collecting(kind, mosquitto, client_id="same") as again:
            await again.ready()
            await publish(mosquitto, [("site/end", b"end")])
            await until(lambda: b"end" in again.payloads)
            again_or_last = [message.dup or message.payload == b"end" for message in again.messages]
            assert all(again_or_last), "at most what was acknowledged too late comes again, and says so"

    asyncio.run(scenario())


def test_a_long_payload_within_the_limit_arrives_whole(kind, mosquitto):
    async def scenario():
        async with Collecting(kind, mosquitto, max_payload=2 << 20) as collecting:
            await collecting.ready()
            await publish(mosquitto, [("site/a", b"x" * 1_500_000), ("site/b", b"y" * 262_000), ("site/c", b"z")])
            await until(lambda: len(collecting.messages) == 3)
            assert [len(payload) for payload in collecting.payloads] == [1_500_000, 262_000, 1]

    asyncio.run(scenario())


def test_two_brokers_are_collected_from_side_by_side(kind, start_mosquitto):
    async def scenario():
        one, two = start_mosquitto(), start_mosquitto()
        async with Collecting(kind, one) as first, Collecting(kind, two) as second:
            await first.ready()
            await second.ready()
            await publish(one, [("site/a", b"one")])
            await publish(two, [("site/a", b"two")])
            await until(lambda: first.payloads == [b"one"] and second.payloads == [b"two"])
            await asyncio.to_thread(one.stop)
            await until(lambda: first.state == "broken")
            await publish(two, [("site/a", b"three")])
            await until(lambda: second.payloads == [b"two", b"three"])

    asyncio.run(scenario())


def test_members_of_a_share_group_divide_the_messages(kind, mosquitto):
    async def scenario():
        async with (
            Collecting(kind, mosquitto, share_group="g") as first,
            Collecting(kind, mosquitto, share_group="g") as second,
        ):
            await first.ready()
            await second.ready()
            await publish(mosquitto, numbered(0, 40))
            await until(lambda: len(first.messages) + len(second.messages) == 40)
            assert first.messages
            assert second.messages
            assert sorted(first.payloads + second.payloads, key=int) == [b"%d" % i for i in range(40)]

    asyncio.run(scenario())


def test_many_exact_topics_are_all_subscribed(kind, mosquitto):
    async def scenario():
        topics = tuple(f"site/exact/{i}" for i in range(450))
        async with Collecting(kind, mosquitto, topics=topics) as collecting:
            await collecting.ready()
            await publish(mosquitto, [("site/exact/0", b"a"), ("site/exact/449", b"b"), ("site/other", b"c")])
            await until(lambda: collecting.payloads == [b"a", b"b"])

    asyncio.run(scenario())


def test_a_wrong_password_is_named_and_the_right_one_works(kind, start_mosquitto):
    async def scenario():
        broker = start_mosquitto(users={"col": "right"})
        async with Collecting(kind, broker, username="col", password="wrong") as refused:
            await until(lambda: refused.state == "broken")
            assert "password_file" in refused.source.health().note
            assert "wrong" not in repr(refused.source.config)
        async with Collecting(kind, broker, username="col", password=Secret("right")) as collecting:
            await collecting.ready()
            await publish(broker, [("site/a", b"1")], username="col", password="right")
            await until(lambda: collecting.payloads == [b"1"])

    asyncio.run(scenario())


def test_a_frozen_broker_is_noticed(kind, mosquitto):
    async def scenario():
        async with Collecting(kind, mosquitto, keepalive_s=1) as collecting:
            await collecting.ready()
            mosquitto.freeze()
            await until(lambda: collecting.state == "broken", what="the frozen broker noticed")
            mosquitto.thaw()
            await collecting.ready()

    asyncio.run(scenario())


def test_a_quiet_connection_is_kept_alive(kind, mosquitto):
    async def scenario():
        async with Collecting(kind, mosquitto, keepalive_s=1) as collecting:
            await collecting.ready()
            begun = time.monotonic()
            await until(lambda: time.monotonic() - begun > 2.0)
            assert collecting.source.health().connects == 1
            assert collecting.state == "ok"

    asyncio.run(scenario())


def test_a_second_client_of_the_same_id_is_named_and_not_fought(kind, mosquitto):
    async def scenario():
        async with Collecting(kind, mosquitto, client_id="twice") as collecting:
            await collecting.ready()
            for _ in range(3):
                await until(lambda: collecting.state == "ok")
                with socket.create_connection(("127.0.0.1", mosquitto.port)) as rival:
                    rival.sendall(b"\x10\x11\x00\x04MQTT\x04\x00\x00\x3c\x00\x05twice")
                    assert await asyncio.to_thread(rival.recv, 4)
                    await until(lambda: collecting.state == "broken")
            note = collecting.source.health().note
            assert 'another client uses our client_id "twice"' in note
            assert 30 <= int(re.search(r"next attempt in (\d+) s", note)[1]) <= 36

    asyncio.run(scenario())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority of our own, a broker's and a client's certificate, an expired one, and a stranger's authority."""
    folder = tmp_path_factory.mktemp("tls")

    def run(*arguments, **more):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, **more)

    for name in ("ca", "stranger"):
        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", f"{name}.key", "-out", f"{name}.crt", "-days", "2", "-subj", f"/CN=test {name}")  # fmt: skip
    for name, subject, days in (("broker", "IP:127.0.0.1", 2), ("other", "DNS:elsewhere.example", 2),
                                ("client", "DNS:client", 2), ("expired", "IP:127.0.0.1", -1)):  # fmt: skip
        run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")  # fmt: skip
        (folder / "ext").write_text(f"subjectAltName={subject}\n")
        run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", f"{name}.crt", "-days", str(days), "-extfile", "ext")  # fmt: skip
    for path in folder.iterdir():
        path.chmod(0o644)
    return folder


def test_tls_with_an_authority_of_ones_own_and_a_client_certificate(kind, start_mosquitto, certificates):
    async def scenario():
        files = [certificates / name for name in ("ca.crt", "broker.crt", "broker.key")]
        broker = start_mosquitto(tls=files, client_certificates=True)
        own_pair = certificates / "client.crt", certificates / "client.key"
        own = dict(zip(("ca_file", "cert_file", "key_file"), map(str, [files[0], *own_pair]), strict=True))
        async with Collecting(kind, broker, **own) as collecting:
            await collecting.ready()
            tls = dict(zip(("ca_certs", "certfile", "keyfile"), map(str, [files[0], *own_pair]), strict=True))
            await asyncio.to_thread(
                single, "site/tls", b"secret", qos=1, hostname="127.0.0.1", port=broker.port, tls=tls
            )
            await until(lambda: collecting.payloads == [b"secret"])
        async with Collecting(kind, broker, ca_file=str(files[0])) as without:
            await until(lambda: without.state == "broken")

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", ["expired", "other", "stranger"])
def test_a_bad_certificate_is_refused_before_any_credential_is_sent(kind, certificates, fault):
    """An own TLS server that keeps every byte it can decrypt: there must be none."""
    name = {"stranger": "broker"}.get(fault, fault)
    trusted = certificates / ("stranger.crt" if fault == "stranger" else "ca.crt")
    heard = bytearray()

    async def hear(reader, writer):
        with contextlib.suppress(OSError, ssl.SSLError):
            while data := await reader.read(1000):
                heard.extend(data)
        writer.close()

    async def scenario():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / f"{name}.crt", certificates / f"{name}.key")
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the refused handshakes
        server = await asyncio.start_server(hear, "127.0.0.1", 0, ssl=context)
        url = f"mqtts://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = {"url": url, "ca_file": str(trusted), "username": "col", "password": "canary"}
        async with Collecting(kind, None, **settings) as collecting:
            await until(lambda: collecting.state == "broken")
            note = collecting.source.health().note
            assert "certificate is refused" in note
            assert "nothing was sent" in note
            assert "canary" not in note
        server.close()
        assert not heard

    asyncio.run(scenario())


def test_a_missing_authority_file_is_named_and_tried_again(kind, mosquitto, tmp_path):
    async def scenario():
        async with Collecting(kind, None, url="mqtts://127.0.0.1:1", ca_file=str(tmp_path / "no.crt")) as collecting:
            await until(lambda: collecting.state == "broken")
            assert "check ca_file" in collecting.source.health().note
            assert not collecting.task.done()

    asyncio.run(scenario())


def test_a_broker_of_the_configuration_becomes_a_config_with_its_devices_topics():
    settings = BrokerSettings("plant", "mqtts://broker.example", password=Secret("canary"), share_group="g")
    config = BrokerConfig.of(settings, ["a/b", "c"])
    assert (config.host, config.port, config.address) == ("broker.example", 8883, "mqtts://broker.example:8883")
    assert config.filters == ("$share/g/a/b", "$share/g/c")
    assert config.secret == "canary"
    assert "canary" not in repr(config)
