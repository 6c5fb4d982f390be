"""The schedule of a shared line over hours of virtual time: who is asked when, whoever is dead."""

import asyncio
from collections import Counter

import pytest

from collector.modbus.frames import ReadFailed
from collector.modbus.line import ModbusLine, ModbusUnit
from devices.blocks import plan_blocks
from devices.registers import DeviceProfile, RegisterSpec

PROFILE = DeviceProfile(
    "test", 1, "M", "X", "-", "-", (RegisterSpec("active_power", "total", "holding", 0, "u16", unit="W"),)
)


class Bus:
    """A gateway in virtual time: a good answer takes 20 ms, a dead unit the whole time-out."""

    def __init__(self, dead=(), timeout_s=1.0):
        self.now = 1000.0
        self.dead = set(dead)
        self.frozen = False
        self.timeout_s = timeout_s
        self.spent = Counter()
        self.asked = Counter()
        self.connects = []
        self.end = 0.0
        self.alive = True
        self.strays = Counter()

    def monotonic(self):
        return self.now

    async def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds
        await self.pass_time(0.0)

    async def pass_time(self, seconds):
        self.now += seconds
        if self.now >= self.end:
            raise asyncio.CancelledError
        await asyncio.sleep(0)

    async def connect(self):
        self.connects.append(self.now)
        await self.pass_time(0.01)
        return self

    def safe_for(self, unit):
        return True

    def close(self):
        pass

    async def read(self, request, timeout_s):
        self.asked[request.unit] += 1
        cost = self.timeout_s if self.frozen or request.unit in self.dead else 0.02
        self.spent[request.unit] += cost
        await self.pass_time(cost)
        if cost > 0.02:
            raise ReadFailed("timeout")
        return b"\0\1"


def run(bus, units, seconds, poll_s=1.0, deliver=None):
    async def nothing(records):
        pass

    line = ModbusLine(
        "line",
        "modbus-tcp://nowhere:1",
        [ModbusUnit(f"m{u}", u, PROFILE, tuple(plan_blocks(PROFILE)), poll_s) for u in units],
        deliver or nothing,
        timeout_s=bus.timeout_s,
        monotonic=bus.monotonic,
        sleep=bus.sleep,
        connect=bus.connect,
    )

    async def scene():
        bus.end = bus.now + seconds
        with pytest.raises(asyncio.CancelledError):
            await line.run()

    asyncio.run(scene())
    return line


@pytest.mark.parametrize(("dead", "share"), [((), 0.99), ((7,), 0.95), ((1, 2, 3, 4, 11, 12, 20, 32), 0.80)])
@pytest.mark.parametrize("timeout_s", [0.5, 1.0])
def test_healthy_units_of_a_line_of_32_keep_their_schedule(dead, share, timeout_s):
    bus = Bus(dead, timeout_s)
    line = run(bus, range(1, 33), 300)
    for unit in line.health().units:
        if unit.unit_id not in dead:
            assert unit.good >= share * 300, unit
            assert unit.state == "ok"
        else:
            assert unit.breaker != "closed" and unit.good == 0 and unit.offline_since


def test_a_dead_unit_takes_a_twentieth_of_the_lines_time_at_most():
    bus = Bus({5}, 1.0)
    run(bus, range(1, 9), 3600)
    assert bus.spent[5] / 3600 <= 0.05


def test_each_slot_is_polled_missed_or_rested():
    bus = Bus({2}, 1.0)
    line = run(bus, [1, 2, 3], 600, poll_s=0.7)
    for unit in (line.health().units[0], line.health().units[2]):
        assert abs(unit.polls + unit.errors.get("missed slot", 0) - 600 / 0.7) <= 2


def test_a_line_whose_units_are_all_dead_is_probed_gently_for_ever():
    bus = Bus({1, 2, 3}, 1.0)
    line = run(bus, [1, 2, 3], 3600)
    assert line.health().state == "broken" and "no unit answers" in line.health().note
    assert 3 * 40 <= sum(bus.asked.values()) <= 3 * 80
    assert all(after - before >= 1.0 for before, after in zip(bus.connects, bus.connects[1:], strict=False))


def test_when_a_frozen_gateway_thaws_the_first_answer_brings_all_units_back():
    bus = Bus(timeout_s=1.0)
    bus.frozen = True
    first = {}

    async def deliver(records):
        for record in records:
            first.setdefault(record.key, bus.now)

    plain = bus.pass_time

    async def pass_time(seconds):
        bus.frozen = bus.now < 2800.0
        await plain(seconds)

    bus.pass_time = pass_time
    line = run(bus, range(1, 33), 1800.0 + 75.0, deliver=deliver)
    assert all(unit.state == "ok" for unit in line.health().units)
    assert len(first) == 32 and min(first.values()) < 2870.0
    assert max(first.values()) - min(first.values()) < 4.0
