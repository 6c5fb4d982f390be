"""System calls of the running product that fail, put in between by strace."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from faults.report import Row
from faults.rig import Rig
from faults.waiting import wait_until

NO_STRACE = "strace is not installed: sudo apt-get install strace"
SYSCALLS = ("fdatasync", "fsync", "rename", "openat", "ftruncate", "pwrite64", "write")
LOADED = ("fdatasync", "fsync", "rename", "openat", "pwrite64", "write")  # those that come all the time
ERRORS = {"fdatasync": "EIO", "fsync": "EIO", "rename": "EIO", "openat": "EIO", "ftruncate": "EIO"}


def calls_real(folder: Path, *, lives: int, seed: int) -> Row:
    """The running product under strace, which lets its n-th sync, rename, open or write fail; half are killed then."""
    row = Row("failing calls, real process", "lives")
    if shutil.which("strace") is None:
        row.skipped = NO_STRACE
        return row
    rng = random.Random(seed)
    injected: Counter[str] = Counter()
    with Rig(folder, seed=seed, devices=200, launch=["--small"]) as rig:
        rig.product.start().wait_live()
        rig.product.wait_connected()
        rig.publish("--rate", 300)
        for number in range(2 * lives):
            rig.product.stop() if number % 2 else rig.product.kill()
            rig.product.start()
            row.recovered(rig.product.wait_live())
            call = LOADED[number % len(LOADED)]
            error = ERRORS.get(call) or rng.choice(("EIO", "ENOSPC"))
            n = rng.randint(1, 4)  # strace counts the calls of each thread
            if _inject(rig, call, error, n, 2.5):
                injected[call] += 1
                row.count += 1
            code = rig.product.process and rig.product.process.returncode
            row.expect(rig.product.running, f"{call} {error} at {n}: it ended with {code}")
            if row.count == lives:
                break
        rig.product.kill()
        rig.product.start().wait_live()
        row.expect(rig.end_publishers() == 0, "the publisher did not get all its acknowledgements")
        verdict = rig.settle()
    row.add(verdict)
    row.notes = {"injected": dict(injected), "findings": verdict.findings[:5], "acknowledged": verdict.acknowledged}
    return row.expect(row.count == lives, f"only {row.count} of {lives} calls were made to fail")


SCENES = ("under load", "from the start", "while it ends")
MOST_N = 50  # the n-th call that fails, at most


def calls_everywhere(folder: Path, *, seed: int) -> Row:
    """Each n-th call of each kind fails: under load, from the start on, and while it ends; as far as there is one.

    At a start it may give up, with words and a code; the next start, without a fault, must find everything.
    """
    row = Row("failing calls, each n, real process", "lives")
    if shutil.which("strace") is None:
        return Row(
            "failing calls, each n, real process", skipped="strace is not installed: sudo apt-get install strace"
        )
    injected: Counter[str] = Counter()
    with Rig(folder, seed=seed, devices=200, launch=["--small"]) as rig:
        rig.product.start().wait_live()
        rig.product.wait_connected()
        rig.publish("--rate", 300)
        for scene, call in itertools.product(SCENES, SYSCALLS):
            if scene == "from the start" and call == "openat":
                continue  # that hits Python's own modules
            for n in range(1, MOST_N + 1):
                if not _scene(rig, scene, call, n, row):
                    break
                injected[f"{call} {scene}"] += 1
                row.count += 1
        rig.product.kill()
        rig.product.start().wait_live()
        row.expect(rig.end_publishers() == 0, "the publisher did not get all its acknowledgements")
        verdict = rig.settle()
    row.add(verdict)
    row.notes = {"injected": dict(injected), "findings": verdict.findings[:5], "acknowledged": verdict.acknowledged}
    return row.expect(sum(injected.values()) > 0, "not one call was made to fail")


def _scene(rig: Rig, scene: str, call: str, n: int, row: Row) -> bool:
    """One life in which the n-th call fails; whether there was an n-th call."""
    product, log, error = rig.product, rig.folder / "strace.log", ERRORS.get(call, "ENOSPC")
    if scene == "from the start":
        product.stop() if product.running else None
        log.unlink(missing_ok=True)
        product.wrap = ("strace", "-f", "-qq", "-o", str(log), *_what(call, error, n))
        product.start()
        product.wrap = ()
        deadline = time.monotonic() + 30
        while product.running and not product.alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        row.expect(bool(product.alive() or not product.running), f"{call} at {n}: neither up nor ended")
        _kill_traced(rig)
        hit = _was_injected(log)
    elif scene == "while it ends":
        with _attached(rig, call, error, n):
            row.expect(_ends(rig), f"{call} at {n}: does not end")
        hit = _was_injected(log)
    else:
        hit = _inject(rig, call, error, n, 2.0)
        row.expect(product.running, f"{call} {error} at {n}: it ended")
        product.kill()
    if not product.running:
        row.recovered(product.start().wait_live())
    return hit


def _ends(rig: Rig) -> bool:
    """SIGTERM; once more after 15 s, for the fault may have hit the byte by which Python wakes up for a signal."""
    process = rig.product.process
    assert process is not None
    for patience_s in (15, 45):
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
            return True
    rig.product.kill()
    return False


def _kill_traced(rig: Rig) -> None:
    """End a product that strace started: strace ends with it."""
    process = rig.product.process
    assert process is not None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for pid in children.read_text().split() if children.exists() else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    rig.product.kill()


def _what(call: str, error: str, n: int) -> list[str]:
    return ["-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={n}"]


def _was_injected(log: Path) -> bool:
    return log.exists() and "INJECTED" in log.read_text(errors="replace")


@contextlib.contextmanager
def _attached(rig: Rig, call: str, error: str, n: int) -> Iterator[None]:
    """strace is attached, and lets the n-th call fail. Sockets are not touched: they use other calls."""
    process, log = rig.product.process, rig.folder / "strace.log"
    assert process is not None
    log.unlink(missing_ok=True)
    command = ["strace", "-f", "-qq", "-o", str(log), "-p", str(process.pid), *_what(call, error, n)]
    tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: log.exists() or tracer.poll() is not None, 10, "strace is attached")
    try:
        yield
    finally:
        _let_go(tracer)


def _let_go(tracer: subprocess.Popen[bytes]) -> None:
    """End strace; one that hangs while it detaches is killed, and the kernel lets go of the process."""
    tracer.send_signal(signal.SIGINT)
    try:
        tracer.wait(10)
    except subprocess.TimeoutExpired:
        tracer.kill()
        tracer.wait(10)


def _inject(rig: Rig, call: str, error: str, n: int, seconds: float) -> bool:
    """Attach strace until the fault was injected, at most so long; whether it was."""
    log = rig.folder / "strace.log"
    with _attached(rig, call, error, n):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not _was_injected(log):
            time.sleep(0.05)
        time.sleep(0.2)  # what follows from it
    return _was_injected(log)
