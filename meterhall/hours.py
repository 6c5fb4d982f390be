"""What a baseline looks at: hours of a meter, building or site, and the outdoor temperature they were used under."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.nodes import GENERATION
from metering.clock import HOUR_US
from metering.distance import distance_km
from metering.quantity import CONSUMPTION, Carrier
from metering.reading import IntervalSeries, Measure, Point
from metering.site import Building, Installation, Meter
from storage.store import Store

OBSERVED = 0.75  # share of an hour that was observed, below which it is a gap
MOST_KM = 100.0  # weather from further away is another place's weather
PLACES: tuple[Literal["building", "site", "elsewhere"], ...] = ("building", "site", "elsewhere")
FLOWS = (Carrier.ELECTRICITY, Carrier.WATER, Carrier.GAS, Carrier.HEAT, Carrier.COOLING)


class Hours(NamedTuple):
    """Hours in a row.

    start : int64 (n,) [hours since 1970]; value : float64 (n,) [unit], NaN is a gap
    """

    start: NDArray[np.int64]
    value: NDArray[np.float64]


def judged_measures(installation: Installation, measures: Sequence[Measure]) -> list[Measure]:
    """The measures that have a usual: consumption of sites, buildings and meters, in that order.

    What is generated is left out: it depends on the sun, which no baseline here knows.
    """
    order = {"site": 0, "building": 1, "meter": 2}
    return sorted((m for m in measures if _has_usual(installation, m)), key=lambda m: order[m.scope])


def _has_usual(installation: Installation, measure: Measure) -> bool:
    thing = installation.by_id.get(measure.node)
    if measure.scope != "meter":
        return thing is not None and measure.name in FLOWS and measure.name != GENERATION
    if not isinstance(thing, Meter) or thing.role in ("generation", "sensor"):
        return False
    return measure.name in CONSUMPTION.get(thing.carrier, ())


def carrier_of(installation: Installation, measure: Measure) -> Carrier:
    """What flows through a measure."""
    thing = installation.by_id.get(measure.node)
    return thing.carrier if isinstance(thing, Meter) else Carrier(measure.name)


def hours_of(series: IntervalSeries, first: int, last: int) -> Hours:
    """The hours [first, last) of quarter hours; one that was not observed for the most part is a gap.

    first, last : hours since 1970
    """
    start = np.arange(first, max(last, first), dtype=np.int64)
    hour = series.start // HOUR_US - first
    inside = (hour >= 0) & (hour < len(start))
    hour = hour[inside]
    share = (series.end - series.start)[inside] / HOUR_US
    amount = np.bincount(hour, series.amount[inside], len(start))
    seen = np.bincount(hour, series.coverage[inside] * share, len(start))
    return Hours(start, np.where(seen >= OBSERVED, amount / 1000.0, np.nan))


def read_hours(store: Store, measures: Sequence[Measure], first: int, last: int) -> list[Hours]:
    """The hours [first, last) of measures, from the stored quarter hours."""
    found = store.intervals(measures, "15min", first * HOUR_US, last * HOUR_US) if last > first else []
    return [hours_of(series, first, last) for series in found]


class Thermometer(NamedTuple):
    """An outdoor thermometer, seen from a node.

    place : at its building, its site, or elsewhere; distance_km : None where a position is not configured
    """

    point: Point
    place: Literal["building", "site", "elsewhere"]
    distance_km: float | None


def thermometers(installation: Installation, store: Store, node: str) -> list[Thermometer]:
    """Outdoor thermometers for a node, the best first: its own building's, its site's, then the nearest.

    Those of other buildings and sites serve only where there is no better one, and from MOST_KM on not at all.
    """
    thing = installation.by_id.get(node)
    building = thing.id if isinstance(thing, Building) else getattr(thing, "building", "")
    site = getattr(thing, "site", node)
    here = installation.position_of(node) if thing is not None else None
    found = []
    for point in store.points():
        device = installation.by_id.get(point.meter)
        if point.quantity != "outdoor_temperature" or not isinstance(device, Meter):
            continue
        there = installation.position_of(device.id)
        far = None if here is None or there is None else distance_km(here, there)
        if point.site != site and (far is None or far >= MOST_KM):
            continue
        own_place = device.latitude is not None
        rank = 0 if building and device.building == building else 1
        if rank and (device.building or own_place or point.site != site):
            rank = 2
        found.append((rank, np.inf if far is None else far, Thermometer(point, PLACES[rank], far)))
    return [each for *_, each in sorted(found, key=lambda row: (row[0], row[1], row[2].point))]


class Outdoor(NamedTuple):
    """Outdoor temperature of hours: float64 (n,) [degC], NaN where unknown; and where it comes from.

    used : each thermometer that gave a value, with the share of the hours it was taken for [1]
    """

    degc: NDArray[np.float64]
    sources: tuple[str, ...]
    used: tuple[tuple[Thermometer, float], ...] = ()


def read_outdoor(installation: Installation, store: Store, node: str, first: int, last: int) -> Outdoor:
    """The outdoor temperature at a node in the hours [first, last); a gap is filled by the next thermometer."""
    degc = np.full(max(last - first, 0), np.nan)
    used = []
    for each in thermometers(installation, store, node):
        if np.isfinite(degc).all():
            break
        rollup = store.rollup(each.point, first * HOUR_US, last * HOUR_US, HOUR_US)
        place = rollup.start // HOUR_US - first
        empty = np.isnan(degc[place])
        if empty.any():
            degc[place[empty]] = rollup.mean[empty]
            used.append((each, float(empty.sum()) / len(degc)))
    return Outdoor(degc, tuple(str(each.point) for each, _ in used), tuple(used))
