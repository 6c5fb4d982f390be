"""A serial line: pymodbus on a pseudo-terminal, a simulated meter at its other end."""

import asyncio
import os
import tty

import pytest

from collector.modbus.address import connector
from collector.modbus.frames import ReadFailed, Request
from simulators.modbus_gateway import FaultyGateway
from simulators.modbus_server import crc16

pytest.importorskip("serial", reason="serial lines need pyserial: pip install pyserial")


class Wire:
    """The device's end of the line."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.near, self.far = os.openpty()
        tty.setraw(self.near)
        tty.setraw(self.far)
        self.path = os.ttyname(self.far)
        self.buffer = bytearray()
        self.functions = set()
        asyncio.get_running_loop().add_reader(self.near, self.received)

    def received(self):
        self.buffer += os.read(self.near, 512)
        while len(self.buffer) >= 8:
            frame = bytes(self.buffer[:8])
            del self.buffer[:8]
            assert crc16(frame[:-2]) == frame[-2:]
            self.functions.add(frame[1])
            self.gateway.answer(self, 0, frame[0], frame[1:-2])

    def send(self, frame, delay_s=0.0):
        os.write(self.near, frame)

    def close(self):
        asyncio.get_running_loop().remove_reader(self.near)
        os.close(self.near)
        os.close(self.far)


def test_a_serial_line_reads_registers_and_bits_and_refuses_what_is_short_or_mute():
    async def scene():
        gateway = FaultyGateway(framer="rtu")
        gateway.add_registers(3, lambda table, address: address % 3 == 0 if table == "discrete" else 3000 + address)
        wire = Wire(gateway)
        connection = await connector(f"modbus-rtu://{wire.path}?baud=19200&parity=N", 0.3)()
        try:
            registers = await connection.read(Request.read(3, "holding", 7, 2), 0.3)
            assert registers.hex() == f"{3007:04x}{3008:04x}"
            bits = await connection.read(Request.read(3, "discrete", 0, 10), 0.3)
            assert bits == bytes([0b01001001, 0b10])
            gateway.set_mode("exception 2", 3)
            with pytest.raises(ReadFailed, match="exception 2"):
                await connection.read(Request.read(3, "holding", 7, 2), 0.3)
            gateway.set_mode("short", 3)
            with pytest.raises(ReadFailed, match="short"):
                await connection.read(Request.read(3, "holding", 7, 4), 0.3)
            gateway.set_mode("dead", 3)
            assert connection.alive and connection.safe_for(3)
            with pytest.raises(ReadFailed, match="timeout"):
                await connection.read(Request.read(3, "holding", 7, 4), 0.3)
            assert not connection.safe_for(3) and connection.safe_for(4)
            assert wire.functions == {2, 3}
        finally:
            connection.close()
            wire.close()

    asyncio.run(scene())


def test_a_port_that_is_not_there_is_an_error_the_line_retries():
    async def scene():
        with pytest.raises(OSError, match="cannot be opened"):
            await connector("modbus-rtu:///dev/no-such-port", 0.3)()

    asyncio.run(scene())
