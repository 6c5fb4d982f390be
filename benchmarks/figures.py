"""A figure, and the one table of all figures."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

PACKAGES = ("duckdb", "numpy", "pyarrow", "msgspec", "mqtt5", "zstandard", "google-crc32c")


class Figure(NamedTuple):
    """One measured figure beside what is wanted.

    target, moonshot : in `unit`; None where nothing is promised
    better : which way is better
    note : how it came about, in a few words
    """

    name: str
    measured: float
    unit: str
    target: float | None = None
    moonshot: float | None = None
    better: Literal["less", "more"] = "less"
    note: str = ""

    @property
    def verdict(self) -> str:
        """moonshot, met, missed; empty where nothing is promised."""
        for goal, word in ((self.moonshot, "moonshot"), (self.target, "met")):
            if goal is not None and (self.measured <= goal if self.better == "less" else self.measured >= goal):
                return word
        return "" if self.target is None else "missed"


def number(value: float | None) -> str:
    """Three digits, thousands apart."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(figures: list[Figure]) -> Iterator[str]:
    """Lines of a Markdown table."""
    head = ("figure", "target", "moonshot", "measured", "unit", "verdict", "note")
    rows = [
        (f.name, number(f.target), number(f.moonshot), number(f.measured), f.unit, f.verdict, f.note) for f in figures
    ]
    width = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, tuple("-" * w for w in width), *rows):
        cells = [
            text.rjust(w) if i in (1, 2, 3) else text.ljust(w)
            for i, (text, w) in enumerate(zip(row, width, strict=True))
        ]
        yield f"| {' | '.join(cells)} |"


def machine() -> dict[str, Any]:
    """Where and with what the figures were taken."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}",
        "load average": ", ".join(f"{load:.1f}" for load in os.getloadavg()),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "mosquitto": mosquitto_version(),
    }


def mosquitto_version() -> str:
    """The version of Mosquitto, "" if it is not installed."""
    from meterhall.broker import find_mosquitto

    program = find_mosquitto()
    if not program:
        return ""
    said = subprocess.run([program, "-h"], capture_output=True, text=True, check=False).stdout
    return said.split("\n", 1)[0].removeprefix("mosquitto version ")
