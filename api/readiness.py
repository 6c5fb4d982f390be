"""Whether the product is ready, and what is wrong in words; one answer for API, page and metrics."""

from __future__ import annotations

import logging
from typing import Literal, NamedTuple

from api.services import Services

log = logging.getLogger("meterhall.api")


class Readiness(NamedTuple):
    """ok, degraded (some readings do not come, others do), broken (nothing can be stored or shown)."""

    status: Literal["ok", "degraded", "broken"]
    reasons: tuple[str, ...]


def readiness(services: Services) -> Readiness:
    """How things are now."""
    broken: list[str] = []
    degraded: list[str] = []
    try:
        services.store.statistics()
    except Exception as error:  # whatever it is: that is the answer
        log.warning("the store gives no statistics: %s", error)
        broken.append("the store gives nothing")
    if services.collector is None:
        degraded.append("no collector runs here")
    else:
        spool = services.collector.spool()
        if not spool.accepting:
            broken.append(f"the spool takes nothing: {spool.note}" if spool.note else "the spool takes nothing")
        if services.collector.note:
            broken.append("the store takes nothing; readings wait in the spool")
        degraded += [f"spool: {text}" for text in spool.damaged]
        for line in services.collector.lines():
            if line.state in ("degraded", "broken"):
                degraded.append(
                    f"{line.id} is {line.state}: {line.note}" if line.note else f"{line.id} is {line.state}"
                )
    if broken:
        return Readiness("broken", (*broken, *degraded))
    return Readiness("degraded" if degraded else "ok", tuple(degraded))
