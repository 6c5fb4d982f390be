"""Simulated meters on real sockets, read by a client that is not ours."""

import asyncio

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusIOException

from devices.codec import decode
from devices.registers import modbus_profile
from simulators.modbus_server import RegisterServer

VALUES = {
    "eastron_sdm630": {("active_power", "total"): 5230.25, ("active_energy_import", "total"): 48213.5},
    "gavazzi_em340": {("active_power", "total"): -1523.0, ("active_energy_import", "l2"): 87654.3},
    "abb_b24": {("active_energy_import", "total"): 12345.67, ("power_factor", "l3"): -0.987},
}


async def served(framer, scene):
    server = RegisterServer(framer=framer, refresh_s=0.0)
    for unit, (name, values) in enumerate(VALUES.items(), 1):
        server.add_unit(unit, modbus_profile(name), lambda values=values: values)
    await server.start()
    client = AsyncModbusTcpClient(
        "127.0.0.1",
        port=server.port,
        framer=FramerType.SOCKET if framer == "tcp" else FramerType.RTU,
        timeout=0.3,
        retries=0,
    )
    assert await client.connect()
    try:
        await scene(server, client)
    finally:
        client.close()
        await server.stop()


@pytest.mark.parametrize("framer", ["tcp", "rtu"])
def test_each_unit_behind_the_port_answers_with_its_own_registers(framer):
    async def scene(server, client):
        for unit, (name, values) in enumerate(VALUES.items(), 1):
            profile = modbus_profile(name)
            for spec in profile.registers:
                if spec.slot in values:
                    ask = client.read_input_registers if spec.table == "input" else client.read_holding_registers
                    reply = await ask(spec.address, count=spec.words, device_id=unit)
                    words = {(spec.table, spec.address + i): word for i, word in enumerate(reply.registers)}
                    assert decode(profile, words)[0] == {spec.slot: values[spec.slot]}

    asyncio.run(served(framer, scene))


def test_what_is_not_there_is_refused_and_nothing_can_be_written():
    async def scene(server, client):
        assert (await client.read_input_registers(5000, count=2, device_id=1)).exception_code == 2
        assert (await client.read_input_registers(0, count=2, device_id=77)).exception_code == 11
        before = (await client.read_input_registers(0x34, count=2, device_id=1)).registers
        assert (await client.write_register(0x34, 1, device_id=1)).exception_code == 1
        assert (await client.read_input_registers(0x34, count=2, device_id=1)).registers == before

    asyncio.run(served("tcp", scene))


def test_a_unit_can_be_dead_slow_and_well_again_while_the_others_answer():
    async def scene(server, client):
        server.set_fault(1, "dead")
        with pytest.raises(ModbusIOException):
            await client.read_input_registers(0, count=2, device_id=1)
        assert not (await client.read_input_registers(0, count=2, device_id=2)).isError()
        server.set_fault(1, "slow", 0.05)
        assert not (await client.read_input_registers(0, count=2, device_id=1)).isError()
        server.set_fault(1)
        assert not (await client.read_input_registers(0, count=2, device_id=1)).isError()
        with pytest.raises(ValueError, match="use"):
            server.set_fault(1, "broken")

    asyncio.run(served("tcp", scene))


def test_the_inputs_of_a_pulse_counter_share_a_unit():
    async def scene():
        server = RegisterServer()
        for number, volume in ((1, 12.5), (3, 305.419)):
            profile = modbus_profile(f"wirenboard_mcm8_water.{number}")
            server.add_unit(9, profile, lambda volume=volume: {("water_volume", "total"): volume})
        await server.start()
        client = AsyncModbusTcpClient("127.0.0.1", port=server.port, timeout=1, retries=0)
        await client.connect()
        first = await client.read_input_registers(60, count=2, device_id=9)
        third = await client.read_input_registers(64, count=2, device_id=9)
        assert (first.registers, third.registers) == ([0, 12_500], [4, 0xA90B])
        client.close()
        await server.stop()

    asyncio.run(scene())
