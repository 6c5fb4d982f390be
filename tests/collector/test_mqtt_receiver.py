"""Our receiver against bytes that a good, a bad or a lying broker sends."""

import asyncio

import mqtt5
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.mqtt.receiver import BUFFER, MqttReceiver, _Connection
from collector.mqtt.source import Backoff, BrokerConfig

ACCEPTED = mqtt5.ConnAckPacket().write()


class Wire(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self):
        super().__init__()
        self.written, self.aborted, self.reading = bytearray(), False, True

    def write(self, data):
        self.written += data

    def is_closing(self):
        return self.aborted

    def abort(self):
        self.aborted = True

    def close(self):
        self.aborted = True

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True


class Line:
    """A connection fed by hand."""

    def __init__(self, **settings):
        self.messages = []
        config = BrokerConfig("b", "mqtt://127.0.0.1:1", "me", topics=("site/#",), **settings)
        self.receiver = MqttReceiver(config, self.messages.extend)
        self.connection = _Connection(self.receiver, 7)
        self.receiver._connection = self.connection
        self.wire = Wire()
        self.connection.connection_made(self.wire)

    def feed(self, data, sizes=()):
        at, sizes = 0, iter(sizes)
        while at < len(data) and not self.wire.aborted:
            room = self.connection.get_buffer(-1)
            size = min(len(room), len(data) - at, next(sizes, 1 << 30))
            room[:size] = data[at : at + size]
            self.connection.buffer_updated(size)
            at += size

    def accepted(self):
        self.feed(ACCEPTED)
        self.feed(mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE]).write())
        return self


def message(topic="site/a", payload=b"1", packet_id=1, **more):
    qos = mqtt5.QoS.AT_LEAST_ONCE if packet_id else mqtt5.QoS.AT_MOST_ONCE
    return mqtt5.PublishPacket(topic, payload, qos=qos, packet_id=packet_id or None, **more).write()


def test_it_connects_with_a_session_that_lasts_and_subscribes_at_qos_1_without_retained_flags_on_live_messages():
    line = Line(username="col", password="secret", receive_maximum=321, session_expiry_s=99, keepalive_s=15)
    connect, used = mqtt5.read(memoryview(bytes(line.wire.written)))
    assert (connect.client_id, connect.clean_start, connect.keep_alive) == ("me", False, 15)
    assert (connect.username, connect.password) == ("col", b"secret")
    assert (connect.receive_max, connect.session_expiry_interval) == (321, 99)
    line.feed(ACCEPTED)
    subscribe, _ = mqtt5.read(memoryview(bytes(line.wire.written[used:])))
    (wanted,) = subscribe.topic_filters
    assert (wanted.pattern, int(wanted.max_qos), wanted.retain_as_published) == ("site/#", 1, False)
    assert int(wanted.retain_handling) == 1


@given(
    st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 65535)), min_size=1, max_size=12),
    st.lists(st.integers(1, 400), max_size=60),
    st.booleans(),
)
@settings(max_examples=60)
def test_however_the_bytes_are_cut_the_same_messages_arrive_in_order(sent, sizes, with_big):
    line = Line(max_payload=250).accepted()
    stream = b"".join(message(f"site/{i}", payload, number) for i, (payload, number) in enumerate(sent))
    if with_big:
        stream += message("site/big", b"x" * 600_000, 9) + message("site/after", b"y", 10)
        sent = [*sent, (b"x" * 600_000, 9), (b"y", 10)]
    line.feed(stream, sizes)
    assert [(m.payload, m.packet_id) for m in line.messages] == [
        (payload if len(payload) <= 250 else payload[:4096], number) for payload, number in sent
    ]
    assert [m.oversize for m in line.messages] == [len(payload) > 250 for payload, _ in sent]
    assert all(m.qos == bool(m.packet_id) and m.generation == 7 for m in line.messages)


def test_flags_of_a_message_are_kept():
    line = Line().accepted()
    line.feed(message(duplicate=True) + message(retain=True, packet_id=0))
    assert [(m.qos, m.dup, m.retain) for m in line.messages] == [(1, True, False), (0, False, True)]


def test_all_messages_of_one_socket_read_are_delivered_in_one_call():
    calls = []
    line = Line().accepted()
    line.receiver.deliver = calls.append
    line.feed(b"".join(message(packet_id=i) for i in range(1, 500)))
    assert [len(call) for call in calls] == [499]


def test_acknowledgements_go_out_in_one_write_and_those_of_another_connection_do_not():
    line = Line().accepted()
    line.wire.written.clear()
    line.receiver.ack(7, [1, 0, 0xABCD])
    assert line.wire.written == b"\x40\x02\x00\x01\x40\x02\xab\xcd"
    line.receiver.ack(6, [5])
    assert len(line.wire.written) == 8
    assert line.receiver.counts["late_acks"] == 1


@pytest.mark.filterwarnings("ignore")
def test_a_message_that_the_codec_cannot_read_goes_on_as_it_is_and_the_next_ones_too():
    line = Line().accepted()
    bad = b"\x32\x0a\x00\x03\xff\xfe\xfd\x00\x05\x00hi"
    line.feed(message(packet_id=4) + bad[:1] + bytes([len(bad) - 2]) + bad[2:] + message(packet_id=6))
    assert [m.packet_id for m in line.messages] == [4, 5, 6]
    assert line.messages[1].payload == b"hi"
    assert line.receiver.counts["unreadable"] == 1
    assert not line.wire.aborted


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xf3\x02\x01\x02", "no MQTT 5 packet"),
        (b"\x90\x03\x00\x01\xff", "no MQTT 5 packet"),
        (b"\x90\xff\xff\xff\x7f" + b"x" * BUFFER, "no message"),
        (mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SERVER_SHUTTING_DOWN).write(), "shutting down"),
        (mqtt5.ConnectPacket("x").write(), "unexpected ConnectPacket"),
    ],
)
def test_a_broker_that_speaks_nonsense_is_left_with_the_reason(data, words):
    line = Line().accepted()
    line.feed(message() + data)
    assert len(line.messages) == 1
    assert line.wire.aborted
    assert words in line.connection.reason


def test_a_broker_of_mqtt_3_1_1_only_is_answered_with_the_mend():
    line = Line()
    line.feed(b"\x20\x02\x00\x01")
    assert line.wire.aborted
    assert 'set client = "paho"' in line.connection.reason


def test_a_refused_subscription_is_reported_and_the_others_are_collected():
    line = Line()
    line.feed(ACCEPTED + mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode.NOT_AUTHORIZED]).write() + message())
    health = line.receiver.health()
    assert health.state == "degraded"
    assert 'the first: "site/#" (not authorized)' in health.note
    assert len(line.messages) == 1


def test_what_our_collector_does_not_take_is_not_acknowledged_and_the_connection_begins_anew():
    line = Line().accepted()
    line.receiver.deliver = lambda messages: 1 / 0
    line.wire.written.clear()
    line.feed(message())
    assert line.wire.aborted
    assert line.wire.written == b""


def test_a_pause_stops_reading_and_is_no_sign_of_a_dead_broker():
    line = Line(keepalive_s=10).accepted()
    line.receiver.pause()
    assert not line.wire.reading
    started = line.connection._received
    for second in range(0, 120, 2):
        line.connection._tick(started + second)
    assert not line.wire.aborted
    line.receiver.resume()
    assert line.wire.reading


def test_silence_of_the_broker_ends_the_connection_within_30_s():
    line = Line(keepalive_s=15).accepted()
    started = line.connection._received
    ended = next(second for second in range(60) if line.connection._tick(started + second) or line.wire.aborted)
    assert 10 < ended < 30
    assert b"\xc0\x00" in line.wire.written


@given(st.lists(st.tuples(st.floats(0, 300), st.booleans(), st.booleans()), min_size=1, max_size=30))
@settings(max_examples=50)
def test_waits_between_connections_are_never_under_a_second_and_30_s_in_a_war(history):
    backoff = Backoff("me")
    for held_s, told, closed in history:
        wait = backoff.lost(held_s, told=told, closed=closed)
        assert 1.0 <= wait <= 36.0
        assert (wait >= 30.0) == backoff.at_war


def test_three_takeovers_in_a_row_are_a_war_and_a_steady_connection_ends_it():
    backoff = Backoff("me")
    for _ in range(2):
        assert backoff.lost(0.1, told=True, closed=False) < 6
    wait = backoff.lost(0.1, told=True, closed=False)
    assert wait >= 30
    assert backoff.note("", wait).startswith("another client uses our client_id")
    assert backoff.lost(600, told=False, closed=True) < 6


def test_short_connections_with_failed_attempts_between_are_a_bad_network_and_no_war():
    backoff = Backoff("me")
    for _ in range(10):
        assert backoff.lost(0.5, told=False, closed=True) < 6
        assert backoff.failed() < 6
