"""Which measures have intervals, by node: asked of the store now and then, since it looks through every interval."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from metering.reading import Measure
from storage.store import Store

FRESH_S = 30.0  # so long an answer holds
MISSED_S = 10.0  # after so long a miss asks anew: a first interval shows soon

ByNode = Mapping[str, Mapping[str, Measure]]


class KnownMeasures:
    """Node -> name -> measure. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked_at: float | None = None
        self._by_node: dict[str, dict[str, Measure]] = {}

    def by_node(self, store: Store, at_most_s: float = FRESH_S) -> ByNode:
        """Every measure, as it was at most so many seconds ago."""
        with self._lock:
            if self._asked_at is None or time.monotonic() - self._asked_at > at_most_s:
                by_node: dict[str, dict[str, Measure]] = {}
                for measure in store.measures():
                    by_node.setdefault(measure.node, {})[measure.name] = measure
                self._by_node, self._asked_at = by_node, time.monotonic()
            return self._by_node

    def of(self, store: Store, node: str) -> Mapping[str, Measure]:
        """The measures of a node by name; empty where there are none."""
        return self.by_node(store).get(node) or self.by_node(store, MISSED_S).get(node) or {}
