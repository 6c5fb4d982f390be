"""Faults on purpose: is anything lost, doubled or invented?

    python -m faults [--level ci|full] [--only NAME ...] [--seed N] [--list]

Prints one table and writes a results file; the exit code is 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from faults.report import HEAD, Row, line_of, write_results
from faults.scenarios import ALONE, PUNCTUAL, SCENARIOS, TOYS, processor_time, run_scenario

RESULTS = Path("faults-results")


def show(rows: list[Row]) -> list[Row]:
    """Print some rows of the table."""
    for row in rows:
        print(line_of(row), flush=True)
    if rows:
        took, used = sum(row.took_s for row in rows), sum(row.cpu_s for row in rows)
        print(f"    {took:.0f} s, {used:.0f} s of processor time", flush=True)
    return rows


def run_together(names: list[str], arguments: argparse.Namespace, at_once: int) -> list[Row]:
    """Run some scenarios, so many at a time, each in a process of its own; their rows in the order of the names."""
    found: dict[str, list[Row]] = {}
    context = multiprocessing.get_context("spawn")
    how = (arguments.level, arguments.seed, arguments.keep, arguments.most_seconds)
    with ProcessPoolExecutor(at_once, mp_context=context, max_tasks_per_child=1) as pool:
        under_way = {pool.submit(run_scenario, name, *how): name for name in names}
        for finished in as_completed(under_way):
            found[under_way[finished]] = show(finished.result())
    return [row for name in names for row in found[name]]


def busy_s() -> float:
    """Seconds of processor time that this machine has spent since its start, of all processes; 0 if it does not say."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    except OSError:
        return 0.0
    return sum(int(n) for i, n in enumerate(fields) if i not in (3, 4)) / os.sysconf("SC_CLK_TCK")  # but for idleness


def main() -> int:
    """Run the scenarios."""
    parser = argparse.ArgumentParser(
        prog="python -m faults", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--level", choices=("ci", "full"), default="ci", help="ci: minutes; full: hours")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only scenarios whose name begins so")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same faults")
    parser.add_argument(
        "--jobs", type=int, default=3, help="scenarios at a time, but for those that need the whole machine"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results file")
    parser.add_argument("--keep", action="store_true", help="keep the folders of scenarios that failed")
    parser.add_argument("--most-seconds", type=float, default=0.0, help="end each scenario after so long: a sample")
    parser.add_argument("--list", action="store_true", help="name the scenarios")
    arguments = parser.parse_args()
    if arguments.list:
        for name, scenario in SCENARIOS.items():
            print(f"{name:<24} {(scenario.__doc__ or '').splitlines()[0]}")
        return 0
    chosen = [name for name in SCENARIOS if not arguments.only or any(name.startswith(word) for word in arguments.only)]
    if not chosen:
        parser.error(f"no scenario begins so; there are: {', '.join(SCENARIOS)}")
    print(f"level {arguments.level}, seed {arguments.seed}\n{HEAD}", flush=True)
    rows: list[Row] = []
    began, busy, own = time.monotonic(), busy_s(), processor_time()
    first = [name for name in chosen if name in TOYS]
    alone = [name for name in chosen if name in ALONE]
    punctual = [name for name in chosen if name in PUNCTUAL]
    others = [name for name in chosen if name not in {*first, *alone, *punctual}]
    # Toys first: on them the harness must fail. Then some at a time, for much of their time is waiting.
    for names, at_once in ((first, arguments.jobs), (others, arguments.jobs), (punctual, arguments.jobs), (alone, 1)):
        rows += run_together(names, arguments, at_once)
        missed = [row.scenario for row in rows if row.caught_at and not row.passed]
        if missed:
            print(f"the harness does not catch {', '.join(missed)}: what it says of the product would prove nothing")
            break
    took_s = time.monotonic() - began
    others = max(0.0, busy_s() - busy - (processor_time() - own)) / took_s / (os.cpu_count() or 1)
    failed, skipped = [row for row in rows if not row.passed], [row for row in rows if row.skipped]
    path = arguments.results / f"faults-{arguments.level}-{time.strftime('%Y%m%dT%H%M%S')}.json"
    write_results(path, rows, level=arguments.level, seed=arguments.seed, took_s=took_s, others=others)
    print(f"{len(rows)} rows, {len(failed)} failed, {len(skipped)} not run, in {took_s:.0f} s")
    print(f"other processes took {others:.0%} of this machine meanwhile; {path}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
