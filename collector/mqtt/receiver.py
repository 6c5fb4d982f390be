"""Our own MQTT 5 receiver: the mqtt5 codec in an asyncio protocol, many messages a socket read.

It keeps a persistent session, takes QoS 1, and acknowledges only when told to (`ack`), all messages
of a commit group in one socket write. What is not acknowledged the broker delivers again.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import mqtt5
from mqtt5 import PublishPacket

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

BUFFER = 256 << 10  # bytes read from the socket at most at once
OVERHEAD = 128 << 10  # bytes of a packet beside its payload: topic, properties
PING_AFTER = 0.6  # of the keep-alive
PONG_TIMEOUT_S = 10.0
GOODBYE_S = 2.0
FILTERS_PER_PACKET = 200
MENDS = {
    132: 'the broker speaks no MQTT 5: set client = "paho"',
    133: "it refuses our client_id: choose another",
    134: "user name or password refused: check username and password_file",
    135: "not authorised: check username, password_file and the broker's access list",
    136: "the broker is not available",
    137: "the broker is busy",
    138: "the broker has banned this client",
    151: "a quota of the broker is exceeded",
    159: "we connect too often for the broker",
}


class MqttReceiver:
    """Receives from one broker; see `collector.mqtt.source.MqttSource`.

    Parameters
    ----------
    deliver : called with all messages of one socket read, in order
    now_us : the wall clock, for the health's `since` [us since 1970]
    """

    def __init__(self, config: BrokerConfig, deliver: Deliver, *, now_us: Callable[[], int] = now_us) -> None:
        self.config, self.deliver = config, deliver
        self.counts: Counter[str] = Counter()
        self.status = Status(config, now_us)
        self.generation = 0
        self.paused = False
        self.subscribed = False  # by this process, in the session the broker keeps
        self._connection: _Connection | None = None
        self._backoff = Backoff(config.client_id)

    def health(self) -> LineHealth:
        """How the connection is."""
        return self.status.line

    def ack(self, generation: int, packet_ids: Sequence[int]) -> None:
        """Acknowledge messages that are durable, in one socket write; older connections' are ignored."""
        connection = self._connection
        if connection is None or generation != connection.generation:
            self.counts["late_acks"] += len(packet_ids)
            return
        connection.acknowledge(packet_ids)

    def pause(self) -> None:
        """Read nothing more from the socket: TCP and the broker's in-flight window hold the rest back."""
        self.paused = True
        if self._connection is not None:
            self._connection.apply_pause()

    def resume(self) -> None:
        """Read on."""
        self.paused = False
        if self._connection is not None:
            self._connection.apply_pause()

    async def run(self) -> None:
        """Connect, deliver, reconnect; until cancelled."""
        while True:
            wait = await self._connect_once()
            await asyncio.sleep(wait)

    async def _connect_once(self) -> float:
        """One connection from its beginning to its loss; how long to wait then [s]."""
        self.generation += 1
        # set before it is made: the first messages come, and are acknowledged, at once
        connection = self._connection = _Connection(self, self.generation)
        loop = asyncio.get_running_loop()
        try:
            context = self.config.tls_context()
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: connection, self.config.host, self.config.port, ssl=context)
            await connection.watch()
        except (OSError, TimeoutError, ExplainedError) as error:
            self._unavailable(why_not_connected(error, self.config))
            return self._backoff.failed()
        finally:
            self._connection = None
            await connection.close()
        if connection.accepted_at is None:
            self._unavailable(connection.reason or "the broker closed the connection before it accepted us")
            return self._backoff.failed()
        told = connection.reason_code == mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER
        closed = not connection.reason
        wait = self._backoff.lost(monotonic() - connection.accepted_at, told=told, closed=closed)
        self._unavailable(self._backoff.note(connection.reason, wait))
        return wait

    def _unavailable(self, note: str) -> None:
        if self.status.set("broken", note):
            log.warning("broker %s at %s is unavailable: %s", self.config.id, self.config.address, note)

    def available(self, refused: list[str]) -> None:
        """Everything is subscribed, but for what the broker refused."""
        if refused:
            note = f"the broker refuses {len(refused)} subscriptions, the first: {refused[0]}"
            if self.status.set("degraded", note):
                log.warning("broker %s: %s", self.config.id, note)
        elif self.status.set("ok", ""):
            log.info("broker %s at %s is connected", self.config.id, self.config.address)


class _Connection(asyncio.BufferedProtocol):
    """One TCP connection and what has arrived of it."""

    def __init__(self, owner: MqttReceiver, generation: int) -> None:
        self.owner, self.config, self.generation = owner, owner.config, generation
        self.accepted_at: float | None = None
        self.reason = ""  # why it ended
        self.reason_code: int | None = None
        self._transport: asyncio.Transport | None = None
        self._lost = asyncio.Event()
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._end = 0  # bytes in the buffer
        self._skip = 0  # bytes of an oversize packet still to come
        self._paused = False
        self._closing = False
        self._opened = self._received = self._sent = monotonic()
        self._ping_at: float | None = None
        self._pending: dict[int, tuple[str, ...]] = {}  # SUBSCRIBE packets under way
        self._refused: list[str] = []

    # -- the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._opened = self._received = monotonic()
        config = self.config
        self._write(
            mqtt5.ConnectPacket(
                config.client_id,
                username=config.username or None,
                password=config.secret.encode() or None,
                clean_start=False,
                keep_alive=config.keepalive_s,
                session_expiry_interval=config.session_expiry_s,
                receive_max=config.receive_maximum,
            ).write()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not self.reason:
            self.reason = f"the connection broke: {exc}"
        self._lost.set()

    def eof_received(self) -> bool:
        return False

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._skip:
            return self._view
        return self._view[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        self._received = monotonic()
        self._ping_at = None
        if self._closing:  # not acknowledged, so it comes again
            return
        if self._skip:
            nbytes = self._skip_over(nbytes)
        self._end += nbytes
        messages: list[Message] = []
        try:
            self._read_packets(messages)
        except _Broken as broken:
            self.abort(str(broken))
        if messages:
            self.owner.counts["received"] += len(messages)
            try:
                self.owner.deliver(messages)
            except Exception:
                log.exception("messages of broker %s were not taken; the broker will send them again", self.config.id)
                self.abort("our own collector did not take the messages")

    def _skip_over(self, nbytes: int) -> int:
        """Drop what belongs to an oversize packet; the number of bytes left, moved to the buffer's start."""
        dropped = min(self._skip, nbytes)
        self._skip -= dropped
        rest = nbytes - dropped
        self._buffer[:rest] = self._buffer[dropped:nbytes]
        return rest

    def _read_packets(self, messages: list[Message]) -> None:
        view, end, pos = self._view, self._end, 0
        read, publish, generation, limit = mqtt5.read, PublishPacket, self.generation, self.config.max_payload
        append, new = messages.append, tuple.__new__  # the hot path
        try:
            while pos < end:
                try:
                    packet, used = read(view[pos:end])
                except IndexError:
                    used = self._incomplete(view[pos:end], messages)
                    if not used:
                        break
                    pos += used
                    continue
                except BaseException as error:  # the codec's panics are no Exception
                    if isinstance(error, (KeyboardInterrupt, SystemExit)):
                        raise
                    pos += self._unreadable(view[pos:end], messages, error)
                    continue
                pos += used
                if type(packet) is publish:
                    payload, packet_id = packet.payload, packet.packet_id or 0
                    oversize = len(payload) > limit
                    if oversize:
                        self.owner.counts["oversize"] += 1
                        payload = payload[:KEPT_OF_OVERSIZE]
                    qos = 1 if packet_id else 0  # QoS 2 was not subscribed
                    repeat, kept = packet.duplicate, packet.retain
                    append(new(Message, (packet.topic, payload, packet_id, qos, repeat, kept, generation, oversize)))
                else:
                    self._control(packet)
        finally:
            rest = max(0, end - pos)
            if rest and pos:
                self._buffer[:rest] = self._buffer[pos:end]
            self._end = rest
            if rest == len(self._buffer):
                self._grow()

    def _incomplete(self, view: memoryview, messages: list[Message]) -> int:
        """The bytes used of a packet that is not all there: 0 to wait for more, all if the rest is skipped."""
        total = _packet_length(view)
        if total is None:
            return 0
        if total <= len(view):
            return self._unreadable(view, messages, ValueError("a length inside does not fit"))
        if total <= self.config.max_payload + OVERHEAD:
            return 0
        # too large to hold: its beginning goes on, marked, the rest is skipped as it comes
        head = _publish_head(view, total)
        if view[0] >> 4 != 3:
            raise _Broken(f"the broker sends a packet of {total} bytes that is no message")
        if head is None or len(view) < min(total, head[3] + KEPT_OF_OVERSIZE):
            return 0
        self._deliver_raw(view, head, messages, oversize=True)
        self._skip = total - len(view)
        return len(view)

    def _unreadable(self, view: memoryview, messages: list[Message], error: BaseException) -> int:
        """A whole packet the codec cannot read: a message goes on as it is, for the quarantine."""
        total = _packet_length(view)
        self.owner.counts["unreadable"] += 1
        if self.accepted_at is None:
            raise _Broken(f"the broker's answer is no MQTT 5 ({error}): {MENDS[132].split(': ')[1]}")
        if total is None or total > len(view) or view[0] >> 4 != 3:
            raise _Broken(f"the broker sends what is no MQTT 5 packet: {error}")
        head = _publish_head(view, total)
        if head is None:
            raise _Broken(f"the broker sends a message that cannot be read: {error}")
        self._deliver_raw(view[:total], head, messages, oversize=False)
        return total

    def _deliver_raw(
        self, view: memoryview, head: tuple[str, int, int, int], messages: list[Message], *, oversize: bool
    ) -> None:
        topic, packet_id, qos, start = head
        if oversize:
            self.owner.counts["oversize"] += 1
        payload = bytes(view[start : start + KEPT_OF_OVERSIZE]) if oversize else bytes(view[start:])
        flags = view[0]
        messages.append(
            Message(topic, payload, packet_id, qos, bool(flags & 8), bool(flags & 1), self.generation, oversize)
        )

    def _grow(self) -> None:
        """Room for the packet that does not fit: up to the largest payload we take."""
        total = _packet_length(self._view) or 0
        bigger = bytearray(min(max(total, 2 * len(self._buffer)), self.config.max_payload + 2 * OVERHEAD))
        if len(bigger) <= len(self._buffer):
            raise _Broken("a packet does not fit into the buffer")
        bigger[: self._end] = self._buffer[: self._end]
        self._buffer, self._view = bigger, memoryview(bigger)

    # -- packets that are no message

    def _control(self, packet: Any) -> None:
        match packet:
            case mqtt5.ConnAckPacket():
                self._accepted(packet)
            case mqtt5.SubAckPacket():
                self._subscribed(packet)
            case mqtt5.DisconnectPacket():
                self.reason_code = packet.reason_code
                self.abort(f"the broker says: {_words(packet.reason_code)}")
            case mqtt5.PingRespPacket():
                pass
            case _:
                raise _Broken(f"the broker sends an unexpected {type(packet).__name__}")

    def _accepted(self, answer: Any) -> None:
        code = int(answer.reason_code)
        if code:
            words = MENDS.get(code, _words(answer.reason_code))
            raise _Broken(f"{words}{f' ({answer.reason_str})' if answer.reason_str else ''}")
        self.accepted_at = monotonic()
        self.owner.status.line.connects += 1
        filters = self.config.filters
        if not filters or (answer.session_present and self.owner.subscribed):
            self._ready()
            return
        for number, first in enumerate(range(0, len(filters), FILTERS_PER_PACKET), 1):
            some = filters[first : first + FILTERS_PER_PACKET]
            self._pending[number] = some
            wanted = [
                mqtt5.TopicFilter(
                    text,
                    max_qos=mqtt5.QoS.AT_LEAST_ONCE,
                    retain_as_published=False,
                    retain_handling=mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS,
                )
                for text in some
            ]
            self._write(mqtt5.SubscribePacket(number, wanted).write())

    def _subscribed(self, answer: Any) -> None:
        filters = self._pending.pop(answer.packet_id, ())
        for text, code in zip(filters, answer.reason_codes, strict=False):
            if int(code) >= 128:
                self._refused.append(f'"{text}" ({_words(code)})')
        if not self._pending:
            self.owner.subscribed = not self._refused
            self._ready()

    def _ready(self) -> None:
        self.owner.available(self._refused)
        self.apply_pause()

    # -- what the receiver asks of it

    def acknowledge(self, packet_ids: Sequence[int]) -> None:
        """PUBACK for each packet id that is not 0, in one write."""
        acks = [0x40020000 | packet_id for packet_id in packet_ids if packet_id]
        if acks:
            self._write(struct.pack(f">{len(acks)}I", *acks))

    def apply_pause(self) -> None:
        """Stop or go on reading, as the receiver wants it."""
        if self._transport is None or self._transport.is_closing() or self.accepted_at is None or self._pending:
            return
        if self.owner.paused and not self._paused:
            self._transport.pause_reading()
        elif self._paused and not self.owner.paused:
            self._received = monotonic()
            self._transport.resume_reading()
        self._paused = self.owner.paused

    async def watch(self) -> None:
        """Keep the connection alive; returns when it is lost, or given up because the broker is silent."""
        tick = max(0.05, min(1.0, self.config.keepalive_s / 10))
        while not self._lost.is_set():
            try:
                async with asyncio.timeout(tick):
                    await self._lost.wait()
            except TimeoutError:
                self._tick(monotonic())

    def _tick(self, now: float) -> None:
        if self.accepted_at is None or self._pending:
            if now - self._opened > CONNECT_TIMEOUT_S:
                self.abort(f"the broker did not answer within {CONNECT_TIMEOUT_S:.0f} s")
            return
        silence = self.config.keepalive_s * PING_AFTER
        if self._ping_at is not None:
            if not self._paused and now - self._ping_at > min(PONG_TIMEOUT_S, self.config.keepalive_s):
                self.abort("the broker does not answer any more; the connection is given up")
                return
            if not self._paused:
                return
        if now - self._sent >= silence or (not self._paused and now - self._received >= silence):
            self._ping_at = now
            self._write(mqtt5.PingReqPacket().write())

    def abort(self, reason: str) -> None:
        """Give the connection up at once."""
        self.reason = self.reason or reason
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Say goodbye if still connected: the broker keeps the session, and closes.

        It must read our last acknowledgements first; closing on our side would have it throw them away.
        """
        if self._transport is None or self._lost.is_set():
            return
        if not self._transport.is_closing():
            if self._paused:
                self._transport.resume_reading()
            self._closing = True
            self._write(mqtt5.DisconnectPacket().write())
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self._lost.wait()
        except TimeoutError:
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._sent = monotonic()
            self._transport.write(data)


class _Broken(Exception):
    """The connection cannot go on."""


def _words(code: Any) -> str:
    """`NOT_AUTHORIZED` as a person says it."""
    return repr(code).rpartition(".")[2].partition(":")[0].lower().replace("_", " ")


def _packet_length(view: memoryview) -> int | None:
    """Length of the packet that begins here, its header included; None if even that is not there."""
    length = shift = 0
    for at in range(1, min(5, len(view))):
        length |= (view[at] & 0x7F) << shift
        shift += 7
        if view[at] < 0x80:
            return length + at + 1
    return None


def _publish_head(view: memoryview, total: int) -> tuple[str, int, int, int] | None:
    """(topic, packet id, QoS, where the payload begins) of a PUBLISH, read by hand; None if not all there."""
    try:
        at = 2
        while view[at - 1] >= 0x80:
            at += 1
        size = int.from_bytes(view[at : at + 2], "big")
        topic = bytes(view[at + 2 : at + 2 + size]).decode("utf-8", "replace")
        at += 2 + size
        qos = (view[0] >> 1) & 3
        packet_id = 0
        if qos:
            packet_id = int.from_bytes(view[at : at + 2], "big")
            at += 2
        length = shift = 0
        while True:
            byte = view[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        at += length
    except IndexError:
        return None
    return (topic, packet_id, qos, at) if at <= min(total, len(view)) else None
