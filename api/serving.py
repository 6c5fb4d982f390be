"""The HTTP server of the app: one process, bounded connections, header time-out, loopback unless said otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any, NamedTuple

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.services import Services
from metering.explain import ExplainedError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
CONNECTIONS = 512  # at once; more are closed as they come
HEADER_S = 10.0  # from the first byte of a request, or from the connection, to the end of its headers
IDLE_S = 15  # between two requests of a connection
HEADER_BYTES = 64 * 1024
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class PatientProtocol(H11Protocol):
    """HTTP/1.1 whose patience with headers ends."""

    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._header_timer is None and not self.transport.is_closing():
            self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        self._header_timer = self.loop.call_later(HEADER_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _give_up(self) -> None:
        self._header_timer = None
        if not self.transport.is_closing():
            self.transport.write(TOO_SLOW)
            self.transport.close()


class Server(uvicorn.Server):
    """Ends the live streams first, so that they do not hold up the end; leaves signals to the composition root."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the composition root's; `should_exit = True` ends the server."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.services.live.close()
        await super().shutdown(sockets)


class Tls(NamedTuple):
    """Files of the certificate chain and its key (PEM)."""

    cert_file: str
    key_file: str


def server_of(app: FastAPI, host: str = "127.0.0.1", port: int = 8420, tls: Tls | None = None) -> Server:
    """The server; `await server.serve()` in the composition's loop, `server.should_exit = True` ends it.

    Raises
    ------
    ExplainedError
        If `host` is not loopback, and reading needs no sign-in, or there is neither TLS nor a proxy that does it; or if
        the certificate cannot be used.
    """
    if host not in LOOPBACK:
        refuse_unguarded(app.state.services, host, tls)
    if tls is not None:
        try_tls(tls)
    return Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=PatientProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=3,
            h11_max_incomplete_event_size=HEADER_BYTES,
            backlog=256,
            ssl_certfile=tls.cert_file if tls else None,
            ssl_keyfile=tls.key_file if tls else None,
        ),
        app,
    )


def refuse_unguarded(services: Services, host: str, tls: Tls | None) -> None:
    """Others than this machine may come only where they are asked who they are, and nobody can listen in."""
    if services.open_reading or services.access is None:
        raise ExplainedError(
            f'server.host "{host}"', "would let everybody on the network read", "bind to 127.0.0.1, or ask for sign-in"
        )
    if tls is None and not services.public_url:
        raise ExplainedError(
            f'server.host "{host}"',
            "would send passwords over the network in clear",
            "give cert_file and key_file, or behind_proxy if a proxy does TLS",
        )


def try_tls(tls: Tls) -> None:
    """The certificate and its key fit each other.

    Raises
    ------
    ExplainedError
        If they cannot be read or do not fit.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.cert_file, tls.key_file, password="")
    except (OSError, ValueError) as error:
        raise ExplainedError(
            f"{tls.cert_file}, {tls.key_file}",
            f"cannot be used: {getattr(error, 'reason', None) or error}",
            "give a PEM certificate chain, and its key without passphrase",
        ) from None
