"""Two collectors on one folder, SIGTERM under load, a backlog of millions at the start."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

from collector.decoders import profile_protocols
from devices.catalog import load_settings
from faults.ledger import Ledger
from faults.observer import Observer
from faults.oracle import examine
from faults.product import BROKER, SITE, Product, write_configuration
from faults.report import Row
from faults.rig import Rig, first_time
from faults.values import device_id, payload_of
from faults.waiting import wait_until
from metering.clock import now_us
from storage.record import Record, Wire
from storage.spool import Spool

EXIT_S = 2.0
STOP_S = 10.0
READY_S = 5.0


def two_on_one_folder(folder: Path, *, times: int, seed: int) -> Row:
    """A second one refuses to start, says why, and touches nothing; the first goes on."""
    row = Row("two collectors on one spool", "starts")
    with Rig(folder, seed=seed, devices=50) as rig:
        rig.product.start().wait_live()
        rig.product.wait_connected()
        rig.publish("--rate", 200)
        for number in range(times):
            second = Product(folder / f"second-{number}", data=rig.product.data)
            write_configuration(
                second.folder, port=second.port, broker=rig.broker.url, devices=50, data=str(rig.product.data)
            )
            second.start()
            assert second.process is not None
            wait_until(lambda second=second: not second.running, 60, "the second one ends")
            seconds = time.monotonic() - second.started
            row.notes["ended after [s]"] = round(seconds, 1)
            code = second.process.returncode
            row.expect(code not in (0, None), f"the second one ended with {code}")
            row.expect(
                "another Meterhall uses this data folder" in second.log, f"it did not say why: {second.log[-200:]}"
            )
            row.count += 1
        row.expect(rig.product.running and rig.product.alive(5.0), "the first one was disturbed")
        row.expect(rig.end_publishers() == 0, "the publisher did not get all its acknowledgements")
        row.add(rig.settle())
    return row


def sigterm(folder: Path, *, times: int, seed: int) -> Row:
    """SIGTERM with everything under way: it ends in time and in good order, and loses nothing."""
    row = Row("SIGTERM under load", "times")
    rng = random.Random(seed)
    codes: Counter[int] = Counter()
    with Rig(folder, seed=seed) as rig:
        rig.product.start().wait_live()
        rig.product.wait_connected()
        rig.publish("--rate", 500)
        for _ in range(times):
            time.sleep(rng.uniform(0.1, 1.5))
            began = time.monotonic()
            codes[rig.product.stop(300.0)] += 1
            row.recovered(time.monotonic() - began)
            row.count += 1
            rig.product.start().wait_live()
        row.expect(rig.end_publishers() == 0, "the publisher did not get all its acknowledgements")
        verdict = rig.settle()
        row.add(verdict)
    row.notes = {"exit codes": dict(codes), "redelivered": verdict.redelivered}
    row.expect(set(codes) == {0}, f"exit codes {dict(codes)}")
    row.expect((row.recovery_s or 0) <= STOP_S, f"it took {row.recovery_s:.1f} s to end; the target is {STOP_S:g} s")
    return row


def backlog(folder: Path, *, readings: int, seed: int) -> Row:
    """The spool holds millions of readings at the start: the API is up first, memory stays low, all are stored once."""
    row = Row("backlog at start", "readings", count=readings)
    product = Product(folder / "site")
    write_configuration(product.folder, port=product.port, broker="mqtt://127.0.0.1:1", devices=1000)
    load_settings(product.folder, profile_ids=profile_protocols)
    t0, ledger = first_time(), Ledger()
    product.data.mkdir(mode=0o700)
    spool = Spool.open(product.data / "spool")
    for first in range(0, readings // 4, 5000):
        messages = [(i % 1000, i // 1000) for i in range(first, min(first + 5000, readings // 4))]
        ledger.sent.update(messages)
        ledger.acknowledged.update(messages)
        stamp = now_us()
        spool.append(
            [
                Record(Wire.MQTT, BROKER, f"{SITE}/{device_id(k)}", payload_of(k, n, t0), stamp, 0, 0)
                for k, n in messages
            ]
        )
    spool.close()
    with product:
        product.start()
        row.recovered(product.wait_live())
        ready = product.ready_s
        assert product.process is not None
        observer, began = Observer(product.process.pid, product.port, folder), time.monotonic()
        product.wait_drained(readings // 4, 900)
        row.notes["drained in [s]"] = round(time.monotonic() - began, 1)
        row.notes["readings a second"] = round(readings / (time.monotonic() - began))
        observer.judge(row)
        asked = time.monotonic()
        product.stop(300.0)
        row.notes["ended after [s]"] = round(time.monotonic() - asked, 1)
        row.expect(time.monotonic() - asked <= STOP_S, f"SIGTERM took {time.monotonic() - asked:.0f} s to end it")
        verdict = examine(product.data, ledger, t0)
    row.add(verdict)
    row.expect(ready <= READY_S, f"the API was up after {ready:.1f} s; the target is {READY_S:g} s")
    return row
