"""A fitted baseline: what it knows, how well it fits, what is to be said about it; to and from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.baseline.band import Band
from analytics.baseline.boosting import Trees
from analytics.baseline.daily import DegreeDays
from analytics.baseline.linear import Knots, Linear
from analytics.baseline.mixture import MEMBERS, Members
from metering.explain import Finding

F64 = NDArray[np.float64]
VERSION = 1
Kind = Literal["hourly", "daily", "monthly", "none"]


class Quality(NamedTuple):
    """How well a baseline fits; NaN where there is none.

    cvrmse, nmbe : in sample, with n - p in the denominator (ASHRAE Guideline 14) [1]
    cvrmse_out, nmbe_out : the same of months that were held out, with n [1]
    r2 : in sample [1]; n : intervals; p : coefficients solved for; coverage : share of the period observed [1]
    band_cover : share of held-out values inside the band [1]
    guideline14 : `pass` or `fail` by the limits for this interval on held-out months, `none` without a model or with a
        mean of zero
    """

    cvrmse: float
    nmbe: float
    cvrmse_out: float
    nmbe_out: float
    r2: float
    n: int
    p: int
    coverage: float
    band_cover: float
    guideline14: Literal["pass", "fail", "none"]


NO_QUALITY = Quality(*(float("nan"),) * 5, 0, 0, 0.0, float("nan"), "none")


@dataclass(frozen=True, slots=True)
class BaselineModel:
    """A baseline.

    Attributes
    ----------
    kind : rung of the ladder; `none` if it was refused, and `findings` says what is missing
    zone : local clock it was fitted on; unit : of the values; start, end : baseline period [us since 1970]
    members, weights : of an hourly model; weights float64 (5,), in the order of `mixture.MEMBERS`
    degree_days : of a daily or monthly model [unit per day]
    lowest : no expected value lies below [unit per interval]
    climate : float64 (12, 24), the usual temperature, where none is measured [degC]
    weeks : float64 (w, 2), held-out error of each week [unit per hour] and its hours [h]
    """

    kind: Kind
    zone: str
    unit: str
    start: int
    end: int
    quality: Quality
    findings: tuple[Finding, ...]
    band: Band
    lowest: float
    climate: F64
    weeks: F64
    members: Members | None = None
    weights: F64 = field(default_factory=lambda: np.zeros(len(MEMBERS)))
    degree_days: DegreeDays | None = None
    zeros_are_gaps: bool = False

    @property
    def usable(self) -> bool:
        """Is there something to predict with?"""
        return self.kind != "none"

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values; `from_dict` gives the same model back, to the bit."""
        return {
            "version": VERSION, "kind": self.kind, "zone": self.zone, "unit": self.unit,
            "baseline_period": [self.start, self.end], "quality": _plain(self.quality._asdict()),
            "findings": [[f.code, f.severity, f.message, f.data] for f in self.findings],
            "band": _plain(self.band._asdict()), "lowest": self.lowest, "climate": self.climate.tolist(),
            "weeks": self.weeks.tolist(), "weights": dict(zip(MEMBERS, self.weights.tolist(), strict=True)),
            "members": None if self.members is None else _members(self.members),
            "degree_days": None if self.degree_days is None else _plain(self.degree_days._asdict()),
            "zeros_are_gaps": self.zeros_are_gaps,
        }  # fmt: skip

    @staticmethod
    def from_dict(row: Mapping[str, Any]) -> BaselineModel:
        """The model of `to_dict`.

        Raises
        ------
        ValueError
            If it was written by another version.
        """
        if row.get("version") != VERSION:
            raise ValueError(f"baseline model of version {row.get('version')}, this reads {VERSION}; fit it again")
        band: dict[str, Any] = {
            key: np.array(value) if isinstance(value, list) else _number(value) for key, value in row["band"].items()
        }
        return BaselineModel(
            kind=row["kind"], zone=row["zone"], unit=row["unit"], start=int(row["baseline_period"][0]),
            end=int(row["baseline_period"][1]),
            quality=Quality(**{key: _number(value) for key, value in row["quality"].items()}),
            findings=tuple(Finding(*f) for f in row["findings"]), band=Band(**band), lowest=_number(row["lowest"]),
            climate=np.array(row["climate"]), weeks=np.array(row["weeks"], np.float64).reshape(-1, 2),
            members=None if row["members"] is None else _read_members(row["members"]),
            weights=np.array([row["weights"][name] for name in MEMBERS]),
            degree_days=None if row["degree_days"] is None else _read_degree_days(row["degree_days"]),
            zeros_are_gaps=bool(row["zeros_are_gaps"]),
        )  # fmt: skip


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays as lists, NaN as null."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, np.ndarray):
            out[key] = value.tolist()
        elif isinstance(value, float) and not np.isfinite(value):
            out[key] = None
        else:
            out[key] = value
    return out


def _number(value: Any) -> Any:
    return float("nan") if value is None else value


def _linear(model: Linear) -> dict[str, Any]:
    return _plain(model._asdict()) | {"knots": _plain(model.knots._asdict()), "busy": model.busy.tolist()}


def _read_linear(row: Mapping[str, Any]) -> Linear:
    knots = Knots(*(np.array(row["knots"][name], np.float64) for name in Knots._fields))
    usual, level, slope = (np.array(row[name], np.float64) for name in ("usual", "level", "slope"))
    return Linear(usual, level, slope, knots, np.array(row["busy"], np.bool_))


def _members(m: Members) -> dict[str, Any]:
    trees = {
        name: None if t is None else _plain(t._asdict())
        for name, t in (("boost_temperature", m.boost_temperature), ("boost_profile", m.boost_profile))
    }
    return {
        "profile": _linear(m.profile),
        "temperature": _linear(m.temperature),
        **trees,
        "degree_days": _plain(m.degree_days._asdict()),
        "shape": m.shape.tolist(),
    }


def _read_trees(row: Mapping[str, Any] | None) -> Trees | None:
    if row is None:
        return None
    return Trees(np.array(row["feature"], np.int64), np.array(row["threshold"]), np.array(row["leaf"]))


def _read_degree_days(row: Mapping[str, Any]) -> DegreeDays:
    return DegreeDays(
        _number(row["heat_below"]), _number(row["cool_above"]), row["memory"],
        *(np.array(row[name], np.float64) for name in ("level", "heating", "cooling")),
    )  # fmt: skip


def _read_members(row: Mapping[str, Any]) -> Members:
    return Members(
        _read_linear(row["profile"]), _read_linear(row["temperature"]), _read_trees(row["boost_temperature"]),
        _read_trees(row["boost_profile"]), _read_degree_days(row["degree_days"]), np.array(row["shape"]),
    )  # fmt: skip
