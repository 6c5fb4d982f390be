"""A flood: one device at a thousand times its rate, a million topics nobody knows, a new field in each message."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from pathlib import Path

from faults.observer import Observer
from faults.product import SITE
from faults.report import Row
from faults.rig import Rig

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


def flood(folder: Path, *, seconds: float, topics: int, seed: int, judge_slope: bool = False) -> Row:
    """500 devices at their rate, one of them besides at a thousand times it, and the torrents."""
    row = Row("flood", "messages")
    configuration = {"broker_lines": [f'topics = ["{SITE}/#"]']}
    with Rig(folder, seed=seed, devices=502, configuration=configuration) as rig:
        rig.product.start().wait_live()
        rig.product.wait_connected()
        assert rig.product.process is not None
        observer = Observer(rig.product.process.pid, rig.product.port, folder)
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
