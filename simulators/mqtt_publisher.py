"""Simulated devices' way to a broker: through aiomqtt, reconnecting for ever.

A simulated device keeps what it could not send, as real ones with a memory do: while the broker is gone up to
`MOST_KEPT` messages wait, and are sent late, in order, with the time they were measured at where their format
carries one. What was sent without an answer is sent again, so a message can arrive twice; never out of order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple, Self

import aiomqtt

log = logging.getLogger(__name__)

MOST_KEPT = 20_000  # messages
AT_ONCE = 100  # messages under way without an answer
RETRY_S = 1.0
ANSWER_S = 10.0
FLUSH_S = 2.0


class Sending(NamedTuple):
    """A message to send."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


class Publisher:
    """A connection to one broker that mends itself; use it as `async with Publisher(...) as publisher`."""

    def __init__(
        self, host: str, port: int, client_id: str, *, username: str | None = None, password: str | None = None
    ) -> None:
        self._host, self._port, self._client_id = host, port, client_id
        self._username, self._password = username, password
        self._waiting: deque[Sending] = deque()
        self._arrived, self._empty = asyncio.Event(), asyncio.Event()
        self._empty.set()
        self._task: asyncio.Task[None] | None = None
        self.sent = 0  # messages the broker has taken
        self.lost = 0  # messages that found no room
        self.connected = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=f"publisher {self._client_id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.drain(), FLUSH_S if self.connected else 0)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Hand one message over; it is sent as soon as the broker is there.

        Raises
        ------
        OSError
            If the broker has been gone for so long that there is no room: the message is lost.
        """
        await self.publish_all([Sending(topic, payload, qos, retain)])

    async def publish_all(self, messages: Iterable[tuple[str, bytes, int, bool]]) -> None:
        """Hand (topic, payload, qos, retain) messages over, in order.

        Raises
        ------
        OSError
            As `publish`; the messages that found room are sent.
        """
        lost = 0
        for message in messages:
            if len(self._waiting) >= MOST_KEPT:
                lost += 1
            else:
                self._waiting.append(Sending(*message))
        self._empty.clear()
        self._arrived.set()
        if lost:
            self.lost += lost
            raise OSError(
                f"{self._host}:{self._port} takes nothing, {MOST_KEPT} messages wait already, {lost} are lost"
            )

    async def drain(self) -> None:
        """Return when the broker has taken everything."""
        await self._empty.wait()

    async def _run(self) -> None:
        while True:
            try:
                async with aiomqtt.Client(
                    self._host,
                    self._port,
                    identifier=self._client_id,
                    username=self._username,
                    password=self._password,
                    protocol=aiomqtt.ProtocolVersion.V5,
                    keepalive=15,
                    timeout=ANSWER_S,
                ) as client:
                    log.info("simulated devices are connected to %s:%d", self._host, self._port)
                    self.connected = True
                    client.pending_calls_threshold = AT_ONCE
                    await self._send(client)
            except (aiomqtt.MqttError, OSError) as error:
                if self.connected:
                    log.warning("simulated devices lost %s:%d: %s", self._host, self._port, error)
            self.connected = False
            await asyncio.sleep(RETRY_S)

    async def _send(self, client: aiomqtt.Client) -> None:
        """Send what waits, a window at a time; what got no answer stays at the head."""
        waiting = self._waiting
        while True:
            if not waiting:
                self._empty.set()
                self._arrived.clear()
                # a broker that goes while nothing is to be sent shows when the next message is
                await self._arrived.wait()
            window = [waiting[i] for i in range(min(AT_ONCE, len(waiting)))]
            results = await asyncio.gather(
                *(client.publish(m.topic, m.payload, qos=m.qos, retain=m.retain) for m in window),
                return_exceptions=True,
            )
            taken = next((i for i, result in enumerate(results) if result is not None), len(window))
            for _ in range(taken):
                waiting.popleft()
            self.sent += taken
            for result in results:
                if isinstance(result, BaseException):
                    raise result
