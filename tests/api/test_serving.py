"""The real server on a real socket."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from api import serving
from api.app import create_app
from api.serving import server_of
from metering.explain import ExplainedError


@contextlib.asynccontextmanager
async def running(services) -> AsyncIterator[int]:
    """The server on a free loopback port."""
    server = server_of(create_app(services), port=0)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(20):
        while not server.started:
            await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 20)


async def ask(port: int, text: bytes) -> bytes:
    """What the server answers until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    reply = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return reply


ALIVE = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", b"GET /health", b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n"])
def test_a_client_that_does_not_finish_its_headers_is_given_up(services, monkeypatch, sent):
    monkeypatch.setattr(serving, "HEADER_S", 0.1)

    async def run():
        async with running(services) as port:
            assert (await ask(port, sent)).startswith(b"HTTP/1.1 408")

    asyncio.run(run())


def test_the_second_request_of_a_connection_has_no_more_patience_than_the_first(services, monkeypatch):
    monkeypatch.setattr(serving, "HEADER_S", 0.1)

    async def run():
        async with running(services) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(ALIVE.replace(b"connection: close\r\n", b""))
            assert (await asyncio.wait_for(reader.readuntil(b'"ok"}'), 20)).startswith(b"HTTP/1.1 200")
            writer.write(b"GET /he")
            assert (await asyncio.wait_for(reader.read(), 20)).startswith(b"HTTP/1.1 408")
            writer.close()

    asyncio.run(run())


def test_others_are_answered_while_200_sockets_dawdle(services):
    async def run():
        async with running(services) as port:
            slow = []
            for i in range(200):
                each = socket.create_connection(("127.0.0.1", port))
                each.sendall(b"GET /api/v1/sites HTTP/1.1\r\nhost: loc" if i % 2 else b"G")
                slow.append(each)
            assert (await ask(port, ALIVE)).startswith(b"HTTP/1.1 200")
            for each in slow:
                each.close()

    asyncio.run(run())


def test_connections_beyond_the_limit_are_closed(services, monkeypatch):
    monkeypatch.setattr(serving, "CONNECTIONS", 2)

    async def run():
        async with running(services) as port:
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            with contextlib.suppress(ConnectionError):
                assert await ask(port, ALIVE) == b""
            for _, writer in held:
                writer.close()
                await writer.wait_closed()
            async with asyncio.timeout(20):
                while True:
                    with contextlib.suppress(ConnectionError):
                        if (await ask(port, ALIVE)).startswith(b"HTTP/1.1 200"):
                            return
                    await asyncio.sleep(0.01)

    asyncio.run(run())


def test_a_body_of_60_megabytes_is_refused_after_the_first(services):
    async def run():
        async with running(services) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"POST /api/v1/quarantine/replay HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                b"authorization: Bearer a-token-for-tests-0123456789\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            sent = 0

            async def pour():
                nonlocal sent
                with contextlib.suppress(ConnectionError):
                    for _ in range(60):
                        writer.write(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
                        await writer.drain()
                        sent += 1

            pouring = asyncio.create_task(pour())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            assert head.startswith(b"HTTP/1.1 413")
            await asyncio.wait_for(pouring, 20)
            assert sent < 60
            writer.close()

    asyncio.run(run())


def test_a_listener_to_live_values_does_not_hold_up_the_end(services):
    async def run():
        async with running(services) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /api/v1/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert b"text/event-stream" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        assert (await asyncio.wait_for(reader.read(), 20)).endswith(b"0\r\n\r\n"), "a clean end, not a cut"
        writer.close()

    asyncio.run(run())


def test_nothing_is_bound_beyond_loopback_while_reading_is_open(services):
    with pytest.raises(ExplainedError, match="everybody on the network"):
        server_of(create_app(services), host="0.0.0.0")
