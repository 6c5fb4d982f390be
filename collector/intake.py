"""The door: whatever comes in is durable in the spool before anybody is told that it was received.

Records of all sources gather for a moment and are spooled as one commit group; only then is each
source's `acknowledge` called. If the disk refuses, nothing is acknowledged, sources pause, and the
same records are tried again: the broker or the poller waits, nobody loses anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import NamedTuple, Protocol

from storage.record import Record
from storage.spool import Spool, SpoolUnavailable

log = logging.getLogger("meterhall.intake")

GATHER_S = 0.1  # how long records gather for one group, at most; part of the acknowledgement's delay
ENOUGH = 2000  # records that need not wait for more; under half of what a broker sends unacknowledged
MAX_GROUP = 20_000  # records
MAX_WAITING = 60_000  # records; beyond it sources pause
RETRY_S = 1.0
_TAG = itemgetter(Record._fields.index("tag"))


class Pausable(Protocol):
    """A source that can be told to stop reading from its socket for a while."""

    def pause(self) -> None:
        """Read nothing more until `resume`."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...


class Offer(NamedTuple):
    """Records of one source, and what to call when they are durable."""

    records: Sequence[Record]
    acknowledge: Callable[[], None] | None


class Intake:
    """Gathers records into commit groups, spools them in a thread, acknowledges.

    Parameters
    ----------
    spool : where a group becomes durable
    spooled : called after each group is durable (wakes the pipeline)
    """

    def __init__(self, spool: Spool, spooled: Callable[[], None]) -> None:
        self._spool, self._spooled = spool, spooled
        self._waiting: list[Offer] = []
        self._count = 0
        self._arrived, self._enough = asyncio.Event(), asyncio.Event()
        self._sources: list[Pausable] = []
        self._paused = False
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._idle = asyncio.Event()
        self._idle.set()

    def add_source(self, source: Pausable) -> None:
        """A source to pause while the disk refuses or too much waits."""
        self._sources.append(source)

    def offer(self, records: Sequence[Record], acknowledge: Callable[[], None] | None = None) -> None:
        """Take records; `acknowledge` is called in the event loop once they are durable."""
        self._waiting.append(Offer(records, acknowledge))
        self._count += len(records)
        self._idle.clear()
        self._arrived.set()
        if self._count >= ENOUGH:
            self._enough.set()
        if self._count > MAX_WAITING and not self._paused:
            self._pause()

    async def put(self, records: Sequence[Record]) -> None:
        """Take records and return when they are durable."""
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.offer(records, lambda: durable.done() or durable.set_result(None))
        await durable

    async def drain(self) -> None:
        """Return when everything offered so far is durable."""
        await self._idle.wait()

    async def run(self) -> None:
        """Spool groups until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._arrived.wait()
                if self._count < ENOUGH:
                    await self._gather()
                offers = self._take()
                records = [record for offer in offers for record in offer.records]
                while True:
                    try:
                        await loop.run_in_executor(self._writer, self._spool.append, records)
                        break
                    except SpoolUnavailable as refused:
                        log.error("nothing is acknowledged: %s", refused)
                        self._pause()
                        await asyncio.sleep(RETRY_S)
                self._spooled()
                for offer in offers:
                    if offer.acknowledge is not None:
                        offer.acknowledge()
                if self._paused and self._count <= MAX_WAITING // 2:
                    self._resume()
                if not self._waiting:
                    self._arrived.clear()
                    self._idle.set()
        finally:
            self._writer.shutdown(wait=True)

    async def _gather(self) -> None:
        """Wait for more, until it is enough or has lasted long enough."""
        self._enough.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GATHER_S):
                await self._enough.wait()

    def _take(self) -> list[Offer]:
        size = taken = 0
        for offer in self._waiting:
            if size and size + len(offer.records) > MAX_GROUP:
                break
            size += len(offer.records)
            taken += 1
        offers, self._waiting = self._waiting[:taken], self._waiting[taken:]
        self._count -= size
        return offers

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            for source in self._sources:
                source.pause()

    def _resume(self) -> None:
        self._paused = False
        for source in self._sources:
            source.resume()


class Redelivery:
    """Recognises a message that the broker delivers again although it is in the spool already.

    A packet id is free again only when the broker has seen our acknowledgement; so a message marked
    DUP with the id and content of one that we spooled is that one, and keeps its first stamp.

    Parameters
    ----------
    known : packet id -> (content hash, received_at) of what the spool still holds from before this start
    hash_of : the spool's content hash of (topic, payload)
    """

    def __init__(self, known: dict[int, tuple[int, int]], hash_of: Callable[[str, bytes], int]) -> None:
        self._before, self._hash_of = known, hash_of
        self._seen: dict[int, Record] = {}

    def first_stamp(self, packet_id: int, topic: str, payload: bytes) -> int | None:
        """received_at of the first delivery of this DUP message, None if it is not in the spool."""
        seen = self._seen.get(packet_id)
        if seen is not None:
            return seen.received_at if seen.key == topic and seen.payload == payload else None
        before = self._before.get(packet_id)
        if before is not None and before[0] == self._hash_of(topic, payload):
            return before[1]
        return None

    def remember(self, records: Sequence[Record]) -> None:
        """Note messages that go into the spool, by their packet ids."""
        self._seen.update(zip(map(_TAG, records), records, strict=True))
