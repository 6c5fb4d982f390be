"""Measurement and verification: adjusted baseline, avoided energy with an interval, non-routine adjustments.

IPMVP option B (a retrofit's own meter) or C (the whole facility), the same arithmetic: avoided energy is the adjusted
baseline less what was observed, plus non-routine adjustments, each a dated record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from analytics.baseline import band
from analytics.baseline.expected import Expected, predict
from analytics.baseline.model import BaselineModel
from analytics.workdays import Workdays
from metering.clock import DAY_US, HOUR_US
from metering.explain import Finding

LEAST_COVERAGE = 0.9
MOST_UNCERTAIN = 0.5  # of the saving, at 68 % confidence (ASHRAE Guideline 14, whole-building prescriptive path)
Z_90, Z_68 = 1.6449, 0.9945


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A non-routine adjustment: something other than the retrofit changed the use.

    start, end : local effect [us since 1970], half-open; amount : added to the saving over that time, positive where
    the use would have been higher by it, negative where lower [unit]; reason, author : for the record
    """

    start: int
    end: int
    amount: float
    reason: str
    author: str


@dataclass(frozen=True, slots=True)
class Savings:
    """Avoided energy over a reporting period.

    Attributes
    ----------
    adjusted_baseline, observed : sums over the intervals that were observed [0.001 unit], exact
    routine : adjusted_baseline - observed, without non-routine adjustments [unit]
    adjustments : their sum [unit]; avoided : routine + adjustments [unit]
    low, high : 90 % interval of `avoided` [unit]; uncertainty_68 : half width at 68 % over |avoided| [1]
    coverage : share of the reporting period observed [1]
    saving_share : avoided / (adjusted baseline + adjustments) [1]
    money, co2_kg : with a price and a factor, else None
    verdict : `significant` if the interval leaves out zero and the 68 % half width is half of it or less
    """

    adjusted_baseline: int
    observed: int
    routine: float
    adjustments: float
    avoided: float
    low: float
    high: float
    uncertainty_68: float
    coverage: float
    saving_share: float
    money: float | None
    co2_kg: float | None
    verdict: Literal["significant", "not significant", "refused"]
    findings: tuple[Finding, ...]
    unit: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        row = {name: getattr(self, name) for name in self.__slots__}
        row["findings"] = [
            {"code": f.code, "severity": f.severity, "message": f.message, "data": dict(f.data)} for f in self.findings
        ]
        return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}


def avoided_energy(
    model: BaselineModel,
    time: NDArray[Any],
    observed: NDArray[Any],
    temperature: NDArray[Any] | None = None,
    *,
    calendar: Workdays | None = None,
    adjustments: Sequence[Adjustment] = (),
    price_per_unit: float | None = None,
    co2_kg_per_unit: float | None = None,
    warm_up: int = 0,
    seed: int = 1,
) -> Savings:
    """What a retrofit avoided, over a reporting period.

    Parameters
    ----------
    model : a baseline fitted for `savings`; time : (n,) starts of the reporting intervals, also those not observed
    observed : (n,), NaN is a gap: left out on both sides [unit]; temperature : (n,) [degC]
    price_per_unit, co2_kg_per_unit : valid in that period; without them money and CO2 are None
    warm_up : so many of the first intervals lie before the period: their temperature is felt, nothing else counts

    Raises
    ------
    ValueError
        If the arrays differ in length.
    """
    value = np.asarray(observed, np.float64)
    if len(value) != len(time):
        raise ValueError(f"{len(time)} times, {len(value)} values: give one value for each time")
    value = value[warm_up:]
    findings = _findings(model)
    if not model.usable or not len(value) or not np.isfinite(value).any():
        findings.append(Finding("savings.refused", "disqualifies", "no baseline, or not one observed interval"))
        nan = float("nan")
        return Savings(0, 0, nan, nan, nan, nan, nan, nan, 0.0, nan, None, None, "refused", tuple(findings), model.unit)
    found = predict(model, time, temperature, calendar=calendar)
    expected = beyond(found, warm_up)
    known = np.isfinite(value)
    first, last = int(expected.start.min()), int(expected.start.max())
    each = float(np.median(np.diff(np.unique(expected.start)))) if len(value) > 1 else float(HOUR_US)
    coverage = float(known.sum()) / max(round((last - first) / each) + 1, 1)
    baseline = int(expected.amount[known].sum())
    used = int(np.rint(value[known] * 1000.0).astype(np.int64).sum())
    routine = (baseline - used) / 1000.0
    extra = sum(a.amount * _share(a, first, last + round(each)) for a in adjustments)
    avoided = routine + extra
    hours = float(known.sum()) * each / HOUR_US
    low, high = band.of_sum(model.weeks, hours, seed)
    # the error of the baseline is observed - expected, so a saving errs the other way
    low, high = avoided - high, avoided - low
    relative = (high - low) / 2 / Z_90 * Z_68 / abs(avoided) if avoided else float("inf")
    findings += _remarks(coverage, relative, expected.measured[known], model, first)
    total = baseline / 1000.0 + extra
    significant = (low > 0 or high < 0) and relative <= MOST_UNCERTAIN
    return Savings(
        baseline, used, routine, extra, avoided, low, high, relative, coverage,
        avoided / total if total else float("nan"),
        None if price_per_unit is None else avoided * price_per_unit,
        None if co2_kg_per_unit is None else avoided * co2_kg_per_unit,
        "significant" if significant else "not significant", tuple(findings), model.unit,
    )  # fmt: skip


def beyond(e: Expected, count: int) -> Expected:
    """What is expected after the first `count` intervals."""
    k = slice(count, None)
    return Expected(e.start[k], e.amount[k], e.low[k], e.high[k], e.scale[k], e.measured[k])


def _share(a: Adjustment, start: int, end: int) -> float:
    """The share of an adjustment's time that lies in the reporting period [1]."""
    length = max(a.end - a.start, 1)
    return max(min(a.end, end) - max(a.start, start), 0) / length


def _findings(model: BaselineModel) -> list[Finding]:
    """What the baseline itself says, as far as it bears on a saving."""
    codes = ("baseline.months_missing", "baseline.gaps", "baseline.no_temperature", "baseline.change_point",
             "baseline.poor_fit", "baseline.calendar_provisional", "baseline.not_boosted")  # fmt: skip
    return [f for f in model.findings if f.severity == "disqualifies" or f.code in codes]


def _remarks(
    coverage: float, relative: float, measured: NDArray[np.bool_], model: BaselineModel, first: int
) -> list[Finding]:
    out: list[Finding] = []
    if coverage < LEAST_COVERAGE:
        out.append(
            Finding(
                "savings.low_coverage",
                "warning",
                f"{coverage:.0%} of the reporting period was observed",
                {"coverage": round(coverage, 4)},
            )
        )
    if relative > MOST_UNCERTAIN:
        out.append(
            Finding(
                "savings.uncertain",
                "warning",
                f"the saving is known to ±{min(relative, 9.99):.0%} at 68 % confidence; "
                "Guideline 14 asks for 50 % or less",
                {"uncertainty_68": relative if np.isfinite(relative) else None},
            )
        )
    if not measured.all():
        out.append(
            Finding(
                "savings.temperature",
                "warning",
                f"{1 - measured.mean():.0%} of the expected values rest on the usual temperature of the season",
            )
        )
    if first < model.end:
        days = (model.end - first) / DAY_US
        out.append(
            Finding(
                "savings.overlap",
                "disqualifies",
                f"the reporting period begins {days:.0f} days before the baseline period ends",
            )
        )
    return out


def fractional_uncertainty(cvrmse: float, n: int, p: int, m: int, saving_share: float, lag1: float = 0.0) -> float:
    """Fractional savings uncertainty at 68 % (ASHRAE Guideline 14, annex B, with the autocorrelation correction).

    cvrmse [1]; n, p : points and coefficients of the baseline; m : points of the reporting period
    saving_share : saving over adjusted baseline [1]; lag1 : autocorrelation of the residuals
    """
    effective = max(n * (1 - lag1) / (1 + lag1), p + 1.0)
    return 1.26 * cvrmse / abs(saving_share) * sqrt(n / effective * (1 + 2 / effective) / m)


def as_record(adjustment: Adjustment) -> Mapping[str, Any]:
    """As JSON values."""
    return {name: getattr(adjustment, name) for name in adjustment.__slots__}
