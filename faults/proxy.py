"""A TCP proxy between the product and a broker, for what networks do."""

from __future__ import annotations

import contextlib
import socket
import threading


class Proxy:
    """A TCP proxy on loopback that cuts every connection when told to.

    deaf : what clients send is swallowed, so that the server sees no acknowledgement
    """

    deaf = False

    def __init__(self, target: int) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.accepted = 0
        self._pairs: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The address to give for the broker's."""
        return f"mqtt://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
                server = socket.create_connection(("127.0.0.1", self._target), 2)
            except OSError:
                if self._server.fileno() < 0:
                    return
                continue
            self.accepted += 1
            self._pairs |= {client, server}
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(one, other, one is client), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket, from_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65_536):
                if not (self.deaf and from_client):
                    other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            self._pairs.discard(end)

    def cut(self) -> None:
        """Reset every connection."""
        for end in list(self._pairs):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Listen no more."""
        self._server.close()
        self.cut()
