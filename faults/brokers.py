"""What a broker can do to us: absent, restarted, frozen, flapping, its queue full, our id used twice, bad TLS."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho

from collector.decoders import profile_protocols
from devices.catalog import load_settings
from faults.certificates import certificates, listening, secret
from faults.oracle import point_of, rows_of
from faults.product import SITE
from faults.proxy import Proxy
from faults.report import Row
from faults.rig import Rig
from faults.values import QUANTITIES, SECOND_US, device_number
from faults.waiting import TooLate, wait_until
from meterhall.node import open_node
from metering.clock import now_us

CONNECTED_S = 5.0  # after the broker is up
RATE = ("--rate", 300)


def is_ok(rig: Rig) -> bool:
    """Are all ways in ok?"""
    lines = rig.product.lines()
    return bool(lines) and all(line["state"] == "ok" for line in lines)


def connects(rig: Rig) -> int:
    """Connections that the broker accepted."""
    return sum(line["connects"] for line in rig.product.lines())


def note(rig: Rig) -> str:
    """What is wrong with the first way in, in words."""
    lines = rig.product.lines()
    return lines[0]["note"] if lines else ""


def absent_at_start(folder: Path, *, seed: int, times: int) -> Row:
    """The broker comes up after the product."""
    row = Row("broker absent at start", "starts")
    for number in range(times):
        with Rig(folder / str(number), seed=seed, devices=50) as rig:
            rig.broker.stop()
            rig.product.start()
            rig.product.wait_live()
            live = rig.product.ready_s
            row.expect(live <= 5.0, f"the API is up after {live:.1f} s without a broker")
            time.sleep(3.0)
            status, body = rig.product.get("/health/ready")
            row.expect(status == 200 and b"degraded" in body, f"ready says {status} {body[:80]!r} without a broker")
            rig.broker.start()
            began = time.monotonic()
            wait_until(lambda rig=rig: is_ok(rig), 60, "connected")
            row.recovered(time.monotonic() - began)
            rig.publish(*RATE, "--count", 500)
            rig.publishers[0].wait(60)
            row.add(rig.settle())
            row.count += 1
    return row.expect(
        (row.recovery_s or 0) <= CONNECTED_S + 2, f"connected {row.recovery_s:.1f} s after the broker was up"
    )


def restarted(folder: Path, *, seed: int, times: int) -> Row:
    """The broker is stopped and started under load; it saves its sessions and queues."""
    row = Row("broker restarted", "restarts")
    with Rig(folder, seed=seed, devices=100) as rig:
        rig.product.start().wait_live()
        rig.product.wait_connected()
        rig.publish(*RATE)
        for _ in range(times):
            time.sleep(2.0)
            rig.broker.stop()
            time.sleep(1.5)
            rig.broker.start()
            began = time.monotonic()
            wait_until(lambda: is_ok(rig), 60, "connected again")
            row.recovered(time.monotonic() - began)
            row.count += 1
        time.sleep(1.0)
        row.expect(rig.end_publishers() == 0, "the publisher did not get all its acknowledgements")
        row.add(rig.settle())
    return row.expect(
        (row.recovery_s or 0) <= CONNECTED_S + 2, f"connected {row.recovery_s:.1f} s after the broker was up"
    )


def frozen(folder: Path, *, seed: int, times: int, freeze_s: float = 32.0) -> Row:
    """The broker hangs without closing a connection: noticed within 30 s; nothing is lost when it goes on."""
    row = Row("broker frozen", "freezes")
    with Rig(folder, seed=seed, devices=100) as rig:
        rig.product.start().wait_live()
        rig.product.wait_connected()
        rig.publish(*RATE)
        for _ in range(times):
            time.sleep(1.0)
            rig.broker.freeze()
            began = time.monotonic()
            try:
                wait_until(lambda: not is_ok(rig), freeze_s, "the freeze is noticed", every_s=0.1)
                row.notes["noticed after [s]"] = round(time.monotonic() - began, 1)
            except TooLate as late:
                row.missed.append(str(late))
            rig.broker.thaw()
            began = time.monotonic()
            wait_until(lambda: is_ok(rig), 60, "connected again")
            row.recovered(time.monotonic() - began)
            row.count += 1
        row.expect(rig.end_publishers() == 0, "the publisher did not get all its acknowledgements")
        row.add(rig.settle())
    return row


def flapping(folder: Path, *, seed: int, seconds: float) -> Row:
    """The network between broker and product is cut every 1 to 5 seconds."""
    row = Row("network flapping", "cuts")
    rng = random.Random(seed)
    with Rig(folder, seed=seed, devices=100) as rig:
        proxy = Proxy(rig.broker.port)
        rig.configure(broker=proxy.url)
        rig.product.start().wait_live()
        rig.product.wait_connected()
        rig.publish(*RATE)
        began, before = time.monotonic(), proxy.accepted
        while time.monotonic() - began < seconds:
            time.sleep(rng.uniform(1.0, 5.0))
            proxy.cut()
            row.count += 1
        rate = (proxy.accepted - before) / (time.monotonic() - began)
        row.notes["connects a second"] = round(rate, 2)
        row.expect(rate <= 1.05, f"{rate:.2f} connects a second; the target is 1")
        healed = time.monotonic()
        wait_until(lambda: is_ok(rig), 60, "connected again")
        row.recovered(time.monotonic() - healed)
        row.expect(rig.end_publishers() == 0, "the publisher did not get all its acknowledgements")
        row.add(rig.settle())
        proxy.close()
    return row


def queue_full(folder: Path, *, seed: int) -> Row:
    """The broker drops messages for us while we are away: what it dropped shows, everything else is there.

    The broker's loss is not ours, and is counted apart. It must show as a gap of each device, as long as it was.
    """
    row = Row("broker's queue limit hit", "messages")
    with Rig(folder, seed=seed, devices=20, broker_lines=["max_queued_messages 200"]) as rig:
        rig.product.start().wait_live()
        rig.product.wait_connected()
        steady = ("--repeats", 0, "--in-turn", "--count", 2000)
        rig.publish("--rate", 200, *steady)
        rig.publishers[0].wait(60)
        rig.product.wait_drained(2000)
        rig.product.stop()
        rig.publish("--rate", 0, *steady, "--start", 100)
        rig.publishers[1].wait(60)
        rig.product.start().wait_live()
        rig.product.wait_connected()
        rig.publish("--rate", 200, *steady, "--start", 200)
        rig.publishers[2].wait(60)
        rig.product.wait_drained(0, quiet_s=3.0)
        rig.product.stop()
        verdict, sent = rig.examine(), rig.ledger
        device, q, at, _, _ = rows_of(rig.product.data / "meterhall.duckdb", SITE)
        shown = _uncovered(rig)
    stored = set(zip(device[q == 0].tolist(), (at[q == 0] // SECOND_US - rig.t0).tolist(), strict=True))
    gone = [message for message in sent.acknowledged if message not in stored]
    row.count = sent.messages
    row.doubled, row.invented = verdict.doubled, verdict.invented
    row.lost = sum(4 for _, n in gone if not 100 <= n < 200)
    row.missed += verdict.unbalanced
    row.expect(len(gone) > 0, "the broker dropped nothing: the scenario proves nothing")
    for k in range(20):
        numbers = np.array(sorted(n for of, n in stored if of == k))
        silent = np.diff(numbers)[np.diff(numbers) > 3].sum()  # three cadences of a second
        row.expect(abs(shown.get(k, 0.0) - silent) <= 2, f"device {k}: silent for {silent} s, shown {shown.get(k)} s")
    row.notes = {"dropped by the broker": len(gone), "gap of device 0, as shown [s]": shown.get(0)}
    return row


def _uncovered(rig: Rig) -> dict[int, float]:
    """Seconds without a reading between a device's first and last one, as the product's intervals say."""
    settings, found = load_settings(rig.product.folder, profile_ids=profile_protocols), dict[int, float]()
    with open_node(settings) as node:
        while node.deriver.pending():
            node.deriver.run_once(now_us())
        measures = [each for each in node.store.measures() if each.scope == "meter" and each.name == QUANTITIES[0]]
        for each in node.store.intervals(measures, "15min", 0, 1 << 61):
            k = device_number(each.measure.node)
            at = node.store.series(point_of(k, 0), 0, 1 << 62).at
            observed = ((each.end - each.start) * each.coverage).sum() / SECOND_US
            found[k] = round(float((at[-1] - at[0]) / SECOND_US - observed), 1)
    return found


def same_client_id(folder: Path, *, seed: int) -> Row:
    """A second client takes our session over again and again: we back off, and say which id."""
    row = Row("same client id twice", "takeovers")
    with Rig(folder, seed=seed, devices=50) as rig:
        rig.product.start().wait_live()
        rig.product.wait_connected()
        for _ in range(4):
            rival = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="meterhall", protocol=paho.MQTTv5)
            rival.connect("127.0.0.1", rig.broker.port, clean_start=False)
            rival.loop_start()
            time.sleep(0.5)
            rival.disconnect()
            rival.loop_stop()
            row.count += 1
            with contextlib.suppress(TooLate):
                wait_until(lambda: is_ok(rig) or "client_id" in note(rig), 12, "back, or at war", every_s=0.1)
        words = note(rig)
        row.notes["note"] = words
        row.expect('client_id "meterhall"' in words, f"the takeover is not told of: {words!r}")
        before, began = connects(rig), time.monotonic()
        time.sleep(10.0)
        row.expect(connects(rig) - before <= 1, f"{connects(rig) - before} connects in 10 s of war")
        wait_until(lambda: is_ok(rig), 60, "connected after the war", every_s=0.2)
        row.recovered(time.monotonic() - began)
        rig.publish(*RATE, "--count", 500)
        rig.publishers[0].wait(60)
        row.add(rig.settle())
    return row


BAD_TLS = {"unknown authority": "127.0.0.1", "wrong name": "elsewhere.example", "expired": "127.0.0.1"}


def bad_tls(folder: Path, kind: str, *, seed: int) -> Row:
    """A broker that cannot be trusted: unknown authority, wrong name, or expired. It is sent no credentials."""
    row = Row(f"TLS: {kind}", "set-ups", count=1)
    authority, certificate, key = certificates(folder, BAD_TLS[kind], expired=kind == "expired")
    if kind == "unknown authority":
        authority = certificates(folder / "other", BAD_TLS[kind])[0]
    with listening(certificate, key) as (port, heard):
        lines = ['username = "user"', f'password_file = "{secret(folder)}"', f'ca_file = "{authority}"']
        configuration = {"broker": f"mqtts://127.0.0.1:{port}", "broker_lines": lines}
        with Rig(folder, seed=seed, devices=2, configuration=configuration) as rig:
            rig.product.start().wait_live()
            with contextlib.suppress(TooLate):
                wait_until(lambda: "certificate" in note(rig), 20, "the refusal is told of", every_s=0.1)
            words = note(rig)
            row.notes["note"] = words
            row.expect("certificate" in words, f"the refusal is not told of: {words!r}")
            row.expect(rig.product.alive(), "the API is not up")
            rig.product.stop()
        row.expect(len(heard) > 0, "nobody tried to connect: the scenario proves nothing")
        sent = sum(heard)
        row.notes["bytes after the handshake"] = sent
        row.expect(sent == 0, f"{sent} bytes were sent to a broker that cannot be trusted")
    return row


def power_cut_of_broker(folder: Path, *, seed: int) -> Row:
    """kill -9 of the broker: what it loses is its own loss; we double and invent nothing."""
    row = Row("broker kill -9", "kills", count=1)
    with Rig(folder, seed=seed, devices=100) as rig:
        rig.product.start().wait_live()
        rig.product.wait_connected()
        rig.publish(*RATE)
        time.sleep(2.0)
        rig.broker.stop(signal.SIGKILL)
        rig.broker.start()
        began = time.monotonic()
        wait_until(lambda: is_ok(rig), 60, "connected again")
        row.recovered(time.monotonic() - began)
        time.sleep(2.0)
        rig.end_publishers()
        verdict = rig.settle()
    row.doubled, row.invented = verdict.doubled, verdict.invented
    row.missed += verdict.unbalanced
    row.notes["lost by the broker [readings]"] = verdict.lost
    return row
