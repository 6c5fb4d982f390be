"""Consumption of buildings and sites: sums over the meter tree, net of sub-meters.

Energy *into* what hangs behind a meter is its net flow: import less export. A node uses what flows
in through its top meters, less what sub-meters pass on to others, and what is made inside:

    consumption = grid import - grid export + generation - charge of storage

A generating meter (role `generation`) counts the energy it gives as `active_energy_export`; one that
is wired the other way round gets a `sign` fact. It adds to a node when it feeds in behind one of the
node's top meters or stands in the node's tree without parent; one that feeds in above the node's
meters (a roof that feeds the site's main) adds to the site, not to the building. Storage (role
`storage`) is taken out in the same way: charging is not consumption, its losses are.

A sum with a missing part says so: its coverage is the smallest of its parts', and 0 where a part has
no interval. A part counts from its own first interval on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from analytics.facts import MIRROR
from analytics.intervals import empty
from metering.quantity import CONSUMPTION, QUANTITIES, Carrier, Quality
from metering.reading import IntervalSeries, Measure
from metering.site import Installation, Meter

GENERATION = "generation"  # name of the measure of what a node generates, beside its carriers
INSIDE = ("generation", "storage")


class Part(NamedTuple):
    """A meter's measure and how often it counts in a sum."""

    measure: Measure
    sign: int


def meter_measure(meter: Meter, quantity: str) -> Measure:
    """The measure of a meter's counter."""
    return Measure(meter.site, "meter", meter.id, quantity, QUANTITIES[quantity].unit)


def _net(meter: Meter, sign: int, available: Collection[Measure]) -> list[Part]:
    """Import less export of the first counter that the meter has; nothing if it has none."""
    for quantity in CONSUMPTION.get(meter.carrier, ()):
        parts = [Part(meter_measure(meter, quantity), sign)]
        if quantity in MIRROR:
            parts.append(Part(meter_measure(meter, MIRROR[quantity]), -sign))
        parts = [part for part in parts if part.measure in available]
        if parts:
            return parts
    return []


def signed_meters(installation: Installation, scope: str, node: str, carrier: Carrier) -> list[tuple[Meter, int]]:
    """The meters whose net flow adds up to a node's consumption, each with its sign."""
    flows = {meter.id: sign for meter, sign in installation.contributions(scope, node, carrier)}
    out = []
    for meter in installation.meters:
        if meter.carrier != carrier or meter.role == "sensor":
            continue
        if meter.role not in INSIDE:
            if meter.id in flows:
                out.append((meter, flows[meter.id]))
            continue
        above = meter.parent
        while above and (above not in flows or _meter(installation, above).role in INSIDE):
            above = _meter(installation, above).parent
        mine = node == (meter.site if scope == "site" else meter.building)
        if flows.get(above) == 1 or (not meter.parent and mine):
            out.append((meter, -1))
    return out


def _meter(installation: Installation, meter_id: str) -> Meter:
    found = installation.by_id[meter_id]
    assert isinstance(found, Meter)
    return found


def node_parts(installation: Installation, available: Collection[Measure]) -> dict[Measure, tuple[Part, ...]]:
    """Every node's measure and its parts, out of the meters' measures that are there.

    A carrier measured in two units (gas in m3 and in kWh) gives a node two measures, one of each unit.
    """
    out: dict[Measure, tuple[Part, ...]] = {}
    nodes = [("site", site.id, site.id) for site in installation.sites]
    nodes += [("building", building.id, building.site) for building in installation.buildings]
    for scope, node, site in nodes:
        for carrier in CONSUMPTION:
            flows = [_net(m, sign, available) for m, sign in signed_meters(installation, scope, node, carrier)]
            for unit in dict.fromkeys(part.measure.unit for parts in flows for part in parts):
                parts = tuple(part for parts in flows for part in parts if part.measure.unit == unit)
                out[Measure(site, scope, node, carrier.value, unit)] = parts
        makers = [
            part
            for meter in installation.meters
            if meter.role == "generation" and node == (meter.site if scope == "site" else meter.building)
            for part in _net(meter, -1, available)
        ]
        for unit in dict.fromkeys(part.measure.unit for part in makers):
            out[Measure(site, scope, node, GENERATION, unit)] = tuple(p for p in makers if p.measure.unit == unit)
    return out


def combine(
    measure: Measure,
    parts: Sequence[tuple[IntervalSeries, int]],
    since: Mapping[Measure, int] | None = None,
) -> IntervalSeries:
    """The signed sum of series that share their edges; exact, integer by integer.

    Parameters
    ----------
    measure : identity of the result
    parts : series and how often each counts, +1 or -1
    since : the start of each part's first interval ever [us]; it is no part before. Default: of those given

    Returns
    -------
    IntervalSeries
        A row wherever an added part has one. `coverage` is the smallest of the parts', 0 where one is
        absent; `estimated` adds up the parts' estimates without sign. A difference of two meters can be
        negative in an interval and stays so: its sum is still exact.
    """
    adding = [series for series, sign in parts if sign > 0 and len(series)]
    if not adding:
        adding = [series for series, _ in parts if len(series)]
    if not adding:
        return empty(measure)
    start, first = np.unique(np.concatenate([series.start for series in adding]), return_index=True)
    end = np.concatenate([series.end for series in adding])[first]
    amount, estimated = np.zeros(len(start), np.int64), np.zeros(len(start), np.int64)
    coverage, quality = np.ones(len(start)), np.zeros(len(start), np.uint8)
    for series, sign in parts:
        begin = (since or {}).get(series.measure, int(series.start[0]) if len(series) else None)
        if begin is None:
            continue
        here = np.zeros(len(start))
        if len(series):
            place = np.minimum(np.searchsorted(series.start, start), len(series) - 1)
            has = np.flatnonzero(series.start[place] == start)
            rows = place[has]
            amount[has] += sign * series.amount[rows]
            estimated[has] += np.abs(series.estimated[rows])
            here[has] = series.coverage[rows]
            interpolated = series.quality[rows] == Quality.INTERPOLATED
            quality[has[interpolated]] = Quality.INTERPOLATED
        here[end <= begin] = 1.0
        coverage = np.minimum(coverage, here)
    quality[coverage == 0] = Quality.ESTIMATED
    return IntervalSeries(measure, start, end, amount, coverage, estimated, quality)


def rest(main: IntervalSeries, parts: Sequence[IntervalSeries], measure: Measure | None = None) -> IntervalSeries:
    """What a main meter counted and its sub-meters did not."""
    return combine(measure or main.measure, [(main, 1), *((part, -1) for part in parts)])
