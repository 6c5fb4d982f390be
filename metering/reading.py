"""Points, readings and series: what passes from the wire to the page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from metering.clock import from_us
from metering.quantity import QUANTITIES, Phase, Quality, Quantity

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Point(NamedTuple):
    """What is measured, where. Text form: `plant/main/active_power/l1`."""

    site: str
    meter: str  # a meter's or a vehicle's id: they share one name space
    quantity: str
    phase: str = Phase.TOTAL.value

    def __str__(self) -> str:
        return "/".join(self)

    @property
    def of(self) -> Quantity:
        """The quantity, with unit and kind."""
        return QUANTITIES[self.quantity]

    @classmethod
    def parse(cls, text: str) -> Point:
        """The point of a text form `site/meter/quantity[/phase]`.

        Raises
        ------
        ValueError
            If the text is no such form, or names an unknown quantity or phase.
        """
        parts = text.split("/")
        if len(parts) not in (3, 4) or not all(parts):
            raise ValueError(f"{text!r} is no point; write site/meter/quantity or site/meter/quantity/phase")
        point = cls(*parts)
        if point.quantity not in QUANTITIES:
            raise ValueError(f"{text!r} names an unknown quantity {point.quantity!r}")
        Phase(point.phase)
        return point


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one point at one instant, as the meter said it.

    Attributes
    ----------
    observed_at : aware UTC, to the microsecond; the device's time where it gives one
    value : float [the quantity's unit]
    received_at : when it reached us
    source : where it came from, e.g. `modbus tcp://10.0.0.7:502 unit 3` or `mqtt demo tele/plug/SENSOR`
    """

    point: Point
    observed_at: datetime
    value: float
    quality: Quality
    received_at: datetime
    source: str


@dataclass(frozen=True, slots=True)
class ReadingBatch:
    """Readings in columns: what the hot path carries.

    Attributes
    ----------
    points : the distinct points of the batch
    point : int32 (n,), index into `points`
    at : int64 (n,), observed_at [us since 1970]
    value : float64 (n,) [each quantity's unit], finite
    quality : uint8 (n,)
    origin : int32 (n,), index into `origins`
    origins : one a source and commit group: where and when the rows came in
    """

    points: tuple[Point, ...]
    point: NDArray[np.int32]
    at: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]
    origin: NDArray[np.int32]
    origins: tuple[Origin, ...]

    def __len__(self) -> int:
        return len(self.at)


class Origin(NamedTuple):
    """Where and when rows came in; kept once per batch, named by number in each row."""

    source: str  # the line's or broker's id, as in the books
    received_at: int  # [us since 1970]
    profiles: str  # profile ids and versions that decoded the rows, e.g. "eastron_sdm630@1"
    position: str  # the spool position of the raw record, e.g. "00000007:81920"


@dataclass(frozen=True, slots=True)
class Series:
    """The stored samples of one point, in time order.

    Attributes
    ----------
    at : int64 (n,), strictly increasing [us since 1970]
    value : float64 (n,) [point.of.unit]
    quality : uint8 (n,)
    """

    point: Point
    at: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.at)


class Measure(NamedTuple):
    """The identity of a derived series: a counter of a meter, or a carrier of a building or site.

    `node` is a meter's, vehicle's, building's or site's id; `scope` says which; `name` is the
    counter's quantity for a meter or vehicle, the carrier for a building or site.
    """

    site: str
    scope: str  # "meter", "building", "site"
    node: str
    name: str
    unit: str

    def __str__(self) -> str:
        return "/".join(self[:4])


@dataclass(frozen=True, slots=True)
class IntervalSeries:
    """What was used in each interval, exactly: integers of a thousandth of the unit.

    Attributes
    ----------
    start, end : int64 (m,) [us since 1970]; half-open, in time order, not overlapping;
        an interval about which nothing is known is absent
    amount : int64 (m,) [0.001 measure.unit]
    coverage : float64 (m,) [1], share of the interval outside gaps
    estimated : int64 (m,) [0.001 measure.unit], the part of `amount` that was spread over gaps
    quality : uint8 (m,), MEASURED, INTERPOLATED or ESTIMATED
    """

    measure: Measure
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    amount: NDArray[np.int64]
    coverage: NDArray[np.float64]
    estimated: NDArray[np.int64]
    quality: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.start)

    @property
    def value(self) -> NDArray[np.float64]:
        """float64 (m,) [measure.unit]"""
        return self.amount / 1000.0


def reading_of(point: Point, at: int, value: float, quality: int, received_at: int, source: str) -> Reading:
    """A Reading from column values; for the cold paths."""
    return Reading(point, from_us(at), float(value), Quality(quality), from_us(received_at), source)
