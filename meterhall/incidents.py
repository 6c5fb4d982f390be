"""One cause is one incident: what a detector tells is matched with what the ledger knows, and folded up the tree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from analytics.anomaly.incident import Incident
from metering.clock import DAY_US
from metering.reading import Measure
from metering.site import Installation, Meter
from storage.ledger.baselines import BaselineRow
from storage.ledger.incidents import IncidentRow

NEAR_US = DAY_US  # two of a family that lie so close are one
TOGETHER_US = 2 * DAY_US  # so close their beginnings must be, to have one cause
MANY = 3  # branches that do the same at once: the cause lies above them
OWN_SHARE = 0.5  # of a main's rate that its sub-meters do not explain: then it is a cause of its own
Key = tuple[str, int]  # `Incident.key`
USE_FAMILIES = ("use", "leak", "burst")


def row_of(found: Incident, measure: Measure, baseline: BaselineRow | None) -> IncidentRow:
    """An incident as the ledger keeps it."""
    return IncidentRow(
        measure.site, measure.node, measure.name, measure.unit, found.kind, found.key[0], found.start, found.end,
        found.detected, found.size, found.rate, found.confidence, found.text, dict(found.evidence),
        baseline.id if baseline else 0,
    )  # fmt: skip


def same(one: IncidentRow, other: IncidentRow) -> bool:
    """Are these two tellings of one incident of a meter?"""
    if one.family != other.family:
        return False
    if one.detected == other.detected:
        return True
    ends = [row.until if row.until is not None else max(one.detected, other.detected) for row in (one, other)]
    return one.since < ends[1] + NEAR_US and other.since < ends[0] + NEAR_US


class Reconciled(NamedTuple):
    """Each incident found with its row: id 0 is a new one, None one that is not told; and open rows no longer found."""

    rows: dict[Key, IncidentRow | None]
    ended: list[IncidentRow]


def reconciled(
    known: Iterable[IncidentRow], found: Mapping[Key, IncidentRow], now: int, new_since: int | None
) -> Reconciled:
    """The incidents a detector finds, as rows that continue those in the ledger.

    Parameters
    ----------
    known : the meter's rows that overlap the time the detector has judged; found : what it found there, by key
    new_since : one that is over and was detected before is not entered anew; None: all are [us since 1970]
    """
    left = sorted(known, key=lambda row: row.since)
    rows: dict[Key, IncidentRow | None] = {}
    for key, row in sorted(found.items(), key=lambda item: item[1].since):
        own = next((old for old in left if old.detected == row.detected and old.family == row.family), None)
        own = own or next((old for old in left if same(old, row)), None)
        if own is not None:
            left.remove(own)
            rows[key] = continued(own, row)
        else:
            told = row.until is None or new_since is None or row.detected >= new_since
            rows[key] = row if told else None
    return Reconciled(rows, [replace(row, until=max(now, row.since)) for row in left if row.until is None])


def continued(old: IncidentRow, row: IncidentRow) -> IncidentRow:
    """A row of the ledger with what is found of it now; its beginning and what people said stay."""
    return replace(
        row, id=old.id, part_of=old.part_of, feedback=old.feedback, updated_at=old.updated_at,
        since=min(old.since, row.since), detected=min(old.detected, row.detected),
    )  # fmt: skip


def ancestors(installation: Installation, node: str) -> list[str]:
    """The meters above a meter, the nearest first."""
    out: list[str] = []
    thing = installation.by_id.get(node)
    while isinstance(thing, Meter) and thing.parent and thing.parent not in out:
        out.append(thing.parent)
        thing = installation.by_id.get(thing.parent)
    return out


def folded(installation: Installation, rows: Sequence[IncidentRow]) -> list[IncidentRow]:
    """The rows whose `part_of` is to be another, with it.

    A main sees what its sub-meters see: its incident is part of theirs, unless half of its rate is its own. Where
    three branches or more do the same at once, the cause lies above them: theirs are part of the main's. On one
    meter a leak is the cause of the higher use that it makes.
    """
    use = [row for row in rows if row.family in USE_FAMILIES]
    parent: dict[int, int | None] = {row.id: None for row in rows}
    by_node: dict[str, list[IncidentRow]] = defaultdict(list)
    for row in use:
        by_node[row.node].append(row)
    for here in by_node.values():
        for row in here:
            cause = next((c for c in here if c.family != "use" and row.family == "use" and alike(row, c)), None)
            if cause is not None:
                parent[row.id] = cause.id
    below: dict[int, list[tuple[str, IncidentRow]]] = defaultdict(list)  # of a row: (branch, row there)
    for row in use:
        path = ancestors(installation, row.node)
        for branch, above in zip([row.node, *path], path, strict=False):
            for main in by_node.get(above, ()):
                if alike(main, row):
                    below[main.id].append((branch, row))
    for main in sorted(use, key=lambda row: len(ancestors(installation, row.node))):
        parts = [(branch, row) for branch, row in below[main.id] if parent[row.id] is None]
        branches = {branch: row for branch, row in parts}
        if parent[main.id] is not None or not parts:
            continue
        if len(branches) >= MANY:
            parent |= {row.id: main.id for _, row in parts}
            continue
        explained: dict[str, float] = {}
        for branch, row in parts:
            explained[branch] = max(explained.get(branch, 0.0), abs(row.rate))
        if abs(main.rate) - sum(explained.values()) < OWN_SHARE * abs(main.rate):
            deepest = max(parts, key=lambda p: (len(ancestors(installation, p[1].node)), abs(p[1].rate)))[1]
            parent[main.id] = deepest.id
    parent = {child: _top(child, parent) for child in parent}
    return [replace(row, part_of=parent[row.id]) for row in rows if row.part_of != parent[row.id]]


def _top(child: int, parent: Mapping[int, int | None]) -> int | None:
    """The cause behind the cause, so that a part names the incident that is shown."""
    seen, above = {child}, parent[child]
    while above is not None and parent.get(above) is not None and above not in seen:
        seen.add(above)
        above = parent[above]
    return above if above != child else None


def alike(one: IncidentRow, other: IncidentRow) -> bool:
    """May these have one cause: the same direction, begun about the same time? A main sees a leak late, or at times."""
    if one.id == other.id or one.unit != other.unit or (one.rate >= 0) != (other.rate >= 0):
        return False
    if abs(one.since - other.since) <= TOGETHER_US:
        return True
    first, later = sorted((one, other), key=lambda row: row.since)
    leaks = one.family in ("leak", "burst") and other.family in ("leak", "burst")
    return leaks and (first.until is None or later.since < first.until)
