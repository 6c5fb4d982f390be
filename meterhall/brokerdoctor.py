"""The doctor's look at brokers: do they answer, and do their limits hold what waits while the collector is away?"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from collector.mqtt.asking import BrokerSaid, ask_broker
from collector.mqtt.source import BrokerConfig
from devices.settings import BrokerSettings, Settings
from meterhall.broker import find_mosquitto
from meterhall.brokercheck import MESSAGE_BYTES, Configuration, check_broker, installed_version, say_version
from meterhall.remarks import Remark, broken, ok, warning
from metering.explain import ExplainedError

BROKER_FILES = (Path("/etc/mosquitto/mosquitto.conf"),)
CONNECT_S = 2.0
WEEKEND_H = 72  # a long weekend: as long a collector may be away before somebody looks


def check_brokers(settings: Settings, messages_a_day: Mapping[str, float] | None = None) -> Iterator[Remark]:
    """Each broker answers, and does not lose what waits, as far as it can be seen from here.

    messages_a_day : what each broker brings now, by its id; those of which nothing is known are left out
    """
    for broker in settings.brokers:
        config = BrokerConfig.of(broker, (), settings.limits.payload_bytes)
        near = config.host in ("127.0.0.1", "::1", "localhost")
        subject = f"broker {broker.id}"
        yield from _ask(broker, config, subject)
        if not config.tls and not near:
            mend = 'url = "mqtts://..." with ca_file, and TLS in the broker'
            yield warning(subject, "readings and the password pass in clear", mend)
        files = [path for path in BROKER_FILES if near and path.is_file()]
        for path in files:
            program = find_mosquitto()
            with contextlib.suppress(ExplainedError):
                for remark in check_broker(path, installed_version(program) if program else None):
                    if remark.state != "ok":
                        yield Remark(f"{subject}, {remark.subject}", "warning", remark.what, remark.mend)
                yield from say_queue(f"{subject}, {path.name}", path, (messages_a_day or {}).get(broker.id))
        if not files:
            yield warning(
                subject,
                "its queue limits cannot be seen from here: beyond them messages are dropped without a word",
                "run there: meterhall broker check /etc/mosquitto/mosquitto.conf",
            )


def _ask(broker: BrokerSettings, config: BrokerConfig, subject: str) -> Iterator[Remark]:
    where = f"{config.host}:{config.port}"
    try:
        if broker.client == "paho":  # it may speak MQTT 3.1.1 alone, which tells no limits
            with socket.create_connection((config.host, config.port), CONNECT_S):
                yield ok(subject, f"{where} answers")
            return
        said = ask_broker(config)
    except OSError as error:
        yield warning(subject, f"{where} does not answer: {error}", "start it, or mend its url in [[broker]]")
    except ExplainedError as problem:
        yield warning(subject, f"{where} {problem.what}", problem.mend)
    else:
        yield ok(subject, f"{where} answers, and lets us in")
        yield from say_limits(subject, said, config)


def say_limits(subject: str, said: BrokerSaid, config: BrokerConfig) -> Iterator[Remark]:
    """What a broker says of itself, against what the collector needs of it."""
    if said.most_qos == 0:
        yield broken(subject, "gives QoS 0 only: nothing is sent again that was lost on the way", "max_qos 1")
    if said.most_packet is not None and said.most_packet < config.max_payload:
        yield warning(
            subject,
            f"takes packets of at most {said.most_packet:,} bytes; limits.payload_bytes is {config.max_payload:,}",
            "max_packet_size 1048576 in the broker, or a smaller limits.payload_bytes",
        )
    kept = said.session_expiry_s
    if kept is not None and kept < config.session_expiry_s:
        yield (broken if kept < WEEKEND_H * 3600 else warning)(
            subject,
            f"keeps our session, and what waits in it, for {kept / 3600:,.0f} h only",
            "let the broker keep sessions for 14 days",
        )
    if said.version is not None:
        yield from (Remark(subject, each.state, each.what, each.mend) for each in say_version(said.version))
    if said.dropped:
        yield warning(
            subject,
            f"has dropped {said.dropped:,} messages since its start, for clients whose queue was full",
            "max_queued_messages 0, with max_queued_bytes 2147483648",
        )
    elif said.dropped == 0:
        yield ok(subject, "has dropped nothing since its start")


def say_queue(subject: str, path: Path, messages_a_day: float | None) -> Iterator[Remark]:
    """How long the collector may be away before the broker of this mosquitto.conf drops messages, at today's rate."""
    found = Configuration(path)
    messages, size = found.number("max_queued_messages", 1000), found.number("max_queued_bytes", 0)
    limits = [n for n in (messages, size // MESSAGE_BYTES) if n > 0]
    if not limits or not messages_a_day:
        return
    hours = min(limits) / messages_a_day * 24
    words = f"{min(limits):,} messages wait at most: at {messages_a_day:,.0f} a day, as now, that is {_time(hours)}"
    if hours < WEEKEND_H:
        yield warning(subject, words, "max_queued_messages 0, with max_queued_bytes 2147483648 or more")
    else:
        yield ok(subject, words)


def _time(hours: float) -> str:
    if hours < 1:
        return f"{hours * 60:,.0f} min"
    return f"{hours:,.0f} h" if hours < WEEKEND_H else f"{hours / 24:,.0f} days"


def rates(books: Mapping[str, Any], readings_a_day: float | None) -> dict[str, float]:
    """Messages a day of each source, from the books' totals and the rate of readings of all sources together."""
    decoded = sum(row["decoded"] for row in books.get("readings", {}).values())
    if not readings_a_day or not decoded:
        return {}
    messages = books.get("messages", {})
    return {source: row["received"] / decoded * readings_a_day for source, row in messages.items() if row["received"]}
