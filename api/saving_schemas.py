"""Measurement and verification over the wire, in IPMVP's words."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.day_schemas import WeatherSourceOut
from api.schemas import FactorOut, FindingOut, Iso, Model, NameOut, QualityOut, Share, Thousandths

Verdict = Literal["significant", "not significant", "refused"]
Day = Annotated[str, Field(max_length=40, description="a date (local midnight), or ISO 8601 with offset")]
ProjectId = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9-]*$")]
Author = Annotated[str, Field(min_length=1, max_length=128, description="who says so")]


class NodeOut(Model):
    """A meter, building or site whose use is looked at."""

    scope: Literal["meter", "building", "site"]
    node: str
    name: str = Field(description="carrier, or a meter's counter")


class ProjectOut(Model):
    """A project: what is compared with what. `row` grows with each mended version."""

    id: str
    row: int
    name: NameOut
    what: NameOut = Field(description="what was done")
    option: Literal["B", "C"] = Field(description="of IPMVP: B the retrofit's own meters, C the whole facility")
    site: str
    nodes: list[NodeOut]
    unit: str
    baseline_start: Iso
    baseline_end: Iso
    retrofit: Iso = Field(description="when the work began; what lies between the periods is left out")
    reporting_start: Iso
    reporting_end: Iso | None = Field(description="null: it goes on")
    author: str
    at: Iso


class AdjustmentOut(Model):
    """A non-routine adjustment: positive where use would have been higher by it, negative where lower."""

    id: int
    start: Iso
    end: Iso
    amount: float = Field(description="[unit of the project]; 0 takes one back")
    reason: str
    author: str
    at: Iso
    corrects: int | None = Field(description="the adjustment it stands for")
    in_force: bool


class AdjustmentsOut(Model):
    """Every adjustment of a project, also those that were corrected, oldest first."""

    project: str
    unit: str
    rows: list[AdjustmentOut]


class ValuedOut(Model):
    """The saving in money or CO2, each day by the dated factor that held on it."""

    value: float
    low: float = Field(description="of the 90 % interval, by the mean factor of the period")
    high: float
    without_adjustments: float
    unit: str
    factors: list[FactorOut]


class SavedMonth(Model):
    """One local month, or day, of the reporting period; hours not observed are left out on both sides."""

    start: Iso
    end: Iso
    adjusted_baseline: Thousandths
    observed: Thousandths
    adjustments: float
    avoided: float
    low: float | None
    high: float | None
    coverage: Share


class SavedOut(Model):
    """avoided = adjusted baseline - observed + non-routine adjustments."""

    adjusted_baseline: Thousandths = Field(description="the baseline under the conditions of the reporting period")
    observed: Thousandths = Field(description="the reporting period's measured use")
    without_adjustments: float = Field(description="adjusted baseline - observed [unit]")
    adjustments: float = Field(description="sum of the non-routine adjustments that fall in the period [unit]")
    avoided: float = Field(description="avoided energy use [unit]")
    low: float = Field(description="90 % interval of it")
    high: float
    saving_share: float | None = Field(description="of the adjusted baseline with adjustments [1]")
    uncertainty_68: float | None = Field(description="half width at 68 % confidence over the saving [1]")
    coverage: Share = Field(description="of the reporting period observed")
    verdict: Verdict = Field(description="significant: the interval leaves out zero, and uncertainty_68 is 0.5 or less")
    money: ValuedOut | None = Field(description="null without a dated price for all of it")
    co2: ValuedOut | None = Field(description="null without a dated factor for all of it")


class SavingsBaselineOut(Model):
    """The baseline it is judged by; kind `none` is refused, and findings say what is missing."""

    kind: Literal["hourly", "daily", "monthly", "none"]
    fitted_at: Iso
    quality: QualityOut
    sources: list[str] = Field(description="thermometers of the baseline period")


class SavingOut(Model):
    """A project and its saving; `saved` is null where it was refused, and findings say why."""

    project: ProjectOut
    start: Iso = Field(description="reporting period, as far as it has gone: whole local days")
    end: Iso
    saved: SavedOut | None
    baseline: SavingsBaselineOut
    findings: list[FindingOut]
    months: list[SavedMonth]
    days: list[SavedMonth]
    adjustments: list[AdjustmentOut] = Field(description="those in force")
    sources: list[WeatherSourceOut] = Field(description="thermometers of the reporting period")
    provisional_years: list[int] = Field(description="years without an official calendar")


class SavingRow(Model):
    """A project in the list; `saved` is null where it was refused, or not worked out."""

    project: ProjectOut
    start: Iso | None
    end: Iso | None
    saved: SavedOut | None


class SavingsOut(Model):
    """All projects."""

    rows: list[SavingRow]


class NodeIn(Model):
    """A meter, building or site; of a meter its carrier's counter."""

    node: str = Field(min_length=1, max_length=128)
    quantity: str | None = Field(default=None, max_length=64, description="a meter's counter, if not its carrier's")


class ProjectIn(Model):
    """A new project, or a mended one of the same id; nothing is overwritten."""

    id: ProjectId
    name: str = Field(min_length=1, max_length=200)
    name_zh: str = Field(default="", max_length=200)
    what: str = Field(min_length=1, max_length=2000, description="what was done")
    what_zh: str = Field(default="", max_length=2000)
    option: Literal["B", "C"]
    carrier: Literal["electricity", "water", "gas", "heat", "cooling"]
    nodes: list[NodeIn] = Field(min_length=1, max_length=50)
    baseline_start: Day
    baseline_end: Day
    retrofit: Day
    reporting_start: Day
    reporting_end: Day | None = None
    author: Author


class AdjustmentIn(Model):
    """A non-routine adjustment. A correction names the one it stands for; an amount of 0 takes that back."""

    start: Day
    end: Day
    amount: float = Field(ge=-1e12, le=1e12, description="[unit of the project], positive: use would have been higher")
    reason: str = Field(min_length=1, max_length=2000)
    author: Author
    corrects: int | None = Field(default=None, ge=1, le=2**62)
