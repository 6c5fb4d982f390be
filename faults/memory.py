"""The process gets no more memory while readings come; later there is some again."""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import time
from pathlib import Path

from faults.report import Row
from faults.rig import Rig
from faults.waiting import TooLate, wait_until

SPARE_MB = (8, 4, 2, 0)  # what it may still take beyond what it has, less and less until it says something
RESUME_S = 10.0


def address_space_mb(pid: int) -> float:
    """What a process has reserved, by Linux' own account [MB]."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmSize:")) / 1024


def memory_refused(folder: Path, *, seed: int, tight_s: float) -> Row:
    """The address space is limited to a little more than what is in use: it lives, says so, and goes on by itself."""
    row = Row("memory limit reached", "times", count=1)
    with Rig(folder, seed=seed, devices=500) as rig:
        product = rig.product
        product.start().wait_live()
        product.wait_connected()
        rig.publish("--rate", 500)
        time.sleep(3.0)
        assert product.process is not None
        pid = product.process.pid
        said = ""
        for spare_mb in SPARE_MB:
            if said or not product.running:
                break
            limit = int((address_space_mb(pid) + spare_mb) * 1024) * 1024
            resource.prlimit(pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
            began = time.monotonic()
            while time.monotonic() - began < tight_s and product.running:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    said = said or " ".join(json.loads(product.get("/health/ready")[1])["reasons"])
                time.sleep(0.25)
        row.expect(product.running, f"it ended with {product.process.returncode}")
        if product.running:
            resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        else:
            product.start().wait_live()
        freed = time.monotonic()
        try:
            wait_until(lambda: _is_well(rig), 60, "it goes on when there is memory", every_s=0.05)
            row.recovered(time.monotonic() - freed)
        except TooLate as late:
            row.missed.append(str(late))
        row.expect(rig.end_publishers() == 0, "the publisher did not get all its acknowledgements")
        row.add(rig.settle())
    row.notes = {"ready said": said}
    if not said and row.passed:  # what its allocator holds already was enough: nothing was refused, so nothing is shown
        row.skipped = "it asked for no more memory in this time"
    return row.expect(
        (row.recovery_s or 0) <= RESUME_S, f"resumed after {row.recovery_s} s; the target is {RESUME_S} s"
    )


def _is_well(rig: Rig) -> bool:
    totals = rig.product.totals().get("messages", {})
    return bool(totals) and totals["pending"] < 500 and bool(rig.product.json("/health/ready"))
