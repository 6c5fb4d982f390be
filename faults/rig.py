"""The rig of the scenarios with real processes: a broker, a publisher with its ledger, the product, the oracle."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from faults.broker import Broker
from faults.ledger import Ledger
from faults.oracle import Verdict, examine
from faults.product import ROOT, SITE, Product, write_configuration
from faults.values import DAY_S


def first_time() -> int:
    """The time of message 0 [s since 1970]: ten days ago, so that what is stored is soon old enough to be sealed."""
    return int(time.time()) // 3600 * 3600 - 10 * DAY_S


class Rig:
    """Everything of one scenario, in a folder of its own. A context manager: it ends what it started."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        devices: int = 1000,
        launch: Sequence[str] = (),
        broker_lines: Sequence[str] = (),
        configuration: dict[str, Any] | None = None,
        wrap: Sequence[str] = (),
    ) -> None:
        self.folder, self.seed, self.devices, self.t0 = folder, seed, devices, first_time()
        self.broker = Broker(folder / "broker", lines=broker_lines)
        data = Path((configuration or {}).get("data", folder / "site" / "data"))
        self.product = Product(folder / "site", launch=launch, wrap=wrap, data=data)
        self._options: dict[str, Any] = {"broker": self.broker.url, "devices": devices, **(configuration or {})}
        self.configure()
        self.ledgers: list[Path] = []
        self.publishers: list[subprocess.Popen[bytes]] = []

    def configure(self, **changes: Any) -> None:
        """Write the configuration, changed in some options of `write_configuration`."""
        write_configuration(self.product.folder, port=self.product.port, **{**self._options, **changes})

    def __enter__(self) -> Rig:
        self.broker.start()
        return self

    def __exit__(self, *_: object) -> None:
        for publisher in self.publishers:
            if publisher.poll() is None:
                publisher.kill()
                publisher.wait(10)
        if self.product.running:
            self.product.kill()
        if self.broker.process is not None:
            self.broker.stop(signal.SIGKILL)

    def publish(self, *options: object, devices: int | None = None) -> subprocess.Popen[bytes]:
        """Start a publisher; options as of `faults.publisher`."""
        number = len(self.ledgers)
        ledger = self.folder / f"ledger-{number}"
        self.ledgers.append(ledger)
        command = [sys.executable, "-m", "faults.publisher", "--port", self.broker.port, "--ledger", ledger]
        command += ["--t0", self.t0, "--base", SITE, "--devices", devices or self.devices]
        command += ["--seed", self.seed + number, "--client-id", f"faults-{number}", *options]
        with (self.folder / "publisher.log").open("ab") as log:
            publisher = subprocess.Popen([str(word) for word in command], cwd=ROOT, stdout=log, stderr=log)
        self.publishers.append(publisher)
        return publisher

    def end_publishers(self, timeout_s: float = 60.0) -> int:
        """Let all publishers finish; how many still had acknowledgements due."""
        for publisher in self.publishers:
            if publisher.poll() is None:
                publisher.send_signal(signal.SIGTERM)
        return sum(publisher.wait(timeout_s) != 0 for publisher in self.publishers)

    @property
    def ledger(self) -> Ledger:
        """All ledgers as one."""
        return Ledger.read(*self.ledgers)

    def settle(self, *, waived: Iterable[tuple[int, int]] = (), timeout_s: float = 90.0) -> Verdict:
        """Wait until everything acknowledged has been received and nothing is pending; stop; examine."""
        ledger = self.ledger
        self.product.wait_drained(ledger.messages, timeout_s)
        self.product.stop()
        return self.examine(waived=waived)

    def examine(self, data: Path | None = None, *, waived: Iterable[tuple[int, int]] = ()) -> Verdict:
        """What the oracle finds in the product's data folder, or another; the product must have ended."""
        return examine(data or self.product.data, self.ledger, self.t0, site=SITE, waived=waived)
