"""Dated facts applied on the way out, for showing: what a meter's raw values mean. Raw itself is never touched."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.facts import SIGNED, gauge_values, has_ratio
from metering.quantity import QUANTITIES, Kind
from metering.reading import Series
from metering.site import Device, Fact

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Stretch(NamedTuple):
    """A time in which one set of facts holds: value x factor + offset."""

    start: int
    end: int
    factor: float
    offset: float
    facts: tuple[Fact, ...]


def concerning(device: Device, quantity: str) -> tuple[Fact, ...]:
    """The facts that scale a quantity's values, in time order.

    A counter gets ratio and rescale alone: what a sign or a swap means for energy is settled in its intervals.
    """
    counter = QUANTITIES[quantity].kind == Kind.COUNTER

    def concerns(fact: Fact) -> bool:
        if fact.quantity and fact.quantity != quantity:
            return False
        if fact.kind == "ratio":
            return has_ratio(quantity)
        return (fact.kind == "sign" and quantity in SIGNED and not counter) or (
            fact.kind == "rescale" and fact.quantity == quantity
        )

    return tuple(sorted(filter(concerns, device.facts), key=lambda fact: fact.valid_from))


def stretches(device: Device, quantity: str, start: int, end: int) -> list[Stretch]:
    """[start, end) cut where the facts of a device's quantity change."""
    facts = concerning(device, quantity)
    cuts = [start, *sorted({fact.valid_from for fact in facts if start < fact.valid_from < end}), end]
    out = []
    for since, until in itertools.pairwise(cuts):
        offset, one = gauge_values(facts, quantity, np.array([since, since]), np.array([0.0, 1.0])).tolist()
        held = {fact.kind: fact for fact in facts if fact.valid_from <= since}
        out.append(Stretch(since, until, one - offset, offset, tuple(held.values())))
    return out


def applied(device: Device, series: Series) -> NDArray[np.float64]:
    """float64 (n,): the series' values with the dated facts applied [point.of.unit]."""
    facts = concerning(device, series.point.quantity)
    return gauge_values(facts, series.point.quantity, series.at, series.value) if facts else series.value


def applied_at(device: Device, quantity: str, at: int, value: float) -> float:
    """One value with the facts that hold at its time."""
    facts = concerning(device, quantity)
    return float(gauge_values(facts, quantity, np.array([at]), np.array([value]))[0]) if facts else value
