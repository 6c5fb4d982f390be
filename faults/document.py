"""Puts the table of a results file into docs/reliability.md.

python -m faults.document faults-results/faults-ci-....json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- faults:table -->", "<!-- /faults:table -->"


def table_of(results: dict[str, Any]) -> str:
    """The table of a run in Markdown, with the machine, versions, date and duration above it."""
    machine, versions, rows = results["machine"], results["versions"], results["rows"]
    used = sum(row["cpu_s"] for row in rows)
    failed = sum(row["verdict"] in ("FAIL", "NOT CAUGHT") for row in rows)
    skipped = sum(row["verdict"] == "not run" for row in rows)
    busy = results["others"]
    head = (
        f"Level {results['level']}, seed {results['seed']}, {results['date'][:10]}: {len(rows)} rows, {failed} failed, "
        f"{skipped} not run, in {results['took_s'] / 60:.0f} minutes with {used / 60:.0f} minutes of processor time, "
        f"on {machine['cpus']} cores ({machine['cpu'] or 'unknown'}, {machine['memory_mb'] / 1024:.0f} GiB), "
        f"Python {versions['python']}, DuckDB {versions['duckdb']}, Mosquitto {versions.get('mosquitto', 'none')}."
    )
    if busy > 0.25:
        head += f" The machine was shared: other processes took {busy:.0%} of its cores meanwhile."
    lines = [
        "| scenario | count | lost | doubled | invented | worst recovery | verdict |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        recovery = "" if row["recovery_s"] is None else f"{row['recovery_s']:.1f} s"
        count = f"{row['count']:,} {row['what']}" if row["count"] else ""
        lines.append(
            f"| {row['scenario']} | {count} | {row['lost']:,} | {row['doubled']:,} | {row['invented']:,} | {recovery} "
            f"| {row['verdict']} |"
        )
    return "\n".join([head, "", *lines])


def put_in(text: str, table: str) -> str:
    """A document with the table between its marks. ValueError if it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> None:
    """Read the results file named on the command line."""
    results = json.loads(Path(sys.argv[1]).read_text())
    DOCUMENT.write_text(put_in(DOCUMENT.read_text(), table_of(results)))


if __name__ == "__main__":
    main()
