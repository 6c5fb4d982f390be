"""Fit a baseline to plain arrays. Falls down the ladder where data are short, refuses where they do not suffice."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.baseline import band as bands
from analytics.baseline import boosting, mixture, monthly
from analytics.baseline.changes import change_points
from analytics.baseline.cleaning import Cleaned, Zeros, clean, zeros_are_gaps
from analytics.baseline.conditions import Conditions, climate_of, conditions, day_of, months
from analytics.baseline.model import NO_QUALITY, BaselineModel, Kind, Quality
from analytics.baseline.sufficiency import NEEDS, Needs, Purpose, judge
from analytics.workdays import Workdays
from metering.clock import HOUR_US
from metering.explain import Finding

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
FOLDS = 4
FAR = 12.0  # robust deviations: a value further out pulls no more than one there
LIMITS: dict[Kind, tuple[float, float]] = {
    "hourly": (0.30, 0.10), "daily": (0.30, 0.10), "monthly": (0.15, 0.05), "none": (0.0, 0.0),
}  # fmt: skip
WORDS = {"hourly": "hours", "daily": "days", "monthly": "months"}


def fit(
    time: NDArray[Any],
    value: NDArray[Any],
    temperature: NDArray[Any] | None = None,
    *,
    zone: str = "UTC",
    calendar: Workdays | None = None,
    unit: str = "kWh",
    purpose: Purpose = "monitoring",
    needs: Needs | None = None,
    zeros: Zeros = "auto",
    seed: int = 1,
) -> BaselineModel:
    """Learn what a meter usually reads, from a baseline period.

    Parameters
    ----------
    time : (n,) datetime64 or int64 [us since 1970], starts of intervals in UTC, in any order: quarter hours and hours
        (an hourly model), days (a daily one) or months (a monthly one)
    value : (n,) amount in each interval, NaN is a gap [unit]
    temperature : (n,) outdoor, mean of each interval, NaN where unknown [degC]
    zone : local clock, IANA name or fixed offset; calendar : work days and days off
    purpose : `savings` asks for twelve months and 90 % of the readings; needs : other demands than those
    zeros : are zeros readings or gaps; seed : of the questions drawn in boosting

    Returns
    -------
    A model that is always there: if data do not suffice its kind is `none`, and `findings` says what is missing.

    Raises
    ------
    ValueError
        If the arrays differ in length, or the zone does not exist.
    """
    return fit_held_out(
        time, value, temperature, zone=zone, calendar=calendar, unit=unit, purpose=purpose, needs=needs, zeros=zeros,
        seed=seed,
    )[0]  # fmt: skip


class HeldOut(NamedTuple):
    """What was learnt from, and what was expected there without the months around it.

    start : int64 (n,) [hours since 1970]; value : float64 (n,), NaN is a gap; expected, scale : float64 (n,) [unit]
    """

    start: I64
    value: F64
    expected: F64
    scale: F64


def fit_held_out(
    time: NDArray[Any],
    value: NDArray[Any],
    temperature: NDArray[Any] | None = None,
    *,
    zone: str = "UTC",
    calendar: Workdays | None = None,
    unit: str = "kWh",
    purpose: Purpose = "monitoring",
    needs: Needs | None = None,
    zeros: Zeros = "auto",
    seed: int = 1,
) -> tuple[BaselineModel, HeldOut]:
    """`fit`, and the held-out expectations of an hourly model: what a detector learns its thresholds from."""
    needs = needs or NEEDS[purpose]
    cleaned = clean(time, value, temperature, zeros)
    kind: Kind = "hourly" if cleaned.spacing_h < 1.5 else "daily" if cleaned.spacing_h < 100 else "monthly"
    gaps = zeros == "gap" or (zeros == "auto" and zeros_are_gaps(np.asarray(value, np.float64)))
    if kind == "hourly":
        return _hourly(cleaned, zone, calendar, unit, needs, gaps, seed)
    return _degree_days(cleaned, kind, zone, calendar, unit, needs, gaps), _nothing(cleaned)


def _refused(c: Cleaned, zone: str, unit: str, findings: list[Finding], gaps: bool) -> BaselineModel:
    start = int(c.start[0]) * HOUR_US if len(c.start) else 0
    end = int(c.start[-1]) * HOUR_US + round(c.spacing_h * HOUR_US) if len(c.start) else 0
    return BaselineModel("none", zone, unit, start, end, NO_QUALITY, tuple(findings), bands.no_band(), 0.0,
                         np.zeros((12, 24)), np.zeros((0, 2)), zeros_are_gaps=gaps)  # fmt: skip


def _nothing(k: Cleaned) -> HeldOut:
    nan = np.full(len(k.start), np.nan)
    return HeldOut(k.start, k.value, nan, nan)


def _hourly(
    k: Cleaned, zone: str, calendar: Workdays | None, unit: str, needs: Needs, gaps: bool, seed: int
) -> tuple[BaselineModel, HeldOut]:
    c = conditions(zone, k.start, k.temperature, calendar)
    known = np.isfinite(k.value)
    span = float(k.start[-1] - k.start[0] + 1) if len(k.start) else 0.0
    findings = [*k.findings, *judge(c.hours.day, known, c.measured, span, needs)]
    if any(f.severity == "disqualifies" for f in findings):
        return _refused(k, zone, unit, findings, gaps), _nothing(k)
    climate = climate_of(c.hours, k.temperature)
    if not c.measured.all():
        c = conditions(zone, k.start, k.temperature, calendar, climate)
    block, fold_of = _blocks(c.hours.day, known)
    weight = known.astype(np.float64)
    days = len(np.unique(c.hours.day[known]))
    growth = boosting.Growth() if days >= needs.boost_days else None
    value = np.where(known, k.value, 0.0)
    first = mixture.fit(c, value, weight, block, fold_of, seed, None)
    calm = _winsorised(c, value, known, first.held_out)
    fitted = mixture.fit(c, calm, weight, block, fold_of, seed, growth) if growth is not None else first
    findings += _remarks(c, k, calendar, days, growth is None, needs)
    lowest = float(np.min(value[known]))
    held, inside = np.maximum(fitted.held_out, lowest), np.maximum(fitted.inside, lowest)
    least = _resolution(value[known]) / 2
    band = bands.fit(c.hours.hour[known], held[known], (value - held)[known], least)
    low, high, _ = bands.around(band, c.hours.hour, held)
    cover = float(np.mean(((value >= low) & (value <= high))[known]))
    p = int(np.sum(fitted.members.temperature.level != 0)) + len(fitted.members.temperature.slope)
    quality = _quality("hourly", value[known], inside[known], held[known], p, min(known.sum() / span, 1.0), cover)
    findings += _judged(quality, "hourly")
    findings += _changes(c, value - first.held_out, known, float(np.mean(value[known])), unit)
    weeks = bands.weekly((c.hours.day[known] + 3) // 7, (value - held)[known])
    model = BaselineModel(
        "hourly", zone, unit, int(k.start[0]) * HOUR_US, (int(k.start[-1]) + 1) * HOUR_US, quality, tuple(findings),
        band, lowest, climate, weeks, fitted.members, fitted.weights, None, gaps,
    )  # fmt: skip
    return model, HeldOut(k.start, k.value, held, bands.around(band, c.hours.hour, held)[2])


def _blocks(day: I64, known: NDArray[np.bool_]) -> tuple[I64, I64]:
    """Months as blocks, weeks where there are few months, and the fold of each; int64 (n,), int64 (b,)."""
    unit = months(day)
    if len(np.unique(unit[known])) < FOLDS:
        unit = (day + 3) // 7
    names, block = np.unique(unit, return_inverse=True)
    folds = min(FOLDS, max(len(np.unique(unit[known])), 1))
    fold = np.zeros(len(names), np.int64)
    used = np.unique(block[known])
    fold[used] = np.arange(len(used)) % folds
    return block.astype(np.int64), fold


def _winsorised(c: Conditions, value: F64, known: NDArray[np.bool_], expected: F64) -> F64:
    """Values no further from a first fit than FAR deviations of their hour; float64 (n,)."""
    error = value - expected
    scale = np.zeros(24)
    for h in range(24):
        own = np.abs(error[known & (c.hours.hour == h)])
        scale[h] = np.quantile(own, 0.9) / 1.645 if len(own) else 0.0
    scale = np.maximum(scale, float(np.median(scale)) / 2)
    far = FAR * scale[c.hours.hour]
    return np.where(known, expected + np.clip(error, -far, far), value)


def _resolution(value: F64) -> float:
    """The step in which values are told [unit]."""
    distinct = np.unique(value)
    step = float(np.min(np.diff(distinct))) if len(distinct) > 1 else 0.0
    return max(step, 1e-9 * float(np.max(np.abs(value))))


def _quality(kind: Kind, value: F64, inside: F64, held: F64, p: int, coverage: float, cover: float) -> Quality:
    n = len(value)
    mean = float(np.mean(value))
    free = max(n - p, 1)
    spread = float(np.sum((value - mean) ** 2))
    nan = float("nan")
    scale = abs(mean) if mean else nan
    cv = float(np.sqrt(np.sum((value - inside) ** 2) / free)) / scale
    cv_out = float(np.sqrt(np.mean((value - held) ** 2))) / scale
    nmbe = float(np.sum(value - inside)) / free / scale
    nmbe_out = float(np.mean(value - held)) / scale
    r2 = 1.0 - float(np.sum((value - inside) ** 2)) / spread if spread > 0 else nan
    most_cv, most_bias = LIMITS[kind]
    passed = cv_out <= most_cv and abs(nmbe_out) <= most_bias
    verdict: Literal["pass", "fail", "none"] = "none" if cv_out != cv_out else "pass" if passed else "fail"
    return Quality(cv, nmbe, cv_out, nmbe_out, r2, n, p, float(coverage), cover, verdict)


def _judged(q: Quality, kind: Kind) -> list[Finding]:
    if q.guideline14 != "fail":
        return []
    return [
        Finding(
            "baseline.poor_fit",
            "warning",
            f"held-out {WORDS[kind]} miss the limits of ASHRAE Guideline 14: "
            f"CV(RMSE) {q.cvrmse_out:.0%}, bias {q.nmbe_out:+.1%}",
            {"cvrmse": q.cvrmse_out, "nmbe": q.nmbe_out},
        )
    ]


def _remarks(
    c: Conditions, k: Cleaned, calendar: Workdays | None, days: int, plain: bool, needs: Needs
) -> list[Finding]:
    out: list[Finding] = []
    value = k.value[np.isfinite(k.value)]
    if np.ptp(value) == 0:
        out.append(Finding("baseline.constant", "warning", f"every reading is {value[0]:g}; is the meter alive?"))
    if plain:
        out.append(
            Finding(
                "baseline.not_boosted",
                "info",
                f"{days} days are too few to boost ({needs.boost_days}); clock and temperature only",
                {"days": days, "needed": needs.boost_days},
            )
        )
    if calendar is None:
        out.append(
            Finding("baseline.no_calendar", "info", "no calendar was given: Monday to Friday count as work days")
        )
    else:
        years = np.unique(c.days.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970)
        provisional = [int(year) for year in years if int(year) not in calendar.known_years]
        if provisional:
            out.append(
                Finding(
                    "baseline.calendar_provisional",
                    "warning",
                    f"no official calendar for {', '.join(map(str, provisional))}: "
                    "Monday to Friday, and the dates of the site",
                    {"years": provisional},
                )
            )
    return out


def _changes(c: Conditions, error: F64, known: NDArray[np.bool_], level: float, unit: str) -> list[Finding]:
    mean, whole = mixture.day_means(c, error, known.astype(np.float64))
    return [
        Finding(
            "baseline.change_point",
            "warning",
            f"from {day_of(change.day)} on {abs(change.shift):.3g} {unit} an hour "
            f"{'more' if change.shift > 0 else 'less'} than before, which clock and weather do not explain",
            {"day": day_of(change.day).isoformat(), "shift": change.shift},
        )
        for change in change_points(c.days[whole], mean[whole], level)
    ]


def _degree_days(
    k: Cleaned, kind: Kind, zone: str, calendar: Workdays | None, unit: str, needs: Needs, gaps: bool
) -> BaselineModel:
    c = conditions(zone, k.start, k.temperature, calendar)
    known = np.isfinite(k.value)
    length = interval_days(k.start, kind)
    span = float(length.sum()) / max(float(np.median(length)), 1e-9) if len(length) else 0.0
    span = max(span, (float(k.start[-1] - k.start[0]) / k.spacing_h + 1) if len(k.start) else 0.0)
    # an interval of a month stands for its days
    per = 1.0 if kind == "daily" else 30.0
    asked = Needs(int(np.ceil(needs.least_days / per)), needs.least_coverage, False, needs.temperature_coverage)
    findings = [*k.findings, *judge(c.hours.day, known, c.measured, span, asked)]
    findings = [f for f in findings if f.code != "baseline.months_missing"]
    if kind == "monthly" and known.sum() < 9:
        findings.append(
            Finding(
                "baseline.too_few_months",
                "disqualifies",
                f"{int(known.sum())} months; 9 are needed",
                {"months": int(known.sum())},
            )
        )
    if any(f.severity == "disqualifies" for f in findings):
        return _refused(k, zone, unit, findings, gaps)
    mean = k.value[known] / length[known]
    works = c.works[c.place][known] if kind == "daily" else np.ones(int(known.sum()), np.bool_)
    month = months(c.hours.day[known])
    _, block = np.unique(month, return_inverse=True)
    fitted = monthly.fit(mean, c.temperature[known], c.mean_72h[known], works, block.astype(np.int64))
    error = mean - fitted.held_out
    band = bands.fit(np.zeros(len(mean), np.int64), fitted.held_out, error, _resolution(mean) / 2, 0)
    low, high, _ = bands.around(band, np.zeros(len(mean), np.int64), fitted.held_out)
    cover = float(np.mean((mean >= low) & (mean <= high)))
    quality = _quality(kind, mean, fitted.inside, fitted.held_out, fitted.p, min(known.sum() / span, 1.0), cover)
    findings += _judged(quality, kind)
    week = (c.hours.day[known] + 3) // 7
    weeks = bands.weekly(week, error / 24.0)
    weeks[:, 1] *= 24.0 * (1.0 if kind == "daily" else 30.4)
    return BaselineModel(
        kind, zone, unit, int(k.start[0]) * HOUR_US, int((k.start[-1] + length[-1] * 24) * HOUR_US), quality,
        tuple(findings), band, float(mean.min()), np.zeros((12, 24)), weeks, None,
        degree_days=fitted.model, zeros_are_gaps=gaps,
    )  # fmt: skip


def interval_days(start: I64, kind: Kind) -> F64:
    """Length of intervals of a day or a month that begin at these hours; float64 (n,) [d]."""
    if kind == "daily":
        return np.ones(len(start))
    # the middle of the first day tells the month, whatever the zone
    month = ((start + 12) // 24).astype("datetime64[D]").astype("datetime64[M]")
    return np.asarray(((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(np.float64))
