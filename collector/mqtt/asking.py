"""Asks a broker what it is willing to say of itself: its limits at the connect, and Mosquitto's own counters.

A connection of its own, with a clean session and another client id, so that the collector's session is not
touched. Only MQTT 5 is asked: a broker of 3.1.1 tells no limits.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from dataclasses import dataclass
from typing import Any

import mqtt5

from collector.mqtt.receiver import MENDS
from collector.mqtt.source import BrokerConfig, why_not_connected
from metering.explain import ExplainedError

ANSWER_S = 2.0  # for the connection
COUNTERS_S = 1.0  # Mosquitto keeps its counters: they come at once, or we may not read them
MEND = "start it, or mend its url in [[broker]]"
SYS_DROPPED, SYS_VERSION = "$SYS/broker/publish/messages/dropped", "$SYS/broker/version"


@dataclass(frozen=True, slots=True)
class BrokerSaid:
    """What a broker says of itself; None where it does not say.

    most_packet : bytes of the largest packet it takes
    most_qos : 0, 1 or 2, the best service it gives
    session_expiry_s : how long it keeps a session when we asked for longer [s]
    keepalive_s : the keep-alive it asks for instead of ours [s]
    dropped : messages it has dropped since its start, for clients whose queue was full
    version : of Mosquitto
    """

    most_packet: int | None = None
    most_qos: int = 2
    session_expiry_s: int | None = None
    keepalive_s: int | None = None
    dropped: int | None = None
    version: tuple[int, ...] | None = None


def ask_broker(config: BrokerConfig) -> BrokerSaid:
    """Connect, listen to its counters for a moment, and go.

    Raises
    ------
    ExplainedError
        If it cannot be reached, does not let us in, or speaks no MQTT 5.
    """
    deadline = time.monotonic() + ANSWER_S
    try:
        with contextlib.ExitStack() as closing:
            plain = closing.enter_context(socket.create_connection((config.host, config.port), ANSWER_S))
            context = config.tls_context()
            stream = plain
            if context is not None:
                stream = closing.enter_context(context.wrap_socket(plain, server_hostname=config.host))
            return _talk(_Packets(stream), config, deadline)
    except TimeoutError:
        raise ExplainedError(config.address, f"does not answer within {ANSWER_S:g} s", MEND) from None
    except OSError as error:
        raise ExplainedError(config.address, f"does not answer: {why_not_connected(error, config)}", MEND) from None


def _talk(packets: _Packets, config: BrokerConfig, deadline: float) -> BrokerSaid:
    packets.send(
        mqtt5.ConnectPacket(
            f"{config.client_id}-doctor",
            username=config.username or None,
            password=config.secret.encode() or None,
            clean_start=True,
            keep_alive=config.keepalive_s,
            session_expiry_interval=config.session_expiry_s,  # to hear whether it keeps one so long
        )
    )
    answer = packets.next(deadline)
    if not isinstance(answer, mqtt5.ConnAckPacket):
        raise ExplainedError(config.address, "does not answer as a broker of MQTT 5", 'set client = "paho"')
    code = int(answer.reason_code)
    if code:
        raise ExplainedError(
            config.address,
            f"answers, and does not let us in (reason {code})",
            MENDS.get(code, "see the broker's log"),
        )
    told = _counters(packets)
    dropped, version = told.get(SYS_DROPPED, ""), re.search(r"(\d+(?:\.\d+)+)", told.get(SYS_VERSION, ""))
    with contextlib.suppress(OSError):
        packets.send(mqtt5.DisconnectPacket(session_expiry_interval=0))
    return BrokerSaid(
        most_packet=answer.max_packet_size,
        most_qos=int(answer.max_qos),
        session_expiry_s=answer.session_expiry_interval,
        keepalive_s=answer.server_keep_alive,
        dropped=int(dropped) if dropped.isdigit() else None,
        version=tuple(map(int, version[1].split("."))) if version else None,
    )


def _counters(packets: _Packets) -> dict[str, str]:
    """Those of Mosquitto's own topics that come; none if we may not read them."""
    wanted = [mqtt5.TopicFilter(topic, max_qos=mqtt5.QoS.AT_MOST_ONCE) for topic in (SYS_DROPPED, SYS_VERSION)]
    packets.send(mqtt5.SubscribePacket(1, wanted))
    told: dict[str, str] = {}
    deadline = time.monotonic() + COUNTERS_S
    with contextlib.suppress(OSError, ExplainedError):
        while len(told) < len(wanted):
            packet = packets.next(deadline)
            if isinstance(packet, mqtt5.PublishPacket):
                told[packet.topic] = packet.payload.decode("utf-8", "replace")
            elif isinstance(packet, mqtt5.SubAckPacket) and all(int(each) >= 128 for each in packet.reason_codes):
                break
    return told


class _Packets:
    """Packets of a blocking connection."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream, self._rest = stream, b""

    def send(self, packet: Any) -> None:
        """Write one."""
        self._stream.sendall(packet.write())

    def next(self, deadline: float) -> Any:
        """Read one. TimeoutError after the deadline, ConnectionError when it is closed, ExplainedError on nonsense."""
        while True:
            if self._rest:
                try:
                    packet, used = mqtt5.read(memoryview(self._rest))
                except IndexError:
                    pass
                except BaseException as error:  # the codec's panics are no Exception
                    if isinstance(error, (KeyboardInterrupt, SystemExit)):
                        raise
                    raise ExplainedError("the broker", "answers in no MQTT 5", 'set client = "paho"') from None
                else:
                    self._rest = self._rest[used:]
                    return packet
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._stream.settimeout(left)
            data = self._stream.recv(65_536)
            if not data:
                raise ConnectionResetError("the broker closed the connection")
            self._rest += data
