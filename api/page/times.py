"""Times as people say them, in the site's zone. All instants are int [us since 1970]."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

from metering.clock import SECOND_US, from_us

DAYS_EN = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DAYS_ZH = ("周一", "周二", "周三", "周四", "周五", "周六", "周日")
MONTHS_EN = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
             "November", "December")  # fmt: skip


def local(at: int, zone: str) -> datetime:
    """The wall-clock time of an instant."""
    return from_us(at).astimezone(ZoneInfo(zone))


def weekday(day: date, language: str, *, short: bool = False) -> str:
    """The day's name."""
    if language == "zh":
        return DAYS_ZH[day.weekday()]
    return DAYS_EN[day.weekday()][:3] if short else DAYS_EN[day.weekday()]


def day_said(day: date, language: str, *, year: bool = False, named: bool = True) -> str:
    """`Tue 24 Nov 2026` or `2026年11月24日 周二`."""
    if language == "zh":
        text = f"{day.year}年{day.month}月{day.day}日" if year else f"{day.month}月{day.day}日"
        return f"{text} {DAYS_ZH[day.weekday()]}" if named else text
    text = f"{day.day} {MONTHS_EN[day.month - 1][:3]}" + (f" {day.year}" if year else "")
    return f"{DAYS_EN[day.weekday()][:3]} {text}" if named else text


def month_said(day: date, language: str) -> str:
    """`November 2026` or `2026年11月`."""
    return f"{day.year}年{day.month}月" if language == "zh" else f"{MONTHS_EN[day.month - 1]} {day.year}"


def full(at: int, zone: str, language: str) -> str:
    """Everything: weekday, date, time to the second."""
    moment = local(at, zone)
    return f"{day_said(moment.date(), language, year=True)} {moment:%H:%M:%S}"


def clock(at: int, zone: str) -> str:
    """`14:07`."""
    return f"{local(at, zone):%H:%M}"


def said(at: int, now: int, zone: str, language: str) -> str:
    """An instant as people say it: `14:07`, `yesterday 14:07`, `Monday 23:00`, `3 Nov 14:07`, `3 Nov 2025`."""
    moment, today = local(at, zone), local(now, zone).date()
    days, time = (today - moment.date()).days, f"{moment:%H:%M}"
    if days == 0:
        return time
    if days == 1:
        return f"昨天{time}" if language == "zh" else f"yesterday {time}"
    if 1 < days < 7:
        return f"{DAYS_ZH[moment.weekday()]}{time}" if language == "zh" else f"{DAYS_EN[moment.weekday()]} {time}"
    if moment.year == today.year:
        return f"{day_said(moment.date(), language, named=False)} {time}"
    return day_said(moment.date(), language, year=True, named=False)


def ago(at: int, now: int, language: str) -> str:
    """How long since: `just now`, `40 s ago`, `12 min ago`, `3 h ago`, `5 days ago`."""
    text = lasted(now - at, language)
    if now - at < 3 * SECOND_US:
        return "刚刚" if language == "zh" else "just now"
    return f"{text}前" if language == "zh" else f"{text} ago"


def lasted(us: int, language: str) -> str:
    """A duration in its largest sensible unit."""
    seconds = max(0, us) // SECOND_US
    if seconds < 90:
        number, en, zh = seconds, "s", "秒"
    elif seconds < 90 * 60:
        number, en, zh = round(seconds / 60), "min", "分钟"
    elif seconds < 36 * 3600:
        number, en, zh = round(seconds / 3600), "h", "小时"
    else:
        number, en, zh = round(seconds / 86400), "days", "天"
    return f"{number}{zh}" if language == "zh" else f"{number}\u202f{en}"
