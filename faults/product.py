"""The product as a black box: its configuration, its process, its API."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faults.broker import free_port
from faults.values import device_id
from faults.waiting import wait_until

BROKER = "b"
SITE = "plant"
ROOT = Path(__file__).resolve().parent.parent


def write_configuration(
    folder: Path,
    *,
    port: int,
    broker: str = "",
    devices: int = 0,
    broker_lines: Sequence[str] = (),
    limits: Sequence[str] = (),
    modbus_timeout_s: float = 0.5,
    meters: Sequence[str] = (),
    data: str = "data",
    store_url: str = "",
    timezone: str = "UTC",
) -> None:
    """A configuration folder: `devices` plain-JSON meters on one broker, and meters written out as TOML."""
    folder.mkdir(parents=True, exist_ok=True)
    main = [f'[data]\nfolder = "{data}"', f"[server]\nport = {port}", f"[modbus]\ntimeout_s = {modbus_timeout_s}"]
    if store_url:
        main.append(f'[store]\nurl = "{store_url}"')
    if broker:
        main.append("\n".join([f'[[broker]]\nid = "{BROKER}"\nurl = "{broker}"', *broker_lines]))
    if limits:
        main.append("\n".join(["[limits]", *limits]))
    (folder / "meterhall.toml").write_text("\n".join(main) + "\n")
    site = [f'[[site]]\nid = "{SITE}"\nname = "Plant"\ntimezone = "{timezone}"\ncountry = "CN"']
    site += [
        f'[[meter]]\nid = "{device_id(k)}"\nname = "Device {k}"\ncarrier = "electricity"\nprofile = "plain_json"\n'
        f'connection = "mqtt://{BROKER}/{SITE}/{device_id(k)}"'
        for k in range(devices)
    ]
    (folder / "site.toml").write_text("\n".join([*site, *meters]) + "\n")


class Product:
    """`meterhall run` as a process of its own.

    Parameters
    ----------
    folder : the configuration folder; the log goes to `run.log` in it
    launch : options of `faults.launch`; empty runs `python -m meterhall` itself, unaltered
    wrap : a command put before it, such as strace
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        launch: Sequence[str] = (),
        wrap: Sequence[str] = (),
        data: Path | None = None,
    ) -> None:
        self.folder, self.port = folder, port or free_port()
        self.data = data or folder / "data"
        self.launch, self.wrap = tuple(launch), tuple(wrap)
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.ready_s = 0.0  # of the last start, but for what other processes took: see `_without_the_others`

    @property
    def log(self) -> str:
        """What it has logged, over all its lives."""
        path = self.folder / "run.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Product:
        """Start the process; returns at once."""
        module = ["faults.launch", *self.launch] if self.launch else ["meterhall", "run"]
        command = [*self.wrap, sys.executable, "-m", *module, "--config", str(self.folder)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with (self.folder / "run.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=environment)
        self.started = time.monotonic()
        return self

    @property
    def running(self) -> bool:
        """Is the process there?"""
        return self.process is not None and self.process.poll() is None

    def alive(self, timeout_s: float = 1.0) -> bool:
        """Does `/health/live` answer?"""
        try:
            return self.get("/health/live", timeout_s)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def wait_live(self, timeout_s: float = 120.0) -> float:
        """Wait for `/health/live`; seconds since the start."""
        wait_until(lambda: self.alive() or not self.running, timeout_s, "/health/live answers", every_s=0.005)
        if not self.running:
            raise RuntimeError(f"Meterhall ended with {self.process and self.process.returncode}: {self.log[-1500:]}")
        seconds = time.monotonic() - self.started
        self.ready_s = self._without_the_others(seconds)
        return seconds

    def _without_the_others(self, seconds: float) -> float:
        """What the start would have taken on a machine of its own.

        Without the time its main thread was ready to run and waited for a core, by Linux' own account; on a machine
        with more than twice as much to do as it has cores, the processor time that the start took.
        """
        assert self.process is not None
        folder = Path(f"/proc/{self.process.pid}")
        try:
            waited = int((folder / f"task/{self.process.pid}/schedstat").read_text().split()[1]) / 1e9
            ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
        except (OSError, IndexError):
            return seconds
        used = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        overloaded = os.getloadavg()[0] > 2 * (os.cpu_count() or 1)
        return min(seconds, used) if overloaded else max(0.0, seconds - waited)

    def wait_connected(self, timeout_s: float = 60.0) -> None:
        """Wait until every way in is ok."""
        wait_until(
            lambda: (lines := self.lines()) and all(line["state"] == "ok" for line in lines), timeout_s, "lines are ok"
        )

    def get(self, path: str, timeout_s: float = 10.0) -> tuple[int, bytes]:
        """Status and body of a GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        """The document of a GET; None if it does not answer now."""
        try:
            status, body = self.get(path)
        except (OSError, http.client.HTTPException):
            return None
        return json.loads(body) if status == 200 else None

    def lines(self) -> list[dict[str, Any]]:
        """Every way in."""
        return self.json("/api/v1/lines") or []

    def totals(self) -> dict[str, Any]:
        """The totals of both books; empty if it does not answer."""
        found = self.json("/api/v1/books")
        return found["total"] if found else {}

    def wait_drained(self, at_least: int = 0, timeout_s: float = 60.0, *, quiet_s: float = 5.0) -> dict[str, Any]:
        """Wait until nothing is pending and so many messages were received, or no more have come for a while.

        Whether something is missing then is for the oracle to say. Gives the totals of the books.
        """
        last, since = -1, time.monotonic()

        def drained() -> dict[str, Any] | None:
            nonlocal last, since
            totals = self.totals()
            messages = totals.get("messages", {})
            received = messages.get("received", 0)
            if received != last or not messages or messages["pending"]:
                last, since = received, time.monotonic()
            quiet = time.monotonic() - since > quiet_s
            return totals if messages and messages["pending"] == 0 and (received >= at_least or quiet) else None

        return wait_until(drained, timeout_s, "everything is stored", every_s=0.05)  # type: ignore[return-value]

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)

    def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def __enter__(self) -> Product:
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.kill()
