"""The second MQTT source: paho-mqtt, for brokers that speak MQTT 3.1.1 only.

Slower than our receiver, and bounded otherwise: paho reads on while we are paused, but the broker
sends only as many unacknowledged messages as its in-flight window (MQTT 5: our receive maximum) allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import Any, cast

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from collector.mqtt.source import (
    CONNECT_TIMEOUT_S,
    KEPT_OF_OVERSIZE,
    Backoff,
    BrokerConfig,
    Deliver,
    Message,
    Status,
    why_not_connected,
)
from metering.clock import now_us
from metering.explain import ExplainedError
from metering.health import LineHealth

log = logging.getLogger("meterhall.mqtt")

GATHER_S = 0.01  # the network thread gathers so long, lest both threads wake each other for every message
KEEPALIVE_S = 10  # at most: paho notices a silent broker after two of these
LEAVE_S = 1.0  # how long we wait for the broker to close
MAX_HELD = 100_000  # messages while paused; beyond it those of QoS 0 are dropped, and counted
TAKEN_OVER = 142
ACCEPTED_LEVELS = (0, 1, 2)


class PahoSource:
    """Receives from one broker; see `collector.mqtt.source.MqttSource`.

    Parameters
    ----------
    deliver : called in the event loop with the messages that came since the last call, in order
    now_us : the wall clock, for the health's `since` [us since 1970]
    """

    def __init__(self, config: BrokerConfig, deliver: Deliver, *, now_us: Callable[[], int] = now_us) -> None:
        self.config, self.deliver = config, deliver
        self.counts: Counter[str] = Counter()
        self.status = Status(config, now_us)
        self.generation = 0
        self._v5 = config.protocol == "5"
        self._paused = False
        self._client: mqtt.Client | None = None
        self._backoff = Backoff(config.client_id)
        self._lock = threading.Lock()
        self._arrived: list[Message] = []
        self._scheduled = False

    def health(self) -> LineHealth:
        """How the connection is."""
        return self.status.line

    def ack(self, generation: int, packet_ids: Sequence[int]) -> None:
        """Acknowledge messages that are durable; older connections' are ignored."""
        client = self._client
        if client is None or generation != self.generation:
            self.counts["late_acks"] += len(packet_ids)
            return
        for packet_id in packet_ids:
            if packet_id:
                client.ack(packet_id, 1)

    def pause(self) -> None:
        """Deliver nothing more for a while."""
        self._paused = True

    def resume(self) -> None:
        """Deliver again, first what came meanwhile."""
        self._paused = False
        self._hand_over()

    async def run(self) -> None:
        """Connect, deliver, reconnect; until cancelled."""
        while True:
            wait = await self._connect_once()
            await asyncio.sleep(wait)

    async def _connect_once(self) -> float:
        loop = asyncio.get_running_loop()
        self.generation += 1
        session = _Session(self, loop, self.generation)
        try:
            # set before it is opened: the first messages come, and are acknowledged, at once
            client = self._client = session.make_client(self.config.tls_context())
            await asyncio.to_thread(session.open, client)
        except (OSError, ValueError, ExplainedError) as error:
            self._client = None
            self._unavailable(why_not_connected(error, self.config))
            return self._backoff.failed()
        try:
            await session.lost.wait()
        finally:
            self._client = None
            await asyncio.to_thread(_leave, client)
            with self._lock:
                self._arrived = [m for m in self._arrived if m.generation != self.generation or not m.packet_id]
        if session.accepted_at is None:
            self._unavailable(session.reason or "the broker closed the connection before it accepted us")
            return self._backoff.failed()
        told = session.reason_code == TAKEN_OVER
        wait = self._backoff.lost(monotonic() - session.accepted_at, told=told, closed=session.closed)
        self._unavailable(self._backoff.note(session.reason, wait))
        return wait

    def take(self, message: Message, loop: asyncio.AbstractEventLoop) -> None:
        """A message from the network thread."""
        with self._lock:
            if self._paused and message.qos == 0 and len(self._arrived) >= MAX_HELD:
                self.counts["dropped_qos0"] += 1
                return
            self._arrived.append(message)
            if self._scheduled or self._paused:
                return
            self._scheduled = True
        loop.call_soon_threadsafe(loop.call_later, GATHER_S, self._hand_over)

    def _hand_over(self) -> None:
        with self._lock:
            self._scheduled = False
            if self._paused or not self._arrived:
                return
            messages, self._arrived = self._arrived, []
        self.counts["received"] += len(messages)
        try:
            self.deliver(messages)
        except Exception:
            log.exception("messages of broker %s were not taken; the broker will send them again", self.config.id)
            if self._client is not None:
                self._client.disconnect()

    def _unavailable(self, note: str) -> None:
        if self.status.set("broken", note):
            log.warning("broker %s at %s is unavailable: %s", self.config.id, self.config.address, note)

    def subscribed(self, refused: list[str]) -> None:
        """The broker has answered all subscriptions."""
        if refused:
            note = f"the broker refuses {len(refused)} subscriptions, the first: {refused[0]}"
            if self.status.set("degraded", note):
                log.warning("broker %s: %s", self.config.id, note)
        elif self.status.set("ok", ""):
            log.info("broker %s at %s is connected", self.config.id, self.config.address)


class _Session:
    """One connection; its callbacks run in paho's network thread."""

    def __init__(self, owner: PahoSource, loop: asyncio.AbstractEventLoop, generation: int) -> None:
        self.owner, self.config, self.loop, self.generation = owner, owner.config, loop, generation
        self.lost = asyncio.Event()
        self.accepted_at: float | None = None
        self.reason = ""
        self.reason_code = 0
        self.closed = False

    def make_client(self, context: ssl.SSLContext | None) -> mqtt.Client:
        """A fresh client of the same id: the broker knows the session."""
        config, v5 = self.config, self.owner._v5
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=config.client_id,
            clean_session=None if v5 else False,
            protocol=mqtt.MQTTv5 if v5 else mqtt.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        if config.username:
            client.username_pw_set(config.username, config.secret or None)
        if context is not None:
            client.tls_set_context(context)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        return client

    def open(self, client: mqtt.Client) -> None:
        """Connect and start the network thread; blocks."""
        more: dict[str, Any] = {}
        if self.owner._v5:
            more["clean_start"] = False
            more["properties"] = properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = self.config.session_expiry_s
            properties.ReceiveMaximum = self.config.receive_maximum
        client.connect(self.config.host, self.config.port, keepalive=min(KEEPALIVE_S, self.config.keepalive_s), **more)
        client.loop_start()

    def _on_connect(self, client: mqtt.Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self.reason = f"the broker refuses us: {str(reason).lower()}; check username, password_file and client_id"
            client.disconnect()
            return
        self.accepted_at = monotonic()
        self.loop.call_soon_threadsafe(self._count_connect)
        if not self.config.filters:
            self.loop.call_soon_threadsafe(self.owner.subscribed, [])
        elif self.owner._v5:
            options = SubscribeOptions(qos=1, retainAsPublished=False, retainHandling=1)
            client.subscribe([(text, options) for text in self.config.filters])
        else:
            client.subscribe([(text, 1) for text in self.config.filters])

    def _count_connect(self) -> None:
        self.owner.status.line.connects += 1

    def _on_subscribe(self, client: mqtt.Client, _: Any, mid: int, reasons: list[Any], properties: Any) -> None:
        refused = [
            f'"{text}" ({str(reason).lower()})'
            for text, reason in zip(self.config.filters, reasons, strict=False)
            if reason.value not in ACCEPTED_LEVELS
        ]
        self.loop.call_soon_threadsafe(self.owner.subscribed, refused)

    def _on_message(self, client: mqtt.Client, _: Any, message: mqtt.MQTTMessage) -> None:
        oversize = len(message.payload) > self.config.max_payload
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = message._topic.decode("utf-8", "replace")
            self.owner.counts["unreadable"] += 1
        self.owner.counts["oversize"] += oversize
        self.owner.take(
            Message(
                topic,
                message.payload[:KEPT_OF_OVERSIZE] if oversize else message.payload,
                message.mid if message.qos else 0,
                message.qos,
                bool(message.dup),
                bool(message.retain),
                self.generation,
                oversize,
            ),
            self.loop,
        )

    def _on_disconnect(self, client: mqtt.Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.reason_code = reason.value if flags.is_disconnect_packet_from_server else 0
        self.closed = not self.reason and "keep alive" not in str(reason).lower()
        self.reason = self.reason or f"the connection ended: {str(reason).lower()}"
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            self.loop.call_soon_threadsafe(self.lost.set)


def _leave(client: mqtt.Client) -> None:
    """End the connection so that the broker reads our last acknowledgements: it closes, not we; blocks.

    Closed by us while something of the broker's is unread, the system would throw away what the broker has not
    read of ours yet.
    """
    patience = monotonic() + LEAVE_S
    while client.want_write() and monotonic() < patience:
        sleep(0.005)
    connection = client.socket()
    if connection is not None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(cast(socket.socket, connection), socket.SHUT_WR)  # also under TLS: plain TCP's end
    while client.socket() is not None and monotonic() < patience:
        sleep(0.005)
    with contextlib.suppress(ValueError):
        client.disconnect()
    client.loop_stop()
