"""Can this be a project of measurement and verification? What is wrong is named, with the mend."""

from __future__ import annotations

from collections.abc import Iterator

from metering.clock import DAY_US
from metering.explain import ExplainedError
from metering.quantity import QUANTITIES, Carrier
from metering.reading import Measure
from metering.site import Installation, Meter
from storage.ledger.savings import ProjectRow

LONGEST_BASELINE_US = 3 * 366 * DAY_US


def check_project(installation: Installation, row: ProjectRow) -> None:
    """Refuse a project whose nodes or dates cannot be right.

    Raises
    ------
    ExplainedError
        Naming the field and the mend.
    """
    if not row.measures:
        raise ExplainedError("nodes", "is empty", "name at least one meter, building or site")
    if len({(measure.unit, carrier_of(installation, measure)) for measure in row.measures}) > 1:
        raise ExplainedError("nodes", "do not count the same", "make a project for each carrier and unit")
    if len({measure.site for measure in row.measures}) > 1:
        raise ExplainedError("nodes", "are of several sites", "make a project for each site: days and weather differ")
    counted: dict[str, Measure] = {}
    for measure in row.measures:
        for meter in counted_by(installation, measure):
            if meter in counted:
                raise ExplainedError(
                    "nodes", f'counts "{meter}" twice: {counted[meter].node} and {measure.node} both hold it',
                    "leave one of them out",
                )  # fmt: skip
            counted[meter] = measure
    check_dates(row)


def check_dates(row: ProjectRow) -> None:
    """Baseline, retrofit, reporting: in that order."""
    if not row.baseline_start < row.baseline_end:
        raise ExplainedError("baseline_end", "is not after baseline_start", "give a period of twelve months")
    if row.baseline_end - row.baseline_start > LONGEST_BASELINE_US:
        raise ExplainedError("baseline_start", "lies more than three years before its end", "take the last year of it")
    if row.baseline_end > row.retrofit:
        raise ExplainedError("baseline_end", "lies after the retrofit began", "end it where the work begins")
    if row.retrofit > row.reporting_start:
        raise ExplainedError("reporting_start", "lies before the retrofit", "begin it where the work is done")
    if row.reporting_end is not None and row.reporting_end <= row.reporting_start:
        raise ExplainedError("reporting_end", "is not after reporting_start", "leave it out if it goes on")


def carrier_of(installation: Installation, measure: Measure) -> Carrier:
    """What flows through a measure."""
    thing = installation.by_id.get(measure.node)
    if isinstance(thing, Meter):
        return thing.carrier
    return Carrier(measure.name) if measure.name in list(Carrier) else QUANTITIES[measure.name].carrier


def counted_by(installation: Installation, measure: Measure) -> set[str]:
    """The meters whose flow a measure holds: its own, and all below them but those that are taken off."""
    if measure.scope == "meter":
        return set(_below(installation, measure.node))
    inside: set[str] = set()
    outside: set[str] = set()
    parts = installation.contributions(measure.scope, measure.node, carrier_of(installation, measure))
    for meter, sign in parts:
        (inside if sign > 0 else outside).update(_below(installation, meter.id))
    return inside - outside


def _below(installation: Installation, meter: str) -> Iterator[str]:
    yield meter
    for child in installation.children.get(meter, ()):
        yield from _below(installation, child.id)
