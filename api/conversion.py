"""Money, CO2 and standard coal: amounts with the dated factors of their time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.amounts import (
    Amounts,
    Scope,
    amounts_by,
)
from api.services import Services
from metering.quantity import Carrier
from metering.site import Factor

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class Converted:
    """Money, CO2 or standard coal, with the factor rows it was made with."""

    value: float
    unit: str
    factors: tuple[Factor, ...]


def factor_at(services: Services, factor_id: str, site: str, at: int) -> Factor | None:
    """The dated factor that holds at an instant; a site's own wins over a general one, the newer over the older."""
    held = [
        factor
        for factor in services.installation.factors
        if factor.id == factor_id
        and factor.valid_from <= at
        and (factor.valid_to is None or at < factor.valid_to)
        and (factor.scope == site or factor.scope not in services.installation.by_id)
    ]
    return max(held, key=lambda factor: (factor.scope == site, factor.valid_from), default=None)


def convert(services: Services, kind: str, carrier: str, amounts: Amounts) -> Converted | None:
    """Amounts as money ("price"), CO2 ("co2") or standard coal ("kgce"), each with the factor of its time.

    None where any part has no factor, or a factor of another unit: a sum with holes is no sum.
    """
    spans: dict[Factor, int] = {}
    factors = [f for f in services.installation.factors if f.id == f"{kind}.{carrier}"]
    if not factors or not len(amounts):
        return None
    for start, value in zip(amounts.start.tolist(), amounts.amount.tolist(), strict=True):
        factor = factor_at(services, f"{kind}.{carrier}", amounts.measure.site, start)
        if factor is None or factor.unit.partition("/")[2] != amounts.measure.unit:
            return None
        spans[factor] = spans.get(factor, 0) + value
    units = {factor.unit.partition("/")[0] for factor in spans}
    if len(units) != 1:
        return None
    value = math.fsum(total * factor.value for factor, total in spans.items()) / 1000.0
    return Converted(value, units.pop(), tuple(spans))


def cost(services: Services, scope: Scope, node: str, carrier: Carrier, start: int, end: int) -> Converted | None:
    """What a period cost, by days; None without a price for all of it."""
    return convert(services, "price", carrier, amounts_by(services, scope, node, carrier, start, end, "day"))
