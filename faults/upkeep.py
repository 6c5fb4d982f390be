"""What is done to a running product: its configuration is read again, and backups are made and restored, under load."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from collector.decoders import profile_protocols
from devices.catalog import load_settings
from faults.order import everything
from faults.product import ROOT, Product, write_configuration
from faults.report import Row
from faults.rig import Rig
from faults.waiting import wait_until
from meterhall.node import open_node
from metering.clock import now_us

DEVICES = 100
MORE = 5  # devices that come and go
RELOADED_S = 5.0
NO_BROKER = "mqtt://127.0.0.1:1"


def meterhall(*words: object) -> subprocess.CompletedProcess[str]:
    """A command of the product, run to its end."""
    command = [sys.executable, "-m", "meterhall", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)


def reload_under_load(folder: Path, *, times: int, seed: int) -> Row:
    """The configuration changes again and again: taken whole, or refused with the line; one in four ends in a kill."""
    row = Row("reload under load", "reloads")
    rng, ended = random.Random(seed), Counter[str]()
    with Rig(folder, seed=seed, devices=DEVICES) as rig:
        product = rig.product
        product.start().wait_live()
        product.wait_connected()
        rig.publish("--rate", 500)
        for number in range(times):
            time.sleep(rng.uniform(0.1, 0.8))
            wanted = DEVICES + MORE * (1 - _devices(product) // (DEVICES + MORE))
            rig.configure(devices=wanted)
            began = time.monotonic()
            row.count += 1
            if number % 4 == 1:
                ended["refused"] += 1
                _refused(rig, row)
            elif number % 4 == 3:
                ended["killed"] += 1
                product.signal(signal.SIGHUP)
                time.sleep(rng.uniform(0.0, 0.3))
                product.kill()
                product.start().wait_live()
            else:
                ended["taken"] += 1
                product.signal(signal.SIGHUP)
                wait_until(lambda wanted=wanted: _devices(product) == wanted, 60, "the new configuration is taken")
                row.recovered(time.monotonic() - began)
            row.expect(product.running, "it ended")
        product.wait_connected()
        row.expect(rig.end_publishers() == 0, "the publisher did not get all its acknowledgements")
        verdict = rig.settle()
    row.add(verdict)
    row.notes = {"reloads": dict(ended), "acknowledged": verdict.acknowledged, "redelivered": verdict.redelivered}
    return row.expect((row.recovery_s or 0) <= RELOADED_S, f"a reload took {row.recovery_s:.1f} s")


def _devices(product: Product) -> int:
    """Meters of the configuration that runs."""
    return len(wait_until(lambda: product.json("/api/v1/meters"), 30, "the meters are listed"))


def _refused(rig: Rig, row: Row) -> None:
    """A mistake in the middle of a file: the command names its line, and what ran before goes on."""
    before, path = _devices(rig.product), rig.product.folder / "site.toml"
    lines = path.read_text().splitlines()
    at = next(i for i in range(len(lines) // 2, len(lines)) if lines[i].startswith("profile = "))
    lines[at] = 'profile = "no_such_profile"'
    path.write_text("\n".join(lines) + "\n")
    done = meterhall("reload", "--config", rig.product.folder)
    row.expect(done.returncode not in (0, None), "a configuration with a mistake was taken")
    row.expect(f"site.toml:{at + 1}:" in done.stderr, f"the line {at + 1} is not named: {done.stderr[-200:]}")
    row.expect(_devices(rig.product) == before, "the old configuration does not go on")


def backup_under_load(folder: Path, *, times: int, seed: int) -> Row:
    """Backups while readings come, one broken off by a kill; each is restored, and the last one when all is quiet.

    A copy must hold what had been received before its backup began, once, and its books must balance. The copy of
    the quiet moment must have the same books, readings and sums as the original.
    """
    row = Row("backup and restore under load", "backups")
    rng = random.Random(seed)
    with Rig(folder, seed=seed, devices=DEVICES) as rig:
        product = rig.product
        product.start().wait_live()
        product.wait_connected()
        rig.publish("--rate", 500)
        copies: list[tuple[Path, int, int]] = []  # a backup, and messages received before and after it was made
        for number in range(times):
            time.sleep(rng.uniform(0.3, 1.0))
            copies.append(_backup(rig, folder / f"copy-{number}", row))
        _kill_during_backup(rig, rng)
        row.expect(rig.end_publishers() == 0, "the publisher did not get all its acknowledgements")
        ledger = rig.ledger
        product.wait_drained(ledger.messages)
        quiet = _backup(rig, folder / "quiet", row)
        copies.append(quiet)
        books = product.json("/api/v1/books")
        product.stop()
        row.add(rig.examine())
        for copy, before, after in copies:
            restored = _restore(folder / f"site-{copy.name}", copy, row)
            verdict = rig.examine(restored.data)
            row.doubled += verdict.doubled
            row.invented += verdict.invented
            row.missed += [f"{copy.name}: {words}" for words in verdict.unbalanced]
            # the books of the copy balance and agree with its rows, so the count tells whether one is missing
            row.lost += max(0, before - verdict.received) * 4
            row.expect(verdict.received <= after, f"{copy.name}: {verdict.received} received, and {after} after it")
            row.notes[f"{copy.name}: received before, in it, after"] = [before, verdict.received, after]
        _same(row, product, restored, books)
    return row


def _backup(rig: Rig, target: Path, row: Row) -> tuple[Path, int, int]:
    before = rig.product.totals()["messages"]["received"]
    done = meterhall("backup", target, "--config", rig.product.folder)
    row.count += 1
    row.expect(done.returncode == 0, f"backup: {done.stderr[-200:]}")
    return target, before, rig.product.totals()["messages"]["received"]


def _kill_during_backup(rig: Rig, rng: random.Random) -> None:
    """kill -9 while a backup is made; the next start must not mind what is left of it."""
    command = [sys.executable, "-m", "meterhall", "backup", str(rig.folder / "broken-off")]
    command += ["--config", str(rig.product.folder)]
    asking = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    backups = rig.product.data / "backups"
    with contextlib.suppress(Exception):
        wait_until(lambda: backups.is_dir() and any(backups.iterdir()), 20, "a backup begins", every_s=0.001)
    time.sleep(rng.uniform(0.0, 0.05))
    rig.product.kill()
    asking.wait(120)
    rig.product.start().wait_live()
    rig.product.wait_connected()


def _restore(folder: Path, copy: Path, row: Row) -> Product:
    """A new configuration folder with the backup in it; nothing runs there yet."""
    product = Product(folder)
    write_configuration(folder, port=product.port, broker=NO_BROKER, devices=DEVICES)
    done = meterhall("restore", copy, "--config", folder)
    row.expect(done.returncode == 0, f"restore: {done.stderr[-200:]}")
    return product


def _same(row: Row, original: Product, restored: Product, books: Any) -> None:
    """The restored copy runs, and says the same as the original did."""
    with restored:
        restored.start()
        row.notes["restored copy: up after [s]"] = round(restored.wait_live(), 1)
        restored.wait_drained()
        again = restored.json("/api/v1/books")
        restored.stop()
    for book in ("total", "messages", "readings"):
        row.expect(
            json.dumps(books[book], sort_keys=True) == json.dumps(again[book], sort_keys=True),
            f"the restored copy has other books ({book}): {again['total']}, not {books['total']}",
        )
    now, found = now_us(), []
    for product in (original, restored):
        settings = load_settings(product.folder, profile_ids=profile_protocols)
        with open_node(settings) as node:
            while node.deriver.pending():
                node.deriver.run_once(now)
            found.append(everything(node.store))
    one, other = found
    differing = [name for name in one if name not in other or one[name].tobytes() != other[name].tobytes()]
    row.expect(one.keys() == other.keys(), f"other series: {sorted(one.keys() ^ other.keys())[:3]}")
    row.expect(not differing, f"{len(differing)} series differ from the original's: {differing[:3]}")
    sums = [sum(int(each.sum()) for name, each in of.items() if name.endswith("day amount")) for of in found]
    row.notes["sum of all days [0.001 kWh], original and copy"] = sums
    row.expect(sums[0] == sums[1] > 0, f"the sums are {sums}")
