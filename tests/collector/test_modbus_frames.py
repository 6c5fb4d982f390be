"""Requests as bytes: only reading exists."""

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import collector.modbus
from collector.modbus.frames import READ_FUNCTION, Request, crc16, mbap_request, rtu_request

FOLDER = Path(collector.modbus.__file__).parent


def test_the_crc_is_that_of_a_published_example():
    # 2flow MAG-11 manual, chapter 9.5.3
    assert rtu_request(Request.read(1, "holding", 0x0400, 2)).hex() == "010304000002c53b"
    assert crc16(bytes.fromhex("010304c1480000")).to_bytes(2, "little").hex() == "47d9"


def test_a_tcp_request_has_the_protocols_header():
    assert mbap_request(Request.read(7, "input", 0x0034, 2), 258).hex() == "010200000006070400340002"


@given(
    unit=st.integers(0, 255),
    table=st.sampled_from(sorted(READ_FUNCTION)),
    address=st.integers(0, 65_535),
    length=st.integers(1, 125),
)
def test_every_request_that_can_be_made_reads(unit, table, address, length):
    try:
        request = Request.read(unit, table, address, length)
    except ValueError:
        assert address + length > 65_536
        return
    assert mbap_request(request, 1)[7] in (1, 2, 3, 4)
    assert rtu_request(request)[1] in (1, 2, 3, 4)


def test_no_other_function_code_can_be_framed():
    for function in (0, *range(5, 256)):
        forged = Request(1, function, 0, 1, 2)
        with pytest.raises(ValueError, match="does not read"):
            mbap_request(forged, 1)
        with pytest.raises(ValueError, match="does not read"):
            rtu_request(forged)


def test_nothing_but_a_framed_read_reaches_a_socket_or_a_serial_port():
    """Bytes leave through one `write`, whose argument is a framed request; of pymodbus only reads are called."""
    writes = []
    for path in sorted(FOLDER.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and (
                node.attr.startswith("write") or node.attr in ("sendto", "execute")
            ):
                writes.append((path.name, node.attr))
    assert writes == [("connection.py", "write")]
    source = (FOLDER / "connection.py").read_text()
    assert source.count("_exchange(request, mbap_request(") + source.count("_exchange(request, rtu_request(") == 2
    assert source.count("_exchange(") == 3


@pytest.mark.parametrize(("table", "address", "length"), [("holding", 65_535, 2), ("input", 0, 126), ("coil", 0, 2001)])
def test_a_request_that_no_device_could_answer_is_refused(table, address, length):
    with pytest.raises(ValueError, match="cannot be asked"):
        Request.read(1, table, address, length)
