"""Baselines and incidents as API and page show them: what was expected, what an incident cost, what speaks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from api.amounts import Amounts, Scope, amounts_by, check_steps, measure_of
from api.conversion import factor_at
from api.errors import NotThere
from api.periods import Period, edges, zone_of
from api.services import Insights, Services, Usual
from metering.clock import DAY_US, HOUR_US
from metering.explain import ExplainedError
from metering.quantity import QUANTITIES
from metering.reading import Measure
from metering.site import Factor, Meter
from storage.ledger.baselines import BaselineRow
from storage.ledger.incidents import IncidentRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

Grain = Literal["hour", "day", "month", "total"]
BEFORE_US, AFTER_US = 3 * DAY_US, DAY_US  # of an incident: shown around it
LONGEST_SHOWN_US = 70 * DAY_US


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is expected in the intervals of a period, and what was observed there.

    start, end : int64 (n,) [us since 1970]; amount : int64 (n,) [0.001 unit]; low, high : float64 (n,) [unit]
    observed : float64 (n,) [unit], NaN where nothing is known; coverage : float64 (n,) [1]
    measured : share of the hours whose temperature was measured [1]
    """

    baseline: BaselineRow
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    amount: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    observed: NDArray[np.float64]
    coverage: NDArray[np.float64]
    measured: float


def insights_of(services: Services) -> Insights:
    """The baselines and incidents.

    Raises
    ------
    ExplainedError
        Where nothing is fitted.
    """
    if services.insights is None:
        raise ExplainedError("baselines", "are not fitted here", "ask the machine that collects")
    return services.insights


def baseline_of(services: Services, measure: Measure) -> BaselineRow | None:
    """The baseline of a measure that is in use; None if there is none yet."""
    if services.insights is None:
        return None
    rows = services.insights.baselines(node=measure.node)
    return next((row for row in rows if row.measure == measure), None)


def expectation(
    services: Services, scope: Scope, node: str, name: str, period: Period, grain: Grain
) -> Expectation | None:
    """What is expected in a period; None where no baseline can tell.

    Days, months and the total are sums of whole hours, each with the interval of the sum.
    """
    measure = measure_of(services, scope, node, name)
    check_steps(services, period, "hour")
    usual = services.insights.usual(measure, *period) if services.insights else None
    if usual is None:
        return None
    zone = zone_of(services.installation.timezone_of(node))
    expected = usual.expected
    if grain == "hour":
        start, end = expected.start, expected.start + HOUR_US
        amount, low, high = expected.amount, expected.low, expected.high
    else:
        cuts = edges(grain, period, zone)
        start, end = cuts[:-1], cuts[1:]
        amount, low, high = _sums(services, usual, start, grain)
    seen = amounts_by(services, scope, node, name, int(start[0]), int(end[-1]), grain, zone=zone)
    observed, coverage = _placed(seen, start)
    return Expectation(
        usual.row, start, end, amount, low, high, observed, coverage, float(np.mean(expected.measured))
    )  # fmt: skip


def _sums(
    services: Services, usual: Usual, start: NDArray[np.int64], grain: str
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The sums of the hours in each interval, with the interval of their uncertainty."""
    found = insights_of(services).totals(usual, {"total": "all"}.get(grain, grain))
    place = np.clip(np.searchsorted(start, usual.expected.start, "right") - 1, 0, len(start) - 1)
    amount = np.zeros(len(start), np.int64)
    np.add.at(amount, place, usual.expected.amount)
    rows = min(len(found.amount), len(start))
    half = np.zeros((2, len(start)))
    half[0, :rows] = (found.low - found.amount / 1000.0)[:rows]
    half[1, :rows] = (found.high - found.amount / 1000.0)[:rows]
    return amount, np.maximum(amount / 1000.0 + half[0], 0.0), amount / 1000.0 + half[1]


def _placed(seen: Amounts, start: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    observed, coverage = np.full(len(start), np.nan), np.zeros(len(start))
    at = np.searchsorted(start, seen.start)
    inside = (at < len(start)) & (start[np.minimum(at, len(start) - 1)] == seen.start)
    observed[at[inside]] = seen.value[inside]
    coverage[at[inside]] = seen.coverage[inside]
    return observed, coverage


def carrier_of_row(services: Services, row: IncidentRow) -> str:
    """What flows through the meter of an incident."""
    meter = services.installation.by_id.get(row.node)
    return meter.carrier.value if isinstance(meter, Meter) else QUANTITIES[row.name].carrier.value


@dataclass(frozen=True, slots=True)
class Money:
    """An amount by a dated factor."""

    value: float
    unit: str
    factor: Factor


def converted_row(services: Services, row: IncidentRow, kind: str) -> Money | None:
    """What an incident comes to in money ("price") or CO2 ("co2"), by the factor of its beginning; None without one."""
    factor = factor_at(services, f"{kind}.{carrier_of_row(services, row)}", row.site, row.since)
    if factor is None or not row.size or factor.unit.partition("/")[2] != row.unit:
        return None
    return Money(row.size * factor.value, factor.unit.partition("/")[0], factor)


def dearest_first(services: Services, rows: Sequence[IncidentRow]) -> list[IncidentRow]:
    """Incidents by what they cost; those that cost nothing that is known come after, then what was saved."""

    def key(row: IncidentRow) -> tuple[int, float, int]:
        money = converted_row(services, row, "price")
        if money is None:
            return (1, -abs(row.size), -row.since)
        return (0 if money.value > 0 else 2, -money.value, -row.since)

    return sorted(rows, key=key)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The hours around an incident, each float64 (n,), NaN where nothing is known; start : int64 (n,) [us]."""

    start: NDArray[np.int64]
    observed: NDArray[np.float64]
    expected: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    outdoor: NDArray[np.float64]


def shown_around(services: Services, row: IncidentRow) -> Period:
    """The hours shown of an incident: some days before, a day after; of a long one its beginning."""
    begin = (row.since - BEFORE_US) // HOUR_US * HOUR_US
    until = services.now() if row.until is None else min(row.until + AFTER_US, services.now())
    end = max(min(until, begin + LONGEST_SHOWN_US), begin + HOUR_US)
    return Period(begin, -(-end // HOUR_US) * HOUR_US)


def evidence_of(services: Services, row: IncidentRow) -> Evidence:
    """What was observed and expected around an incident."""
    insights, period = insights_of(services), shown_around(services, row)
    measure = Measure(row.site, "meter", row.node, row.name, row.unit)
    start = np.arange(period.start, period.end, HOUR_US)
    if row.node in services.installation.by_id:
        observed, _ = _placed(amounts_by(services, "meter", row.node, row.name, *period, "hour"), start)
        observed[start + HOUR_US > services.now()] = np.nan  # an hour that still runs is no fall
    else:
        observed = np.full(len(start), np.nan)
    nothing = np.full(len(start), np.nan)
    usual = insights.usual(measure, *period)
    expected, low, high = nothing, nothing, nothing
    if usual is not None:
        expected, low, high = usual.expected.value, usual.expected.low, usual.expected.high
    return Evidence(start, observed, expected, low, high, insights.outdoor(row.node, *period)[0])


def incident_of(services: Services, number: int) -> IncidentRow:
    """An incident by its number.

    Raises
    ------
    NotThere
        If there is none.
    """
    row = insights_of(services).incident(number)
    if row is None:
        raise NotThere(f"incident {number}", "does not exist", "see /api/v1/anomalies")
    return row
