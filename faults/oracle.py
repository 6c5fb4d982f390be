"""The oracle: opens the data folder after the product has ended, and compares it with the ledger.

Lost: acknowledged, and neither stored nor waiting in the spool. Doubled: rows beyond the first of a point and time.
Invented: rows that nobody sent, or with another value than was sent. Rows are read twice: through the store,
and straight from the file, so that nothing the store itself would hide is overlooked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from faults.ledger import Ledger
from faults.values import KEYS, QUANTITIES, SECOND_US, device_id, device_number, values_of
from metering.reading import Point
from storage.books import Books, decode_state
from storage.opening import duckdb_url, open_store
from storage.quarantine import Quarantine
from storage.spool import START, Spool

# Every row of the store's file, hot and sealed.
ROWS = """SELECT point, observed_at, value FROM hot
    UNION ALL SELECT point, observed_at, value FROM sealed_reading"""
_BITS = 32  # a reading's key: device, quantity, message number in one integer
_Q = 3


@dataclass
class Verdict:
    """What the oracle found; counts are of readings, but for messages."""

    expected: int = 0  # readings that must be there
    stored: int = 0
    waiting: int = 0  # readings not stored, whose message waits in the spool
    lost: int = 0
    doubled: int = 0
    invented: int = 0
    conflicts: int = 0
    acknowledged: int = 0  # messages, repeats counted
    received: int = 0  # messages, as the product's own books have it
    redelivered: int = 0  # received beyond what was sent: the broker delivered them again
    unbalanced: list[str] = field(default_factory=list)
    quarantine: dict[str, int] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)  # what the product said it had to mend
    examples: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Nothing lost, doubled, invented, and both books balance."""
        return not (self.lost or self.doubled or self.invented or self.unbalanced)


def keys_of(k: Any, q: Any, n: Any) -> np.ndarray:
    """int64 keys of (device, quantity, message number)."""
    return (np.asarray(k, np.int64) << (_BITS + _Q)) | (np.asarray(q, np.int64) << _BITS) | np.asarray(n, np.int64)


def describe(key: int) -> str:
    """A key in words."""
    return f"{device_id(key >> (_BITS + _Q))}/{QUANTITIES[(key >> _BITS) & 7]} message {key & ((1 << _BITS) - 1)}"


def keys_of_messages(messages: Any) -> np.ndarray:
    """The keys of all readings of some messages, sorted."""
    pairs = np.array(sorted(messages), np.int64).reshape(-1, 2)
    return np.sort(np.concatenate([keys_of(pairs[:, 0], q, pairs[:, 1]) for q in range(len(KEYS))]))


def examine(data: Path, ledger: Ledger, t0: int, *, site: str = "plant", waived: Any = ()) -> Verdict:
    """Compare a data folder with what was sent.

    Parameters
    ----------
    t0 : time of each device's message 0 [s since 1970]
    waived : (k, n) of messages that need not be stored, for they are poison or malformed
    """
    verdict = Verdict(acknowledged=ledger.messages)
    store = open_store(duckdb_url(data / "meterhall.duckdb"))
    try:
        blob = store.state()
        counted = store.count()
        verdict.findings += list(getattr(store, "findings", ()))
        conflicts = store.conflicts(None, 0, 1 << 62)
        shown = {
            point: store.series(point, 0, 1 << 62) for point in store.points()[:: max(1, len(store.points()) // 50)]
        }
    finally:
        store.close()
    state = decode_state(blob) if blob else None
    position = state.position if state else START
    spool = Spool.open(data / "spool", after=position)
    try:
        pending = spool.pending(position)
        books = Books.from_state(state.books if state else None, pending)
        waiting = _waiting(spool, position, t0)
        verdict.findings += [str(damage) for damage in spool.damage]
    finally:
        spool.close()
    verdict.unbalanced = books.balance(pending)
    totals = books.snapshot()["total"]
    verdict.received = totals["messages"]["received"]
    if totals["readings"]["stored"] != counted:
        verdict.unbalanced.append(f"the books say {totals['readings']['stored']} stored, the store has {counted}")
    path = data / "quarantine.sqlite"
    if path.exists():
        quarantine = Quarantine.open(path)
        verdict.quarantine = quarantine.counts()["reasons"]
        quarantine.close()
    _compare(verdict, data, ledger, t0, site, waiting, set(waived))
    verdict.conflicts = len(conflicts)
    if conflicts:
        verdict.invented += len(conflicts)
        verdict.examples.append(f"conflict: {conflicts[0]}")
    verdict.redelivered = max(0, verdict.received - ledger.sent.total())
    for point, series in shown.items():
        if point.quantity not in QUANTITIES or not point.meter[1:].isdigit():
            continue
        q, k = QUANTITIES.index(point.quantity), device_number(point.meter)
        n = series.at // SECOND_US - t0
        if not np.array_equal(values_of(np.full(len(n), k), q, n), series.value):
            verdict.unbalanced.append(f"the store shows other values of {point} than its file holds")
    return verdict


def _waiting(spool: Spool, position: Any, t0: int) -> set[tuple[int, int]]:
    """(k, n) of the messages that stand in the spool behind a position."""
    found = set()
    for _, records in spool.read(position):
        for record in records:
            try:
                found.add((device_number(record.key.rpartition("/")[2]), int(json.loads(record.payload)["ts"]) - t0))
            except (ValueError, KeyError, TypeError):
                continue  # not one of ours
    return found


def _compare(
    verdict: Verdict,
    data: Path,
    ledger: Ledger,
    t0: int,
    site: str,
    waiting: set[tuple[int, int]],
    waived: set[tuple[int, int]],
) -> None:
    device, q, at, value, strange = rows_of(data / "meterhall.duckdb", site)
    n = at // SECOND_US - t0
    key = keys_of(device, q, n)
    right = (at % SECOND_US == 0) & (n >= 0)
    for number in range(len(QUANTITIES)):
        of = q == number
        right[of] &= values_of(device[of], number, n[of]) == value[of]
    unique = np.unique(key)
    verdict.stored = len(key)
    verdict.doubled = len(key) - len(np.unique(np.stack((device, q, at)), axis=1).T)
    sent = keys_of_messages(ledger.sent)
    unknown = ~np.isin(key, sent)
    wrong = key[~right | unknown]
    verdict.invented += len(wrong) + strange
    must = keys_of_messages(set(ledger.acknowledged) - waived)
    gone = np.setdiff1d(must, unique)
    in_spool = np.intersect1d(gone, keys_of_messages(waiting))
    lost = np.setdiff1d(gone, in_spool)
    verdict.expected, verdict.waiting, verdict.lost = len(must), len(in_spool), len(lost)
    verdict.examples += [f"lost: {describe(int(each))}" for each in lost[:3]]
    verdict.examples += [f"invented: {describe(int(each))}" for each in wrong[:3]]


def rows_of(path: Path, site: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Every row of the file: device, quantity, observed_at [us], value; and how many are of nobody we know."""
    with duckdb.connect(str(path), read_only=True) as con:
        return rows_in(con, site)


def rows_in(con: duckdb.DuckDBPyConnection, site: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """The same of an open connection."""
    points = con.execute("SELECT id, site, meter, quantity, phase FROM point").fetchall()
    rows = con.execute(f"SELECT point, observed_at, value FROM ({ROWS})").fetchnumpy()  # noqa: S608
    size = max((row[0] for row in points), default=-1) + 1
    device, q = np.full(size, -1), np.zeros(size, np.int64)
    for number, of_site, meter, quantity, phase in points:
        if of_site == site and phase == "total" and quantity in QUANTITIES and meter[:1] == "d" and meter[1:].isdigit():
            device[number], q[number] = device_number(meter), QUANTITIES.index(quantity)
    point, at = np.asarray(rows["point"], np.int64), np.asarray(rows["observed_at"], np.int64)
    value = np.asarray(rows["value"], np.float64)
    known = device[point] >= 0
    return device[point][known], q[point][known], at[known], value[known], int((~known).sum())


def point_of(k: int, q: int, site: str = "plant") -> Point:
    """The point of device k and quantity q."""
    return Point(site, device_id(k), QUANTITIES[q])
