"""Dated facts of a meter, applied on the way out: raw readings stay as the meter said them.

- `ratio` multiplies energy, power and current from its date on (CT x VT); the last one dated holds.
- `rescale` is value x factor + offset for the one raw quantity it names, before the ratio.
- `sign` -1 is a clamp put on backwards: from its date on, what the meter counted as import is the
  export and the other way round, and power changes its sign. Where the meter has no counter of the
  other direction nothing is known, so there is no energy and no zero.
- `swap` is a replaced meter; see `analytics.counters`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metering.quantity import QUANTITIES, Carrier
from metering.site import Fact

MIRROR = {
    "active_energy_import": "active_energy_export",
    "active_energy_export": "active_energy_import",
    "reactive_energy_import": "reactive_energy_export",
    "reactive_energy_export": "reactive_energy_import",
}
SIGNED = {"active_power", "reactive_power", "power_factor"}
BEGIN, END = -(2**62), 2**62  # before and after all instants


class Scale(NamedTuple):
    """value_out = value_raw x factor + offset, from `at` on."""

    at: int  # [us since 1970]
    factor: float
    offset: float


class Source(NamedTuple):
    """In [start, end) the outgoing quantity is counted by this raw quantity."""

    start: int
    end: int
    quantity: str


def has_ratio(quantity: str) -> bool:
    """Does the transformer ratio apply to this quantity: electrical power, energy, current."""
    unit, carrier = QUANTITIES[quantity].unit, QUANTITIES[quantity].carrier
    return carrier == Carrier.ELECTRICITY and unit in {"W", "var", "VA", "kWh", "kvarh", "A"}


def _sorted(facts: Sequence[Fact], kind: str) -> list[Fact]:
    return sorted((fact for fact in facts if fact.kind == kind), key=lambda fact: fact.valid_from)


def scales(facts: Sequence[Fact], quantity: str) -> tuple[Scale, ...]:
    """The scales of a raw quantity in time order; the first one begins before all time."""
    ratio = [fact for fact in _sorted(facts, "ratio") if has_ratio(quantity) and fact.quantity in ("", quantity)]
    rescale = [fact for fact in _sorted(facts, "rescale") if fact.quantity == quantity]
    out = [Scale(BEGIN, 1.0, 0.0)]
    for at in sorted({fact.valid_from for fact in (*ratio, *rescale)}):
        r = next((fact.factor for fact in reversed(ratio) if fact.valid_from <= at), 1.0)
        s = next((fact for fact in reversed(rescale) if fact.valid_from <= at), None)
        out.append(Scale(at, r * s.factor, r * s.offset) if s else Scale(at, r, 0.0))
    return tuple(out)


def sources(facts: Sequence[Fact], quantity: str) -> tuple[Source, ...]:
    """Which raw quantity counts an outgoing counter, in time order and without holes."""
    out: list[Source] = []
    start, name = BEGIN, quantity
    for fact in _sorted(facts, "sign"):
        now = MIRROR.get(quantity, quantity) if fact.factor < 0 else quantity
        if now != name:
            out.append(Source(start, fact.valid_from, name))
            start, name = fact.valid_from, now
    out.append(Source(start, END, name))
    return tuple(out)


def swaps(facts: Sequence[Fact], quantity: str) -> tuple[Fact, ...]:
    """The replacements that concern a raw quantity, in time order. `last`, `first` are the counter's own figures."""
    return tuple(fact for fact in _sorted(facts, "swap") if fact.quantity in ("", quantity))


def gauge_values(
    facts: Sequence[Fact], quantity: str, at: NDArray[np.int64], value: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A gauge's values with ratio, rescale and sign applied; the input stays as it is.

    at : int64 (n,) [us since 1970]; value : float64 (n,) [the quantity's unit]
    """
    dated = scales(facts, quantity)
    which = np.searchsorted(np.array([scale.at for scale in dated]), at, side="right") - 1
    out: NDArray[np.float64] = (
        value * np.array([s.factor for s in dated])[which] + np.array([s.offset for s in dated])[which]
    )
    if quantity in SIGNED:
        signs = _sorted(facts, "sign")
        if signs:
            place = np.searchsorted(np.array([fact.valid_from for fact in signs]), at, side="right")
            out = out * np.array([1.0, *(1.0 if fact.factor >= 0 else -1.0 for fact in signs)])[place]
    return out
