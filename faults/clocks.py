"""The wall clock jumps while the product runs: by hours, by years, over DST and 2038, in steps of NTP."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np

from faults.modbus import UNITS, Gateway, configure
from faults.oracle import ROWS
from faults.product import Product
from faults.report import Row

YEAR_S = 365.25 * 86_400


def jumps() -> dict[str, float]:
    """What the clock shows is the true time and this many seconds."""
    now = time.time()
    return {
        "+1 h": 3600.0,
        "-1 h": -3600.0,
        "+10 years": 10 * YEAR_S,
        "-10 years": -10 * YEAR_S,
        "NTP step +0.4 s": 0.4,
        "NTP step -0.4 s": -0.4,
        "end of DST in Berlin": datetime(2026, 10, 25, 0, 59, 57, tzinfo=UTC).timestamp() - now,
        "2038-01-19 03:14:07": datetime(2038, 1, 19, 3, 14, 5, tzinfo=UTC).timestamp() - now,
    }


def clock_jumps(folder: Path, *, phase_s: float) -> Row:
    """Eight jumps under a polling line: no poll is left out or burst, and what is stored bears the clock's own time."""
    row = Row("clock jumps", "jumps")
    offset = folder / "offset"
    folder.mkdir(parents=True, exist_ok=True)
    offset.write_text("0")
    gateway = Gateway("tcp")
    product = Product(folder / "site", launch=["--clock", str(offset)])
    configure(product.folder, product.port, {"tcp": gateway.gateway.port})
    try:
        with product:
            product.start().wait_live()
            product.wait_connected()
            time.sleep(3.0)
            for name, seconds in jumps().items():
                fresh = folder / "offset.new"
                fresh.write_text(repr(seconds))
                before, began = gateway.gateway.requests, time.monotonic()
                fresh.replace(offset)
                time.sleep(phase_s)
                polls = (gateway.gateway.requests - before) / UNITS
                due = time.monotonic() - began
                row.count += 1
                row.notes[name] = round(polls / due, 2)
                row.expect(abs(polls - due) <= 1 + 0.1 * due, f"{name}: {polls:.1f} polls a unit in {due:.1f} s")
                row.expect(product.alive(5.0), f"{name}: the API does not answer")
            totals = product.wait_drained()
            product.stop()
            with duckdb.connect(str(product.data / "meterhall.duckdb"), read_only=True) as con:
                at = con.execute(f"SELECT DISTINCT observed_at FROM ({ROWS})").fetchnumpy()["observed_at"]  # noqa: S608
    finally:
        gateway.close()
    row.expect(totals["readings"]["pending"] == 0, "readings are pending")
    rejected = totals["messages"]["rejected"]
    row.notes["rejected"] = rejected
    row.lost = sum(rejected.values())
    seconds = np.asarray(at, np.int64) / 1e6
    for name, shift in {"none": 0.0, **jumps()}.items():
        near = np.abs(seconds - time.time() - shift) < 12 * (phase_s + 10) + 120
        row.expect(bool(near.any()), f"nothing is stored of the time with {name}")
    year = np.array([datetime.fromtimestamp(s, UTC).year for s in seconds])
    row.invented = int((year > 2040).sum() + (year < 2010).sum())
    return row
