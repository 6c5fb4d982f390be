"""What every request passes before any route: host, origin, size, time; and every reply: its headers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import PROBLEM_TYPE, problem_bytes
from api.services import Limits, Services

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
SAFE = {"GET", "HEAD", "OPTIONS"}
LARGE_BODY = "/api/v1/ingest"


def refusal(status: int, detail: str) -> HTTPException:
    """A refusal while the body is being read; FastAPI lets only its own kind through."""
    return HTTPException(status, detail, headers={"connection": "close"})


def host_of(header: str) -> str:
    """The host of a Host header, lower case, without its port."""
    host = header.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def objection(
    method: str, scheme: str, headers: Headers, allowed_hosts: tuple[str, ...], public_url: str = ""
) -> tuple[int, str, str] | None:
    """Status, type and detail of what speaks against a request before any route is asked.

    A foreign Host (DNS rebinding), and a write that another page's script sent. `public_url`: a proxy's, in front.
    """
    host = headers.get("host", "")
    if host_of(host) not in allowed_hosts:
        return 421, "foreign-host", "this server does not answer to that host name; add it to allowed_hosts"
    if method in SAFE:
        return None
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    ours = {public_url or f"{scheme}://{host}", f"{scheme}://{host}"}
    if site not in (None, "same-origin", "none") or (origin is not None and origin not in ours):
        return 403, "cross-site", "a page of another origin may change nothing here"
    return None


class Guard:
    """ASGI middleware, outside everything else, so that its headers are on every reply, errors too."""

    def __init__(self, app: ASGIApp, services: Callable[[], Services]) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        services = self._services()
        exchange = _Exchange(services.limits, scope["path"] == LARGE_BODY, receive, send)
        headers = Headers(scope=scope)
        found = objection(scope["method"], scope["scheme"], headers, services.allowed_hosts, services.public_url)
        if found is not None:
            await exchange.refuse(*found)
        else:
            await self._app(scope, exchange.receive, exchange.send)


class _Exchange:
    """One request's body, counted and timed; one reply, with its headers and a patience."""

    def __init__(self, limits: Limits, large: bool, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._largest = limits.ingest_bytes if large else limits.body_bytes
        self._body_s, self._send_s = limits.body_s, limits.send_s
        self._deadline = asyncio.get_running_loop().time() + limits.body_s
        self._taken = 0
        self._body_done = False

    async def receive(self) -> Message:
        if self._body_done:  # what still comes is the disconnect, and that may take as long as it likes
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise refusal(408, f"the body took longer than {self._body_s:g} s") from None
        if message["type"] == "http.request":
            self._taken += len(message.get("body", b""))
            self._body_done = not message.get("more_body", False)
            if self._taken > self._largest:
                raise refusal(413, f"the body may have {self._largest} bytes; send smaller batches")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        async with asyncio.timeout(self._send_s):
            await self._send(message)

    async def refuse(self, status: int, type_: str, detail: str) -> None:
        body = problem_bytes(status, type_, detail)
        headers = [
            (b"content-type", PROBLEM_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})
