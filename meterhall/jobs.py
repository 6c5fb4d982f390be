"""What is done in the background: derive, look for what needs somebody, forget what is old."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from analytics.workdays import Workdays
from collector.service import Collector
from meterhall.attend import Attender
from meterhall.forgetting import forget_what_is_old
from meterhall.needs import merged, trusted
from meterhall.node import Node
from metering.clock import now_us
from metering.site import Name
from storage.ledger.ledger import Event
from storage.store import StoreUnavailable

log = logging.getLogger("meterhall")

DERIVE_S = 5.0
REST = 9.0  # times as long as they took the background jobs rest: they get at most a tenth of the time
LONGEST_REST_S = 60.0
ATTEND_S = 15.0
SETTLING_S = 90.0
FORGET_S = 6 * 3600.0


class Jobs:
    """What is done in the background from time to time: derive touched ranges, look for what needs somebody."""

    def __init__(self, node: Node, collector: Collector, calendar_of: Callable[[str], Workdays]) -> None:
        self._node, self._collector, self._started_at = node, collector, now_us()
        self._attender = Attender(
            node.settings.installation, node.store, calendar_of=calendar_of, started_at=self._started_at
        )
        self.tell: Callable[[int], None] | None = None  # those who query the store; set before `start`
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is under way and stop."""
        self._stop.set()
        self._thread.join(30)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        attended, forgot, began = -ATTEND_S, -FORGET_S, time.monotonic()
        while True:
            begun = time.monotonic()
            self._try(lambda: self._node.deriver.run_once(now_us()), "intervals are derived again later")
            if time.monotonic() - attended >= ATTEND_S:
                attended = time.monotonic()
                self._try(self._attend, "what needs somebody is looked for again later")
            self._try(self._tell, "dashboards are told again later")
            if time.monotonic() - forgot >= FORGET_S:
                forgot = time.monotonic()
                self._try(lambda: forget_what_is_old(self._node, now_us()), "old readings are deleted later")
            rest = min(max(DERIVE_S, REST * (time.monotonic() - begun)), LONGEST_REST_S)
            if time.monotonic() - began < SETTLING_S:
                rest = DERIVE_S  # who has just started it wants to see what is wrong
            if self._stop.wait(rest):
                return

    def _tell(self) -> None:
        if self.tell is not None:
            self.tell(now_us())

    def _attend(self) -> None:
        """Enter what needs somebody now into the ledger; what no longer does is closed there."""
        now = now_us()
        found = self._attender.current(now, self._collector.lines(), self._node.deriver.findings())
        events = [
            Event(each.kind, each.node, each.text, each.since, each.site, each.severity, {**each.data})
            for each in found
        ]
        events += [
            Event("data_folder_mended", f"data-{i}", Name(text, text), self._started_at, "", "broken")
            for i, text in enumerate(self._node.findings)
        ]
        ledger = self._node.ledger
        lasting = ledger.incidents.list(open_only=True)
        sure_of = trusted(ledger.baselines.in_use()) if lasting else ()
        ledger.sync_events(merged(self._node.settings.installation, events, lasting, sure_of), now)

    def _try(self, job: Callable[[], object], consequence: str) -> None:
        try:
            job()
        except StoreUnavailable as refusal:
            log.error("%s; %s", refusal, consequence)
        except Exception:
            log.exception("a background job failed; %s", consequence)
