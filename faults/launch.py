"""Start the product altered: small files, a poison hook, or a defect put in on purpose.

    python -m faults.launch [--small] [--poison] [--toy NAME] --config DIR

Nothing of this is in the product: the alterations are made here, in the harness's own process.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from pathlib import Path
from typing import Any

from faults.toys import TOYS

POISON = b'"poison":1'


def make_small() -> None:
    """Segments of 16 KiB, a checkpoint each second, a write-ahead log of 1 MB: more events a minute to be killed in."""
    from collector import pipeline
    from storage import opening
    from storage.duckdb import store as duckdb_store
    from storage.spool import Spool

    pipeline.CHECKPOINT_S = 1.0
    real_open = Spool.open.__func__  # type: ignore[attr-defined]

    def small_spool(cls: type[Spool], folder: Path, **options: Any) -> Spool:
        return real_open(cls, folder, **{**options, "segment_bytes": 16 << 10})

    Spool.open = classmethod(small_spool)  # type: ignore[assignment, method-assign]
    duckdb_store.DuckDBStore.__init__ = functools.partialmethod(  # type: ignore[method-assign, assignment]
        duckdb_store.DuckDBStore.__init__, wal_limit="1MB"
    )
    assert opening  # the store is opened through it


def bend_clock(offset: Path) -> None:
    """The wall clock shows the true time and the seconds that a file holds; the monotonic clock is left alone."""
    from metering import clock

    seen, shift = -1, 0

    def now_us() -> int:
        nonlocal seen, shift
        changed = offset.stat().st_mtime_ns
        if changed != seen:
            seen, shift = changed, round(float(offset.read_text()) * 1e6)
        return time.time_ns() // 1000 + shift

    clock.now_us = now_us


def add_poison() -> None:
    """The JSON decoder aborts the process on a payload that holds the mark."""
    from devices.payload import decoding

    real = decoding.compile_payload

    class Fatal:
        def __init__(self, decoder: Any) -> None:
            self._decoder, self.slots, self.profile = decoder, decoder.slots, decoder.profile
            self.idle = decoder.idle

        def glance(self, payload: bytes, received_at: int) -> Any:
            if POISON in payload:
                os.abort()
            return self._decoder.glance(payload, received_at)

        def decode(self, payload: bytes, received_at: int, retained: bool) -> Any:
            if POISON in payload:
                os.abort()
            return self._decoder.decode(payload, received_at, retained)

    def compile_fatal(*arguments: Any, **options: Any) -> dict[str, Any]:
        return {topic: Fatal(decoder) for topic, decoder in real(*arguments, **options).items()}

    from collector import decoders

    decoders.compile_payload = compile_fatal  # type: ignore[assignment]


def main() -> None:
    """Alter, then run `meterhall run`."""
    parser = argparse.ArgumentParser(prog="python -m faults.launch")
    parser.add_argument("--small", action="store_true", help=make_small.__doc__)
    parser.add_argument("--poison", action="store_true", help=add_poison.__doc__)
    parser.add_argument("--clock", type=Path, metavar="FILE", help=bend_clock.__doc__)
    parser.add_argument("--toy", choices=sorted(TOYS))
    parser.add_argument("--config", required=True)
    arguments = parser.parse_args()
    if arguments.clock:
        bend_clock(arguments.clock)  # before anything else takes the clock's name
    if arguments.small:
        make_small()
    if arguments.poison:
        add_poison()
    if arguments.toy:
        TOYS[arguments.toy]()
    from meterhall.cli import main as meterhall

    sys.argv = ["meterhall", "run", "--config", arguments.config]
    meterhall()


if __name__ == "__main__":
    main()
