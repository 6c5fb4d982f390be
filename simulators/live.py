"""The simulated world, live: registers behind sockets and messages to a broker, by the real clock.

Nothing here remembers anything: each value is a pure function of the seed and the instant, so that a demo
that was stopped for a day goes on where its world would be.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from urllib.parse import urlsplit

from devices.payload.encoding import encode_messages
from devices.payload.profile import PayloadProfile, load_mqtt_profile, mqtt_profiles
from devices.registers import modbus_profile
from metering.clock import DAY_US, HOUR_US, SECOND_US, now_us
from metering.explain import ExplainedError
from metering.site import Meter, Vehicle
from simulators.config import Bureau
from simulators.grid import stream
from simulators.modbus_server import Framer, RegisterServer
from simulators.world import AHEAD_US, Slot, World, build

log = logging.getLogger(__name__)
WATCH_S = 1.0  # how often it is looked which units are dead
LOOK_S = 30.0  # how often a sleeping vehicle is looked at
START_SPACING_US = 40_000  # between two devices at the start
REPEAT_US = 1200 * SECOND_US  # an unchanged bare value is told again after this long, as OVMS does


class Outlet(Protocol):
    """Where messages go: a connection to one broker that mends itself."""

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        """Hand one message over."""
        ...


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often a kind of device speaks.

    busy_s, idle_s : while something happens (driving, charging); else. Meters are always busy
    retain : the broker keeps its last message
    changes_only : a value that did not change is left out for a while
    """

    busy_s: float = 60.0
    idle_s: float = 60.0
    qos: int = 1
    retain: bool = False
    changes_only: bool = False


RHYTHMS = {
    "shelly_gen2_em": Rhythm(10, 10),
    "shelly_gen2_switch": Rhythm(20, 20),
    "tasmota": Rhythm(30, 30),
    "zigbee2mqtt_plug": Rhythm(30, 30),
    "chirpstack_v4": Rhythm(300, 300),
    "ttn_v3": Rhythm(300, 300),
    "plain_json_gas": Rhythm(300, 300),
    "ovms_v3": Rhythm(10, 600, retain=True, changes_only=True),
    "teslamate": Rhythm(10, 600, retain=True, changes_only=True),
    "emqx_gbt32960": Rhythm(30, 1800),
    "teltonika_json": Rhythm(30, 1800),
    "wican": Rhythm(15, 1800, retain=True),
}


@dataclass(slots=True)
class Tally:
    """What a simulation did: messages handed over, messages no broker took, requests answered."""

    published: int = 0
    refused: int = 0
    requests: int = 0


class Present:
    """The world as it is now, site by site; renewed before its stretch runs out."""

    def __init__(self, bureau: Bureau, clock: Callable[[], int] = now_us) -> None:
        self.bureau, self.clock = bureau, clock
        self._parts = {part.installation.sites[0].id: part for part in bureau.parts()}
        now = clock()
        self.worlds: dict[str, World] = {site: self._stretch(part, now) for site, part in self._parts.items()}
        self._latest: dict[str, dict[Slot, float]] = {}

    @staticmethod
    def _stretch(part: Bureau, now: int) -> World:
        return build(part, now + AHEAD_US, keep_from=now - HOUR_US)

    async def renew(self) -> None:
        """Work out the next stretch where this one ends within a day, or the clock was put back."""
        now = self.clock()
        for site, world in list(self.worlds.items()):
            if not world.start + 60 * SECOND_US <= now <= world.end - DAY_US:
                self.worlds[site] = await asyncio.to_thread(self._stretch, self._parts[site], now)

    def instant(self, world: World) -> int:
        """Now, to the second: devices that are asked within one second share its values [us since 1970]."""
        return min(max(self.clock() // SECOND_US * SECOND_US, world.start), world.end)

    def values(self, device: Meter | Vehicle) -> tuple[int, dict[Slot, float]] | None:
        """What a device says now; None while it says nothing."""
        world = self.worlds[device.site]
        return world.values(device, self.instant(world))

    def is_busy(self, device: Meter | Vehicle) -> bool:
        """A vehicle is busy while it drives or charges; a meter always."""
        if isinstance(device, Meter):
            return True
        world = self.worlds[device.site]
        seconds = (self.instant(world) - world.grid.start) / SECOND_US
        course = world.fleet.courses[device.id]
        return course.slope("odometer", seconds) > 0 or course.slope("plug", seconds) > 0

    def registers(self, meter: Meter) -> dict[Slot, float]:
        """What stands in a meter's registers: its last values where it is dead."""
        said = self.values(meter)
        if said is not None:
            self._latest[meter.id] = said[1]
        return self._latest.get(meter.id, {})


async def run(
    bureau: Bureau,
    *,
    outlets: Mapping[str, Outlet],
    stop: asyncio.Event,
    ready: Callable[[], None] | None = None,
    clock: Callable[[], int] = now_us,
) -> Tally:
    """Serve every simulated meter and vehicle of a bureau until `stop` is set.

    Parameters
    ----------
    bureau : from `config.open_bureau`; its Modbus connections say where to listen
    outlets : one for each broker id that devices name
    stop : ends it
    ready : called once all ports are open
    clock : [us since 1970]

    Raises
    ------
    ExplainedError
        If a device names a broker without an outlet, or a port cannot be opened.
    """
    tally = Tally()
    present = Present(bureau, clock)
    servers = _servers(present)
    watched = _watched(present, servers)
    speakers = _speakers(present, outlets)
    open_servers: list[RegisterServer] = []
    try:
        _look(present, watched)
        for server, _ in servers:
            try:
                await server.start()
            except OSError as error:
                raise ExplainedError(
                    f"simulated line {server.host}:{server.port}", f"cannot be opened: {error}", "choose another port"
                ) from error
            open_servers.append(server)
        tasks = [asyncio.create_task(_watch(present, watched)), asyncio.create_task(_speak(speakers, present, tally))]
        stopped = asyncio.create_task(stop.wait())
        try:
            if ready is not None:
                ready()
            waiting = {stopped, *tasks}
            while not stopped.done():  # a task without anything to do ends at once, and the others go on
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in (stopped, *tasks):
                task.cancel()
            await asyncio.gather(stopped, *tasks, return_exceptions=True)
    finally:
        for server in open_servers:
            await server.stop()
            tally.requests += server.requests
    return tally


Served = tuple[RegisterServer, list[tuple[int, Meter]]]


def _servers(present: Present) -> list[Served]:
    """A server for each line, with its units."""
    lines: dict[str, Served] = {}
    for meter in present.bureau.installation.meters:
        parts = urlsplit(meter.connection)
        if parts.scheme not in ("modbus-tcp", "modbus-rtu-tcp") or not (meter.simulated or meter.replayed):
            continue
        if parts.netloc not in lines:
            framer: Framer = "tcp" if parts.scheme == "modbus-tcp" else "rtu"
            lines[parts.netloc] = (RegisterServer(parts.hostname or "127.0.0.1", parts.port or 502, framer), [])
        server, units = lines[parts.netloc]
        server.add_unit(meter.unit_id or 0, modbus_profile(meter.profile), partial(present.registers, meter))
        units.append((meter.unit_id or 0, meter))
    return list(lines.values())


Watched = list[tuple[RegisterServer, int, Meter]]


def _watched(present: Present, servers: list[Served]) -> Watched:
    """The units that may fall silent: by a fault, or where their archive has no reading."""
    prone = {fault.device for fault in present.bureau.faults if fault.end > present.clock()}
    for world in present.worlds.values():
        prone |= world.silent.keys()
    return [(server, unit, meter) for server, units in servers for unit, meter in units if meter.id in prone]


def _look(present: Present, watched: Watched) -> None:
    for server, unit, meter in watched:
        server.set_fault(unit, "dead" if present.values(meter) is None else "")


async def _watch(present: Present, watched: Watched) -> None:
    """Renew the world in time; let units answer or not."""
    while True:
        await present.renew()
        _look(present, watched)
        await asyncio.sleep(WATCH_S)


@dataclass(slots=True)
class Speaker:
    """One device that speaks by MQTT."""

    device: Meter | Vehicle
    profile: PayloadProfile
    base: str
    rhythm: Rhythm
    outlet: Outlet
    phase: int  # its own place in the rhythm [us]
    told: dict[str, tuple[int, bytes]]  # topic -> when and what it said last
    spoke: int = 0  # when it spoke last [us since 1970]
    busy: bool = False

    def next_look(self, now: int) -> int:
        """When it is looked at next: a sleeping vehicle each half minute, whether it is off [us since 1970]."""
        period = int((self.rhythm.busy_s if self.busy else min(self.rhythm.idle_s, LOOK_S)) * SECOND_US)
        return (now - self.phase % period) // period * period + period + self.phase % period

    def has_to_speak(self, now: int, busy: bool) -> bool:
        """While busy, once more when that ends, and now and then in between."""
        before, self.busy = self.busy, busy
        return busy or before or not 0 <= now - self.spoke < self.rhythm.idle_s * SECOND_US

    def messages(self, stamp: int, values: Mapping[Slot, float], now: int, zone: str) -> list[tuple[str, bytes]]:
        """What it has to say."""
        out = []
        for topic, payload in encode_messages(self.profile, self.base, values, stamp, timezone=zone):
            at, before = self.told.get(topic, (0, b""))
            if self.rhythm.changes_only and payload == before and now - at < REPEAT_US:
                continue
            self.told[topic] = (now, payload)
            out.append((topic, payload))
        return out


def _speakers(present: Present, outlets: Mapping[str, Outlet]) -> list[Speaker]:
    paths = mqtt_profiles()
    speakers = []
    for device in present.bureau.installation.devices():
        replayed = isinstance(device, Meter) and device.replayed
        if not device.connection.startswith("mqtt://") or not (device.simulated or replayed):
            continue
        broker, _, base = device.connection.removeprefix("mqtt://").partition("/")
        if broker not in outlets:
            raise ExplainedError(
                f'"{device.id}".connection', f'names the broker "{broker}"', f"known: {', '.join(sorted(outlets))}"
            )
        rhythm = RHYTHMS.get(device.profile, Rhythm())
        phase = int(stream(present.bureau.seed, device.id, "phase").uniform(0, 3600) * SECOND_US)
        profile = load_mqtt_profile(paths[device.profile])
        speakers.append(Speaker(device, profile, base, rhythm, outlets[broker], phase, {}))
    return speakers


async def _speak(speakers: list[Speaker], present: Present, tally: Tally) -> None:
    """Let each device speak in its rhythm; all speak soon after the start, as devices do on connecting."""
    now = present.clock()
    queue = [(now + START_SPACING_US * i, i) for i in range(len(speakers))]
    heapq.heapify(queue)
    heard = True
    zones = {site.id: site.timezone for site in present.bureau.installation.sites}
    while queue:
        due, i = heapq.heappop(queue)
        while 0 < (wait := due - present.clock()) < HOUR_US:  # longer: the clock was put back
            await asyncio.sleep(min(wait / SECOND_US, WATCH_S))
        speaker, now = speakers[i], present.clock()
        said = present.values(speaker.device) if speaker.has_to_speak(now, present.is_busy(speaker.device)) else None
        heapq.heappush(queue, (speaker.next_look(now), i))
        if said is None:
            continue
        speaker.spoke = now
        for topic, payload in speaker.messages(said[0], said[1], now, zones[speaker.device.site]):
            try:
                await speaker.outlet.publish(topic, payload, qos=speaker.rhythm.qos, retain=speaker.rhythm.retain)
                tally.published += 1
                heard = True
            except OSError as error:
                tally.refused += 1
                if heard:
                    log.warning("simulated devices are not heard: %s", error)
                heard = False
