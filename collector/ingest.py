"""Batches that come over HTTP or from a file: rows that name their point themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from collector.points import PointTable
from devices.decoded import Decoded, Rejected
from metering.reading import Point

KEY = "rows"  # the key of every ingest record: rows name their own points

Row = tuple[str, str, str, str, int, float]  # site, meter, quantity, phase, observed_at [us], value [quantity's unit]


class Batch(msgspec.Struct, array_like=True):
    """What the spool keeps of a batch: the accepted rows, and why others were refused."""

    rows: list[Row]
    rejected: list[tuple[str, str]]  # reason (a metric label), detail
    version: int = 1


def encode_batch(rows: Iterable[tuple[Point, int, float]], rejected: Sequence[tuple[str, str]] = ()) -> bytes:
    """(point, observed_at, value) rows and refusals as one record's payload."""
    return msgspec.msgpack.encode(Batch([(*point, at, value) for point, at, value in rows], list(rejected)))


class BatchDecoder:
    """Decodes ingest records; its slots are the point table's own numbers."""

    slots: tuple[tuple[str, str], ...] = ()
    profile = "ingest@1"

    def __init__(self, points: PointTable) -> None:
        self._points = points
        self._decode = msgspec.msgpack.Decoder(Batch).decode

    def glance(self, payload: bytes, received_at: int) -> None:
        """There is no fast way: a batch is many rows already."""

    def decode(self, payload: bytes, received_at: int, retained: bool) -> Decoded:
        """The rows of one record.

        Raises
        ------
        Rejected
            If the payload is no batch of ours.
        """
        try:
            batch = self._decode(payload)
        except msgspec.DecodeError as error:
            raise Rejected("malformed", str(error)) from None
        number = self._points.add
        values = [
            (number(Point(site, meter, quantity, phase)), at, value, False)
            for site, meter, quantity, phase, at, value in batch.rows
        ]
        return Decoded(values, 0, batch.rejected)
