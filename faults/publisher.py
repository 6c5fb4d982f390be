"""The publisher: a process of its own that sends self-verifying messages at QoS 1 and keeps the ledger.

    python -m faults.publisher --port 1883 --ledger FILE --t0 SECONDS [--rate 500] [--devices 1000] ...

SIGTERM ends it in good order: it sends nothing more and waits for the acknowledgements that are due.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import threading
import time
from collections import deque
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from faults.ledger import ACKNOWLEDGED, SENT, LedgerFile
from faults.values import device_id, payload_of

MOST_DUE = 2000  # messages without acknowledgement; beyond it nothing more is sent
RECENT = 3000  # messages of which one is sent again


class Publisher:
    """Publishes at a rate; every message goes into the ledger before it is sent and after its PUBACK."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.random = random.Random(arguments.seed)
        self.ledger = LedgerFile(arguments.ledger)
        self.due: dict[int, tuple[int, int]] = {}
        self.early: set[int] = set()  # acknowledged before publish() came back
        self.lock = threading.Lock()
        self.next = dict.fromkeys(range(arguments.first, arguments.first + arguments.devices), arguments.start)
        self.recent: deque[tuple[int, int]] = deque(maxlen=RECENT)
        self.stopping = threading.Event()
        client = self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=arguments.client_id, protocol=paho.MQTTv5
        )
        client.max_inflight_messages_set(0)
        client.max_queued_messages_set(0)
        client.reconnect_delay_set(1, 2)
        client.on_publish = self.acknowledged
        self.connected = threading.Event()
        client.on_connect = lambda *_: self.connected.set()

    def acknowledged(self, client: object, userdata: object, mid: int, reason: object, properties: object) -> None:
        """PUBACK."""
        with self.lock:
            message = self.due.pop(mid, None)
            if message is None:
                self.early.add(mid)
                return
        self.ledger.enter(ACKNOWLEDGED, *message)

    def send(self, k: int, n: int) -> None:
        """One message."""
        self.ledger.enter(SENT, k, n)
        info = self.client.publish(f"{self.arguments.base}/{device_id(k)}", payload_of(k, n, self.arguments.t0), qos=1)
        with self.lock:
            if info.mid not in self.early:
                self.due[info.mid] = k, n
                return
            self.early.discard(info.mid)
        self.ledger.enter(ACKNOWLEDGED, k, n)

    def run(self) -> int:
        """Until `--count` messages or SIGTERM; 1 if acknowledgements are still due at the end."""
        arguments = self.arguments
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 3600
        self.client.connect_async(arguments.host, arguments.port, 30, clean_start=False, properties=session)
        self.client.loop_start()
        if not self.connected.wait(20):
            print("publisher: the broker does not answer", file=sys.stderr)
            return 1
        devices, started, sent = list(self.next), time.monotonic(), 0
        while not self.stopping.is_set() and (not arguments.count or sent < arguments.count):
            wait = started + sent / arguments.rate - time.monotonic() if arguments.rate else 0.0
            if wait > 0:
                self.stopping.wait(min(wait, 0.01) if wait < 0.01 else wait)
                continue
            if len(self.due) > MOST_DUE:
                self.stopping.wait(0.005)
                started += 0.005
                continue
            if self.recent and self.random.random() < arguments.repeats:
                self.send(*self.random.choice(self.recent))
            else:
                k = devices[sent % len(devices)] if arguments.in_turn else self.random.choice(devices)
                n, self.next[k] = self.next[k], self.next[k] + 1
                self.send(k, n)
                self.recent.append((k, n))
            sent += 1
        deadline = time.monotonic() + 30
        while self.due and time.monotonic() < deadline:
            time.sleep(0.02)
        self.client.disconnect()
        self.client.loop_stop()
        self.ledger.close()
        return 1 if self.due else 0


def main() -> int:
    """Read the arguments and publish."""
    parser = argparse.ArgumentParser(prog="python -m faults.publisher")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--t0", type=int, required=True, help="time of message 0 [s since 1970]")
    parser.add_argument("--base", default="plant")
    parser.add_argument("--client-id", default="faults-publisher")
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first device")
    parser.add_argument("--start", type=int, default=0, help="number of each device's first message")
    parser.add_argument("--rate", type=float, default=500.0, help="messages a second; 0: as fast as acknowledged")
    parser.add_argument("--count", type=int, default=0, help="messages; 0: until SIGTERM")
    parser.add_argument("--repeats", type=float, default=0.1, help="share of messages that are sent again")
    parser.add_argument("--in-turn", action="store_true", help="devices one after another, not at random")
    parser.add_argument("--seed", type=int, default=1)
    publisher = Publisher(parser.parse_args())
    signal.signal(signal.SIGTERM, lambda *_: publisher.stopping.set())
    return publisher.run()


if __name__ == "__main__":
    sys.exit(main())
