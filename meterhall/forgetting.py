"""Retention: readings that are older than the configuration keeps them are deleted, counted and told of."""

from __future__ import annotations

import logging

from meterhall.node import Node
from metering.clock import DAY_US, from_us
from metering.quantity import POSITION
from metering.reading import Point

log = logging.getLogger("meterhall.retention")


def forget_what_is_old(node: Node, now: int) -> int:
    """Delete readings older than `[retention]` says; returns how many. Nothing where it says 0.

    Raises
    ------
    StoreUnavailable
        If not all could be deleted now.
    """
    kept, count = node.settings.retention, 0
    if kept.position_days:
        points = [point for point in node.store.points() if point.quantity in POSITION]
        if points:
            count += _forget(node, now - kept.position_days * DAY_US, points, "positions of vehicles")
    if kept.raw_days:
        count += _forget(node, now - kept.raw_days * DAY_US, None, "readings")
    return count


def _forget(node: Node, before: int, points: list[Point] | None, what: str) -> int:
    count = node.store.forget(before, points)
    if count:
        day = f"{from_us(before):%Y-%m-%d}"
        log.info("%s %s of before %s are deleted, as [retention] says", f"{count:,}", what, day)
    return count
