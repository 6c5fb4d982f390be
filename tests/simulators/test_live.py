"""The live world on real sockets: registers by Modbus, messages by MQTT, both as the history has it."""

import asyncio
import struct
import time
from collections import defaultdict
from dataclasses import replace

import aiomqtt
import pytest

from devices.blocks import plan_blocks
from devices.codec import decoders
from devices.decoded import Decoded
from devices.payload.decoding import compile_payload
from devices.payload.profile import load_mqtt_profile, mqtt_profiles
from devices.registers import modbus_profile
from metering.clock import DAY_US, MINUTE_US, SECOND_US
from metering.explain import ExplainedError
from simulators.live import RHYTHMS, Present, Rhythm, Speaker, run
from simulators.modbus_server import crc16
from simulators.mqtt_publisher import Publisher

from .conftest import STORY_AT


class Ear:
    """Takes messages in the place of a broker's connection."""

    def __init__(self):
        self.messages = defaultdict(list)

    async def publish(self, topic, payload, *, qos, retain):
        self.messages[topic].append(payload)


async def ask(port, unit, block, framer):
    """One read, answered with the words' bytes; None if there is no answer."""
    function = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}[block.table]
    pdu = struct.pack(">BHH", function, block.address, block.count)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if framer == "tcp":
            writer.write(struct.pack(">HHHB", 7, 0, len(pdu) + 1, unit) + pdu)
            head = await asyncio.wait_for(reader.readexactly(9), 1.0)
            assert head[7] == function, head.hex()
            return await reader.readexactly(head[8])
        frame = bytes([unit]) + pdu
        writer.write(frame + crc16(frame))
        head = await asyncio.wait_for(reader.readexactly(3), 1.0)
        return await reader.readexactly(head[2])
    except TimeoutError:
        return None
    finally:
        writer.close()


def on_free_ports(bureau, ports):
    """The bureau with its lines on these ports."""
    meters = []
    for meter in bureau.installation.meters:
        head, _, port = meter.connection.rpartition(":")
        if port.isdigit():
            meters.append(replace(meter, connection=f"{head}:{ports[int(port) - 5020]}"))
        else:
            meters.append(meter)
    return replace(bureau, installation=replace(bureau.installation, meters=tuple(meters)))


@pytest.fixture
def moved(bureau, unused_ports):
    return on_free_ports(bureau, unused_ports)


@pytest.fixture
def moved_young(young, unused_ports):
    return on_free_ports(young, unused_ports)


@pytest.fixture
def unused_ports():
    import socket

    sockets = [socket.socket() for _ in range(6)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def test_every_unit_answers_with_the_worlds_values_and_the_dead_one_not(moved, world):
    async def scenario():
        stop, open_, ear = asyncio.Event(), asyncio.Event(), Ear()
        task = asyncio.create_task(
            run(moved, outlets={"demo": ear}, stop=stop, ready=open_.set, clock=lambda: STORY_AT + 123_456)
        )
        await asyncio.wait_for(open_.wait(), 20)
        silent = []
        for meter in moved.installation.meters:
            if not meter.connection.startswith("modbus"):
                continue
            profile = modbus_profile(meter.profile)
            framer = "rtu" if "rtu" in meter.connection else "tcp"
            port = int(meter.connection.rpartition(":")[2])
            got = {}
            for block in plan_blocks(profile) if not profile.sunspec_model else []:
                payload = await ask(port, meter.unit_id, block, framer)
                if payload is None:
                    silent.append(meter.id)
                    break
                decoder = decoders(profile)[block]
                said: Decoded = decoder.decode(payload, STORY_AT)
                assert not said.rejected, (meter.id, said.rejected)
                got |= {decoder.slots[slot]: value for slot, _, value, _ in said.values}
            truth = world.values(meter, STORY_AT)
            for slot, value in got.items():
                assert value == pytest.approx(truth[1].get(slot, 0.0), rel=1e-6, abs=1e-6), (meter.id, slot)
        stop.set()
        tally = await asyncio.wait_for(task, 5)
        assert silent == ["depot-charger-3"]
        assert tally.requests >= 30

    asyncio.run(scenario())


def test_every_message_is_understood_by_its_own_profile(young):
    present = Present(young, clock=lambda: STORY_AT + 999_999)
    formats = set()
    for device in young.installation.devices():
        if not device.connection.startswith("mqtt"):
            continue
        profile = load_mqtt_profile(mqtt_profiles()[device.profile])
        base = device.connection.removeprefix("mqtt://").partition("/")[2]
        speaker = Speaker(device, profile, base, Rhythm(), Ear(), 0, {})
        stamp, values = present.values(device)
        plan = compile_payload(profile, base, timezone="Asia/Shanghai", position=True)
        heard = {}
        for topic, payload in speaker.messages(stamp, values, STORY_AT, "Asia/Shanghai"):
            decoder = plan[topic]
            said = decoder.decode(payload, STORY_AT + 5, False)
            assert not said.rejected, (device.id, topic, payload, said.rejected)
            for slot, at, value, _ in said.values:
                assert STORY_AT - SECOND_US <= at <= STORY_AT + 5
                heard[decoder.slots[slot]] = value
        assert len(heard) >= len(values) - 2, device.id
        for slot, value in heard.items():
            assert value == pytest.approx(values[slot], rel=1e-6, abs=1e-6), (device.id, slot)
        formats.add(device.profile)
    assert len(formats) >= 4
    assert formats <= RHYTHMS.keys() | {"plain_json_climate"}


def test_a_vehicle_speaks_while_it_drives_when_it_stops_and_rarely_asleep(bureau):
    device = bureau.installation.by_id["car-08"]
    profile = load_mqtt_profile(mqtt_profiles()[device.profile])
    speaker = Speaker(device, profile, "base", RHYTHMS[device.profile], Ear(), 0, {})
    now = STORY_AT
    assert speaker.has_to_speak(now, busy=True)
    assert speaker.next_look(now) - now <= 30 * SECOND_US
    speaker.spoke = now
    assert speaker.has_to_speak(now + 30 * SECOND_US, busy=False), "once more when it stops"
    speaker.spoke = now + 30 * SECOND_US
    assert not speaker.has_to_speak(now + 5 * MINUTE_US, busy=False)
    assert speaker.has_to_speak(now + 40 * MINUTE_US, busy=False)


def test_the_world_is_renewed_before_it_ends_and_goes_on_where_it_was(young):
    now = STORY_AT
    present = Present(young, clock=lambda: now)
    meter = young.installation.by_id["office-main"]
    end = present.worlds["riverside"].end
    now = end - MINUTE_US
    before = present.values(meter)
    asyncio.run(present.renew())
    assert present.worlds["riverside"].end > end + 25 * DAY_US
    assert present.values(meter) == before


def test_a_taken_port_and_an_unknown_broker_are_named(moved_young, unused_ports):
    async def scenario():
        stop = asyncio.Event()
        with pytest.raises(ExplainedError, match="demo"):
            await run(moved_young, outlets={}, stop=stop, clock=lambda: STORY_AT)
        taken = await asyncio.start_server(lambda r, w: None, "127.0.0.1", unused_ports[3])
        try:
            with pytest.raises(ExplainedError, match=str(unused_ports[3])):
                await run(moved_young, outlets={"demo": Ear()}, stop=stop, clock=lambda: STORY_AT)
        finally:
            taken.close()

    asyncio.run(scenario())


@pytest.mark.broker
def test_every_device_of_mqtt_is_heard_through_a_real_broker(moved_young, mosquitto):
    """And `run` ends at once when it is told to."""
    expected = {
        device.connection.removeprefix("mqtt://demo/")
        for device in moved_young.installation.devices()
        if device.connection.startswith("mqtt")
    }

    async def scenario():
        stop, heard = asyncio.Event(), set()
        async with (
            aiomqtt.Client("127.0.0.1", mosquitto.port, identifier="ear") as ear,
            Publisher("127.0.0.1", mosquitto.port, "simulators") as publisher,
        ):
            await ear.subscribe("#", qos=1)
            task = asyncio.create_task(
                run(moved_young, outlets={"demo": publisher}, stop=stop, clock=lambda: STORY_AT + elapsed())
            )
            began = time.monotonic()

            def elapsed():
                return int((time.monotonic() - began) * 1e6)

            async with asyncio.timeout(25):
                async for message in ear.messages:
                    heard |= {base for base in expected if str(message.topic).startswith(base)}
                    if heard == expected:
                        break
            stop.set()
            tally = await asyncio.wait_for(task, 5)
        assert tally.published >= len(expected)
        assert tally.refused == 0

    asyncio.run(scenario())
