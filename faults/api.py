"""The API under attack while readings come: slow clients, giant bodies, endless questions."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from faults.observer import Observer, memory_mb
from faults.product import SITE, Product
from faults.report import Row
from faults.rig import Rig
from faults.values import device_id

SLOW = 200  # sockets
GIANT_BYTES = 60 << 20
MOST_MORE_MB = 100
ASKERS = 8
REFUSED = {"413", "408", "ConnectionResetError", "BrokenPipeError"}


def overloaded(folder: Path, *, seed: int, seconds: float) -> Row:
    """200 slow sockets, bodies of 60 MB, dear questions without end: ingest goes on, and memory stays."""
    row = Row("API overloaded", "requests")
    seen: Counter[str] = Counter()
    with Rig(folder, seed=seed, devices=100) as rig:
        product = rig.product
        product.start().wait_live()
        product.wait_connected()
        rig.publish("--rate", 500)
        time.sleep(2.0)
        assert product.process is not None
        before, observer = memory_mb(product.process.pid), Observer(product.process.pid, product.port, folder)
        stop, began = threading.Event(), time.monotonic()
        threads = [threading.Thread(target=_asking, args=(product, stop, seen), daemon=True) for _ in range(ASKERS)]
        with _slow_sockets(product.port):
            for thread in threads:
                thread.start()
            while time.monotonic() - began < seconds:
                seen[f"giant body: {_giant(product)}"] += 1
            stop.set()
            for thread in threads:
                thread.join(30)
        row.expect(rig.end_publishers() == 0, "the publisher did not get all its acknowledgements")
        observer.judge(row)
        peak = row.notes["memory at most [MB]"]
        verdict = rig.settle()
    row.add(verdict)
    row.count = sum(seen.values())
    row.notes |= {"answers": dict(seen.most_common()), "memory before [MB]": round(before)}
    giants = {words.rpartition(" ")[2] for words in seen if words.startswith("giant body")}
    row.expect(bool(giants) and giants <= REFUSED, f"a body of 60 MB was answered {sorted(giants)}")
    return row.expect(peak - before <= MOST_MORE_MB, f"memory rose by {peak - before:.0f} MB; target {MOST_MORE_MB} MB")


@contextlib.contextmanager
def _slow_sockets(port: int) -> Iterator[None]:
    """Connections that send one byte a second of a request that never ends, and are made anew when given up."""
    stop = threading.Event()

    def trickle() -> None:
        sockets: list[socket.socket] = []
        while not stop.wait(1.0):
            alive = []
            for each in sockets:
                try:
                    each.send(b"x")
                    alive.append(each)
                except OSError:
                    each.close()
            sockets = alive
            with contextlib.suppress(OSError):
                while len(sockets) < SLOW:
                    fresh = socket.create_connection(("127.0.0.1", port), 2)
                    fresh.settimeout(1)
                    fresh.send(b"GET /api/v1/latest HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
                    sockets.append(fresh)
        for each in sockets:
            each.close()

    thread = threading.Thread(target=trickle, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


def _giant(product: Product) -> str:
    """One body of 60 MB to the ingest route, with the right token; the status."""
    token = (product.data / "admin.token").read_text().strip()
    chunk, sent = b"[" * (1 << 16), 0
    try:
        with socket.create_connection(("127.0.0.1", product.port), 10) as client:
            head = (
                f"POST /api/v1/ingest HTTP/1.1\r\nHost: 127.0.0.1:{product.port}\r\nAuthorization: Bearer {token}\r\n"
            )
            head += f"Content-Type: application/json\r\nIdempotency-Key: g\r\nContent-Length: {GIANT_BYTES}\r\n\r\n"
            client.sendall(head.encode())
            with contextlib.suppress(OSError):
                while sent < GIANT_BYTES:
                    sent += client.send(chunk)
            return client.recv(100).split(b" ")[1].decode()
    except (OSError, IndexError) as error:
        return type(error).__name__


def _asking(product: Product, stop: threading.Event, seen: Counter[str]) -> None:
    """Dear questions, one after another."""
    all_of_it = "start=2000-01-01T00:00:00Z&end=2100-01-01T00:00:00Z"
    paths = (
        "/api/v1/latest",
        f"/api/v1/series/{SITE}/{device_id(0)}/active_power?{all_of_it}",
        f"/api/v1/consumption?{all_of_it}",
        "/api/v1/books",
        "/metrics",
        "/api/v1/meters",
        "/",
    )
    number = 0
    while not stop.is_set():
        path = paths[number % len(paths)]
        number += 1
        try:
            status = product.get(path, 30.0)[0]
        except (OSError, http.client.HTTPException) as error:
            seen[f"{path.partition('?')[0]}: {type(error).__name__}"] += 1
            continue
        seen[f"{path.partition('?')[0]}: {status}"] += 1
