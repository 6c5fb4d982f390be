"""What needs somebody, once: what is found within minutes and what a detector finds are one item if one cause."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from meterhall.incidents import ancestors
from metering.clock import DAY_US
from metering.site import Building, Installation, Meter, Name
from storage.ledger.baselines import BaselineRow
from storage.ledger.incidents import IncidentRow
from storage.ledger.ledger import Event

# Of an incident's family: the kinds of events that may be the same thing.
SAME_THING: dict[str, frozenset[str]] = {
    "use": frozenset({"night_load", "water_at_night", "out_of_range"}),
    "leak": frozenset({"water_at_night"}),
    "burst": frozenset({"water_at_night"}),
    "gap": frozenset({"silent", "dead_unit"}),
    "stuck": frozenset({"stuck"}),
    "unit": frozenset({"out_of_range", "counter_reset"}),
    "negative": frozenset({"out_of_range", "counter_reset"}),
    "spike": frozenset({"out_of_range", "counter_reset"}),
}
UP_THE_TREE = frozenset({"use", "leak", "burst"})  # a main sees what its sub-meters see
SURE = 0.75  # less sure ones stand in the list of incidents, not here
LESS = frozenset({"low_use", "step_down"})  # who uses less than usual needs nobody
MISSING = frozenset({"gap", "stuck"})
TOGETHER_US = 3 * DAY_US


def merged(
    installation: Installation, events: Iterable[Event], incidents: Sequence[IncidentRow], sure_of: Container[int]
) -> list[Event]:
    """The events that need somebody, each cause once.

    An event that is the same thing as an incident names it (`data["incident"]`); it goes if a person called that
    planned, or a false alarm. An incident that no event tells of becomes one, if it is sure enough.

    incidents : those that last, causes and parts
    sure_of : ids of the baselines whose errors alone may call somebody: see `trusted`
    """
    causes = [row for row in incidents if row.part_of is None]
    nodes = {row.id: {row.node} for row in causes}
    for row in incidents:
        if row.part_of in nodes:
            nodes[row.part_of].add(row.node)
    out: list[Event] = []
    told: set[int] = set()
    for event in events:
        found = [row for row in causes if same_thing(installation, event, row, nodes[row.id])]
        if not found:
            out.append(event)
            continue
        told |= {row.id for row in found}  # of a silent line the gaps of all its meters
        own = found[0]
        if own.feedback == "planned" or (own.feedback == "false_alarm" and event.severity != "broken"):
            continue
        out.append(replace(event, data={**event.data, "incident": own.id}))
    for row in causes:
        quiet = row.id in told or row.feedback in ("planned", "false_alarm") or row.kind in LESS
        sure = row.confidence >= SURE and (row.family != "use" or row.baseline in sure_of)
        if not quiet and (sure or row.feedback == "confirmed"):
            out.append(event_of(installation, row))
    return out


def trusted(rows: Iterable[BaselineRow]) -> set[int]:
    """The ids of baselines whose errors alone may call somebody: they fit well, and have seen every season."""
    return {
        row.id
        for row in rows
        if row.quality["guideline14"] == "pass"
        and not any(finding.code == "baseline.months_missing" for finding in row.findings)
    }


def same_thing(installation: Installation, event: Event, row: IncidentRow, nodes: set[str]) -> bool:
    """Is an event what an incident, seen at these nodes, is too?"""
    if event.kind not in SAME_THING.get(row.family, ()) or event.since > row.since + TOGETHER_US:
        return False
    if row.node == event.node or row.node in event.data.get("meters", ()):
        return True
    if row.family not in UP_THE_TREE or abs(event.since - row.since) > TOGETHER_US:
        return False
    above = {event.node, *ancestors(installation, event.node)}
    return bool(nodes & above) or event.node in ancestors(installation, row.node)


def event_of(installation: Installation, row: IncidentRow) -> Event:
    """An incident as something that needs somebody."""
    severity = "broken" if row.kind in MISSING else "needs_you"
    return Event(
        f"incident_{row.family}", row.node, said(installation, row), row.since, row.site, severity, {"incident": row.id}
    )


def said(installation: Installation, row: IncidentRow) -> Name:
    """`Where: meter, what.`"""
    meter = installation.by_id.get(row.node)
    building = installation.by_id.get(meter.building) if isinstance(meter, Meter) else None
    place = building if isinstance(building, Building) else installation.site(row.site)
    name = meter.name if isinstance(meter, Meter) else Name(row.node)
    return Name(
        f"{place.name.en}: {name.en}, {row.text.en}.",
        f"{place.name.in_language('zh')}：{name.in_language('zh')}，{row.text.zh}。",
    )
