"""Savings as API and page show them: projects, what was avoided, and what that comes to in money and CO2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from api.conversion import factor_at
from api.errors import NotThere
from api.services import SavingReport, Savings, Services
from metering.explain import ExplainedError
from metering.quantity import QUANTITIES, Carrier
from metering.site import Factor, Meter
from storage.ledger.savings import ProjectRow


def savings_of(services: Services) -> Savings:
    """The projects.

    Raises
    ------
    ExplainedError
        Where nothing is worked out.
    """
    if services.savings is None:
        raise ExplainedError("savings", "are not worked out here", "ask the machine that collects")
    return services.savings


def report_of(services: Services, project: str) -> SavingReport:
    """The report of a project.

    Raises
    ------
    NotThere
        If there is no such project, or its nodes are configured no more.
    """
    savings = savings_of(services)
    row = next((each for each in savings.projects() if each.id == project), None)
    if row is None:
        raise NotThere(f'"{project[:64]}"', "is no project", "see /api/v1/savings")
    gone = missing_nodes(services, row)
    if gone:
        raise NotThere(
            f'project "{project}"', f"looks at {', '.join(gone)}, not configured any more", "mend the project"
        )
    found = savings.report(project)
    assert found is not None
    return found


def missing_nodes(services: Services, row: ProjectRow) -> list[str]:
    """Nodes of a project that are configured no more."""
    return [each.node for each in row.measures if each.node not in services.installation.by_id]


def carrier_of(services: Services, row: ProjectRow) -> Carrier:
    """What flows through a project's nodes."""
    measure = row.measures[0]
    thing = services.installation.by_id.get(measure.node)
    if isinstance(thing, Meter):
        return thing.carrier
    return Carrier(measure.name) if measure.name in list(Carrier) else QUANTITIES[measure.name].carrier


@dataclass(frozen=True, slots=True)
class Valued:
    """A saving in money or CO2.

    low, high : the 90 % interval, by the mean factor of the period; routine : without adjustments
    """

    value: float
    low: float
    high: float
    routine: float
    unit: str
    factors: tuple[Factor, ...]


def valued(services: Services, report: SavingReport, kind: Literal["price", "co2"]) -> Valued | None:
    """What was avoided, each day by the factor that held on it; None where a day has none: no sum has holes."""
    if report.savings is None:
        return None
    row, days = report.project, report.days
    found: list[Factor] = []
    for start in days["start"]:
        factor = factor_at(services, f"{kind}.{carrier_of(services, row).value}", row.site, start)
        if factor is None or factor.unit.partition("/")[2] != row.unit:
            return None
        found.append(factor)
    units = {factor.unit.partition("/")[0] for factor in found}
    if len(units) != 1:
        return None
    rate = np.array([factor.value for factor in found])
    baseline, observed = (np.array(days[key], np.float64) / 1000.0 for key in ("adjusted_baseline", "observed"))
    routine = float(((baseline - observed) * rate).sum())
    value = routine + float((np.array(days["adjustments"]) * rate).sum())
    mean = float((baseline * rate).sum() / baseline.sum()) if baseline.sum() else float(rate.mean())
    below, above = (report.savings[key] - report.savings["avoided"] for key in ("low", "high"))
    return Valued(
        value, value + below * mean, value + above * mean, routine, units.pop(), tuple(dict.fromkeys(found))
    )  # fmt: skip
