"""An incident: one cause, when, how much, how sure, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from analytics.baseline.conditions import zone_of
from metering.clock import HOUR_US, from_us
from metering.site import Name

Kind = Literal[
    "gap", "stuck", "spike", "unit", "negative", "clock_shift", "swap", "night_load", "step_up", "step_down",
    "high_use", "low_use", "leak", "burst",
]  # fmt: skip
DATA_KINDS: frozenset[Kind] = frozenset({"gap", "stuck", "spike", "unit", "negative", "clock_shift", "swap"})
USE_KINDS: frozenset[Kind] = frozenset({
    "clock_shift", "swap", "night_load", "step_up", "step_down", "high_use", "low_use"
})  # fmt: skip
Feedback = Literal["confirmed", "false_alarm", "planned"]


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that the meter or the building does not usually do.

    Attributes
    ----------
    kind : what it most likely is; `text` says it in words, English and Chinese
    start, end : [us since 1970]; end is None while it lasts; detected : end of the hour in which it was first told
    size : amount beyond what was expected, negative below; 0 where the data are at fault [unit]
    rate : the same per hour [unit/h]; cost : by the price handed in, None without one
    confidence : 0 to 1, how far beyond this meter's own alarm threshold
    evidence : figures behind it (expected, observed, threshold), for a chart and a person
    """

    kind: Kind
    start: int
    end: int | None
    detected: int
    size: float
    rate: float
    unit: str
    confidence: float
    text: Name
    cost: float | None = None
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, int]:
        """What stays the same while an incident is told again with its end, or with a likelier kind."""
        return ("use" if self.kind in USE_KINDS else self.kind, self.detected)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `from_dict` gives the same incident back."""
        row = {name: getattr(self, name) for name in self.__slots__}
        return row | {"text": [self.text.en, self.text.zh]}

    @staticmethod
    def from_dict(row: Mapping[str, Any]) -> Incident:
        """The incident of `to_dict`."""
        return Incident(**{**row, "text": Name(*row["text"])})

    @property
    def about_data(self) -> bool:
        """Are the data at fault, not the building?"""
        return self.kind in DATA_KINDS


WEEKDAYS_EN = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WEEKDAYS_ZH = ("周一", "周二", "周三", "周四", "周五", "周六", "周日")
UNITS = {"m3": "m³", "l": "L"}
FLOWS = {"kWh": "kW", "m3": "m³/h", "l": "L/h"}
WORDS: dict[Kind, tuple[str, str]] = {
    "gap": ("no reading for {hours} h since {since}", "自{since_zh}起 {hours} 小时没有读数"),
    "stuck": ("the same value {value} {unit} for {hours} h since {since}; this meter never rests that long",
              "自{since_zh}起 {hours} 小时读数一直为 {value} {unit}，超过本表以往任何一次停滞"),
    "spike": ("a single reading of {value} {unit} at {since}, where {expected} is usual",
              "{since_zh}出现孤立读数 {value} {unit}，通常为 {expected}"),
    "unit": ("readings about {factor} times the usual since {since}: unit or scale of the register",
             "自{since_zh}起读数约为通常的 {factor} 倍：单位或寄存器倍率有误"),
    "negative": ("negative readings since {since}; this meter never had any: sign or a clamp put on backwards",
                 "自{since_zh}起出现负读数，本表从未有过：符号错误或互感器装反"),
    "clock_shift": ("the daily pattern stands {shift:+d} h off since {since}: the meter's clock",
                    "自{since_zh}起日曲线偏移 {shift:+d} 小时：电表时钟有误"),
    "swap": ("the daily pattern is another meter's since {since}: swapped or newly wired",
             "自{since_zh}起日曲线不再是本表的：可能换表或接线改动"),
    "night_load": ("night load {direction} {rate} {flow} since {since}; weather does not explain it",
                   "自{since_zh}起夜间负荷{direction_zh} {rate} {flow}，天气不能解释"),
    "step_up": ("{rate} {flow} more ({share:+.0%}) since {since}; clock and weather do not explain it",
                "自{since_zh}起多用 {rate} {flow}（{share:+.0%}），时段和天气不能解释"),
    "step_down": ("{rate} {flow} less ({share:+.0%}) since {since}; clock and weather do not explain it",
                  "自{since_zh}起少用 {rate} {flow}（{share:+.0%}），时段和天气不能解释"),
    "high_use": ("{size} {unit} more than usual since {since}", "自{since_zh}起比通常多用 {size} {unit}"),
    "low_use": ("{size} {unit} less than usual since {since}", "自{since_zh}起比通常少用 {size} {unit}"),
    "leak": ("never below {rate} {flow} since {since}, usually {usual} at night: a leak, or a tap left open",
             "自{since_zh}起一昼夜流量从未低于 {rate} {flow}，通常夜间为 {usual}：漏水或未关阀"),
    "burst": ("{rate} {flow} for hours since {since}, far above all before: a burst pipe or an open valve",
              "自{since_zh}起连续数小时 {rate} {flow}，远高于以往：爆管或阀门未关"),
}  # fmt: skip


def words(kind: Kind, zone: str, start: int, unit: str, **figures: Any) -> Name:
    """The cause in a sentence, with the local time of its beginning."""
    local = from_us(start).astimezone(zone_of(zone))
    day, clock = local.weekday(), f"{local:%H:%M}"
    for name in ("rate", "size"):
        figures[name] = abs(figures.get(name, 0.0))
    figures |= {
        name: figure(figures[name]) for name in ("rate", "size", "usual", "value", "expected") if name in figures
    }
    common = {
        "unit": UNITS.get(unit, unit), "flow": FLOWS.get(unit, f"{unit}/h"),
        "since": f"{WEEKDAYS_EN[day]} {local:%Y-%m-%d} {clock}",
        "since_zh": f"{local:%Y-%m-%d}（{WEEKDAYS_ZH[day]}）{clock}",
    }  # fmt: skip
    en, zh = (text.format(**common, **figures) for text in WORDS[kind])
    return Name(en, zh)


def figure(value: float | None) -> str:
    """Three significant digits; whole numbers keep theirs."""
    if value is None or value != value:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{float(f'{value:.3g}'):g}"


def hours_between(start: int, end: int) -> int:
    """Whole hours of [start, end) [us since 1970]."""
    return (end - start) // HOUR_US
