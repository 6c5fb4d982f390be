"""The doctor compares what a broker may hold and take with what the collector needs, and the clocks."""

import pytest

from collector.mqtt.asking import BrokerSaid, ask_broker
from collector.mqtt.source import BrokerConfig
from faults.broker import Broker
from meterhall import timekeeping
from meterhall.brokerdoctor import check_brokers, rates, say_limits, say_queue
from meterhall.timekeeping import check_clock, check_device_clocks
from metering.clock import now_us
from metering.explain import ExplainedError
from tests.filled import configure

CONFIG = BrokerConfig("b", "mqtt://127.0.0.1:1")


def states(remarks):
    return [each.state for each in remarks]


@pytest.mark.parametrize(
    ("said", "state", "words"),
    [
        (BrokerSaid(dropped=0), "ok", "has dropped nothing"),
        (BrokerSaid(dropped=1234), "warning", "has dropped 1,234 messages"),
        (BrokerSaid(most_packet=100_000), "warning", "takes packets of at most 100,000 bytes"),
        (BrokerSaid(most_qos=0), "broken", "QoS 0 only"),
        (BrokerSaid(session_expiry_s=3600), "broken", "for 1 h only"),
        (BrokerSaid(session_expiry_s=96 * 3600), "warning", "for 96 h only"),
        (BrokerSaid(version=(2, 0, 18)), "ok", "2.0.18"),
        (BrokerSaid(version=(2, 0, 11)), "warning", "CVE-2023-0809"),
    ],
)
def test_each_limit_that_is_too_small_is_said_with_its_mend(said, state, words):
    (remark,) = say_limits("broker b", said, CONFIG)
    assert (remark.state, words in remark.what) == (state, True), remark
    assert remark.mend or state == "ok"


@pytest.mark.parametrize(
    ("lines", "a_day", "state", "words"),
    [
        ("max_queued_messages 1000", 24_000, "warning", "wait at most: at 24,000 a day, as now, that is 1 h"),
        ("max_queued_messages 1000", 240_000, "warning", "6 min"),
        ("max_queued_messages 0\nmax_queued_bytes 2147483648", 1_000_000, "ok", "18 days"),
        ("max_queued_messages 0\nmax_queued_bytes 2147483648", 43_200_000, "warning", "10 h"),
    ],
)  # fmt: skip
def test_the_queue_is_said_in_hours_at_todays_rate(tmp_path, lines, a_day, state, words):
    path = tmp_path / "mosquitto.conf"
    path.write_text(lines + "\n")
    (remark,) = say_queue("queue", path, a_day)
    assert (remark.state, words in remark.what) == (state, True), remark


def test_without_a_limit_or_a_rate_nothing_is_said_of_hours(tmp_path):
    path = tmp_path / "mosquitto.conf"
    path.write_text("max_queued_messages 0\n")
    assert list(say_queue("queue", path, 1e6)) == []
    path.write_text("max_queued_messages 100\n")
    assert list(say_queue("queue", path, None)) == []


def test_messages_a_day_follow_from_the_books_and_the_rate_of_readings():
    books = {
        "messages": {"b": {"received": 250}, "line": {"received": 500}, "quiet": {"received": 0}},
        "readings": {"b": {"decoded": 1000}, "line": {"decoded": 4000}},
    }
    assert rates(books, 10_000.0) == {"b": 500.0, "line": 1000.0}
    assert rates(books, None) == rates({}, 10.0) == {}


def test_a_broker_that_is_not_there_is_a_warning(tmp_path):
    settings = configure(tmp_path)
    first = next(check_brokers(settings))
    assert (first.state, "nobody listens there" in first.what) == ("warning", True)


@pytest.mark.broker
def test_a_real_broker_says_its_limits_and_what_it_dropped(tmp_path):
    lines = ["max_packet_size 200000", "max_queued_messages 5"]
    with Broker(tmp_path / "broker", lines=lines) as broker:
        config = BrokerConfig("b", broker.url)
        said = ask_broker(config)
        assert (said.most_packet, said.dropped, said.most_qos) == (200_000, 0, 2)
        assert said.version
        assert said.version >= (2, 0)
        settings = configure(tmp_path / "plant")
        path = tmp_path / "plant" / "meterhall.toml"
        path.write_text(path.read_text().replace("mqtt://127.0.0.1:1", broker.url))
        from meterhall.configuring import read_settings

        settings = read_settings(tmp_path / "plant")
        words = [str(each) for each in check_brokers(settings)]
        assert any("answers, and lets us in" in each for each in words)
        assert any("at most 200,000 bytes" in each for each in words)


@pytest.mark.broker
def test_a_broker_that_does_not_let_us_in_is_said_with_the_mend(tmp_path):
    with Broker(tmp_path / "broker") as broker:
        path = broker.folder / "mosquitto.conf"
        broker.stop()
        path.write_text(path.read_text().replace("allow_anonymous true", "allow_anonymous false"))
        broker.start()
        with pytest.raises(ExplainedError, match=r"does not let us in.*password"):
            ask_broker(BrokerConfig("b", broker.url))


def test_who_answers_in_another_language_is_no_broker(tmp_path):
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            client, _ = server.accept()
            with client:
                client.recv(1000)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(ExplainedError):
            ask_broker(BrokerConfig("b", f"mqtt://127.0.0.1:{server.getsockname()[1]}"))


def test_a_clock_that_nobody_keeps_is_a_warning(tmp_path, monkeypatch):
    settings = configure(tmp_path)
    for kept, state in ((True, "ok"), (None, "ok"), (False, "warning")):
        monkeypatch.setattr(timekeeping, "synchronised", lambda kept=kept: kept)
        assert states(check_clock(settings, now_us)) == [state]


def test_the_kernel_is_asked_and_its_clock_is_left_alone():
    assert timekeeping.synchronised() in (True, False, None)


def test_devices_of_the_future_are_named():
    rows = [
        {"point": "plant/main/active_power", "age_s": -7200.0},
        {"point": "plant/main/active_power/l1", "age_s": -60.0},
        {"point": "plant/hall/voltage/l1", "age_s": -3600.0},
        {"point": "plant/roof/voltage/l1", "age_s": 5.0},
    ]
    (remark,) = check_device_clocks(rows)
    assert remark.state == "warning"
    assert "plant/main is 120 min ahead of this machine, and 1 more devices are" in remark.what
    assert states(check_device_clocks(rows[3:])) == ["ok"]
