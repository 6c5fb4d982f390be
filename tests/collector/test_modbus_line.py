"""The poller against gateways on real sockets that answer well, badly, late or not at all.

The registers say who they are: word = unit x 1000 + address. So whatever is delivered proves itself, and nothing wrong
may ever be delivered. The line's clock runs 25 times as fast as ours.
"""

import asyncio
import time

import pytest

from collector.modbus.address import connector
from collector.modbus.line import ModbusLine, ModbusUnit, modbus_lines
from devices.blocks import plan_blocks
from devices.codec import BlockDecoder
from devices.registers import DeviceProfile, RegisterSpec, modbus_profile
from metering.explain import ExplainedError
from metering.quantity import Carrier
from metering.site import Meter, Name
from simulators.modbus_gateway import FaultyGateway
from simulators.modbus_server import RegisterServer
from storage.record import Wire

SPEED = 25.0
TIMEOUT_S = 0.06  # of our time: 1.5 s of the line's
POLL_S = 0.4  # of the line's time
FRAMERS = ["tcp", "rtu"]


def a_profile(*addresses, **more):
    names = ["active_power", "reactive_power", "apparent_power", "voltage"]
    units = ["W", "var", "VA", "V"]
    registers = [
        RegisterSpec(names[i % 4], ["total", "l1", "l2", "l3"][i // 4], "holding", a, "u16", unit=units[i % 4])
        for i, a in enumerate(addresses)
    ]
    return DeviceProfile("test", 1, "M", "X", "ours", "ours", tuple(registers), max_gap=20, **more)


TWO_BLOCKS = a_profile(0, 9, 100, 109)


def cells(unit):
    return lambda table, address: (unit * 1000 + address) & 0xFFFF if table == "holding" and address < 400 else None


def a_gateway(units, framer="tcp", **more):
    gateway = FaultyGateway(framer=framer, **more)
    for unit in units:
        gateway.add_registers(unit, cells(unit))
    return gateway


class Sink:
    def __init__(self):
        self.records = []
        self.batches = 0

    async def deliver(self, records):
        self.records.extend(records)
        self.batches += 1

    def of(self, unit):
        return [record for record in self.records if record.key.startswith(f"meter-{unit}/")]


def nothing_wrong(records):
    for record in records:
        meter, table, address = record.key.split("/")
        unit, address = int(meter.split("-")[1]), int(address)
        words = [int.from_bytes(record.payload[i : i + 2], "big") for i in range(0, len(record.payload), 2)]
        assert table == "holding" and len(words) == 10
        assert words == [(unit * 1000 + address + i) & 0xFFFF for i in range(10)], record


async def until(condition, what, deadline_s=10.0):
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.005)


def a_line(gateway, units, sink, profile=TWO_BLOCKS, poll_s=POLL_S, timeout_s=TIMEOUT_S, deliver=None):
    scheme = "modbus-tcp" if gateway.framer == "tcp" else "modbus-rtu-tcp"
    return ModbusLine(
        "line",
        f"{scheme}://127.0.0.1:{gateway.port}",
        [ModbusUnit(f"meter-{u}", u, profile, tuple(plan_blocks(profile)), poll_s) for u in units],
        deliver or sink.deliver,
        timeout_s=timeout_s,
        monotonic=lambda: time.monotonic() * SPEED,
        sleep=lambda seconds: asyncio.sleep(seconds / SPEED),
    )


class Running:
    """A gateway and a line, for the length of a `with`."""

    def __init__(self, gateway, units, **more):
        self.gateway, self.units, self.more = gateway, units, more
        self.sink = Sink()

    async def __aenter__(self):
        await self.gateway.start()
        self.line = a_line(self.gateway, self.units, self.sink, **self.more)
        self.task = asyncio.create_task(self.line.run())
        return self

    async def __aexit__(self, *_):
        assert not self.task.done(), "a line runs until it is cancelled"
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task
        await self.gateway.stop()
        nothing_wrong(self.sink.records)
        assert set(self.gateway.functions) <= {1, 2, 3, 4}
        assert "internal error" not in {kind for unit in self.line.health().units for kind in unit.errors}

    def unit(self, unit_id):
        return next(unit for unit in self.line.health().units if unit.unit_id == unit_id)

    def errors(self, unit_id):
        return self.unit(unit_id).errors

    async def polls(self, unit_id, more=3):
        goal = self.unit(unit_id).good + more
        await until(lambda: self.unit(unit_id).good >= goal, f"unit {unit_id} is polled {more} times more")


@pytest.mark.parametrize("framer", FRAMERS)
def test_a_good_poll_becomes_one_record_a_block_with_the_words_as_received(framer):
    async def scene():
        async with Running(a_gateway([3], framer), [3], timeout_s=2.0) as run:
            before = time.time_ns() // 1000
            await run.polls(3)
            first, second = run.sink.records[:2]
            assert (first.wire, first.source, first.key) == (Wire.MODBUS, "line", "meter-3/holding/0")
            assert second.key == "meter-3/holding/100"
            assert first.payload.hex() == "".join(f"{3000 + i:04x}" for i in range(10))
            assert before - 5_000_000 < first.received_at <= time.time_ns() // 1000
            decoder = BlockDecoder(TWO_BLOCKS, plan_blocks(TWO_BLOCKS)[1])
            assert [row[2] for row in decoder.decode(second.payload, 5).values] == [3100.0, 3109.0]
            unit = run.unit(3)
            assert unit.state == "ok" and unit.breaker == "closed" and unit.last_answer and not unit.offline_since
            health = run.line.health()
            assert (health.state, health.kind, health.connects) == ("ok", "modbus", 1)

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("framer", "mode", "kind"),
    [
        ("tcp", "dead", "timeout"),
        ("tcp", "late", "timeout"),
        ("tcp", "wrong_tid", "wrong transaction"),
        ("tcp", "wrong_unit", "wrong unit"),
        ("tcp", "wrong_function", "wrong function"),
        ("tcp", "short", "short"),
        ("tcp", "long", "long"),
        ("tcp", "cut", "timeout"),
        ("tcp", "bad_crc", "garbled"),
        ("tcp", "exception 11", "exception 11"),
        ("tcp", "close", "disconnected"),
        ("rtu", "late", "timeout"),
        ("rtu", "wrong_unit", "wrong unit"),
        ("rtu", "short", "short"),
        ("rtu", "long", "long"),
        ("rtu", "cut", "cut short"),
        ("rtu", "bad_crc", "crc"),
        ("rtu", "close", "disconnected"),
    ],
)
def test_a_unit_that_answers_wrongly_gives_nothing_and_the_others_go_on(framer, mode, kind):
    async def scene():
        gateway = a_gateway([1, 2, 3], framer, delay_s=TIMEOUT_S * 1.3)
        gateway.set_mode(mode, 2)
        async with Running(gateway, [1, 2, 3]) as run:
            await until(lambda: run.unit(2).breaker == "open", "the breaker opens", 20)
            assert not run.sink.of(2)
            assert run.errors(2)[kind] >= 1
            unit = run.unit(2)
            assert unit.state == "broken" and unit.offline_since and "does not answer" in unit.note
            assert run.line.health().state == "degraded"
            for healthy in (1, 3):
                await run.polls(healthy, 5)
            assert not run.sink.of(2)

    asyncio.run(scene())


@pytest.mark.parametrize("framer", FRAMERS)
def test_a_unit_that_heals_is_read_again_without_a_restart(framer):
    async def scene():
        gateway = a_gateway([1, 2], framer)
        gateway.set_mode("dead", 2)
        async with Running(gateway, [1, 2]) as run:
            await until(lambda: run.unit(2).breaker == "open", "the breaker opens", 20)
            gateway.set_mode("pass", 2)
            await run.polls(2)
            unit = run.unit(2)
            assert (unit.state, unit.breaker, unit.offline_since) == ("ok", "closed", None)

    asyncio.run(scene())


@pytest.mark.parametrize("framer", FRAMERS)
def test_a_late_answer_is_never_taken_for_the_next_requests(framer):
    """Every second answer comes after the time-out: also when the same unit is asked again for as many registers."""

    async def scene():
        gateway = a_gateway([1, 2], framer, delay_s=TIMEOUT_S * 1.5)
        gateway.script = lambda unit, n: "late" if n % 4 == 2 else "pass"
        async with Running(gateway, [1, 2]) as run:
            await until(
                lambda: run.errors(1).get("timeout", 0) + run.errors(2).get("timeout", 0) >= 4, "late answers", 25
            )
            await run.polls(1, 2)

    asyncio.run(scene())


@pytest.mark.parametrize("framer", FRAMERS)
def test_among_mixed_faults_only_true_registers_are_delivered(framer):
    import random

    draw = random.Random(7)
    modes = [
        "short",
        "long",
        "wrong_tid",
        "wrong_unit",
        "twice",
        "noise",
        "bad_crc",
        "cut",
        "wrong_function",
        "exception 4",
    ]

    async def scene():
        gateway = a_gateway(range(1, 9), framer)
        gateway.script = lambda unit, n: draw.choice(modes) if draw.random() < 0.08 else "pass"
        async with Running(gateway, list(range(1, 9)), poll_s=0.1, timeout_s=0.05) as run:
            await until(lambda: gateway.requests >= 400, "many requests", 30)
            wrong = sum(sum(unit.errors.values()) for unit in run.line.health().units)
            assert wrong > 10 and len(run.sink.records) > 200

    asyncio.run(scene())


def test_a_slow_unit_is_polled_at_its_own_pace():
    async def scene():
        gateway = a_gateway([1, 2], delay_s=0.1)
        gateway.set_mode("slow", 2)
        async with Running(gateway, [1, 2], poll_s=8.0, timeout_s=2.0) as run:
            await run.polls(2, 3)
            assert run.unit(2).state == "ok" and "timeout" not in run.errors(2)
            assert abs(run.unit(1).good - run.unit(2).good) <= 1

    asyncio.run(scene())


def test_a_refused_block_is_left_alone_and_named_while_the_others_are_read():
    profile = a_profile(0, 9, 500, 509)  # there is nothing at 500

    async def scene():
        async with Running(a_gateway([1]), [1], profile=profile) as run:
            await until(lambda: run.errors(1).get("exception 2", 0) >= 3, "three refusals")
            await until(lambda: len(run.sink.of(1)) >= 8, "the other block is read on")
            assert run.errors(1)["exception 2"] == 3
            unit = run.unit(1)
            assert unit.state == "degraded" and unit.breaker == "closed"
            assert "holding 500 to 509" in unit.note and "illegal data address" in unit.note

    asyncio.run(scene())


def test_a_busy_device_is_asked_again_and_heals_without_a_restart():
    async def scene():
        gateway = a_gateway([1])
        gateway.set_mode("exception 6", 1)
        async with Running(gateway, [1]) as run:
            await until(lambda: run.errors(1).get("exception 6", 0) >= 12, "it is asked again and again")
            assert run.unit(1).breaker == "closed"
            assert (run.unit(1).state, run.unit(1).note) == ("degraded", "answers without values (exception 6: busy)")
            gateway.set_mode("pass", 1)
            await run.polls(1)
            assert run.unit(1).state == "ok"

    asyncio.run(scene())


def test_one_mute_block_does_not_take_the_devices_others_away():
    async def scene():
        gateway = a_gateway([1])
        async with Running(gateway, [1]) as run:
            await run.polls(1, 1)
            plain = gateway.reply
            gateway.answer = lambda c, t, u, pdu: None if pdu[2] == 100 else c.send(gateway.frame(t, u, plain(u, pdu)))
            await until(lambda: "holding 100" in run.unit(1).note, "the block is given a rest", 15)
            seen = len(run.sink.of(1))
            await until(lambda: len(run.sink.of(1)) > seen + 3, "the other is read")
            assert run.unit(1).breaker == "closed"

    asyncio.run(scene())


@pytest.mark.parametrize("framer", FRAMERS)
def test_a_gateway_that_closes_at_once_is_tried_at_most_once_a_second(framer):
    async def scene():
        gateway = a_gateway([1], framer)
        gateway.close_at_once = True
        async with Running(gateway, [1]) as run:
            began = time.monotonic()
            await until(lambda: gateway.connects >= 4, "it is tried again", 20)
            assert gateway.connects <= (time.monotonic() - began) * SPEED + 1
            await until(lambda: run.line.health().state == "broken", "it is said", 20)
            assert "closes them" in run.line.health().note and run.unit(1).offline_since
            gateway.close_at_once = False
            await until(lambda: run.unit(1).good >= 2, "it is back", 20)
            assert run.line.health().state == "ok" and not run.unit(1).offline_since

    asyncio.run(scene())


def test_a_frozen_gateway_is_connected_anew_and_all_its_units_are_back_at_once_when_it_thaws():
    async def scene():
        gateway = a_gateway([1, 2, 3])
        async with Running(gateway, [1, 2, 3]) as run:
            for unit in (1, 2, 3):
                await run.polls(unit, 1)
            gateway.set_mode("freeze")
            await until(lambda: run.line.health().state == "broken", "all are silent", 20)
            await until(lambda: gateway.connects >= 2, "the connection is given up", 20)
            gateway.set_mode("pass")
            for unit in (1, 2, 3):
                await run.polls(unit, 1)
            assert run.line.health().state == "ok"

    asyncio.run(scene())


def test_a_gateway_that_is_not_there_is_waited_for_and_said_once_for_all_its_units(caplog):
    caplog.set_level("INFO", "meterhall.modbus")

    async def scene():
        gateway = a_gateway([1, 2, 3])
        await gateway.start()
        await gateway.stop()
        sink = Sink()
        line = a_line(gateway, [1, 2, 3], sink)
        task = asyncio.create_task(line.run())
        await until(lambda: line.health().state == "broken", "it is said")
        assert "cannot be reached" in line.health().note
        assert line.health().units[0].errors["unreachable"] >= 1
        again = a_gateway([1, 2, 3])
        again.port = gateway.port
        await again.start()
        await until(lambda: all(unit.good >= 1 for unit in line.health().units), "it is found", 20)
        assert line.health().state == "ok"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await again.stop()
        nothing_wrong(sink.records)

    asyncio.run(scene())
    said = [record.getMessage() for record in caplog.records]
    assert len([words for words in said if "cannot be reached" in words]) == 1, said
    assert len([words for words in said if "answers again" in words]) == 1, said


def test_a_poll_counts_as_good_only_when_its_records_are_durable_and_missed_slots_are_not_made_up_for():
    async def scene():
        gateway = a_gateway([1])
        durable = asyncio.Event()
        kept = []

        async def deliver(records):
            await durable.wait()
            kept.extend(records)

        async with Running(gateway, [1], deliver=deliver) as run:
            await until(lambda: run.unit(1).last_answer, "an answer")
            await asyncio.sleep(POLL_S * 5 / SPEED)
            assert run.unit(1).good == 0 and gateway.requests == 2
            durable.set()
            await run.polls(1, 2)
            assert run.errors(1)["missed slot"] >= 3
            nothing_wrong(kept)

    asyncio.run(scene())


def test_records_are_offered_again_when_the_spool_refuses():
    async def scene():
        offered = []

        async def deliver(records):
            offered.append([(record.key, record.received_at) for record in records])
            if len(offered) == 1:
                raise OSError("disk full")

        async with Running(a_gateway([1]), [1], deliver=deliver) as run:
            await until(lambda: len(offered) >= 2 and run.unit(1).good >= 1, "a second offer")
            assert offered[0] == offered[1]

    asyncio.run(scene())


def test_slow_registers_are_read_at_each_nth_poll():
    registers = list(TWO_BLOCKS.registers)
    slow = [
        RegisterSpec(
            r.quantity, r.phase, r.table, r.address, r.type, unit="W", poll="slow" if r.address >= 100 else "fast"
        )
        for r in registers
    ]
    profile = DeviceProfile("test", 1, "M", "X", "ours", "ours", tuple(slow), max_gap=20, slow_every=3)

    async def scene():
        async with Running(a_gateway([1]), [1], profile=profile) as run:
            await run.polls(1, 7)
            keys = [record.key.split("/")[2] for record in run.sink.records][:9]
            assert keys == ["0", "100", "0", "0", "0", "100", "0", "0", "0"]

    asyncio.run(scene())


def test_a_sunspec_model_is_found_by_walking_the_chain_wherever_it_begins():
    async def scene():
        profile = modbus_profile("sunspec_meter_203")
        server = RegisterServer()
        server.add_unit(1, profile, lambda: {("active_power", "total"): -430.0})
        inverter = modbus_profile("sunspec_inverter_103")
        server.add_unit(2, inverter, dict)
        await server.start()
        sink = Sink()
        units = [ModbusUnit(f"meter-{u}", u, profile, tuple(plan_blocks(profile)), 0.4) for u in (1, 2)]
        line = ModbusLine("line", f"modbus-tcp://127.0.0.1:{server.port}", units, sink.deliver, timeout_s=1.0)
        task = asyncio.create_task(line.run())
        await until(lambda: sink.of(1) and line.health().units[1].errors, "a poll of each")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.stop()
        assert sink.records[0].key == "meter-1/holding/0"
        decoder = BlockDecoder(profile, plan_blocks(profile)[0])
        values = {decoder.slots[row[0]]: row[2] for row in decoder.decode(sink.records[0].payload, 5).values}
        assert values["active_power", "total"] == -430.0
        assert line.health().units[1].errors["no model 203"] >= 1 and not sink.of(2)

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("modbus-tcp://:502", "names no host"),
        ("http://x", 'begins with "http"'),
        ("modbus-rtu:///dev/ttyUSB0?baud=fast", "has the options"),
        ("modbus-rtu:///dev/ttyUSB0?speed=9600", "has the options"),
    ],
)
def test_an_address_that_cannot_be_understood_is_explained(url, found):
    with pytest.raises(ExplainedError, match=found):
        connector(url, 1.0)


def test_meters_at_one_address_share_a_line():
    def meter(name, connection, unit, profile="eastron_sdm630"):
        return Meter(name, "s", "", Name(name), Carrier.ELECTRICITY, "load", profile, connection, unit, poll_s=7.0)

    async def nobody(records):
        raise AssertionError

    lines = modbus_lines(
        [
            meter("a", "modbus-tcp://127.0.0.1:502", 1),
            meter("b", "modbus-tcp://127.0.0.1:502", 2, "abb_b24"),
            meter("c", "modbus-rtu-tcp://127.0.0.1:503", 1),
            meter("d", "mqtt://main/tele/d", None),
        ],
        modbus_profile,
        nobody,
    )
    assert [line.id for line in lines] == ["modbus-tcp://127.0.0.1:502", "modbus-rtu-tcp://127.0.0.1:503"]
    assert [unit.device for unit in lines[0].health().units] == ["a", "b"]
    assert lines[0].health().state == "unknown"
