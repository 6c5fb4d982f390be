"""The harness against wrong toys: it must fail on each of them, or its silence about the product means nothing."""

from __future__ import annotations

from pathlib import Path

from faults.kill import kill_loop
from faults.modbus import wrong_replies
from faults.report import Row


def caught(folder: Path, toy: str, *, seed: int) -> Row:
    """The row that the harness gives for one toy; it has to be a failure."""
    if toy == "short_replies_taken":
        return wrong_replies(folder, phase_s=3.0, launch=["--toy", toy], modes=["short"])
    kills = 4 if toy == "acknowledge_from_memory" else 1
    return kill_loop(folder, kills=kills, seed=seed, launch=["--toy", toy], devices=100)


EXPECTED = {  # what each toy must be caught at
    "acknowledge_from_memory": "lost",
    "store_without_dedupe": "doubled",
    "sink_that_forgets": "lost",
    "short_replies_taken": "invented",
}


def wrong_toys(folder: Path, *, seed: int) -> Row:
    """Each toy once."""
    row = Row("harness fails on wrong toys", "toys")
    for toy, column in EXPECTED.items():
        found = caught(folder / toy, toy, seed=seed)
        row.count += 1
        row.notes[toy] = {"lost": found.lost, "doubled": found.doubled, "invented": found.invented}
        row.expect(getattr(found, column) > 0, f"{toy} passed: nothing {column}")
    return row
