"""Are there enough data, and of the right months? What is missing is said in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analytics.baseline.conditions import months
from metering.explain import Finding

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Purpose = Literal["monitoring", "savings"]
MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Needs:
    """What a baseline needs.

    least_days : days with readings; least_coverage : share of the period observed [1]
    all_months : every month of the year, at least half observed (savings: both seasons, energy-accounting rules)
    temperature_coverage : share of the hours with an outdoor temperature [1]
    boost_days : fewer days than this are not boosted
    """

    least_days: int = 14
    least_coverage: float = 0.3
    all_months: bool = False
    temperature_coverage: float = 0.0
    boost_days: int = 120


NEEDS: dict[Purpose, Needs] = {
    "monitoring": Needs(),
    "savings": Needs(least_days=330, least_coverage=0.9, all_months=True, temperature_coverage=0.9),
}


def judge(
    day: I64, known: NDArray[np.bool_], measured: NDArray[np.bool_], expected: float, needs: Needs
) -> list[Finding]:
    """Findings on the amount of data; one `disqualifies` refuses the baseline.

    Parameters
    ----------
    day : int64 (n,), local day of each interval; known : bool (n,), it has a value
    measured : bool (n,), its temperature is known; expected : intervals in a fully observed period
    """
    findings: list[Finding] = []
    count = int(known.sum())
    if not count:
        return [Finding("baseline.no_readings", "disqualifies", "there is not one reading to learn from")]
    days = len(np.unique(day[known]))
    coverage = min(count / max(expected, 1.0), 1.0)
    if days < needs.least_days:
        findings.append(
            Finding(
                "baseline.too_few_days",
                "disqualifies",
                f"{days} days with readings; {needs.least_days} are needed",
                {"days": days, "needed": needs.least_days},
            )
        )
    if coverage < needs.least_coverage:
        findings.append(
            Finding(
                "baseline.low_coverage",
                "disqualifies",
                f"{coverage:.0%} of the period was observed; {needs.least_coverage:.0%} is needed",
                {"coverage": round(coverage, 4), "needed": needs.least_coverage},
            )
        )
    elif coverage < 0.9:
        findings.append(
            Finding(
                "baseline.gaps",
                "warning",
                f"only {coverage:.0%} of the period was observed",
                {"coverage": round(coverage, 4)},
            )
        )
    seen = np.bincount(months(day[known]) % 12, minlength=12) / max(
        expected / (int(day.max()) - int(day.min()) + 1), 1e-9
    )
    missing = [MONTH_NAMES[m] for m in np.flatnonzero(seen < 15.0)]
    if missing:
        severity: Literal["disqualifies", "warning"] = "disqualifies" if needs.all_months else "warning"
        findings.append(
            Finding(
                "baseline.months_missing",
                severity,
                f"not learnt from {', '.join(missing)}: less than half of the month was observed",
                {"months": missing},
            )
        )
    air = float(measured[known].mean())
    if air < max(needs.temperature_coverage, 1e-9) and needs.temperature_coverage > 0:
        findings.append(
            Finding(
                "baseline.temperature_missing",
                "disqualifies",
                f"the outdoor temperature is known for {air:.0%} of the readings; "
                f"{needs.temperature_coverage:.0%} is needed",
                {"coverage": round(air, 4)},
            )
        )
    elif air < 0.5:
        findings.append(
            Finding(
                "baseline.no_temperature",
                "warning",
                "without outdoor temperature the baseline knows clock and calendar only",
                {"coverage": round(air, 4)},
            )
        )
    return findings
