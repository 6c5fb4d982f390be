"""A connection to a gateway or device: one request at a time, and only the very reply to it comes back.

Whatever else arrives (another transaction, unit or function, a late answer, bytes nobody asked for) is dropped and
counted in `strays`. On Modbus TCP the transaction number tells a late answer from the one that is waited for. An RTU
frame has only unit, function and length: so a unit that timed out is not asked again on the same connection.
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

from collector.modbus.frames import ReadFailed, Request, crc16, mbap_request, rtu_request

SETTLE_S = 0.05  # silence after a damaged RTU frame, so that its rest is not taken for the next reply's beginning
_LONGEST = 512  # bytes; no frame is longer than 260, what grows beyond is no Modbus


class Connection(Protocol):
    """What the line asks of a connection."""

    strays: Counter[str]

    @property
    def alive(self) -> bool:
        """Is it open?"""
        ...

    def safe_for(self, unit: int) -> bool:
        """Can no late answer of an earlier request be taken for this unit's next one?"""
        ...

    async def read(self, request: Request, timeout_s: float) -> bytes:
        """The data of the reply: words big endian, or packed bits; exactly `request.size` bytes.

        Raises
        ------
        ReadFailed
            If no such reply came in time.
        """
        ...

    def close(self) -> None:
        """Give it up."""
        ...


Connect = Callable[[], Awaitable[Connection]]


class _Stream(asyncio.Protocol):
    """What both framings share: the socket, the one waiting request, its time-out."""

    def __init__(self) -> None:
        self.strays: Counter[str] = Counter()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[bytes] | None = None
        self._buffer = bytearray()
        self._asked: Request | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def alive(self) -> bool:
        """Is the socket open?"""
        return self._transport is not None and not self._transport.is_closing()

    def safe_for(self, unit: int) -> bool:
        """Late answers are told apart by their transaction number."""
        return True

    async def read(self, request: Request, timeout_s: float) -> bytes:
        """See `Connection.read`."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed, by the other side or by us."""
        self._transport = None
        self._fail("disconnected")

    def close(self) -> None:
        """Close the socket at once; nothing is left to be sent."""
        if self._transport is not None:
            self._transport.abort()

    async def _exchange(self, request: Request, frame: bytes, timeout_s: float) -> bytes:
        if self._transport is None or self._transport.is_closing():
            raise ReadFailed("disconnected")
        self._asked = request
        self._waiter = waiter = self._loop.create_future()
        timer = self._loop.call_later(timeout_s, self._expire)
        self._transport.write(frame)
        try:
            data: bytes = await waiter
            return data
        finally:
            timer.cancel()
            self._asked = self._waiter = None

    def _expire(self) -> None:
        self._fail("timeout")

    def _fail(self, kind: str, code: int = 0) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ReadFailed(kind, code))

    def _succeed(self, data: bytes) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(data)


class TcpConnection(_Stream):
    """Modbus TCP: frames with a transaction number.

    Parameters
    ----------
    transactions : numbers 0 to 65535; they go on over a line's connections, so no number comes back soon
    """

    def __init__(self, transactions: Iterator[int]) -> None:
        super().__init__()
        self._transactions = transactions
        self._transaction = -1
        self._head = b""

    async def read(self, request: Request, timeout_s: float) -> bytes:
        """See `Connection.read`."""
        self._transaction = transaction = next(self._transactions)
        unit, function, _, _, size = request
        self._head = struct.pack(">HHHBBB", transaction, 0, size + 3, unit, function, size)
        return await self._exchange(request, mbap_request(request, transaction), timeout_s)

    def data_received(self, data: bytes) -> None:
        """Bytes came: mostly the whole reply and nothing else."""
        if not self._buffer and data[:9] == self._head and self._asked and len(data) == 9 + self._asked.size:
            self._succeed(data[9:])
            return
        self._buffer += data
        while len(self._buffer) >= 8:
            transaction, protocol, length, unit = struct.unpack_from(">HHHB", self._buffer)
            if protocol != 0 or not 3 <= length <= 254:
                self._buffer.clear()
                self._fail("garbled")
                self.close()  # where the next frame begins is not known any more
                return
            if len(self._buffer) < 6 + length:
                return
            pdu = bytes(self._buffer[7 : 6 + length])
            del self._buffer[: 6 + length]
            self._take(transaction, unit, pdu)

    def _take(self, transaction: int, unit: int, pdu: bytes) -> None:
        asked = self._asked
        if asked is None or self._waiter is None or self._waiter.done():
            self.strays["unasked"] += 1
        elif transaction != self._transaction:
            self.strays["wrong transaction"] += 1
        elif unit != asked.unit:
            self.strays["wrong unit"] += 1
        elif pdu[0] == asked.function | 0x80 and len(pdu) == 2:
            self._fail(f"exception {pdu[1]}", pdu[1])
        elif pdu[0] != asked.function:
            self.strays["wrong function"] += 1
        elif pdu[1] != len(pdu) - 2:
            self._fail("garbled")
        elif pdu[1] != asked.size:
            self._fail("short" if pdu[1] < asked.size else "long")
        else:
            self._succeed(pdu[2:])


class RtuConnection(_Stream):
    """Modbus RTU frames through a TCP socket: no transaction number, so units that timed out are tainted."""

    def __init__(self) -> None:
        super().__init__()
        self._damaged = False
        self._tainted: set[int] = set()

    def safe_for(self, unit: int) -> bool:
        """Did the unit never time out on this connection?"""
        return unit not in self._tainted

    async def read(self, request: Request, timeout_s: float) -> bytes:
        """See `Connection.read`."""
        if self._damaged:
            self._damaged = False
            await asyncio.sleep(SETTLE_S)
        self._buffer.clear()
        self._tainted.add(request.unit)  # until its answer is here, or the request failed for good
        try:
            data = await self._exchange(request, rtu_request(request), timeout_s)
        except ReadFailed as failed:
            if failed.kind == "cut short":
                self._damaged = True
            elif failed.kind != "timeout":
                self._tainted.discard(request.unit)
            raise
        self._tainted.discard(request.unit)
        return data

    def _expire(self) -> None:
        self._fail("cut short" if self._buffer else "timeout")

    def data_received(self, data: bytes) -> None:
        """Bytes came, perhaps a part of a frame."""
        if self._waiter is None or self._waiter.done():
            self.strays["unasked"] += 1
            return
        self._buffer += data
        while len(self._buffer) >= 5 and not self._waiter.done():
            function = self._buffer[1]
            if function & 0x7F not in (1, 2, 3, 4):
                self._spoil("garbled")
                return
            length = 5 if function & 0x80 else 5 + self._buffer[2]
            if len(self._buffer) < length:
                if len(self._buffer) > _LONGEST:
                    self._spoil("garbled")
                return
            frame = bytes(self._buffer[:length])
            del self._buffer[:length]
            if crc16(frame[:-2]) != frame[-2] | frame[-1] << 8:
                self._spoil("crc")
                return
            self._take(frame)

    def _spoil(self, kind: str) -> None:
        self._buffer.clear()
        self._damaged = True
        self._fail(kind)

    def _take(self, frame: bytes) -> None:
        asked = self._asked
        if asked is None or frame[0] != asked.unit:
            self.strays["wrong unit"] += 1
        elif frame[1] == asked.function | 0x80:
            self._fail(f"exception {frame[2]}", frame[2])
        elif frame[1] != asked.function:
            self.strays["wrong function"] += 1
        elif frame[2] != asked.size:
            self._fail("short" if frame[2] < asked.size else "long")
        else:
            self._succeed(frame[3:-2])
        if self._buffer and self._waiter is not None and self._waiter.done():
            self.strays["extra bytes"] += 1
            self._damaged = True


def _transactions() -> Iterator[int]:
    number = 0
    while True:
        number = number % 65_535 + 1
        yield number


def tcp_connector(host: str, port: int, *, rtu: bool, timeout_s: float) -> Connect:
    """Opens connections to a gateway.

    The connector raises OSError or TimeoutError if the gateway is not there.
    """
    transactions = _transactions()

    async def connect() -> Connection:
        loop = asyncio.get_running_loop()
        factory = RtuConnection if rtu else lambda: TcpConnection(transactions)
        _, connection = await asyncio.wait_for(loop.create_connection(factory, host, port), timeout_s)
        return connection

    return connect
