"""The two endpoints that InfluxDB 1.x, 2.x and 3.x share: `/write` and `/query`, over plain HTTP.

One connection a thread, kept open; a whole request has a deadline, however slowly the answer drips. A request on a
kept connection that the server had closed is sent once more: writing the same points again changes nothing.
"""

from __future__ import annotations

import base64
import codecs
import contextlib
import gzip
import http.client
import json
import math
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from storage.influx.address import Address
from storage.store import StoreUnavailable

CONNECT_S, WRITE_S, QUERY_S = 5.0, 30.0, 300.0
LONGEST_WAIT_S = 300.0  # of a Retry-After
_LONGEST_GET = 4000  # characters of a query in the URL; longer ones are posted
_SHOWN = 400  # characters of a server's words that are repeated
_ROWS = re.compile(
    r"partial write|unable to parse|parsing failed|field type conflict|beyond retention|limit exceeded|line_number"
    r"|invalid field name|invalid column type|missing (?:tag|field)|duplicate (?:tag|field)|invalid number",
    re.IGNORECASE,
)


class Rejected(Exception):
    """400 or 422: something of what was sent is not to the server's liking; which part was stored is unknown.

    line : the line it names, from 1, or 0
    quoted : the line it quotes, or ""
    field : the field it names, or ""
    about_rows : False if the words may mean the request as a whole
    """

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        quoted = re.search(r"unable to parse '(.*?)': ", message, re.DOTALL)
        self.quoted = quoted.group(1) if quoted else ""
        field = re.search(r'input field "([^"]+)"|column (?:type for column )?[\'"]([^\'"]+)[\'"]', message)
        self.field = next((name for name in field.groups() if name), "") if field else ""
        self.about_rows = bool(line or _ROWS.search(message))


class TooLarge(Exception):
    """413: send less at once."""


class QueryRefused(StoreUnavailable):
    """The server cannot answer this query."""


class TooManyFiles(QueryRefused):
    """InfluxDB 3 Core: the time range touches more files than it opens for one query."""


class Rows(NamedTuple):
    """A piece of an answer: rows of one series. `statement` counts from 0."""

    statement: int
    name: str
    tags: dict[str, str]
    columns: list[str]
    values: list[list[Any]]


class Client:
    """A server's database. All methods may be called from any thread."""

    def __init__(
        self, address: Address, *, connect_s: float = CONNECT_S, write_s: float = WRITE_S, query_s: float = QUERY_S
    ) -> None:
        self.address = address
        self.requests = 0  # sent, and perhaps arrived
        self._connect_s, self._write_s, self._query_s = connect_s, write_s, query_s
        self._not_before = 0.0
        self._kept = threading.local()
        self._all: set[http.client.HTTPConnection] = set()
        self._tls = ssl.create_default_context(cafile=address.ca_file or None) if address.tls else None

    # --- the endpoints

    def write(self, body: bytes) -> None:
        """Send lines; returns when the server says they are stored.

        Raises
        ------
        Rejected, TooLarge
            As they say.
        StoreUnavailable
            If the server is away, asks to wait, or does not let us in; what was stored is unknown, unless
            `requests` is what it was.
        """
        wait = self._not_before - time.monotonic()
        if wait > 0:
            raise StoreUnavailable(f"{self.address} asked to wait; {math.ceil(wait)} s are left")
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if self.address.gzip:
            body = gzip.compress(body, 1)
            headers["Content-Encoding"] = "gzip"
        path = "/write?" + urlencode({"db": self.address.database})
        with self._answer("POST", path, body, headers, self._write_s) as answer:
            if 200 <= answer.status < 300:
                return
            text = self._text(answer)
            if answer.status in (400, 422):
                raise _rejection(text)
            if answer.status == 413:
                raise TooLarge(text)
            raise self._unavailable(answer, text)

    def query(self, statements: str, params: Mapping[str, Any] | None = None, *, chunk: int = 0) -> Iterator[Rows]:
        """Ask; the answer comes in pieces, of at most `chunk` rows if given. Times are nanoseconds.

        Raises
        ------
        QueryRefused
            If the server says that the query is wrong, also in an answer of status 200.
        StoreUnavailable
            If the server is away, does not let us in, or the answer breaks off.
        """
        asked: dict[str, Any] = {"db": self.address.database, "epoch": "ns", "q": statements}
        if params:
            asked["params"] = json.dumps(params, ensure_ascii=False)
        if chunk:
            asked |= {"chunked": "true", "chunk_size": chunk}
        text = urlencode(asked)
        method, path, body, headers = "GET", f"/query?{text}", None, {"Accept": "application/json"}
        if len(text) > _LONGEST_GET:
            method, path, body = "POST", "/query", text.encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        with self._answer(method, path, body, headers, self._query_s) as answer:
            if answer.status != 200:
                words = self._text(answer)
                if answer.status in (400, 422):
                    raise _refusal(_words(words))
                raise self._unavailable(answer, words)
            try:
                for document in documents(iter(lambda: answer.read1(1 << 16), b"")):
                    yield from _pieces(document)
                if answer.length:
                    raise ValueError(f"{answer.length} bytes are missing")
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise StoreUnavailable(f"the answer of {self.address} broke off: {error}") from error

    def manage(self, statement: str) -> list[Rows]:
        """Ask by POST, as statements that change something must be (1.x)."""
        body = urlencode({"q": statement, "db": self.address.database}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        with self._answer("POST", "/query", body, headers, self._query_s) as answer:
            text = self._text(answer)
            if answer.status != 200:
                raise _refusal(_words(text)) if answer.status in (400, 422) else self._unavailable(answer, text)
            return [rows for document in documents([text.encode()]) for rows in _pieces(document)]

    def version(self) -> str:
        """The server's version, e.g. `1.6.7`; "" if it does not say."""
        with self._answer("GET", "/ping", None, {}, self._write_s) as answer:
            text = self._text(answer)
            if answer.status in (401, 403):
                raise self._unavailable(answer, text)
            told = answer.getheader("X-Influxdb-Version") or ""
        if not told:
            with contextlib.suppress(ValueError):
                found = json.loads(text)
                told = str(found.get("version", "")) if isinstance(found, dict) else ""
        return told.lstrip("v")

    def close(self) -> None:
        """Close all connections."""
        while self._all:
            self._all.pop().close()

    # --- one request

    @contextlib.contextmanager
    def _answer(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], deadline_s: float
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request and give the answer; the connection is kept only if the answer was read to its end."""
        connection = getattr(self._kept, "connection", None)
        self._kept.connection = None
        watch: _Watch | None = None
        try:
            for kept in (True, False):
                if kept and connection is None:
                    continue
                if connection is None:
                    connection = self._connect()
                connection.sock.settimeout(deadline_s)
                watch = _Watch(deadline_s, connection.sock)
                try:
                    self.requests += 1
                    connection.request(method, path, body, headers | self._credentials())
                    answer = connection.getresponse()
                    watch.check()  # cut-off headers look like whole ones
                    break
                except (ConnectionError, http.client.CannotSendRequest):
                    watch.cancel()
                    self._drop(connection)
                    connection = None
                    if not kept:
                        raise
            yield answer
            if answer.isclosed() and not answer.will_close:
                self._kept.connection, connection = connection, None
        except (OSError, http.client.HTTPException) as error:
            late = watch is not None and watch.late
            words = f"no answer within {deadline_s:g} s" if late else str(error) or type(error).__name__
            raise StoreUnavailable(f"{self.address}: {words}") from error
        finally:
            if watch is not None:
                watch.cancel()
            if connection is not None:
                self._drop(connection)

    def _connect(self) -> http.client.HTTPConnection:
        address = self.address
        if self._tls is None:
            connection = http.client.HTTPConnection(address.host, address.port, timeout=self._connect_s)
        else:
            connection = http.client.HTTPSConnection(
                address.host, address.port, timeout=self._connect_s, context=self._tls
            )
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._all.add(connection)
        return connection

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        self._all.discard(connection)
        connection.close()

    def _credentials(self) -> dict[str, str]:
        if self.address.token:
            return {"Authorization": f"Token {self.address.token}"}
        if self.address.user:
            pair = f"{self.address.user}:{self.address.password}".encode()
            return {"Authorization": "Basic " + base64.b64encode(pair).decode()}
        return {}

    def _text(self, answer: http.client.HTTPResponse) -> str:
        data = answer.read(1 << 16)
        answer.read(1)  # to its end, if that was all
        return data.decode("utf-8", "replace")

    def _unavailable(self, answer: http.client.HTTPResponse, text: str) -> StoreUnavailable:
        wait = _seconds(answer.getheader("Retry-After"))
        if answer.status in (429, 503) and wait:
            self._not_before = time.monotonic() + wait
        mend = {
            401: "; check the token or the user and password",
            403: "; the token may not do this: give it write and read access to the database",
            404: f'; is there a database (bucket) "{self.address.database}"? "meterhall influx setup" makes it',
        }.get(answer.status, f"; asked to wait {wait:g} s" if wait else "")
        return StoreUnavailable(f"{self.address} answered {answer.status}: {_words(text)}{mend}")


class _Watch:
    """Hangs up when a request has taken too long, however much still drips in."""

    def __init__(self, deadline_s: float, sock: socket.socket) -> None:
        self.late = False
        self._sock = sock
        self._timer = threading.Timer(deadline_s, self._hang_up)
        self._timer.daemon = True
        self._timer.start()

    def _hang_up(self) -> None:
        self.late = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def check(self) -> None:
        """TimeoutError if it has hung up."""
        if self.late:
            raise TimeoutError

    def cancel(self) -> None:
        """The request is over."""
        self._timer.cancel()


def _seconds(text: str | None) -> float:
    """A Retry-After in seconds; 0 if there is none or it is a date."""
    try:
        return min(max(float(text or 0), 0.0), LONGEST_WAIT_S)
    except ValueError:
        return 0.0


# --- what servers say


def documents(chunks: Iterable[bytes]) -> Iterator[Any]:
    """JSON documents that stand behind one another, with or without line ends between them.

    Raises
    ------
    ValueError
        If what is left at the end is no whole document.
    """
    decode, scan = codecs.getincrementaldecoder("utf-8")().decode, json.JSONDecoder().raw_decode
    text, enough = "", 0
    for chunk in chunks:
        text += decode(chunk)
        while len(text) >= enough and (text := text.lstrip()):
            try:
                document, end = scan(text)
            except json.JSONDecodeError:
                enough = len(text) + len(text) // 2  # so that a long one is scanned a few times, not for each chunk
                break
            yield document
            text, enough = text[end:], 0
    text += decode(b"", True)
    while text := text.lstrip():
        document, end = scan(text)
        yield document
        text = text[end:]


def _pieces(document: Any) -> Iterator[Rows]:
    if "error" in document:
        raise _refusal(str(document["error"]))
    for result in document.get("results", ()):
        if "error" in result:
            raise _refusal(str(result["error"]))
        for series in result.get("series", ()):
            yield Rows(
                result.get("statement_id", 0),
                series.get("name", ""),
                series.get("tags") or {},
                series["columns"],
                series.get("values") or [],
            )


def _refusal(message: str) -> QueryRefused:
    kind = TooManyFiles if "Parquet files" in message else QueryRefused
    return kind(f"the server cannot answer: {message[:_SHOWN]}")


def _rejection(text: str) -> Rejected:
    """What a 400 or 422 says: {"error": words} (1.x), {"code", "message"} (2.x), or {"error", "data"} (3.x)."""
    data = None
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        data = found.get("data") if isinstance(found, dict) else None
    if isinstance(data, list):
        data = data[0] if data else None
    if isinstance(data, dict) and "error_message" in data:
        return Rejected(str(data["error_message"])[:_SHOWN], int(data.get("line_number") or 0))
    return Rejected(_words(text, 4000))


def _words(text: str, most: int = _SHOWN) -> str:
    """The words of an error document, or the document."""
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            text = str(found.get("message") or found.get("error") or text)
    return text.strip()[:most] or "no reason given"
