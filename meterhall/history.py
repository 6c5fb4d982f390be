"""History at the first start: simulated and replayed readings, entered into store and books like any others."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from meterhall.node import Node
from metering.clock import DAY_US, now_us
from metering.reading import ReadingBatch
from simulators.config import Bureau
from simulators.history import history
from storage.books import Books, State, encode_state
from storage.store import Outcome, WriteResult

SOURCE = "history"  # as in the books


def load_history(node: Node, bureau: Bureau, start: int, end: int, *, counters_only: bool = False) -> int:
    """Generate and store the readings of [start, end) [us since 1970]; returns how many were stored.

    Each chunk is one message of the source `history` in the books. `counters_only`: without mean power.
    """
    stored = 0
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not Console(stderr=True).is_terminal,
    )
    with bar:
        task = bar.add_task(f"Loading {(end - start) // DAY_US} days of history", total=end - start)
        for batch in history(bureau, start, end, counters_only=counters_only):
            stored += _store(node, batch)
            bar.update(task, completed=int(batch.at.max()) - start)
        bar.add_task("Computing consumption", total=None)
        node.deriver.rebuild()
    return stored


def _store(node: Node, batch: ReadingBatch) -> int:
    books: Books = node.books
    done = 0

    def make_state(result: WriteResult) -> bytes:
        nonlocal books, done
        kinds = [int((result.outcome == kind).sum()) for kind in Outcome]
        books = node.books.copy()
        books.messages(SOURCE, decoded=1)
        books.readings(SOURCE, decoded=len(batch), stored=kinds[0], duplicate=kinds[1], conflict=kinds[2])
        done = kinds[0]
        return encode_state(State(node.pipeline.position, books.to_state(), node.deriver.pending(), now_us()))

    node.store.write(batch, make_state)
    node.books.received({SOURCE: 1})
    node.books.replace(books)
    return done
