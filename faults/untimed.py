"""Messages without a device time: stamped once, at the spool; retained ones are no readings of now.

The number of a message is its value, so each row shows which message it is of. A publisher's own second sending
of the same message cannot be told from a second reading: such rows are counted apart, not as doubled.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from faults.oracle import rows_of
from faults.product import SITE
from faults.proxy import Proxy
from faults.report import Row
from faults.rig import Rig
from faults.values import QUANTITIES, device_id

Message = tuple[int, int]  # device, number
POWER = QUANTITIES.index("active_power")
DEVICES = 20


class Sender:
    """Publishes messages that hold nothing but their number; keeps what was sent and what was acknowledged."""

    def __init__(self, port: int, client_id: str = "untimed", *, quantity: str = "w") -> None:
        self.quantity = quantity
        self.sent: Counter[Message] = Counter()
        self.acknowledged: Counter[Message] = Counter()
        self._due: list[tuple[paho.MQTTMessageInfo, Message]] = []
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 3600
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5)
        self._client.max_inflight_messages_set(0)
        self._client.connect("127.0.0.1", port, clean_start=True, properties=session)
        self._client.loop_start()

    def send(self, k: int, n: int, *, ts: int | None = None, retain: bool = False) -> None:
        """Message n of device k."""
        self.sent[k, n] += 1
        stamp = "" if ts is None else f'"ts":{ts},'
        info = self._client.publish(f"{SITE}/{device_id(k)}", f'{{{stamp}"{self.quantity}":{n}}}', qos=1, retain=retain)
        self._due.append((info, (k, n)))

    def finish(self) -> int:
        """Wait for the acknowledgements that are due; how many did not come."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not all(info.is_published() for info, _ in self._due):
            time.sleep(0.02)
        self.acknowledged.update(message for info, message in self._due if info.is_published())
        self._client.disconnect()
        self._client.loop_stop()
        return sum(not info.is_published() for info, _ in self._due)


@contextmanager
def sending(sender: Sender, rate: float, repeats: float, rng: random.Random) -> Iterator[None]:
    """Messages at a rate in a thread of its own, some of them sent again by the publisher."""
    stop = threading.Event()

    def send() -> None:
        count, recent = 0, list[Message]()
        while not stop.wait(1 / rate):
            if recent and rng.random() < repeats:
                sender.send(*rng.choice(recent[-500:]))
                continue
            message = count % DEVICES, count
            sender.send(*message)
            recent.append(message)
            count += 1

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)


def stored(rig: Rig) -> Counter[Message]:
    """How often each message stands in the store."""
    device, q, _, value, strange = rows_of(rig.product.data / "meterhall.duckdb", SITE)
    power = q == POWER
    found = Counter(zip(device[power].tolist(), value[power].astype(int).tolist(), strict=True))
    found[-1, -1] += strange + int((~power).sum())
    return +found


def without_time(folder: Path, *, kills: int, seed: int) -> Row:
    """kill -9 under messages without a device time: the broker delivers again, and none becomes a second reading."""
    row = Row("messages without a time, kill -9", "kills", count=kills)
    rng = random.Random(seed)
    with Rig(folder, seed=seed, devices=DEVICES) as rig:
        proxy = Proxy(rig.broker.port)
        rig.configure(broker=proxy.url)
        rig.product.start().wait_live()
        rig.product.wait_connected()
        sender = Sender(rig.broker.port)
        with sending(sender, 300, 0.1, rng):
            for _ in range(kills):
                time.sleep(rng.uniform(0.2, 1.2))
                proxy.deaf = True  # the broker sees none of the acknowledgements of the next moment
                time.sleep(rng.uniform(0.0, 0.6))
                rig.product.kill()
                proxy.cut()
                proxy.deaf = False
                rig.product.start()
                row.recovered(rig.product.wait_live() and rig.product.ready_s)
                rig.product.wait_connected()
        row.expect(sender.finish() == 0, "the publisher did not get all its acknowledgements")
        rig.product.wait_drained(sender.acknowledged.total())
        rig.product.stop()
        verdict = rig.examine()
        found = stored(rig)
        proxy.close()
    row.lost = sum(1 for message in sender.acknowledged if message not in found)
    row.invented = sum(n for message, n in found.items() if message not in sender.sent)
    row.doubled = sum(max(0, n - sender.sent[message]) for message, n in found.items() if message in sender.sent)
    row.missed += [words for words in verdict.unbalanced if "other values" not in words]
    again = sum(n - 1 for n in sender.sent.values())
    row.notes = {
        "messages": len(sender.sent),
        "received": verdict.received,
        "delivered again by the broker": max(0, verdict.received - sender.sent.total()),
        "sent again by the publisher": again,
        "of these a second reading, counted apart": sum(min(n, sender.sent[m]) - 1 for m, n in found.items()),
    }
    return row.expect(
        verdict.received > sender.sent.total(), "nothing was delivered again: the scenario proves nothing"
    )


def retained(folder: Path, *, count: int, seed: int) -> Row:
    """Retained messages that wait at the first connect: those with a time are readings of it, the others none."""
    row = Row("retained messages", "messages", count=count)
    with Rig(folder, seed=seed, devices=count) as rig:
        sender = Sender(rig.broker.port)
        for k in range(count):
            sender.send(k, k, ts=rig.t0 + k if k % 2 else None, retain=True)
        row.expect(sender.finish() == 0, "the publisher did not get all its acknowledgements")
        rig.product.start().wait_live()
        rig.product.wait_connected()
        totals = rig.product.wait_drained(count)
        live = Sender(rig.broker.port, "live")
        live.send(0, count)
        row.expect(live.finish() == 0, "the publisher did not get its acknowledgement")
        rig.product.wait_drained(count + 1)
        rig.product.stop()
        found = stored(rig)
        device, _, at, _, _ = rows_of(rig.product.data / "meterhall.duckdb", SITE)
    timed = {(k, k) for k in range(1, count, 2)} | {(0, count)}
    row.lost = len(timed - set(found))
    row.invented = sum(n for message, n in found.items() if message not in timed)
    row.doubled = sum(n - 1 for message, n in found.items() if message in timed)
    own = {(k, (rig.t0 + k) * 1_000_000) for k in range(1, count, 2)}
    row.invented += len(own - set(zip(device.tolist(), at.tolist(), strict=True)))
    rejected = totals["messages"]["rejected"]
    row.notes = {"rejected": rejected}
    return row.expect(
        rejected == {"retained_without_time": (count + 1) // 2},
        f"of {count} retained messages are rejected: {rejected}",
    )
