"""The table of a run, and its file: one row a scenario."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from faults.broker import find_mosquitto
from faults.oracle import Verdict


@dataclass
class Row:
    """One scenario and what came of it.

    count : what was tried that often (`what` names it: kills, files, frames, ...)
    recovery_s : the worst time from a crash or heal until it was ready again; None where nothing recovers
    missed : targets that were missed, in words
    skipped : why it could not be run here; empty if it ran
    caught_at : of a wrong toy, the column in which the harness must find something; else empty
    """

    scenario: str
    what: str = ""
    count: int = 0
    lost: int = 0
    doubled: int = 0
    invented: int = 0
    recovery_s: float | None = None
    missed: list[str] = field(default_factory=list)
    skipped: str = ""
    caught_at: str = ""
    notes: dict[str, Any] = field(default_factory=dict)
    took_s: float = 0.0
    cpu_s: float = 0.0  # processor time of the harness and of everything it started

    def add(self, verdict: Verdict) -> Row:
        """Take over what the oracle found."""
        self.lost += verdict.lost
        self.doubled += verdict.doubled
        self.invented += verdict.invented
        self.missed += verdict.unbalanced + verdict.examples
        return self

    def merge(self, other: Row) -> Row:
        """Take over another run of the same scenario; the notes are the last one's."""
        self.count += other.count
        self.lost += other.lost
        self.doubled += other.doubled
        self.invented += other.invented
        self.missed += other.missed
        if other.recovery_s is not None:
            self.recovered(other.recovery_s)
        self.skipped, self.notes = self.skipped or other.skipped, other.notes
        return self

    def named(self, scenario: str) -> Row:
        """Under another name."""
        self.scenario = scenario
        return self

    def expect(self, holds: bool, words: str) -> Row:
        """A target: missed unless it holds."""
        if not holds:
            self.missed.append(words)
        return self

    def recovered(self, seconds: float) -> None:
        """One more recovery; the worst is shown."""
        self.recovery_s = max(self.recovery_s or 0.0, seconds)

    @property
    def passed(self) -> bool:
        """No target missed; a wrong toy was caught."""
        if self.caught_at:
            return getattr(self, self.caught_at) > 0
        return not (self.missed or self.lost or self.doubled or self.invented)

    @property
    def verdict(self) -> str:
        """In one word."""
        if self.caught_at and not self.skipped:
            return f"caught ({self.caught_at})" if self.passed else "NOT CAUGHT"
        return "not run" if self.skipped else "pass" if self.passed else "FAIL"


HEAD = f"{'scenario':<34} {'count':>22} {'lost':>6} {'doubled':>8} {'invented':>8} {'worst recovery':>14}  verdict"


def line_of(row: Row) -> str:
    """The row as a line of the table."""
    recovery = "" if row.recovery_s is None else f"{row.recovery_s:.1f} s"
    count = f"{row.count:,} {row.what}" if row.count else ""
    line = (
        f"{row.scenario:<34} {count:>22} {row.lost:>6} {row.doubled:>8} {row.invented:>8} {recovery:>14}  {row.verdict}"
    )
    reasons = [row.skipped] if row.skipped else [] if row.caught_at else row.missed[:4]
    return "\n".join([line, *(f"    {reason}" for reason in reasons)])


def machine() -> dict[str, Any]:
    """What it ran on."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        model = next(
            (row.partition(":")[2].strip() for row in cpuinfo.read_text().splitlines() if "model name" in row), ""
        )
    return {
        "cpus": os.cpu_count(),
        "cpu": model,
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """What it ran with."""
    found = {"python": platform.python_version()}
    for name in ("meterhall", "duckdb", "mqtt5", "paho-mqtt", "numpy"):
        found[name] = importlib.metadata.version(name)
    program = find_mosquitto()
    if program:
        said = subprocess.run([program, "-h"], capture_output=True, text=True, check=False).stdout
        found["mosquitto"] = said.splitlines()[0].rpartition(" ")[2] if said else "?"
    if shutil.which("git"):
        asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
        found["commit"] = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return found


def write_results(path: Path, rows: list[Row], *, level: str, seed: int, took_s: float, others: float) -> None:
    """The run as a JSON file; `others` is the share of the machine's processors that other processes took."""
    document = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "level": level,
        "seed": seed,
        "took_s": round(took_s, 1),
        "others": round(others, 3),
        "command": " ".join(["python", "-m", "faults", *sys.argv[1:]]),
        "machine": machine(),
        "versions": versions(),
        "rows": [{**asdict(row), "verdict": row.verdict} for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False, default=str) + "\n")
