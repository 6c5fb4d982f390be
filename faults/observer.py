"""Watches the running product from a process of its own: memory, and how fast `/health/live` answers.

    python -m faults.observer --pid PID --port PORT --out FILE

Beside it a bare asyncio server is asked in the same moment: what that one is late, the machine is.
"""

from __future__ import annotations

import argparse
import http.client
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from faults.broker import free_port
from faults.product import ROOT
from faults.report import Row

MOST_MB, LIVE_S = 500, 1.0
EVERY_S = 0.25
LONGEST_S = 10.0
_BARE = """
import asyncio, sys
async def answer(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
    await writer.drain()
    writer.close()
async def main():
    async with await asyncio.start_server(answer, "127.0.0.1", int(sys.argv[1])) as server:
        await server.serve_forever()
asyncio.run(main())
"""


def ask(port: int, path: str) -> float:
    """Seconds until 200 came; LONGEST_S if it did not."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST_S)
    try:
        connection.request("GET", path)
        return time.monotonic() - began if connection.getresponse().status == 200 else LONGEST_S
    except (OSError, http.client.HTTPException):
        return LONGEST_S
    finally:
        connection.close()


def memory_mb(pid: int) -> float:
    """Resident memory of a process [MB]; 0 if it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


class Observer:
    """The process, and what it saw; a context manager."""

    def __init__(self, pid: int, port: int, folder: Path) -> None:
        self._out = folder / "observed"
        command = [
            sys.executable,
            "-m",
            "faults.observer",
            "--pid",
            str(pid),
            "--port",
            str(port),
            "--out",
            str(self._out),
        ]
        self._process = subprocess.Popen(command, cwd=ROOT)

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)

    def judge(self, row: Row, *, judge_slope: bool = False) -> None:
        """Peak, slope and the slowest answer into the row; ends the process."""
        self.__exit__()
        seen = np.loadtxt(self._out, ndmin=2)
        if len(seen) < 3:
            row.missed.append("nothing was observed")
            return
        at, memory, live, bare = seen.T
        half = at >= at[0] + (at[-1] - at[0]) / 2
        slope = float(np.polyfit((at[half] - at[0]) / 60, memory[half], 1)[0])
        late = live - np.minimum(bare, live)
        row.notes |= {
            "memory at most [MB]": round(float(memory.max())),
            "slope in the second half [MB/min]": round(slope, 1),
            "/health/live at the slowest [s]": round(float(live.max()), 2),
            "/health/live p99 [s]": round(float(np.quantile(live, 0.99)), 2),
            "a bare server at the slowest [s]": round(float(bare.max()), 2),
            "slower than a bare server by at most [s]": round(float(late.max()), 2),
        }
        row.expect(memory.max() <= MOST_MB, f"memory reached {memory.max():.0f} MB; the target is {MOST_MB}")
        row.expect(
            late.max() < LIVE_S,
            f"/health/live took {live[late.argmax()]:.2f} s while a bare server took {bare[late.argmax()]:.2f} s; "
            f"the target is {LIVE_S:g} s",
        )
        if judge_slope:
            later = at >= at[0] + 300
            growth = memory[later].max() / memory[later][0] - 1 if later.sum() > 2 else 0.0
            row.expect(growth <= 0.05, f"memory grew by {growth:.0%} after minute 5")


def main() -> int:
    """Observe until SIGTERM, or the process is gone."""
    parser = argparse.ArgumentParser(prog="python -m faults.observer")
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    port = free_port()
    bare = subprocess.Popen([sys.executable, "-c", _BARE, str(port)])
    try:
        while ask(port, "/") >= LONGEST_S:
            time.sleep(0.02)
        with arguments.out.open("w") as out:
            while not stop.wait(EVERY_S) and (memory := memory_mb(arguments.pid)):
                answers: dict[str, float] = {}
                beside = threading.Thread(target=lambda answers=answers: answers.update(bare=ask(port, "/")))
                beside.start()
                live = ask(arguments.port, "/health/live")
                beside.join()
                out.write(f"{time.monotonic():.3f} {memory:.1f} {live:.4f} {answers['bare']:.4f}\n")
                out.flush()
    finally:
        bare.terminate()
        bare.wait(10)
    return 0


if __name__ == "__main__":
    sys.exit(main())
