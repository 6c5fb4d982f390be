"""The product as it runs, without its web server, and asked for figures: `python -m benchmarks.product CONFIG`.

It is `meterhall.node.open_node`, the collector and the background jobs, nothing replaced. A listener
notes when each batch was committed. Questions come as lines on standard input, each answered by one
line of JSON:

    figures                            CPU, memory, counts, delays since the last `reset`
    reset                              begin counting delays and CPU anew; figures until now
    connected SECONDS                  figures, once every broker is connected
    wait received|stored COUNT SECONDS figures, once so many messages are in
    outage on|off                      the store refuses, or takes again
    derive                             derive what is pending now, then figures
    touch                              the same, as if one more reading of each counter had come
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from collector.service import Collector
from meterhall.configuring import read_settings
from meterhall.jobs import Jobs
from meterhall.node import Node, open_node
from meterhall.run import on_signals
from meterhall.workcalendar import site_calendars
from metering.clock import now_us, to_us
from storage.store import StoreUnavailable


class Watch:
    """Notes how long after `observed_at` each row was committed, and when the store shall refuse."""

    def __init__(self, node: Node, collector: Collector) -> None:
        self._node, self._collector = node, collector
        self._write = node.store.write
        node.store.write = self.write  # type: ignore[method-assign]
        self.refuse = False
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self._delays: list[np.ndarray] = []
        self._batches = self._rows = 0
        self._cpu, self._wall, self._threads = time.process_time(), time.monotonic(), thread_cpu()
        self._written_cpu = self._written_wall = 0.0
        self._peak = resident_mb()

    def write(self, batch: Any, make_state: Any = None) -> Any:
        """`Store.write`, watched."""
        if self.refuse:
            raise StoreUnavailable("the benchmark has the store refuse")
        cpu, wall = time.thread_time(), time.perf_counter()
        result = self._write(batch, make_state)
        self._written_cpu += time.thread_time() - cpu
        self._written_wall += time.perf_counter() - wall
        self._delays.append((now_us() - batch.at).astype(np.float32))
        self._batches += 1
        self._rows += len(batch)
        self._peak = max(self._peak, resident_mb())
        return result

    def stored(self) -> int:
        """Messages with an outcome."""
        total = self._node.books.snapshot()["total"]["messages"]
        return int(total["received"] - total["pending"])

    def received(self) -> int:
        """Messages in the spool."""
        return int(self._node.books.snapshot()["total"]["messages"]["received"])

    def figures(self) -> dict[str, Any]:
        """What was measured since `reset`."""
        cpu, wall = time.process_time(), time.monotonic()
        delays = np.concatenate(self._delays) / 1e6 if self._delays else np.zeros(1)
        books = self._node.books.snapshot()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "cpu": cpu - self._cpu,
            "wall": wall - self._wall,
            "batches": self._batches,
            "rows": self._rows,
            "p50": float(np.quantile(delays, 0.5)),
            "p99": float(np.quantile(delays, 0.99)),
            "stored": self.stored(),
            "received": self.received(),
            "readings": books["total"]["readings"],
            "messages": books["total"]["messages"],
            "unbalanced": self._node.books.balance(),
            "memory_mb": resident_mb(),
            "peak_mb": self._peak,
            "maxrss_mb": usage.ru_maxrss / 1024,
            "threads": {name: used - self._threads.get(name, 0.0) for name, used in thread_cpu().items()},
            "store_thread_cpu": self._written_cpu,
            "store_wall": self._written_wall,
            "disk": {path.name: path.stat().st_size for path in self._node.settings.data.iterdir() if path.is_file()},
            "spool_bytes": sum(path.stat().st_size for path in (self._node.settings.data / "spool").iterdir()),
        }

    def wait(self, what: str, count: int, seconds: float) -> dict[str, Any]:
        """Figures once so many messages are in, or the time is over."""
        current = self.stored if what == "stored" else self.received
        end = time.monotonic() + seconds
        while current() < count and time.monotonic() < end:
            time.sleep(0.02)
        return self.figures()

    def answer(self, line: str) -> dict[str, Any]:
        """One question, one answer."""
        match line.split():
            case ["reset"]:
                found = self.figures()
                self.reset()
                return found
            case ["connected", seconds]:
                end = time.monotonic() + float(seconds)
                while any(line.state != "ok" for line in self._collector.lines()) and time.monotonic() < end:
                    time.sleep(0.02)
                return self.figures()
            case ["wait", what, count, seconds]:
                return self.wait(what, int(count), float(seconds))
            case ["outage", state]:
                self.refuse = state == "on"
                return {}
            case ["derive"]:
                self._node.deriver.run_once(now_us())
                return self.figures()
            case ["touch"]:
                for point, reading in self._node.store.latest().items():
                    at = to_us(reading.observed_at)
                    self._node.deriver.touch(point, at, at)
                self._node.deriver.run_once(now_us())
                return self.figures()
            case ["figures"]:
                return self.figures()
        return {"mistake": f"no such question: {line}"}


def resident_mb() -> float:
    """Memory that this process holds now [MB]."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize() / 1e6


def thread_cpu() -> dict[str, float]:
    """CPU seconds of each thread by its kernel name, those of one name together."""
    out: dict[str, float] = {}
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    for task in Path("/proc/self/task").iterdir():
        try:
            fields = (task / "schedstat").read_text(encoding="ascii").split()
        except OSError:  # it has ended
            continue
        name = names.get(int(task.name), "others")
        out[name] = out.get(name, 0.0) + int(fields[0]) / 1e9
    return out


async def run(config: Path, *, jobs: bool) -> None:
    """Collect until a signal."""
    stop = asyncio.Event()
    on_signals(asyncio.get_running_loop(), stop)
    settings = read_settings(config)
    with open_node(settings) as node:
        collector = Collector(settings, node.decoders, node.spool, node.books, node.quarantine, node.pipeline, now_us)
        watch = Watch(node, collector)
        own = site_calendars(settings)
        background = Jobs(node, collector, lambda site: own[site].workdays)

        def listen() -> None:
            for line in sys.stdin:
                try:
                    said = watch.answer(line)
                except Exception as error:  # to be said by who asked
                    said = {"mistake": f"{line.strip()}: {error!r}"}
                print(json.dumps(said), flush=True)

        threading.Thread(target=listen, name="questions", daemon=True).start()
        collecting = asyncio.create_task(collector.run())
        if jobs:
            background.start()
        watch.reset()
        print(json.dumps({"ready": True}), flush=True)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({stopping, collecting}, return_when=asyncio.FIRST_COMPLETED)
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)
        stopping.cancel()
        if jobs:
            await asyncio.to_thread(background.stop)


def main() -> None:
    """From the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("config", type=Path)
    options.add_argument("--no-jobs", action="store_true", help="without the background jobs")
    given = options.parse_args()
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(run(given.config, jobs=not given.no_jobs))


if __name__ == "__main__":
    main()
