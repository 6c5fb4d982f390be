"""Wrong on purpose: the product with one defect put in. The harness must fail on each of them, or it proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def acknowledge_from_memory() -> None:
    """Automatic acknowledgement with a memory buffer that is written each second: what most collectors do."""
    from collector import intake

    real = intake.Intake.offer
    intake.GATHER_S = 1.0

    def offer(self: Any, records: Sequence[Any], acknowledge: Callable[[], None] | None = None) -> None:
        real(self, records, None)
        if acknowledge is not None:
            acknowledge()

    intake.Intake.offer = offer  # type: ignore[method-assign]


def store_without_dedupe() -> None:
    """A store that appends whatever comes: repeats stand in it twice."""
    import numpy as np

    from storage.duckdb import store

    def judge(self: Any, con: Any, rows: Any) -> Any:
        n = len(rows.point)
        return np.zeros(n, np.uint8), np.lexsort((rows.at, rows.point)), None

    store.DuckDBStore._judge = judge  # type: ignore[method-assign]


def sink_that_forgets() -> None:
    """A store that says "stored" and keeps only half the rows of every second batch."""
    from storage.duckdb import store

    real = store.DuckDBStore._judge
    batches = 0

    def judge(self: Any, con: Any, rows: Any) -> Any:
        nonlocal batches
        batches += 1
        outcome, serve, changes = real(self, con, rows)
        return outcome, serve[: len(serve) // 2] if batches % 2 == 0 else serve, changes

    store.DuckDBStore._judge = judge  # type: ignore[method-assign]


def short_replies_taken() -> None:
    """A Modbus client that takes a reply with one register too few as a success, and fills up with zero."""
    from collector.modbus import connection

    real = connection.TcpConnection._take

    def take(self: Any, transaction: int, unit: int, pdu: bytes) -> None:
        asked = self._asked
        if asked is not None and pdu[0] == asked.function and pdu[1] == len(pdu) - 2 < asked.size:
            pdu = bytes([pdu[0], asked.size]) + pdu[2:].ljust(asked.size, b"\0")
        real(self, transaction, unit, pdu)

    connection.TcpConnection._take = take  # type: ignore[method-assign]


TOYS: dict[str, Callable[[], None]] = {
    "acknowledge_from_memory": acknowledge_from_memory,
    "store_without_dedupe": store_without_dedupe,
    "sink_that_forgets": sink_that_forgets,
    "short_replies_taken": short_replies_taken,
}
