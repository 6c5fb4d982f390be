"""Sentences of "needs you": where, what, since when, how much, what to do; read on a phone, in English and Chinese."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from metering.clock import DAY_US, HOUR_US, MINUTE_US, from_us
from metering.site import Name

_DAYS_EN = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS_EN = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS_ZH = "一二三四五六日"


def figure(value: float) -> str:
    """Three significant digits, no trailing zeros, thousands with a comma."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{float(f'{value:.3g}'):g}"


def _local(us: int, zone: str) -> datetime:
    return from_us(us).astimezone(ZoneInfo(zone))


def moment(us: int, now: int, zone: str) -> Name:
    """An instant as people say it: `14:07` today, `Mon 23:00` this week, else with its date."""
    at, today = _local(us, zone), _local(now, zone).date()
    clock = f"{at:%H:%M}"
    days = (today - at.date()).days
    zh = f"{at.month}月{at.day}日 周{_DAYS_ZH[at.weekday()]} {clock}"
    if at.year != today.year:
        zh = f"{at.year}年{zh}"
    if days == 0:
        return Name(clock, f"今天 {clock}")
    if days < 7:
        return Name(f"{_DAYS_EN[at.weekday()]} {clock}", zh)
    year = f" {at.year}" if at.year != today.year else ""
    return Name(f"{_DAYS_EN[at.weekday()]} {at.day} {_MONTHS_EN[at.month - 1]}{year} {clock}", zh)


def lasting(us: int) -> Name:
    """A length of time: `12 min`, `5 h`, `3 days`."""
    if us < 2 * HOUR_US:
        n = max(us // MINUTE_US, 1)
        return Name(f"{n} min", f"{n} 分钟")
    if us < 2 * DAY_US:
        n = us // HOUR_US
        return Name(f"{n} h", f"{n} 小时")
    n = us // DAY_US
    return Name(f"{n} days", f"{n} 天")


def sentence(place: Name, what: Name, do: Name) -> Name:
    """`Where: what. What to do.`"""
    place_zh = place.in_language("zh")
    return Name(f"{place.en}: {what.en}. {do.en}.", f"{place_zh}：{what.zh}。{do.zh}。")


def water_at_night(place: Name, meter: Name, flow: float, since: Name, closes: str) -> Name:
    """A leak or an open tap; `flow` [m3/h]."""
    day = figure(flow * 24)
    return sentence(
        place,
        Name(
            f"water runs at night, {figure(flow)} m³/h since {since.en}, about {day} m³ a day",
            f"夜间持续用水 {figure(flow)} m³/h，始于{since.zh}，约 {day} m³/天",
        ),
        Name(
            f"Close the tap valves after {closes} and look at the meter “{meter.en}”: if it still turns, a pipe leaks",
            f"请在 {closes} 后关闭各用水点阀门，查看“{meter.in_language('zh')}”是否仍在走字；仍走字即为管道漏水",
        ),
    )


def night_load(place: Name, meter: Name, rise_kw: float, usual_kw: float, since: Name, closes: str) -> Name:
    """More power at night than usual [kW]."""
    rise, usual = figure(rise_kw), figure(usual_kw)
    return sentence(
        place,
        Name(
            f"“{meter.en}” takes {rise} kW more at night than usual ({usual} kW) since {since.en}",
            f"“{meter.in_language('zh')}”夜间负荷比平时（{usual} kW）高 {rise} kW，始于{since.zh}",
        ),
        Name(
            f"Look after {closes} what still runs: timer, manual switch, ventilation",
            f"请在 {closes} 后检查仍在运行的设备：定时、手动开关、通风机组",
        ),
    )


def silent(place: Name, meter: Name, since: Name, mqtt: bool) -> Name:
    """A meter that says nothing."""
    do = (
        Name(
            "Look at its battery, radio and gateway, and whether the broker is up",
            "请检查电池、无线信号、网关和消息服务器",
        )
        if mqtt
        else Name(
            "Look at its supply, the bus cable and the unit id",
            "请检查表计供电、总线接线和站号",
        )
    )
    what = Name(f"meter “{meter.en}” silent since {since.en}", f"“{meter.in_language('zh')}”自{since.zh} 起无数据")
    return sentence(place, what, do)


def dead_unit(place: Name, meter: Name, since: Name) -> Name:
    """A unit that does not answer on its line."""
    return sentence(
        place,
        Name(
            f"meter “{meter.en}” does not answer since {since.en}",
            f"“{meter.in_language('zh')}”自{since.zh} 起无应答",
        ),
        Name(
            "The others on its line do: look at this meter's supply, cable and unit id",
            "同一总线其他表计正常，请检查该表供电、接线和站号",
        ),
    )


def silent_line(line: str, count: int, names: tuple[Name, ...], since: Name) -> Name:
    """A whole line or broker that says nothing."""
    shown_en = ", ".join(name.en for name in names[:3]) + (f" and {count - 3} more" if count > 3 else "")
    shown_zh = "、".join(name.in_language("zh") for name in names[:3]) + (f"等 {count} 块" if count > 3 else "")
    return Name(
        f"Line {line}: {count} meters silent since {since.en} ({shown_en}). "
        "One cause for all is likely: look at the gateway, its supply and its network.",
        f"通信线路 {line}：{count} 块表自{since.zh} 起无数据（{shown_zh}）。多半是同一原因，请检查网关、供电和网络。",
    )


def stuck(place: Name, meter: Name, since: Name, flowing: str) -> Name:
    """A counter that stands still; `flowing` says what its own flow shows, or nothing."""
    en = f" though it shows {flowing}" if flowing else ""
    zh = f"，但瞬时值为 {flowing}" if flowing else ""
    return sentence(
        place,
        Name(
            f"the counter of “{meter.en}” stands still since {since.en}{en}",
            f"“{meter.in_language('zh')}”累计读数自{since.zh} 起不变{zh}",
        ),
        Name(
            "Read the meter's display; if it goes on there, restart its interface",
            "请查看表计显示；若显示仍在走字，请重启通信接口",
        ),
    )


def stuck_gauge(place: Name, meter: Name, since: Name, value: str) -> Name:
    """A sensor that repeats one value."""
    return sentence(
        place,
        Name(
            f"“{meter.en}” says {value} without change since {since.en}",
            f"“{meter.in_language('zh')}”自{since.zh} 起一直为 {value}",
        ),
        Name("Look at the sensor and its cable", "请检查传感器及接线"),
    )


def above_rated(place: Name, meter: Name, power_kw: float, rated_kw: float, since: Name) -> Name:
    """More power than the meter's circuit is made for [kW]."""
    return sentence(
        place,
        Name(
            f"“{meter.en}” at {figure(power_kw)} kW since {since.en}, rated for {figure(rated_kw)} kW",
            f"“{meter.in_language('zh')}”自{since.zh} 起功率 {figure(power_kw)} kW，超过额定 {figure(rated_kw)} kW",
        ),
        Name(
            "Either the circuit is overloaded or the transformer ratio is wrong: compare with a clamp meter",
            "回路过载或互感器变比有误，请用钳形表核对",
        ),
    )


def suspect(place: Name, meter: Name, value: str, since: Name) -> Name:
    """Values that fail their checks."""
    return sentence(
        place,
        Name(
            f"“{meter.en}” says what cannot be, {value}, since {since.en}",
            f"“{meter.in_language('zh')}”自{since.zh} 起数值异常（{value}）",
        ),
        Name(
            "Compare with its display; check unit, scale and word order in its profile",
            "请与表计显示核对，并检查设备配置中的单位、倍率和字序",
        ),
    )


def counter_reset(place: Name, meter: Name, before: str, after: str, since: Name, risen: bool) -> Name:
    """A counter that jumped, without a recorded swap."""
    verb_en, verb_zh = ("jumped", "突增") if risen else ("fell", "回落")
    return sentence(
        place,
        Name(
            f"the counter of “{meter.en}” {verb_en} from {before} to {after}, {since.en}; no use was counted there",
            f"“{meter.in_language('zh')}”累计读数于{since.zh}由 {before} {verb_zh}至 {after}，该时段未计用量",
        ),
        Name(
            "If the meter was replaced, record the swap with both figures: then nothing is lost",
            "如已换表，请登记换表记录及新旧表底数，用量即可补齐",
        ),
    )
