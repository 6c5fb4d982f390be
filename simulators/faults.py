"""Named faults of simulated meters: when they begin and end, what they do, and the truth written to a file.

`leak` and `night_load` change what flows, so every meter above sees them too. All others change what one
meter says, or whether it says anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from devices.tables import Document, Table
from metering.clock import HOUR_US, MINUTE_US, QUARTER_US, SECOND_US, from_us
from metering.explain import ExplainedError
from metering.quantity import QUANTITIES, Kind
from simulators.grid import Array, Grid, ramp

FaultKind = Literal[
    "gap", "stuck", "spike", "night_load", "leak", "reset", "swap", "unit_error", "clock_step", "dead_unit",
    "broker_gone",
]  # fmt: skip
KINDS: tuple[FaultKind, ...] = FaultKind.__args__  # type: ignore[attr-defined]
FLOW_FAULTS = ("night_load", "leak")
SILENT = ("gap", "dead_unit", "broker_gone")
FOREVER = 1 << 62
SPIKE_EVERY_US = 6 * HOUR_US


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes
    ----------
    device : the meter's or vehicle's id; of `broker_gone` the broker's id
    start, end : [us since 1970]; FOREVER where it is still there
    amount : leak [m3/h] · night_load [W] · spike and unit_error: factor · clock_step [s] · swap: see first, last
    first, last : swap: the new counter's first and the old one's last value [the quantity's unit]
    cause, cause_zh : what happened, in words
    """

    kind: FaultKind
    device: str
    start: int
    end: int = FOREVER
    amount: float = 0.0
    first: float = 0.0
    last: float = 0.0
    cause: str = ""
    cause_zh: str = ""

    def holds(self, at: int) -> bool:
        """Is it there at an instant?"""
        return self.start <= at < self.end


def read_story(path: Path, story_at: int, zone: str, known: Iterable[str]) -> tuple[Fault, ...]:
    """The faults of a story.toml.

    Parameters
    ----------
    story_at : when the story is told: `days_ago` and `hours_ago` count back from it [us since 1970]
    known : ids that a fault may name

    Raises
    ------
    ExplainedError
        The first mistake, with its place.
    """
    problems: list[ExplainedError] = []
    document = Document(path, problems)
    document.only(("seed", "anchor", "fault", "load", "change"))
    ids = set(known)
    faults = tuple(_fault(table, story_at, zone, ids) for table in document.tables("fault"))
    if problems:
        raise problems[0]
    return faults


def _fault(table: Table, story_at: int, zone: str, ids: set[str]) -> Fault:
    kind = table.choice("kind", KINDS)
    device = table.text("device")
    if device not in ids:
        table.wrong("device", f'is "{device}"', "name a meter, a vehicle or a broker of site.toml")
    start = begin_of(table, story_at, zone)
    lasts = table.number("lasts_h", None, low=0)
    fault = Fault(
        kind=kind,  # type: ignore[arg-type]
        device=device,
        start=start,
        end=FOREVER if lasts is None else start + int(lasts * HOUR_US),
        amount=float(table.number("amount", 0.0)),
        first=float(table.number("first", 0.0)),
        last=float(table.number("last", 0.0)),
        cause=table.text("cause", ""),
        cause_zh=table.text("cause_zh", ""),
    )
    table.done()
    return fault


def begin_of(table: Table, story_at: int, zone: str) -> int:
    """`from`, or `hours_ago`, or `days_ago` and `at`; to the minute."""
    if table.has("from"):
        return table.instant("from", zone)
    if table.has("hours_ago"):
        return (story_at - int(table.number("hours_ago", low=0) * HOUR_US)) // MINUTE_US * MINUTE_US
    days = table.number("days_ago", low=0, whole=True) or 0
    clock = table.clock("at", "00:00")
    day = from_us(story_at).astimezone(ZoneInfo(zone)).date() - timedelta(days=days)
    at = datetime.fromisoformat(f"{day} {clock}").replace(tzinfo=ZoneInfo(zone))
    return int(at.timestamp()) * SECOND_US


def extra_flow(fault: Fault, grid: Grid) -> Array:
    """What a flow fault adds in each step: leak [m3/h], night_load [W]. float64 (n,)"""
    edges = grid.edges.astype(np.float64)
    covered = np.clip(np.minimum(edges[1:], fault.end) - np.maximum(edges[:-1], fault.start), 0, None) / QUARTER_US
    if fault.kind == "leak":
        return fault.amount * covered
    evening, morning = ramp(grid.minute, 19.5 * 60, 20.5 * 60), 1 - ramp(grid.minute, 5.5 * 60, 6.5 * 60)
    return fault.amount * covered * np.maximum(evening, morning)


Column = tuple[NDArray[np.int64], Array, NDArray[np.bool_]]


def distort(
    faults: Sequence[Fault], quantity: str, at: NDArray[np.int64], value: Array, true_at: Callable[[int], float]
) -> Column:
    """What a meter with these faults says.

    Parameters
    ----------
    faults : of this one meter (or its broker)
    at, value : the true course, int64 (n,) [us since 1970] and float64 (n,)
    true_at : the true value at an instant

    Returns
    -------
    at, value, said : the times and values it says, and which of them it says at all
    """
    said = np.ones(len(at), dtype=bool)
    counter = QUANTITIES[quantity].kind is Kind.COUNTER
    stamped = at
    for fault in faults:
        if fault.kind in FLOW_FAULTS:
            continue
        inside = (at >= fault.start) & (at < fault.end)
        if fault.kind in SILENT:
            said &= ~inside
        elif fault.kind == "stuck":
            value = np.where(inside, true_at(fault.start), value)
        elif fault.kind == "spike" and not counter:
            lone = (at - fault.start) % SPIKE_EVERY_US < QUARTER_US
            value = np.where(inside & lone, value * fault.amount, value)
        elif fault.kind == "unit_error":
            value = np.where(inside, value * fault.amount, value)
        elif fault.kind == "clock_step":
            stamped = np.where(inside, stamped + int(fault.amount * SECOND_US), stamped)
        elif fault.kind == "reset" and counter:
            value = np.where(at >= fault.start, value - true_at(fault.start), value)
        elif fault.kind == "swap" and counter:
            here = true_at(fault.start)
            value = np.where(at >= fault.start, value - here + fault.first, value - here + fault.last)
    return stamped, value, said


def write_truth(path: Path, faults: Sequence[Fault], *, seed: int, story_at: int) -> None:
    """Write the ground truth; the file is also the memory of when the story was first told."""
    rows = []
    for fault in faults:
        row: dict[str, Any] = asdict(fault)
        row["start"] = from_us(fault.start).isoformat()
        row["end"] = None if fault.end == FOREVER else from_us(fault.end).isoformat()
        rows.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"seed": seed, "story_at": story_at, "faults": rows}, ensure_ascii=False, indent=1)
    beside = path.with_suffix(".tmp")
    beside.write_text(text + "\n", encoding="utf-8")
    os.replace(beside, path)


def told_at(path: Path) -> int | None:
    """When the story of a truth file was first told [us since 1970]; None if there is no such file.

    Raises
    ------
    ExplainedError
        If the file is there and cannot be read.
    """
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["story_at"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ExplainedError(str(path), f"is no truth file: {error}", "delete it to tell the story anew") from error
