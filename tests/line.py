"""A line to somewhere else, for tests: a TCP proxy on loopback that can be cut, left hanging, and restored."""

import contextlib
import select
import socket
import struct
import threading


class Line:
    """Passes on to a port of this machine; `how` is "ok", "cut" (refused, open connections reset) or "hanging"."""

    def __init__(self, port):
        self.target, self.how, self.passed = port, "ok", 0  # passed [bytes]
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self._ends, self._lock, self._closed = set(), threading.Lock(), False
        threading.Thread(target=self._take, daemon=True).start()

    def cut(self, after=None):
        """Cut it now, or after so many more bytes: in the middle of whatever goes by then."""
        if after is not None:
            self._limit = self.passed + after
            return
        self.how = "cut"
        with self._lock:
            for end in self._ends:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RDWR)

    _limit = None

    def hang(self):
        """Connections stay and are taken; nothing goes by."""
        self.how = "hanging"

    def restore(self):
        """As if nothing had been."""
        self._limit, self.how = None, "ok"

    def close(self):
        """End it."""
        self._closed = True
        self.cut()
        self._door.close()

    def _take(self):
        while not self._closed:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            if self.how == "cut":
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                near.close()
                continue
            threading.Thread(target=self._pass, args=(near,), daemon=True).start()

    def _pass(self, near):
        with contextlib.suppress(OSError), near, socket.create_connection(("127.0.0.1", self.target), 5) as far:
            ends = {near: far, far: near}
            with self._lock:
                self._ends |= set(ends)
            try:
                while self.how != "cut":
                    ready, _, _ = select.select(list(ends), [], [], 0.05)
                    if self.how == "hanging":
                        threading.Event().wait(0.05)
                        continue
                    for end in ready:
                        data = end.recv(65_536)
                        if not data:
                            return
                        if self._limit is not None and self.passed + len(data) > self._limit:
                            ends[end].sendall(data[: self._limit - self.passed])
                            self.cut()
                            return
                        ends[end].sendall(data)
                        self.passed += len(data)
            finally:
                with self._lock:
                    self._ends -= set(ends)
