"""Modbus RTU on a serial port, through pymodbus."""

from __future__ import annotations

import logging
import struct
from collections import Counter

from collector.modbus.connection import Connect, Connection
from collector.modbus.frames import ReadFailed, Request


class SerialConnection:
    """One serial port. Before a unit that timed out is asked again, the port is opened anew: see `RtuConnection`."""

    def __init__(self, client: object) -> None:
        self.strays: Counter[str] = Counter()
        self._client = client
        self._tainted: set[int] = set()

    @property
    def alive(self) -> bool:
        """Is the port open?"""
        return bool(self._client.connected)  # type: ignore[attr-defined]

    def safe_for(self, unit: int) -> bool:
        """Can no late answer of this unit come any more?"""
        return unit not in self._tainted

    async def read(self, request: Request, timeout_s: float) -> bytes:
        """See `collector.modbus.connection.Connection.read`; the time-out is the port's own."""
        from pymodbus import ModbusException

        client = self._client
        ask = {
            1: client.read_coils,  # type: ignore[attr-defined]
            2: client.read_discrete_inputs,  # type: ignore[attr-defined]
            3: client.read_holding_registers,  # type: ignore[attr-defined]
            4: client.read_input_registers,  # type: ignore[attr-defined]
        }[request.function]
        try:
            reply = await ask(request.address, count=request.length, device_id=request.unit)
        except ModbusException as error:
            self._tainted.add(request.unit)
            raise ReadFailed("timeout" if client.connected else "disconnected") from error  # type: ignore[attr-defined]
        if reply.isError():
            raise ReadFailed(f"exception {reply.exception_code}", reply.exception_code)
        if request.function <= 2:
            bits = reply.bits[: request.length]
            data = sum(bool(bit) << i for i, bit in enumerate(bits)).to_bytes(request.size, "little")
            size = (len(reply.bits) + 7) // 8
        else:
            data = struct.pack(f">{len(reply.registers)}H", *reply.registers)
            size = len(data)
        if size != request.size:  # pymodbus takes a short reply for a good one
            raise ReadFailed("short" if size < request.size else "long")
        return data

    def close(self) -> None:
        """Close the port."""
        self._client.close()  # type: ignore[attr-defined]


def serial_connector(device: str, *, baud: int, parity: str, stopbits: int, timeout_s: float) -> Connect:
    """Opens a serial port.

    The connector raises OSError if the port cannot be opened.
    """

    async def connect() -> Connection:
        from pymodbus import FramerType
        from pymodbus.client import AsyncModbusSerialClient

        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
        try:
            client = AsyncModbusSerialClient(
                device,
                framer=FramerType.RTU,
                baudrate=baud,
                parity=parity,
                stopbits=stopbits,
                timeout=timeout_s,
                retries=0,
                reconnect_delay=0,
            )
        except RuntimeError as error:  # pymodbus without its extra
            raise OSError("serial lines need the package pyserial: pip install pyserial") from error
        if not await client.connect():
            client.close()
            raise OSError(f"{device} cannot be opened; check its name and that you may read and write it")
        return SerialConnection(client)

    return connect
