"""What is usual, beside what was used: the expected line of a chart, and how good the baseline behind it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from api.figures import Scope, measure_of
from api.insights import Expectation, baseline_of, expectation
from api.page.numbers import columns, count
from api.page.times import day_said, local
from api.page.view import View
from api.periods import Period
from metering.explain import Finding
from storage.ledger.baselines import BaselineRow

if TYPE_CHECKING:
    from numpy.typing import NDArray


def expected_columns(
    view: View, scope: Scope, node: str, name: str, starts: NDArray[np.int64], period: Period, grain: Any
) -> dict[str, Any] | None:
    """What is expected, with its band, at the places of a chart; None where it is not asked for, or not known.

    It is asked for where a chart says so (`expected=1`), unless the address names another comparison.
    """
    wish = view.filters.given.get("compare")
    if (wish != "expected" and (wish or not view.memo.get("expected"))) or not len(starts):
        return None
    found = expectation(view.services, scope, node, name, period, "hour" if grain == "15min" else grain)
    if found is None:
        return None
    place = np.searchsorted(found.start, starts, "right") - 1
    factor = 1000.0 if grain == "15min" else 1.0  # kWh in an hour are kW
    hidden = at_rest(found)[place]
    amount, low, high = (
        np.where(hidden, np.nan, column[place] * factor) for column in (found.amount / 1000.0, found.low, found.high)
    )
    return {"expected": columns(amount), "expected_low": columns(low), "expected_high": columns(high)}


def at_rest(found: Expectation) -> NDArray[np.bool_]:
    """Where a meter that rests for weeks is at zero, and after the last it said: nothing is expected of it there."""
    if not any(finding.code == "baseline.rests" for finding in found.baseline.findings):
        return np.zeros(len(found.start), np.bool_)
    known = np.flatnonzero(np.isfinite(found.observed))
    zero = found.observed == 0
    if len(known) and zero[known[-1]]:
        zero[known[-1] :] = True
    return zero


def quality_card(view: View, scope: Scope, node: str, name: str) -> dict[str, Any] | None:
    """How well the baseline of a meter, or of a carrier of a building, fits; None where nothing is fitted at all."""
    if view.services.insights is None:
        return None
    words = view.words
    row = baseline_of(view.services, measure_of(view.services, scope, node, name))
    if row is None:
        waiting = view.services.insights.waiting
        return {"state": "unknown", "text": words("fit.waiting" if waiting else "fit.none"), "rows": [], "findings": []}
    return card_of(view, row)


def card_of(view: View, row: BaselineRow) -> dict[str, Any]:
    """How well a baseline fits."""
    words = view.words
    findings = [(finding.severity, finding_said(view, finding)) for finding in row.findings]
    quality = row.quality
    if row.kind == "none" or quality["guideline14"] == "none":
        text = words("fit.refused" if row.kind == "none" else "fit.still")
        return {"state": "unknown", "text": text, "rows": [], "findings": findings}
    passed = quality["guideline14"] == "pass"
    cv, bias = view.percent(quality["cvrmse_out"]), signed_percent(view, quality["nmbe_out"])
    rows = [
        (words("fit.cvrmse"), words("fit.in_and_out", inside=view.percent(quality["cvrmse"]), out=cv)),
        (words("fit.nmbe"), words("fit.in_and_out", inside=signed_percent(view, quality["nmbe"]), out=bias)),
        ("R²", f"{quality['r2']:.2f}".replace("-", "−") if quality["r2"] is not None else "–"),
        (words("fit.band_cover"), view.percent(quality["band_cover"])),
        (words("fit.n"), count(quality["n"])),
        (words("fit.coverage"), view.share(quality["coverage"])),
        (words("fit.period"), words("fit.from_to", start=day_of(view, row.start), end=day_of(view, row.end - 1))),
        (words("fit.fitted_at"), view.moment(row.fitted_at).text),
    ]
    if row.learnt_from.get("hours_left_out"):
        rows.append((words("fit.left_out"), view.lasted(int(row.learnt_from["hours_left_out"]) * 3_600_000_000)))
    return {
        "state": "ok" if passed else "needs",
        "text": words("fit.pass" if passed else "fit.fail", cv=cv, bias=bias),
        "rows": rows,
        "findings": findings,
    }


def signed_percent(view: View, ratio: float | None) -> str:
    """A bias: "+0.4 %"; two digits where it is small."""
    if ratio is None:
        return "–"
    sign = "−" if ratio < 0 else "+"
    return f"{sign}{abs(ratio) * 100:.1f}" + ("%" if view.language == "zh" else "\u202f%")


def day_of(view: View, at: int) -> str:
    """A local day with its year."""
    return day_said(local(at, view.zone).date(), view.language, year=True, named=False)


def finding_said(view: View, finding: Finding) -> str:
    """A remark in the reader's language; its own words where the page has none."""
    key = "finding." + finding.code.removeprefix("baseline.")
    if not view.words.has(key):
        return finding.message
    data = {name: _of(view, name, value) for name, value in finding.data.items()}
    try:
        return view.words(key, **data)
    except KeyError:
        return finding.message


def _of(view: View, name: str, value: Any) -> str:
    if name in ("coverage", "share", "cvrmse", "uncertainty_68") and isinstance(value, int | float):
        return view.percent(value)
    if name == "nmbe":
        return signed_percent(view, value)
    if name == "months":
        return view.words.joined([view.words(f"month_short.{month}") for month in value])
    if isinstance(value, list):
        return view.words.joined([str(each) for each in value])
    return f"{value:.3g}" if isinstance(value, float) else str(value)
