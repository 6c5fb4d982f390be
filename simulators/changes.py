"""What changed in a simulated building without being a fault: a retrofit, a load that came for a while."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from devices.tables import Document, Table
from metering.clock import HOUR_US, QUARTER_US
from simulators.faults import FOREVER, begin_of
from simulators.grid import Array, Grid


@dataclass(frozen=True, slots=True)
class Change:
    """A meter's own flow, from `start` to `end` [us since 1970]: times `factor` [1], and `added` more [W or m3/h]."""

    device: str
    start: int
    end: int = FOREVER
    factor: float = 1.0
    added: float = 0.0


def read_changes(document: Document, story_at: int, zone: str, known: set[str]) -> tuple[Change, ...]:
    """The `[[change]]` rows of a story.toml; mistakes are noted in the document."""
    return tuple(_change(table, story_at, zone, known) for table in document.tables("change"))


def _change(table: Table, story_at: int, zone: str, known: set[str]) -> Change:
    device = table.text("device")
    if device not in known:
        table.wrong("device", f'is "{device}"', "name a meter of site.toml")
    start = begin_of(table, story_at, zone)
    lasts = table.number("lasts_h", None, low=0)
    change = Change(
        device, start, FOREVER if lasts is None else start + int(lasts * HOUR_US),
        float(table.number("factor", 1.0, low=0)), float(table.number("added", 0.0, low=0)),
    )  # fmt: skip
    table.text("cause", "")
    table.text("cause_zh", "")
    table.done()
    return change


def changed(flow: Array, change: Change, grid: Grid) -> Array:
    """A meter's own flow with a change. float64 (n,)"""
    edges = grid.edges.astype(np.float64)
    share = np.clip(np.minimum(edges[1:], change.end) - np.maximum(edges[:-1], change.start), 0, None) / QUARTER_US
    return flow * (1 + (change.factor - 1) * share) + change.added * share
