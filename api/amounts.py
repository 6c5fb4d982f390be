"""What was used: amounts of meters, buildings and sites, summed as integers from the stored intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

import numpy as np

from analytics.nodes import GENERATION
from api.errors import NotThere, Refused
from api.periods import Period, Resolution, edges, local_date, midnight, quarter_before, shifted, zone_of
from api.services import Services
from metering.clock import DAY_US, HOUR_US, MINUTE_US, QUARTER_US
from metering.quantity import CONSUMPTION, QUANTITIES, Carrier, Kind
from metering.reading import IntervalSeries, Measure
from metering.site import Building, Meter, Site, Vehicle

if TYPE_CHECKING:
    from numpy.typing import NDArray

Scope = Literal["meter", "building", "site"]
SETTLE_US = MINUTE_US  # a quarter hour is expected to be derived so long after its end
CARRIER_NAMES = frozenset(carrier.value for carrier in Carrier)
FLOW_CARRIERS = (Carrier.ELECTRICITY, Carrier.WATER, Carrier.GAS, Carrier.HEAT, Carrier.COOLING)


@dataclass(frozen=True, slots=True)
class Amount:
    """What was used in a period.

    value, estimated : int [0.001 unit]; `value` is None when nothing is known, which is not zero
    coverage : share of the period, so far as it has passed, that was observed [1]
    """

    measure: Measure
    period: Period
    value: int | None
    estimated: int
    coverage: float

    @property
    def unit(self) -> str:
        """The unit of which `value` counts thousandths."""
        return self.measure.unit

    @property
    def in_units(self) -> float | None:
        """The value in its unit."""
        return None if self.value is None else self.value / 1000.0

    @property
    def estimated_share(self) -> float:
        """The share of the value that was spread over gaps [1]."""
        return self.estimated / self.value if self.value else 0.0


@dataclass(frozen=True, slots=True)
class Amounts:
    """What was used in each interval; one of which nothing is known is absent.

    start, end : int64 (m,) [us since 1970]
    amount, estimated : int64 (m,) [0.001 measure.unit]
    coverage : float64 (m,) [1]
    """

    measure: Measure
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    amount: NDArray[np.int64]
    estimated: NDArray[np.int64]
    coverage: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.start)

    @property
    def value(self) -> NDArray[np.float64]:
        """float64 (m,) [measure.unit]"""
        return self.amount / 1000.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """A period against another one; both end at the same wall clock time.

    change : (this - that) / that [1]; None when either is not known or `that` is nothing
    """

    this: Amount
    that: Amount
    change: float | None


@dataclass(frozen=True, slots=True)
class Branch:
    """A meter in its tree, with the figures of a period.

    share : of its parent's amount [1]; None for a top meter, or when either is not known
    rest : what its parts leave unexplained [0.001 unit]; None without parts or when any is not known
    """

    meter: Meter
    amount: Amount
    share: float | None
    rest: int | None
    parts: tuple[Branch, ...]


def site_of(services: Services, node: str) -> Site:
    """The site of a site, building, meter or vehicle.

    Raises
    ------
    NotThere
        If there is no such id.
    """
    thing = services.installation.by_id.get(node)
    if thing is None:
        raise NotThere(f'"{node[:64]}"', "is not configured", "see /api/v1/sites, buildings, meters or vehicles")
    return thing if isinstance(thing, Site) else services.installation.site(thing.site)


def zone_at(services: Services, node: str) -> ZoneInfo:
    """The time zone in which a node's days begin."""
    return zone_of(site_of(services, node).timezone)


def scope_of(services: Services, node: str) -> Scope:
    """Whether a node is a site, a building, or a meter or vehicle."""
    site_of(services, node)
    thing = services.installation.by_id[node]
    return "site" if isinstance(thing, Site) else "building" if isinstance(thing, Building) else "meter"


def measure_of(services: Services, scope: Scope, node: str, name: str) -> Measure:
    """The measure of a counter of a meter or vehicle, or of a carrier of a building or site.

    For a meter, `name` may also be its carrier: then its consumption counter is meant.

    Raises
    ------
    NotThere
        If the node is not configured in that scope, or has no such counter or carrier.
    """
    site = site_of(services, node)
    if scope_of(services, node) != scope:
        raise NotThere(f'"{node[:64]}"', f"is no {scope}", f"its scope is {scope_of(services, node)}")
    candidates: tuple[str, ...]
    if name == GENERATION and scope != "meter":
        return Measure(site.id, scope, node, name, _unit_of_carrier(services, node, name))
    if name in CARRIER_NAMES:
        candidates = CONSUMPTION.get(Carrier(name), ())
        if scope != "meter":
            return Measure(site.id, scope, node, name, _unit_of_carrier(services, node, name))
    elif name in QUANTITIES and QUANTITIES[name].kind == Kind.COUNTER and scope == "meter":
        candidates = (name,)
    else:
        candidates = ()
    if not candidates:
        raise NotThere(f'"{name[:64]}"', f"is nothing that a {scope} counts", "name a carrier, or a meter's counter")
    known = services.known.of(services.store, node)
    chosen = next((candidate for candidate in candidates if candidate in known), candidates[0])
    return Measure(site.id, scope, node, chosen, QUANTITIES[chosen].unit)


def _unit_of_carrier(services: Services, node: str, carrier: str) -> str:
    known = services.known.of(services.store, node).get(carrier)
    if known is not None:
        return known.unit
    counters = CONSUMPTION.get(Carrier.ELECTRICITY if carrier == GENERATION else Carrier(carrier))
    if not counters:
        raise NotThere(f'"{carrier}"', "is no carrier that is consumed", f"use one of {', '.join(FLOW_CARRIERS)}")
    return QUANTITIES[counters[0]].unit


def carriers_of(services: Services, node: str) -> list[Carrier]:
    """The carriers of which a building or site has intervals, in the order of the vocabulary."""
    names = services.known.of(services.store, node)
    return [carrier for carrier in FLOW_CARRIERS if carrier in names]


def grouped(
    services: Services, measures: Sequence[Measure], cuts: NDArray[np.int64], zone: ZoneInfo, estimates: bool = True
) -> list[Amounts]:
    """What each measure used between the edges; all measures of one site, whose zone is `zone` if days are to help.

    Whole local days that have passed come from the stored days, the rest from quarter hours.
    """
    start, end = int(cuts[0]), int(cuts[-1])
    parts = _stored(services, measures, start, end, zone, use_days=_on_days(cuts, zone))
    horizon = quarter_before(services.now() - SETTLE_US)
    return [_sum(measure, rows, cuts, horizon, estimates) for measure, rows in zip(measures, parts, strict=True)]


def _on_days(cuts: NDArray[np.int64], zone: ZoneInfo) -> bool:
    """Whether all inner edges are local midnights, so that stored days fall between them."""
    return all(midnight(local_date(cut, zone), zone) == cut for cut in cuts[1:-1].tolist())


def _stored(
    services: Services, measures: Sequence[Measure], start: int, end: int, zone: ZoneInfo, use_days: bool
) -> list[list[IntervalSeries]]:
    first = midnight(local_date(start, zone), zone)
    if first < start:
        first = midnight(local_date(first + 36 * HOUR_US, zone), zone)
    last = midnight(local_date(min(end, services.now()), zone), zone)
    own = all(services.installation.timezone_of(measure.node) == zone.key for measure in measures)
    if not (use_days and own and first < last):
        spans = [("15min", start, end)]
    else:
        spans = [("15min", start, first), ("day", first, last), ("15min", last, end)]
    found = [
        services.store.intervals(measures, resolution, since, until)
        for resolution, since, until in spans
        if since < until
    ]
    return [[series[i] for series in found] for i in range(len(measures))]


def _sum(
    measure: Measure, rows: Sequence[IntervalSeries], cuts: NDArray[np.int64], horizon: int, estimates: bool
) -> Amounts:
    groups = len(cuts) - 1
    amount, estimated = np.zeros(groups, np.int64), np.zeros(groups, np.int64)
    covered, known = np.zeros(groups), np.zeros(groups, bool)
    for part in rows:
        group = np.searchsorted(cuts, part.start, "right") - 1
        whole = (group >= 0) & (group < groups)
        whole[whole] = part.end[whole] <= cuts[group[whole] + 1]
        if not estimates:
            whole &= (part.coverage > 0) | (part.estimated == 0)
        inside = group[whole]
        np.add.at(amount, inside, part.amount[whole] - (0 if estimates else part.estimated[whole]))
        np.add.at(estimated, inside, part.estimated[whole] if estimates else 0)
        np.add.at(covered, inside, part.coverage[whole] * (part.end[whole] - part.start[whole]))
        known[inside] = True
    passed = np.maximum(np.minimum(cuts[1:], max(horizon, 0)) - cuts[:-1], 1)
    coverage = np.minimum(covered / passed, 1.0)
    return Amounts(measure, cuts[:-1][known], cuts[1:][known], amount[known], estimated[known], coverage[known])


def amounts_of(services: Services, measures: Sequence[Measure], start: int, end: int) -> list[Amount]:
    """What each measure used in [start, end); one look into the store for all of them, which share a site."""
    if not measures:
        return []
    zone = zone_at(services, measures[0].node)
    period = Period(start, end)
    return [
        Amount(each.measure, period, int(each.amount[0]), int(each.estimated[0]), float(each.coverage[0]))
        if len(each)
        else Amount(each.measure, period, None, 0, 0.0)
        for each in grouped(services, measures, np.array([start, end], np.int64), zone)
    ]


def amount(services: Services, scope: Scope, node: str, name: str, start: int, end: int) -> Amount:
    """What a node used of a carrier (or a meter counted of a quantity) in [start, end)."""
    return amounts_of(services, [measure_of(services, scope, node, name)], start, end)[0]


def amounts_by(
    services: Services,
    scope: Scope,
    node: str,
    name: str,
    start: int,
    end: int,
    resolution: Resolution,
    *,
    zone: ZoneInfo | None = None,
    estimates: bool = True,
) -> Amounts:
    """The same in local intervals of the node's zone, or of another one.

    Raises
    ------
    Refused
        If it would be more intervals than `limits.steps`.
    """
    measure = measure_of(services, scope, node, name)
    within = zone or zone_at(services, node)
    check_steps(services, Period(start, end), resolution)
    cuts = edges(resolution, Period(start, end), within)
    return grouped(services, [measure], cuts, within, estimates)[0]


LEAST_US: dict[str, int] = {"15min": QUARTER_US, "1min": MINUTE_US, "hour": HOUR_US, "day": 20 * HOUR_US}


def check_steps(services: Services, period: Period, resolution: str) -> None:
    """Refuse a reply of too many steps before any work is done."""
    steps = period.length // LEAST_US.get(resolution, 20 * DAY_US)
    if steps > services.limits.steps:
        raise Refused("resolution", f"makes {steps} steps", "ask for a coarser resolution or a shorter period")


def compare(
    services: Services, scope: Scope, node: str, name: str, period: Period, days: int = 7, until: int | None = None
) -> Comparison:
    """A period, as far as it has passed, with the same wall clock hours so many local days before.

    `until` : where both end; default is the end of the newest interval, at most now.
    """
    measure = measure_of(services, scope, node, name)
    zone = zone_at(services, node)
    stop = min(period.end, until if until is not None else newest_end(services, measure, period))
    stop = max(stop, period.start + 1)
    this = amounts_of(services, [measure], period.start, stop)[0]
    that = amounts_of(services, [measure], shifted(period.start, zone, -days), shifted(stop, zone, -days))[0]
    return Comparison(this, that, change(this, that))


def change(this: Amount, that: Amount) -> float | None:
    """(this - that) / that [1], where both are known and the other is something."""
    if this.value is None or not that.value:
        return None
    return (this.value - that.value) / that.value


def newest_end(services: Services, measure: Measure, period: Period) -> int:
    """The end of the newest quarter hour of a period that is known; else the last one that has passed."""
    last = min(period.end, quarter_before(services.now()))
    since = max(period.start, last - 6 * HOUR_US)
    if since < last:
        ends = services.store.intervals([measure], "15min", since, last)[0].end
        if len(ends):
            return min(int(ends[-1]), last)
    return last


def usual(services: Services, measures: Sequence[Measure], start: int, end: int, weeks: int = 4) -> list[Amount]:
    """The mean of the same weekday and hours of the last weeks, of those observed by half or more.

    `value` is None when no week was; `coverage` is the mean of the weeks used.
    """
    if not measures:
        return []
    zone = zone_at(services, measures[0].node)
    before = [
        amounts_of(services, measures, shifted(start, zone, -7 * week), shifted(end, zone, -7 * week))
        for week in range(1, weeks + 1)
    ]
    out = []
    for i, measure in enumerate(measures):
        good = [week[i] for week in before if week[i].value is not None and week[i].coverage >= 0.5]
        value = round(sum(each.value or 0 for each in good) / len(good)) if good else None
        coverage = math.fsum(each.coverage for each in good) / len(good) if good else 0.0
        out.append(Amount(measure, Period(start, end), value, 0, coverage))
    return out


def load_curve(services: Services, scope: Scope, node: str, name: str, period: Period) -> Amounts:
    """The whole quarter hours of a period; mean power of a kWh measure is `mean_power_w`."""
    return amounts_by(services, scope, node, name, *whole_quarters(services, period), "15min")


def whole_quarters(services: Services, period: Period) -> Period:
    """A period without the quarter hour that is under way: a part of it is no mean power."""
    end = min(period.end, quarter_before(services.now() - SETTLE_US))
    return Period(period.start, max(period.start, end))


def mean_power_w(amounts: Amounts) -> NDArray[np.float64]:
    """float64 (m,): mean power of intervals of energy in kWh [W]."""
    return amounts.amount * (3600.0 * 1e6) / (amounts.end - amounts.start)


def tree(services: Services, node: str, carrier: Carrier, period: Period) -> tuple[Branch, ...]:
    """The meters of a building or site of a carrier, as a tree with the period's amounts.

    A building's tree begins with the meters whose parent stands elsewhere.
    """
    scope = scope_of(services, node)
    if scope == "meter":
        meter = services.installation.by_id[node]
        tops = [meter] if isinstance(meter, Meter) else []
    else:
        tops = [meter for meter, sign in services.installation.contributions(scope, node, carrier) if sign > 0]
    below: list[Meter] = []
    wanted = list(tops)
    while wanted:
        meter = wanted.pop()
        below.append(meter)
        wanted.extend(services.installation.children[meter.id])
    measures = {meter.id: measure_of_main(services, meter) for meter in below}
    found = amounts_of(services, list(measures.values()), period.start, period.end)
    amounts = dict(zip(measures, found, strict=True))

    def branch(meter: Meter, parent: Amount | None) -> Branch:
        own = amounts[meter.id]
        parts = tuple(branch(part, own) for part in services.installation.children[meter.id])
        share = None if parent is None or not parent.value or own.value is None else own.value / parent.value
        rest: int | None = None
        if parts and own.value is not None and all(part.amount.value is not None for part in parts):
            rest = own.value - sum(_into(part) for part in parts)
        return Branch(meter, own, share, rest, parts)

    return tuple(branch(meter, None) for meter in tops)


def _into(part: Branch) -> int:
    """What a part takes out of its parent; generation gives instead."""
    value = part.amount.value or 0
    return -value if part.meter.role == "generation" else value


def measure_of_main(services: Services, device: Meter | Vehicle) -> Measure:
    """The counter that stands for a meter: its carrier's; of a generator what it gives."""
    known = services.known.of(services.store, device.id)
    names: tuple[str, ...]
    if isinstance(device, Vehicle):
        names = ("charge_energy", "fuel_used", "odometer")
    elif device.role == "generation":
        names = ("active_energy_export", "active_energy_import")
    else:
        names = CONSUMPTION.get(device.carrier, ())
    if not names:
        raise NotThere(f'"{device.id}"', "counts nothing", "sensors have readings, no consumption")
    name = next((name for name in names if name in known), names[0])
    return Measure(device.site, "meter", device.id, name, QUANTITIES[name].unit)
