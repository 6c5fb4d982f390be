"""A batch of readings that came over HTTP: JSON or NDJSON in, accepted and refused rows out. Pure."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from api.errors import Refused
from api.periods import EARLIEST
from api.services import IngestRow, RejectedRow
from metering.clock import DAY_US, to_us
from metering.quantity import POSITION, QUANTITIES
from metering.reading import Point
from metering.site import Installation, Meter, Vehicle


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """One row as it is sent."""

    site: str
    meter: str
    quantity: str
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    value: float
    phase: Literal["total", "l1", "l2", "l3", "n"] = "total"


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    """A JSON batch; NDJSON is its rows, one a line."""

    rows: list[msgspec.Raw]


_ROW = msgspec.json.Decoder(Row)
_BATCH = msgspec.json.Decoder(Batch)


def read_batch(
    payload: bytes, ndjson: bool, installation: Installation, now: int, rows_at_most: int
) -> tuple[list[IngestRow], list[RejectedRow]]:
    """The accepted rows of a batch, and the refused ones with their reason.

    Raises
    ------
    Refused
        If the body as a whole is no batch, or has too many rows.
    """
    if ndjson:
        raws: list[bytes] = [line for line in payload.splitlines() if line.strip()]
    else:
        try:
            raws = [bytes(raw) for raw in _BATCH.decode(payload).rows]
        except (msgspec.MsgspecError, RecursionError) as error:
            mend = 'send {"rows": [{"site", "meter", "quantity", "phase", "at", "value"}, ...]}'
            raise Refused("body", f"is no batch ({str(error)[:200]})", mend) from None
    if len(raws) > rows_at_most:
        raise Refused("body", f"has {len(raws)} rows", f"send at most {rows_at_most} at once")
    accepted: list[IngestRow] = []
    rejected: list[RejectedRow] = []
    for number, raw in enumerate(raws):
        try:
            row = _ROW.decode(raw)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            rejected.append(RejectedRow(number, "malformed", str(error)[:200]))
            continue
        refusal = objection(row, installation, now)
        if refusal is not None:
            rejected.append(RejectedRow(number, *refusal))
        else:
            point = Point(row.site, row.meter, row.quantity, row.phase)
            accepted.append(IngestRow(number, point, to_us(row.at), row.value))
    return accepted, rejected


def objection(row: Row, installation: Installation, now: int) -> tuple[str, str] | None:
    """What speaks against a row: reason (as counted in the books) and mend; None if nothing does."""
    device = installation.by_id.get(row.meter)
    if not isinstance(device, Meter | Vehicle) or device.site != row.site:
        return "unknown_device", f"no meter or vehicle {row.meter[:64]!r} is configured at site {row.site[:64]!r}"
    quantity = QUANTITIES.get(row.quantity)
    if quantity is None:
        return "unknown_quantity", f"{row.quantity[:64]!r} is no quantity; see the glossary"
    if row.quantity in POSITION and not (isinstance(device, Vehicle) and device.position):
        return "position", "positions are not kept for this device; set position = true to keep them"
    if not math.isfinite(row.value) or not quantity.lowest <= row.value <= quantity.highest:
        return "out_of_range", f"{quantity.name} lies in {quantity.lowest:g} to {quantity.highest:g} {quantity.unit}"
    if row.at < EARLIEST or to_us(row.at) > now + DAY_US:
        return "bad_time", "give observed_at between 1971 and a day from now"
    return None
