"""Simulated Modbus meters on real sockets: many units behind one port, like a gateway. It answers reads only."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Mapping
from typing import Literal

from devices.blocks import plan_blocks
from devices.codec import Encoder, Words, encode_text
from devices.registers import DeviceProfile, TextSpec

Values = Callable[[], Mapping[tuple[str, str], float | None]]
Cells = Callable[[str, int], int | None]
Framer = Literal["tcp", "rtu"]

TABLE = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, TARGET_SILENT = 1, 2, 3, 11
SUNSPEC_BASE = 40_000
REFRESH_S = 0.5  # registers are computed anew at most this often


def crc16(frame: bytes) -> bytes:
    """CRC-16 of an RTU frame, as sent. Written apart from the collector's, so that one checks the other."""
    crc = 0xFFFF
    for byte in frame:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return struct.pack("<H", crc)


class _ProfiledUnit:
    """A meter whose registers are computed from its values."""

    def __init__(self, profile: DeviceProfile, values: Values, refresh_s: float) -> None:
        self._profile, self._values, self._refresh_s = profile, values, refresh_s
        self._encoder = Encoder(profile)
        self._words: Words = {}
        self._at = float("-inf")
        # a planned request must be answered whole, so what lies between two values is there and says 0
        self._blank: Words = {
            (block.table, address): 0 for block in plan_blocks(profile) for address in range(block.address, block.end)
        }
        for text in profile.texts:
            self._blank.update(encode_text(text, f"SIM-{text.name}"))

    def cell(self, table: str, address: int) -> int | None:
        now = time.monotonic()
        if now - self._at >= self._refresh_s:
            own = self._blank | self._encoder.encode(self._values())
            self._words = _sunspec_chain(self._profile, own) if self._profile.sunspec_model else own
            self._at = now
        return self._words.get((table, address))


def _sunspec_chain(profile: DeviceProfile, own: Words) -> Words:
    """The device's chain of models: its mark, model 1 with its names, the profile's model, the end."""
    words: Words = {("holding", SUNSPEC_BASE + i): word for i, word in enumerate((0x5375, 0x6E53, 1, 66))}
    common = SUNSPEC_BASE + 2
    words.update({("holding", common + i): 0 for i in range(2, 68)})
    for offset, length, text in ((2, 16, "Meterhall"), (18, 16, profile.model), (50, 16, "SIM-1")):
        words.update(encode_text(TextSpec("", "holding", common + offset, length), text))
    start = common + 68
    end = start + 2 + profile.sunspec_length
    words.update({("holding", address): 0 for address in range(start, end)})
    words.update({(table, start + address): word for (table, address), word in own.items()})
    words["holding", start + 1] = profile.sunspec_length
    words["holding", end], words["holding", end + 1] = 0xFFFF, 0
    return words


class RegisterServer:
    """Answers reads for many units on one port.

    Parameters
    ----------
    host, port : where to listen; port 0 takes a free one, see `port` after `start`
    framer : "tcp" (Modbus TCP) or "rtu" (RTU frames over TCP)
    refresh_s : age at which a unit's registers are computed anew [s]
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, framer: Framer = "tcp", *, refresh_s: float = REFRESH_S):
        self.host, self.port, self.framer = host, port, framer
        self.requests = 0
        self._refresh_s = refresh_s
        self._units: dict[int, list[Cells]] = {}
        self._faults: dict[int, tuple[str, float]] = {}
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    def add_unit(self, unit_id: int, profile: DeviceProfile, values: Values) -> None:
        """A unit with a profile's registers; several profiles of one unit (inputs of a pulse counter) add up.

        values : gives (quantity, phase) -> value [the quantity's unit]
        """
        self._units.setdefault(unit_id, []).append(_ProfiledUnit(profile, values, self._refresh_s).cell)

    def add_registers(self, unit_id: int, cells: Cells) -> None:
        """A unit with bare registers: `cells(table, address)` gives each one, None where there is none."""
        self._units.setdefault(unit_id, []).append(cells)

    def set_fault(self, unit_id: int, fault: str = "", delay_s: float = 0.0) -> None:
        """Make a unit "dead" (no answer) or "slow" (answers after `delay_s`); "" heals it.

        Raises
        ------
        ValueError
            If there is no such fault.
        """
        if fault not in ("", "dead", "slow"):
            raise ValueError(f'fault is "{fault}"; use "dead", "slow" or ""')
        self._faults[unit_id] = (fault, delay_s)

    async def start(self) -> None:
        """Listen; `port` is then the real one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
            for connection in list(self._connections):
                connection.close()
            await self._server.wait_closed()
            self._server = None

    # -- what a faulty gateway does otherwise --------------------------------------------------------------------------

    def accepted(self, connection: _Connection) -> None:
        """A client connected."""
        self._connections.add(connection)

    def answer(self, connection: _Connection, transaction: int, unit: int, pdu: bytes) -> None:
        """Answer one request."""
        self.requests += 1
        fault, delay_s = self._faults.get(unit, ("", 0.0))
        if fault == "dead":
            return
        frame = self.frame(transaction, unit, self.reply(unit, pdu))
        connection.send(frame, delay_s if fault == "slow" else 0.0)

    def frame(self, transaction: int, unit: int, pdu: bytes) -> bytes:
        """A reply as it goes over the wire."""
        if self.framer == "tcp":
            return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu
        body = bytes([unit]) + pdu
        return body + crc16(body)

    def reply(self, unit: int, pdu: bytes) -> bytes:
        """The PDU that answers a request's PDU."""
        function = pdu[0]

        def exception(code: int) -> bytes:
            return bytes([function | 0x80, code])

        units = self._units.get(unit)
        if units is None:
            return exception(TARGET_SILENT)
        table = TABLE.get(function)
        if table is None:
            return exception(ILLEGAL_FUNCTION)
        if len(pdu) != 5:
            return exception(ILLEGAL_VALUE)
        address, count = struct.unpack(">HH", pdu[1:])
        if not 1 <= count <= (2000 if function <= 2 else 125):
            return exception(ILLEGAL_VALUE)
        cells: list[int] = []
        for place in range(address, address + count):
            word = next((word for cell in units if (word := cell(table, place)) is not None), None)
            if word is None:
                return exception(ILLEGAL_ADDRESS)
            cells.append(word)
        if function <= 2:
            data = sum((bit & 1) << i for i, bit in enumerate(cells)).to_bytes((count + 7) // 8, "little")
        else:
            data = struct.pack(f">{count}H", *cells)
        return bytes([function, len(data)]) + data


class _Connection(asyncio.Protocol):
    """One client of the server."""

    def __init__(self, server: RegisterServer) -> None:
        self._server = server
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._server.accepted(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server._connections.discard(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def send(self, frame: bytes, delay_s: float = 0.0) -> None:
        if delay_s > 0:
            asyncio.get_running_loop().call_later(delay_s, self.send, frame)
        elif self._transport is not None:
            self._transport.write(frame)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._server.framer == "tcp":
            while len(self._buffer) >= 8:
                transaction, _, length, unit = struct.unpack_from(">HHHB", self._buffer)
                if length < 2 or length > 254:
                    self.close()
                    return
                if len(self._buffer) < 6 + length:
                    return
                pdu = bytes(self._buffer[7 : 6 + length])
                del self._buffer[: 6 + length]
                self._server.answer(self, transaction, unit, pdu)
        else:
            while len(self._buffer) >= 8:  # reads are eight bytes long; anything else is skipped byte by byte
                frame = bytes(self._buffer[:8])
                if crc16(frame[:-2]) != frame[-2:]:
                    del self._buffer[0]
                    continue
                del self._buffer[:8]
                self._server.answer(self, 0, frame[0], frame[1:-2])
