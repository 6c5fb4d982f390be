"""What the ingest benchmarks stand on: a configuration, a real broker, publishers, the product in its own process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meterhall.broker import Broker, find_mosquitto, start_broker

METERS = 1000
VALUES = 4  # of one message
PATIENCE_S = 120.0
PROFILE = 'id = "bench"\nprotocol = "mqtt"\nsource = "the benchmark"\n[[topic]]\ntopic = "{base}"\n' + (
    'time = { path = "ts", format = "unix_ms" }\n'
    + "".join(
        f'[[field]]\npath = "{path}"\nquantity = "{quantity}"\nunit = "{unit}"\n'
        for path, quantity, unit in (
            ("power", "active_power", "W"),
            ("energy", "active_energy_import", "kWh"),
            ("voltage", "voltage", "V"),
            ("current", "current", "A"),
        )
    )
)
SETTINGS = '[data]\nfolder = "data"\n[server]\nhost = "127.0.0.1"\nport = 8420\n'
SITE = '[[site]]\nid = "city"\nname = "City"\ntimezone = "Asia/Shanghai"\n'


def topic_of(meter: int) -> str:
    """The topic of a meter."""
    return f"city/building-{meter // 10:02d}/meter-{meter:04d}/telemetry"


def payload_of(meter: int, at_ms: int, tick: int) -> bytes:
    """A typical message: 120 bytes of JSON, 4 values and a time; its counter rises with `tick`."""
    power, voltage, current = 1200 + tick * 7919 % 3000 / 10, 230 + tick * 31 % 40 / 10, 5 + tick * 17 % 4000 / 1000
    return (
        f'{{"id":"m{meter:04d}","ts":{at_ms},"power":{power:.1f},"energy":{meter + tick * 0.001:.3f},'
        f'"voltage":{voltage:.1f},"current":{current:.3f},"status":"normal 1"}}'
    ).encode()


def write_mqtt_config(folder: Path, port: int, meters: int = METERS) -> None:
    """A site of meters that speak over one broker, ten to a building."""
    (folder / "profiles").mkdir(parents=True)
    (folder / "profiles" / "bench.toml").write_text(PROFILE, encoding="utf-8")
    (folder / "meterhall.toml").write_text(
        f'{SETTINGS}[[broker]]\nid = "plant"\nurl = "mqtt://127.0.0.1:{port}"\nclient_id = "meterhall"\n',
        encoding="utf-8",
    )
    rows = [SITE]
    for i in range(meters):
        if i % 10 == 0:
            rows.append(
                f'[[building]]\nid = "b{i // 10}"\nname = "Building {i // 10}"\nuse = "office"\nfloor_area = 4000\n'
            )
        rows.append(
            f'[[meter]]\nid = "meter-{i:04d}"\nname = "Meter {i}"\nbuilding = "b{i // 10}"\ncarrier = "electricity"\n'
            f'profile = "bench"\nconnection = "mqtt://plant/{topic_of(i)}"\nrated_power_w = 20000\n'
        )
    (folder / "site.toml").write_text("".join(rows), encoding="utf-8")
    (folder / "factors.toml").write_text("", encoding="utf-8")


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[Broker]:
    """A real Mosquitto, as the demo configures it."""
    if not find_mosquitto():
        raise FileNotFoundError("Mosquitto is not installed: sudo apt-get install mosquitto")
    started = start_broker(folder / "broker", free_port())
    try:
        yield started
    finally:
        started.stop()


def cpu_of(pid: int) -> float:
    """CPU seconds that a process has used, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Product:
    """The product in a process of its own (`benchmarks.product`), asked over its standard streams."""

    def __init__(self, config: Path, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.product", str(config), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started = self._answer()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the product has ended with {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        if "mistake" in found:
            raise RuntimeError(found["mistake"])
        return found

    def ask(self, question: str) -> dict[str, Any]:
        """One question, one answer; see `benchmarks.product`."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        return self._answer()

    def wait_until(self, count: int, what: str = "stored", patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait until that many messages are received or stored."""
        return self.ask(f"wait {what} {count} {patience_s}")

    def end(self) -> None:
        """End it in good order."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def __enter__(self) -> Product:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def _packet(topic: bytes, packet_id: int, payload: bytes) -> bytes:
    """A PUBLISH of MQTT 5 with QoS 1 and no properties."""
    length = 2 + len(topic) + 3 + len(payload)
    head = bytes((0x32, length & 0x7F | 0x80, length >> 7)) if length > 127 else bytes((0x32, length))
    return b"".join((head, len(topic).to_bytes(2, "big"), topic, packet_id.to_bytes(2, "big"), b"\0", payload))


class Publishing:
    """A connection that publishes with QoS 1 and knows how many messages are unanswered."""

    MOST = 4000  # unanswered; the broker takes 5,000

    def __init__(self, port: int, name: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name_bytes = name.encode()
        body = b"\0\4MQTT\5\2\0\0\0" + struct.pack(">H", len(name_bytes)) + name_bytes
        self._socket.sendall(b"\x10" + bytes((len(body),)) + body)
        if self._socket.recv(1000)[0] != 0x20:
            raise ConnectionError("the broker does not accept the publisher")
        self.sent = self.answered_bytes = 0
        self.topics = [topic_of(i).encode() for i in range(METERS)]

    @property
    def open(self) -> int:
        """Messages not yet acknowledged by the broker. An answer has 4 or 6 bytes: at most so many."""
        return self.sent - self.answered_bytes // 4

    def send(self, meters_and_payloads: list[tuple[int, bytes]]) -> None:
        """Publish; waits while too much is unanswered."""
        packets = []
        for meter, payload in meters_and_payloads:
            packets.append(_packet(self.topics[meter], self.sent % 65_535 + 1, payload))
            self.sent += 1
        self._socket.sendall(b"".join(packets))
        while self.open > self.MOST:
            self.read(block=True)

    def read(self, *, block: bool) -> None:
        """Count answers."""
        self._socket.setblocking(block)
        with contextlib.suppress(BlockingIOError):
            self.answered_bytes += self._count(self._socket.recv(1 << 16))
        self._socket.setblocking(True)

    _rest = b""

    def _count(self, data: bytes) -> int:
        """4 for each PUBACK in what came: those with a reason ("no subscriber") are longer."""
        data, at, count = self._rest + data, 0, 0
        while at + 2 <= len(data) and at + 2 + data[at + 1] <= len(data):
            at += 2 + data[at + 1]
            count += 1
        self._rest = data[at:]
        return 4 * count

    def close(self) -> None:
        """Wait for the last answers and go."""
        while self.open:
            self.read(block=True)
        self._socket.sendall(b"\xe0\0")
        self._socket.close()


def fill(port: int, count: int, *, spacing_ms: int = 1000, before_ms: int = 0) -> None:
    """Put `count` messages into the broker's queues: each meter one every `spacing_ms`, the last `before_ms` ago."""
    out, rounds = Publishing(port, "filler"), -(-count // METERS)
    first = time.time_ns() // 1_000_000 - before_ms - rounds * spacing_ms
    for tick in range(rounds):
        meters = range(min(METERS, count - tick * METERS))
        out.send([(m, payload_of(m, first + tick * spacing_ms + m * spacing_ms // METERS, tick)) for m in meters])
    out.close()


def publish(port: int, rate: int, seconds: float, tick: int = 1_000_000) -> tuple[int, float]:
    """Publish `rate * seconds` messages at a rate, each stamped with its time; how many, and in how long [s]."""
    out, wanted = Publishing(port, f"publisher-{os.getpid()}"), int(rate * seconds)
    begin, meter, took = time.monotonic(), 0, 0.0
    while out.sent < wanted and took < 2 * seconds:  # at most twice the time: a slow machine falls behind
        due = min(int(took * rate) + 1, wanted) - out.sent
        at_ms, some = time.time_ns() // 1_000_000, []
        for _ in range(min(due, METERS)):  # no meter twice with one stamp
            some.append((meter, payload_of(meter, at_ms, tick)))
            meter += 1
            if meter == METERS:
                meter, tick = 0, tick + 1
        out.send(some)
        out.read(block=False)
        time.sleep(0.005)
        took = time.monotonic() - begin
    out.close()
    return out.sent, took


def start_publisher(port: int, rate: int, seconds: float, tick: int = 1_000_000) -> subprocess.Popen[str]:
    """`publish` in a process of its own; it prints what it sent, and its CPU seconds."""
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.rig", str(port), str(rate), str(seconds), str(tick)],
        stdout=subprocess.PIPE,
        text=True,
    )


def empty(folder: Path) -> Path:
    """The folder, made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    sent, took = publish(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
    print(json.dumps({"sent": sent, "seconds": took, "cpu": time.process_time()}))
