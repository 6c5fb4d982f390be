"""Modbus requests and replies as bytes. Only reading exists here: no function code above 4 can be framed.

Source: MODBUS Application Protocol Specification V1.1b3; MODBUS Messaging on TCP/IP V1.0b (MBAP);
MODBUS over Serial Line V1.02 (RTU, CRC-16).
"""

from __future__ import annotations

import struct
from typing import Literal, NamedTuple

from devices.blocks import Block

READ_FUNCTION = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledge: a long job was started",
    6: "busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target did not answer",
}
REFUSALS = frozenset({1, 2, 3})  # the device will never answer this request
GATEWAY_SILENT = frozenset({10, 11})  # it is the gateway that says so: the device did not answer


class ReadFailed(Exception):
    """A request without a usable reply.

    kind : "timeout", "exception 2", "short", "long", "crc", "garbled", "disconnected", ...: a metric label
    code : the exception's code, else 0
    """

    def __init__(self, kind: str, code: int = 0) -> None:
        super().__init__(kind, code)
        self.kind, self.code = kind, code


class Request(NamedTuple):
    """One read: what is asked, and how many bytes of data the reply must have."""

    unit: int
    function: Literal[1, 2, 3, 4]
    address: int
    length: int  # registers, or bits
    size: int  # bytes of data in its reply

    @classmethod
    def of(cls, unit: int, block: Block, base: int = 0) -> Request:
        """The request for a planned block; `base` is where its addresses count from."""
        return cls.read(unit, block.table, base + block.address, block.count)

    @classmethod
    def read(cls, unit: int, table: str, address: int, count: int) -> Request:
        """Read `count` registers (bits of coil and discrete).

        Raises
        ------
        ValueError
            If unit, address or count cannot be on the wire.
        """
        function = READ_FUNCTION[table]
        most = 2000 if function <= 2 else 125
        if not (0 <= unit <= 255 and address >= 0 and 1 <= count <= most and address + count <= 65_536):
            raise ValueError(f"unit {unit}, {table} {address}, {count} long cannot be asked")
        return cls(unit, function, address, count, (count + 7) // 8 if function <= 2 else 2 * count)  # type: ignore[arg-type]


def mbap_request(request: Request, transaction: int) -> bytes:
    """The request as Modbus TCP."""
    unit, function, address, length, _ = _reading(request)
    return struct.pack(">HHHBBHH", transaction, 0, 6, unit, function, address, length)


def rtu_request(request: Request) -> bytes:
    """The request as Modbus RTU, with its CRC."""
    unit, function, address, length, _ = _reading(request)
    frame = struct.pack(">BBHH", unit, function, address, length)
    return frame + crc16(frame).to_bytes(2, "little")


def _reading(request: Request) -> Request:
    if request.function not in (1, 2, 3, 4):
        raise ValueError(f"function {request.function} does not read; nothing else is ever sent")
    return request


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC = _crc_table()


def crc16(frame: bytes) -> int:
    """CRC-16 of a frame (polynomial 0xA001 reflected, start 0xFFFF); its low byte is sent first."""
    crc, table = 0xFFFF, _CRC
    for byte in frame:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc
