"""A flood: one device at a thousand times its rate, a million topics nobody knows, a new field in each message."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from pathlib import Path

import numpy as np

from faults.product import SITE
from faults.report import Row
from faults.rig import Rig

MOST_MB, LIVE_S = 500, 1.0
WINDOW = 4000  # messages without acknowledgement


class Torrent:
    """Publishes at QoS 1 as fast as it is acknowledged, framed by hand: paho is too slow to flood anybody."""

    def __init__(self, port: int, client_id: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        name = client_id.encode()
        variable = b"\0\4MQTT\4\2\0\x3c" + struct.pack(">H", len(name)) + name
        self._socket.sendall(bytes([0x10, len(variable)]) + variable)
        assert self._socket.recv(4)[3] == 0
        self.sent = self.acknowledged = 0
        self._failed = False
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        rest = 0
        with contextlib.suppress(OSError):
            while data := self._socket.recv(65_536):
                rest += len(data)
                self.acknowledged, rest = self.acknowledged + rest // 4, rest % 4
        self._failed = True

    def publish(self, messages: list[tuple[str, bytes]]) -> None:
        """Send some, when the window has room for them."""
        while self.sent - self.acknowledged > WINDOW and not self._failed:
            time.sleep(0.001)
        frames = []
        for topic, payload in messages:
            name = topic.encode()
            self.sent += 1
            body = struct.pack(">H", len(name)) + name + struct.pack(">H", self.sent % 65_535 + 1) + payload
            size, length = len(body), b""
            while True:
                size, low = size >> 7, size & 127
                length += bytes([low | (128 if size else 0)])
                if not size:
                    break
            frames.append(b"\x32" + length + body)
        self._socket.sendall(b"".join(frames))

    def close(self) -> None:
        """Wait for the acknowledgements that are due, then go."""
        deadline = time.monotonic() + 30
        while self.acknowledged < self.sent and not self._failed and time.monotonic() < deadline:
            time.sleep(0.01)
        self._socket.close()


class Observer:
    """Measures memory and `/health/live` in a thread, until told to end."""

    def __init__(self, rig: Rig) -> None:
        self._rig, self._stop = rig, threading.Event()
        self.memory: list[tuple[float, float]] = []  # (time [s], MB)
        self.live: list[float] = []  # [s]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.25):
            began = time.monotonic()
            answered = self._rig.product.alive(10.0)
            self.live.append(time.monotonic() - began if answered else 10.0)
            self.memory.append((began, self._rig.product.memory_mb()))

    def stop(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join(20)

    def judge(self, row: Row, *, judge_slope: bool) -> None:
        """Peak, slope and the slowest answer into the row."""
        times, sizes = np.array(self.memory).T
        half = times >= times[0] + (times[-1] - times[0]) / 2
        slope = float(np.polyfit((times[half] - times[0]) / 60, sizes[half], 1)[0]) if half.sum() > 2 else 0.0
        row.notes |= {
            "memory at most [MB]": round(float(sizes.max())), "slope in the second half [MB/min]": round(slope, 1),
            "/health/live at the slowest [s]": round(max(self.live), 2),
            "/health/live p99 [s]": round(float(np.quantile(self.live, 0.99)), 2),
        }  # fmt: skip
        row.expect(sizes.max() <= MOST_MB, f"memory reached {sizes.max():.0f} MB; the target is {MOST_MB}")
        row.expect(max(self.live) < LIVE_S, f"/health/live took {max(self.live):.2f} s; the target is {LIVE_S:g} s")
        if judge_slope:
            later = times >= times[0] + 300
            growth = sizes[later].max() / sizes[later][0] - 1 if later.sum() > 2 else 0.0
            row.expect(growth <= 0.05, f"memory grew by {growth:.0%} after minute 5")


def flood(folder: Path, *, seconds: float, topics: int, seed: int, judge_slope: bool = False) -> Row:
    """500 devices at their rate, one of them besides at a thousand times it, and the torrents."""
    row = Row("flood", "messages")
    configuration = {"broker_lines": [f'topics = ["{SITE}/#"]']}
    with Rig(folder, seed=seed, devices=502, configuration=configuration) as rig:
        rig.product.start().wait_live()
        rig.product.wait_connected()
        observer = Observer(rig)
        rig.publish("--rate", 100, "--in-turn", devices=500)  # one message a device each 5 s
        rig.publish("--rate", 200, "--first", 500, "--repeats", 0, devices=1)
        began, strangers, fields = (
            time.monotonic(),
            Torrent(rig.broker.port, "strangers"),
            Torrent(rig.broker.port, "fields"),
        )
        stop = threading.Event()

        def new_fields() -> None:
            number = 0
            while not stop.is_set():
                fields.publish([(f"{SITE}/d00501", b'{"f%d":1}' % (number + i)) for i in range(100)])
                number += 100
                time.sleep(0.05)

        thread = threading.Thread(target=new_fields, daemon=True)
        thread.start()
        at = 0
        while time.monotonic() - began < seconds or at < topics:
            if at < topics:
                strangers.publish([(f"{SITE}/x/{at + i}", b'{"w":1}') for i in range(500)])
                at += 500
            else:
                time.sleep(0.05)
        row.notes["1 M topics sent in [s]" if topics == 1_000_000 else f"{topics} topics sent in [s]"] = round(
            time.monotonic() - began, 1
        )
        stop.set()
        thread.join(20)
        strangers.close()
        fields.close()
        row.expect(rig.end_publishers() == 0, "the publisher did not get all its acknowledgements")
        flooded = time.monotonic()
        row.count = strangers.acknowledged + fields.acknowledged + rig.ledger.messages
        totals = rig.product.wait_drained(row.count, 600, quiet_s=15.0)
        row.recovered(time.monotonic() - flooded)
        observer.stop()
        observer.judge(row, judge_slope=judge_slope)
        rig.product.stop()
        verdict = rig.examine()
    row.add(verdict)
    row.notes |= {"quarantine": verdict.quarantine, "rejected": totals["messages"]["rejected"]}
    row.expect(
        totals["messages"]["received"] >= row.count,
        f"{totals['messages']['received']} of {row.count} messages were received",
    )
    return row
