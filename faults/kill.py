"""kill -9 of the running product, at random moments and aimed at what it does to its files."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from paho.mqtt import publish

from faults.events import FileEvent, Watch
from faults.product import SITE
from faults.report import Row
from faults.rig import Rig
from faults.values import device_id

READY_S = 5.0
AIMS: dict[str, Callable[[FileEvent], bool]] = {
    "create": lambda event: event.kind == "create" and not event.name.endswith(".opening"),
    "rename": lambda event: event.kind == "rename",
    "truncate": lambda event: event.shrunk and ".duckdb" in event.name,
    "delete": lambda event: event.kind == "delete",
    "checkpoint": lambda event: event.kind == "write" and event.name.endswith(".duckdb"),
    "rotation": lambda event: event.kind in ("create", "rename") and event.name.endswith((".spool", ".spool.new")),
}


def kill_loop(
    folder: Path,
    *,
    kills: int,
    seed: int,
    rate: float = 500.0,
    launch: Sequence[str] = (),
    devices: int = 1000,
    aimed: float = 0.5,
) -> Row:
    """Kill the product again and again under load; then let it drain, stop it, and ask the oracle.

    One life in six ends before it is ready. Of the others the share `aimed` ends at the next file event of a kind,
    the rest within 1.5 s.
    """
    rng = random.Random(seed)
    row = Row("kill -9 under load", "kills")
    ready: list[float] = []  # [s], but for what other processes took
    walls: list[float] = []
    ended: Counter[str] = Counter()
    with Rig(folder, seed=seed, devices=devices, launch=launch) as rig:
        product = rig.product
        product.start().wait_live()
        product.wait_connected()
        rig.publish("--rate", rate, "--repeats", 0.1)
        for number in range(kills):
            if number:
                product.start()
            if rng.random() < 1 / 6 and number:
                time.sleep(rng.uniform(0.0, 1.5))
                how = "before ready"
            else:
                seconds = product.wait_live()
                if number:
                    walls.append(seconds)
                    ready.append(product.ready_s)
                how = _hit(product.data, rng, list(AIMS)[number % len(AIMS)] if rng.random() < aimed else "")
            ended[how] += 1
            product.kill()
            row.count += 1
        product.start()
        walls.append(product.wait_live())
        ready.append(product.ready_s)
        row.expect(rig.end_publishers() == 0, "the publisher did not get all its acknowledgements")
        verdict = rig.settle()
    row.add(verdict)
    ready.sort()
    p99 = ready[min(len(ready) - 1, int(len(ready) * 0.99))]
    row.recovered(ready[-1])
    row.expect(p99 <= READY_S, f"ready after a crash in {p99:.1f} s at p99; the target is {READY_S:g} s")
    row.notes = {
        "acknowledged": verdict.acknowledged, "readings": verdict.expected, "redelivered": verdict.redelivered,
        "killed at": dict(ended), "ready p99 [s]": round(p99, 2),
        "ready at the slowest, by the wall clock [s]": round(max(walls), 2), "findings": verdict.findings[:5],
        "quarantine": verdict.quarantine,
    }  # fmt: skip
    return row


def _hit(data: Path, rng: random.Random, aim: str) -> str:
    """Wait for the moment; what it was."""
    wait = rng.uniform(0.0, 1.5)
    if not aim:
        time.sleep(wait)
        return "random"
    with Watch(data, data / "spool") as watch:
        if watch.until(AIMS[aim], 2.0 + wait) is None:
            return "random"
    if rng.random() < 0.5:
        time.sleep(rng.uniform(0.0, 0.003))
    return aim


MOST_DEATHS = 3


def poison(folder: Path, *, seed: int) -> Row:
    """A message over which the process dies each time: put aside after at most 3 restarts, and the others flow."""
    row = Row("poison message", "messages", count=1)
    deaths = 0
    with Rig(folder, seed=seed, devices=100, launch=["--poison"]) as rig:
        product = rig.product
        product.start().wait_live()
        product.wait_connected()
        rig.publish("--rate", 200, "--count", 1000)
        payload = b'{"ts":%d,"w":1,"poison":1}' % rig.t0
        publish.single(f"{SITE}/{device_id(0)}", payload, qos=1, port=rig.broker.port, client_id="poisoner")
        began = time.monotonic()
        deadline = began + 240
        while time.monotonic() < deadline:
            if not product.running:
                deaths += 1
                product.start()
            messages = product.totals().get("messages", {})
            if messages.get("rejected", {}).get("poison") and rig.publishers[0].poll() is not None:
                break
            time.sleep(0.1)
        row.recovered(time.monotonic() - began)
        row.expect(rig.end_publishers() == 0, "the publisher did not get all its acknowledgements")
        verdict = rig.settle()
    row.add(verdict)
    row.notes = {"deaths": deaths, "quarantine": verdict.quarantine}
    row.expect(1 <= deaths <= MOST_DEATHS, f"{deaths} deaths; the target is {MOST_DEATHS}")
    return row.expect(verdict.quarantine.get("poison") == 1, f"the quarantine holds {verdict.quarantine}")
