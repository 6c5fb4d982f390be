"""The harness against wrong toys: it must fail on each of them, or its silence about the product means nothing."""

from __future__ import annotations

from pathlib import Path

from faults.kill import kill_loop
from faults.modbus import wrong_replies
from faults.report import Row

EXPECTED = {  # what each toy must be caught at
    "acknowledge_from_memory": "lost",
    "store_without_dedupe": "doubled",
    "sink_that_forgets": "lost",
    "short_replies_taken": "invented",
}


def caught(folder: Path, toy: str, *, seed: int) -> Row:
    """The row that the harness gives for one toy."""
    if toy == "short_replies_taken":
        row = wrong_replies(folder, phase_s=3.0, launch=["--toy", toy], modes=["short"])
    else:
        kills = 4 if toy == "acknowledge_from_memory" else 1
        row = kill_loop(folder, kills=kills, seed=seed, launch=["--toy", toy], devices=100)
    row.caught_at = EXPECTED[toy]
    return row.named(f"toy: {toy.replace('_', ' ')}")
