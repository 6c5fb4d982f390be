"""The collector: its sources, the intake and the pipeline, composed. Nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from collector import ingest
from collector.decoders import OWN_PROFILES, Decoders
from collector.intake import Intake, Redelivery
from collector.modbus.line import ModbusLine, modbus_lines
from collector.mqtt.receiver import MqttReceiver
from collector.mqtt.source import BrokerConfig, Message, MqttSource
from collector.pipeline import Pipeline
from devices.registers import modbus_profile
from devices.settings import BrokerSettings, Settings
from metering.clock import SECOND_US
from metering.explain import ExplainedError
from metering.health import LineHealth, SpoolHealth
from metering.reading import Point
from storage.books import Books
from storage.quarantine import Quarantine
from storage.record import OVERSIZE, REPEATED, RETAINED, Record, Wire
from storage.spool import Spool, content_hash

log = logging.getLogger("meterhall.collector")

_MQTT = int(Wire.MQTT)
INGEST = "ingest"  # the source of batches that come over HTTP or from files, as in the books
INGEST_TIMEOUT_S = 30.0


class IngestRow(Protocol):
    """An accepted row of a batch."""

    point: Point
    at: int  # [us since 1970]
    value: float


class RefusedRow(Protocol):
    """A refused row of a batch."""

    row: int
    reason: str


class MqttInlet:
    """What one broker delivers becomes records; they are acknowledged when the spool has them.

    Messages of one topic that come in one buffer are stamped a microsecond apart: without a time of their own they
    are several readings, not several values of one.
    """

    def __init__(self, source_id: str, intake: Intake, spool: Spool, now: Callable[[], int], most_bytes: int) -> None:
        self._id, self._intake, self._now, self._most = source_id, intake, now, most_bytes
        self._redelivery = Redelivery(spool.recent(source_id), content_hash)
        self._last = 0  # the newest stamp given [us since 1970]
        self.source: MqttSource | None = None

    def deliver(self, messages: list[Message]) -> None:
        """Take the messages of one socket buffer."""
        now, source_id, most, generation = self._now(), self._id, self._most, 0
        if 0 <= self._last - now < SECOND_US:  # further back: the clock was set
            now = self._last + 1
        records: list[Record] = []
        acknowledged: list[int] = []
        times: dict[str, int] = {}
        add, add_id, times_of, new = records.append, acknowledged.append, times.get, tuple.__new__  # the hot path
        for topic, payload, packet_id, _, dup, retain, generation, oversize in messages:  # noqa: B007
            times[topic] = before = times_of(topic, -1) + 1
            flags, stamp = RETAINED if retain else 0, now + before
            if packet_id:
                add_id(packet_id)
                if dup and (first := self._redelivery.first_stamp(packet_id, topic, payload)) is not None:
                    flags, stamp = flags | REPEATED, first
            if oversize or len(payload) > most:
                flags |= OVERSIZE
            add(new(Record, (_MQTT, source_id, topic, payload, stamp, flags, packet_id)))
        self._last = now + max(times.values(), default=0)
        source = self.source
        if acknowledged and source is not None:
            self._redelivery.remember(records)
            self._intake.offer(records, lambda: source.ack(generation, acknowledged))
        else:
            self._intake.offer(records)


class Collector:
    """Collects from every configured line and broker until cancelled.

    Parameters
    ----------
    settings, decoders : what is configured, and how it is read
    spool, books, quarantine, pipeline : opened by the composition root
    now : the wall clock [us since 1970]
    """

    def __init__(
        self,
        settings: Settings,
        decoders: Decoders,
        spool: Spool,
        books: Books,
        quarantine: Quarantine,
        pipeline: Pipeline,
        now: Callable[[], int],
    ) -> None:
        self._spool, self._books, self._quarantine, self._pipeline = spool, books, quarantine, pipeline
        self._now = now
        self._intake = Intake(spool, pipeline.wake)
        self._loop: asyncio.AbstractEventLoop | None = None
        folder = settings.folder / OWN_PROFILES
        self._lines: list[ModbusLine] = modbus_lines(
            settings.installation.meters,
            lambda profile_id: modbus_profile(profile_id, folder),
            self._intake.put,
            timeout_s=settings.modbus.timeout_s,
        )
        self._brokers = [
            self._broker(broker, decoders.topics.get(broker.id, []), settings) for broker in settings.brokers
        ]

    def _broker(self, broker: BrokerSettings, topics: Sequence[str], settings: Settings) -> MqttSource:
        inlet = MqttInlet(broker.id, self._intake, self._spool, self._now, settings.limits.payload_bytes)
        source = make_source(broker, topics, inlet.deliver, settings.limits.payload_bytes)
        inlet.source = source
        self._intake.add_source(source)
        return source

    async def run(self) -> None:
        """Collect until cancelled; then stop reading, make durable what is here, and finish the batch under way."""
        self._loop = asyncio.get_running_loop()
        calm_garbage_collection()
        self._pipeline.start()
        door = asyncio.create_task(self._intake.run(), name="intake")
        sources = [asyncio.create_task(each.run(), name="source") for each in (*self._lines, *self._brokers)]
        try:
            # Not `gather`: when we are cancelled it would cancel the door too, which has to spool what is here.
            done, _ = await asyncio.wait({door, *sources}, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for broker in self._brokers:
                broker.pause()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._intake.drain(), 5.0)  # acknowledgements go out before we leave
            for task in sources:
                task.cancel()
            await asyncio.gather(*sources, return_exceptions=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._intake.drain(), 5.0)
            door.cancel()
            await asyncio.gather(door, return_exceptions=True)
            await asyncio.to_thread(self._pipeline.stop)

    # What the API asks

    def books(self) -> dict[str, Any]:
        """The snapshot of the two books."""
        return self._books.snapshot()

    def lines(self) -> list[LineHealth]:
        """Every way in, with its units."""
        return [source.health() for source in (*self._lines, *self._brokers)]

    def spool(self) -> SpoolHealth:
        """The spool's state."""
        return self._spool.health(self._pipeline.position)

    @property
    def alive(self) -> bool:
        """Whether what stores readings runs."""
        return self._pipeline.alive

    @property
    def note(self) -> str:
        """What is wrong with storing, in words; empty when all is well."""
        return self._pipeline.note

    async def ingest(
        self, source: str, key: str, payload: bytes, rows: Sequence[IngestRow], rejected: Sequence[RefusedRow]
    ) -> str:
        """Take a batch that came over HTTP; returns the spool's position once it is durable.

        Raises
        ------
        ExplainedError
            If the spool takes nothing now.
        """
        if not self._spool.accepting:
            raise ExplainedError("ingest", "the spool takes nothing now", "send the batch again later")
        packed = ingest.encode_batch(
            ((row.point, row.at, row.value) for row in rows), [(row.reason, f"row {row.row}") for row in rejected]
        )
        record = Record(Wire.INGEST, source, ingest.KEY, packed, self._now())
        try:
            await asyncio.wait_for(self._intake.put([record]), INGEST_TIMEOUT_S)
        except TimeoutError:
            raise ExplainedError("ingest", "the spool did not take it in time", "send the batch again later") from None
        return str(self._spool.end)

    def replay(self, ids: Sequence[int]) -> int:
        """Put quarantined payloads into the spool again; returns how many. Called from any thread but the loop's."""
        assert self._loop is not None
        taken = [(n, entry) for n in ids if (entry := self._quarantine.get(n)) is not None and entry.whole]
        if taken:
            records = [entry.record()._replace(flags=entry.flags & RETAINED) for _, entry in taken]
            asyncio.run_coroutine_threadsafe(self._intake.put(records), self._loop).result(INGEST_TIMEOUT_S)
            for n, _ in taken:
                self._quarantine.mark_replayed(n)
        return len(taken)


def calm_garbage_collection() -> None:
    """Look for cycles less often: messages make none, but are so many that looking took a third of all CPU."""
    gc.set_threshold(100_000, 20, 100)


def make_source(
    broker: BrokerSettings, topics: Sequence[str], deliver: Callable[[list[Message]], None], most_bytes: int
) -> MqttSource:
    """The source that a broker's settings ask for."""
    config = BrokerConfig.of(broker, topics, most_bytes)
    if broker.client == "paho":
        from collector.mqtt.paho_source import PahoSource

        return PahoSource(config, deliver)
    return MqttReceiver(config, deliver)
