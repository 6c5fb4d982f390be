"""Calendar, weather and degree days over the wire."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.schemas import Iso, Model, NameOut, Share


class DayOut(Model):
    """What a day is, and who says so."""

    date: str
    kind: Literal["work", "make_up", "weekend", "holiday", "closed"] = Field(
        description="make_up: worked on a weekend; closed: off by the site's own calendar"
    )
    works: bool
    source: Literal["official", "site", "weekday"] = Field(description="weekday: there is no official calendar")
    provisional: bool = Field(description="no official calendar of that year yet")
    name: NameOut | None = Field(description="of the holiday, or the site's reason")
    term: NameOut | None = Field(description="the term it lies in; null: none")
    heating: bool | None = Field(description="in the heating season; null: no season is configured")
    opens: str | None = Field(description="local time, of the building asked for; null: closed, or no building asked")
    closes: str | None


class CalendarOut(Model):
    """Days of a site or building."""

    site: str
    building: str | None
    country: str
    tz: str
    provisional_years: list[int]
    work_days: int
    rows: list[DayOut]


class WeatherSourceOut(Model):
    """An outdoor thermometer that serves a node."""

    point: str
    name: NameOut
    place: Literal["building", "site", "elsewhere"] = Field(description="where it stands, seen from the node")
    distance_km: float | None = Field(description="great-circle distance; null: a position is not configured")
    share: Share = Field(description="of the hours asked for: those it was taken for")


class DegreeDayOut(Model):
    """Degree days of a local day; null where fewer than 20 hours of it are known."""

    date: str
    heating: float | None = Field(description="[K d]")
    cooling: float | None = Field(description="[K d]")
    mean: float | None = Field(description="mean outdoor temperature [degC]")
    hours: int = Field(description="hours with a temperature")


class DegreeDaysOut(Model):
    """Degree days, with base and method."""

    node: str
    tz: str
    start: Iso
    end: Iso
    heating_base_degc: float
    cooling_base_degc: float
    method: Literal["hourly", "daily_mean"] = Field(
        description="hourly: mean over the day's hours of max(0, base - T); daily_mean: max(0, base - mean of the day)"
    )
    days: int = Field(description="whole local days in the period")
    days_known: int = Field(description="of them: those with degree days; the sums are of these")
    heating: float | None = Field(description="sum [K d]; null where no day is known")
    cooling: float | None
    sources: list[WeatherSourceOut]
    rows: list[DegreeDayOut]
