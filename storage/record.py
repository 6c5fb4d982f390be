"""What goes into the spool: one raw message or one raw Modbus block, before anything is understood."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Wire(IntEnum):
    """How a record came in."""

    MQTT = 1
    MODBUS = 2
    INGEST = 3


RETAINED = 1  # MQTT: kept by the broker, of unknown age
REPEATED = 2  # a redelivery of a record that is already in the spool: counted, not decoded
OVERSIZE = 4  # the payload was longer than allowed; its first 4 KiB are kept


class Record(NamedTuple):
    """One raw record.

    key : MQTT topic; `<meter id>/<table>/<address>` of a Modbus block; the ingest batch's key
    payload : as received; Modbus words big endian
    received_at : stamped once, here [us since 1970]; observed_at of what has no time of its own
    tag : MQTT packet id, for recognising a redelivery; else 0
    """

    wire: int
    source: str  # the line's or broker's id, as in the books
    key: str
    payload: bytes
    received_at: int
    flags: int = 0
    tag: int = 0


class Position(NamedTuple):
    """A place in the spool: everything before it is done with. Text form `00000007:81920`."""

    segment: int
    offset: int

    def __str__(self) -> str:
        return f"{self.segment:08d}:{self.offset}"
