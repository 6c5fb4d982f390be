"""What a connection makes of any bytes at all: the very reply that was asked for, or a failure."""

import asyncio
import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.modbus.connection import RtuConnection, TcpConnection
from collector.modbus.frames import ReadFailed, Request, crc16

REQUEST = Request.read(3, "holding", 100, 4)
DATA = bytes.fromhex("0bb80bb90bba0bbb")
TCP = struct.pack(">HHHBBB", 1, 0, 11, 3, 3, 8) + DATA
RTU = b"\x03\x03\x08" + DATA
RTU += crc16(RTU).to_bytes(2, "little")


class Socket:
    """A transport that keeps what is written."""

    def __init__(self):
        self.written = b""
        self.closed = False

    def write(self, data):
        self.written += data

    def is_closing(self):
        return self.closed

    def abort(self):
        self.closed = True


async def ask(connection, pieces):
    """The outcome of one read while these bytes arrive."""
    socket = Socket()
    connection.connection_made(socket)
    reading = asyncio.ensure_future(connection.read(REQUEST, 0.005))
    await asyncio.sleep(0)
    assert socket.written
    for piece in pieces:
        connection.data_received(piece)
    try:
        return await reading
    except ReadFailed as failed:
        return failed.kind


def outcome(rtu, pieces):
    async def scene():
        return await ask(RtuConnection() if rtu else TcpConnection(iter([1])), pieces)

    return asyncio.run(scene())


@pytest.mark.parametrize("rtu", [False, True])
@settings(max_examples=25, deadline=None)
@given(cuts=st.sets(st.integers(1, 20), max_size=5))
def test_a_reply_may_come_in_pieces(rtu, cuts):
    frame = RTU if rtu else TCP
    edges = [0, *sorted(c for c in cuts if c < len(frame)), len(frame)]
    assert outcome(rtu, [frame[a:b] for a, b in pairwise(edges)]) == DATA


@pytest.mark.parametrize("rtu", [False, True])
@settings(max_examples=60, deadline=None)
@given(noise=st.lists(st.binary(min_size=1, max_size=300), max_size=4))
def test_random_bytes_are_never_a_reply_and_never_an_error_of_ours(rtu, noise):
    assert isinstance(outcome(rtu, noise), str)


@pytest.mark.parametrize("rtu", [False, True])
def test_no_single_flipped_bit_gives_other_data(rtu):
    """Over TCP the data itself is guarded by the network; its header, and over RTU every bit, by us."""
    frame = RTU if rtu else TCP

    async def scene():
        for bit in range(8 * (len(frame) if rtu else 9)):
            broken = bytearray(frame)
            broken[bit // 8] ^= 1 << bit % 8
            got = await ask(RtuConnection() if rtu else TcpConnection(iter([1])), [bytes(broken)])
            assert isinstance(got, str), bit

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (struct.pack(">HHHBBB", 1, 0, 9, 3, 3, 6) + DATA[:6], "short"),
        (struct.pack(">HHHBBB", 1, 0, 13, 3, 3, 10) + DATA + b"\0\0", "long"),
        (struct.pack(">HHHBBB", 1, 0, 11, 3, 3, 6) + DATA, "garbled"),
        (struct.pack(">HHHBBB", 1, 0, 3, 3, 0x83, 2), "exception 2"),
        (struct.pack(">HHHBBB", 1, 0, 3, 3, 0x83, 0x0B), "exception 11"),
        (struct.pack(">HHHBBB", 1, 0, 3, 3, 0x84, 2), "timeout"),
        (struct.pack(">HHHBBB", 2, 0, 11, 3, 3, 8) + DATA, "timeout"),
        (struct.pack(">HHHBBB", 1, 0, 11, 4, 3, 8) + DATA, "timeout"),
        (struct.pack(">HHHBBB", 1, 0, 900, 3, 3, 8) + DATA, "garbled"),
    ],
)
def test_each_wrong_reply_has_its_name(reply, kind):
    assert outcome(False, [reply]) == kind


def test_the_right_reply_after_wrong_ones_is_still_taken():
    other = struct.pack(">HHHBBB", 7, 0, 11, 3, 3, 8) + bytes(8)
    assert outcome(False, [other + TCP[:5], TCP[5:]]) == DATA
    stranger = b"\x04\x03\x08" + bytes(8)
    stranger += crc16(stranger).to_bytes(2, "little")
    assert outcome(True, [stranger + RTU]) == DATA


def test_an_rtu_unit_that_timed_out_is_not_asked_again_on_the_same_connection():
    async def scene():
        connection = RtuConnection()
        assert connection.safe_for(3)
        assert await ask(connection, []) == "timeout"
        assert not connection.safe_for(3)
        assert connection.safe_for(4)
        connection.data_received(RTU)  # the late answer: nobody waits for it
        assert connection.strays["unasked"] == 1

    asyncio.run(scene())
