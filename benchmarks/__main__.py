"""This machine's figures beside what is wanted: `make bench`, or `python -m benchmarks`.

CPU-seconds come first: they hold on a noisy machine, rates and delays do not. Everything runs on loopback
with a real Mosquitto, and the product in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import asked, bench_dashboards, ingest, storing
from benchmarks.figures import Figure, machine, table

PARTS = {
    "drain": ingest.drain,
    "live": ingest.live,
    "modbus": ingest.modbus,
    "outage": ingest.outage,
    "spool": ingest.spooled,
    "size": storing.sizes,
    "store": storing.answers,
    "city": asked.city,
    "dashboards": bench_dashboards.boards,
}
LONG = {"city", "dashboards"}  # in full, or when named


def main() -> int:
    """Measure, print, write."""
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("--only", action="append", choices=sorted(PARTS), help="only this; may be repeated")
    size = options.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="under three minutes (the default)")
    size.add_argument("--full", action="store_true", help="everything at full size: most of an hour")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    given = options.parse_args()
    where = machine()
    print("; ".join(f"{name} {value}" for name, value in where.items() if name != "packages"))
    print("; ".join(f"{name} {value}" for name, value in where["packages"].items()), flush=True)
    figures: list[Figure] = []
    failures = 0
    for name in given.only or [each for each in PARTS if given.full or each not in LONG]:
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"bench-{name}-", dir=given.folder) as folder:
            try:
                figures += PARTS[name](Path(folder), given.full)
            except Exception as error:  # the others are measured all the same; said at the end, and by the exit code
                failures += 1
                print(f"{name}: could not be measured: {error!r}", file=sys.stderr)
        print(f"  {name}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    print(*table(figures), sep="\n")
    if given.json:
        rows = [figure._asdict() | {"verdict": figure.verdict} for figure in figures]
        given.json.write_text(json.dumps({"machine": where, "figures": rows}, indent=1), encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
