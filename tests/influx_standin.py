"""A stand-in for InfluxDB where no real server can be had: what was measured on real ones, and faults on demand.

Dialect 3 stands for InfluxDB 3 Core 3.9.6: writes are all or nothing and name the line; errors come in a 200; a query
may touch 432 files, one for each 10 minutes with data; an old value can come back after it was overwritten. Dialects
1 and 2 refuse bad lines as InfluxDB 1.6.7 and 2.9.1 do. It is no proof of what a real server does: the contract suite
also runs on real ones.
"""

import contextlib
import gzip
import json
import re
import socket
import struct
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FILE_NS, FILE_LIMIT = 600 * 10**9, 432
GRID_NS = 900 * 10**9


class BadLine(ValueError):
    """What a server says about a line. `stored` otherwise: (measurement, tags, fields, time)."""


def split(text, separator):
    """Split at a separator that no backslash stands before."""
    parts = re.split(rf"(?<!\\){separator}", text)
    return [part for part in parts]


def plain(text):
    """Without the backslashes."""
    return re.sub(r"\\([, =])", r"\1", text)


def parse(line):
    """(measurement, tags, fields {name: (kind, value)}, time); BadLine as real servers have it."""
    if "\r" in line:
        raise BadLine("invalid line end")
    parts = split(line, " ")
    if len(parts) != 3:
        raise BadLine("missing field value")
    head, fields, at = parts
    measurement, *pairs = split(head, ",")
    tags = [tuple(plain(side) for side in split(pair, "=")) for pair in pairs]
    assert len({key for key, _ in tags}) == len(tags), "a tag twice: this destroys a table of InfluxDB 3"
    if not all(len(tag) == 2 and tag[1] for tag in tags):
        raise BadLine("missing tag value")
    values = {}
    for pair in split(fields, ","):
        name, _, text = pair.partition("=")
        if name in values:
            raise BadLine(f"field {name} twice")
        if text.endswith("i"):
            values[name] = ("integer", int(text[:-1]))
        elif text.startswith('"'):
            values[name] = ("string", text[1:-1])
        elif re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", text):
            values[name] = ("float", float(text))
        else:
            raise BadLine("invalid number")
    return measurement, tuple(sorted(tags)), values, int(at)


class StandIn:
    """A server on a free loopback port.

    faults : what happens to each of the next writes, see `_write`; the last one stays when `lasting`
    bad : a function of (measurement, tags, field, value) that says why a field is refused, or None
    writes : (lines, status) of each write
    """

    def __init__(self, dialect=3, *, file_limit=FILE_LIMIT, stale=False, most_bytes=10 << 20):
        self.dialect, self.file_limit, self.stale, self.most_bytes = dialect, file_limit, stale, most_bytes
        self.rows, self.kinds, self.writes, self.queries = {}, {}, [], []
        self.faults, self.lasting, self.bad = [], False, lambda *_: None
        self.released = threading.Event()
        self.lock = threading.Lock()
        standin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                standin.handle(self)

            do_POST = do_GET  # noqa: N815

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 32

            def handle_error(self, request, client_address):
                pass

        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.root = f"influxdb://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def stop(self):
        """Stop listening."""
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def handle(self, request):
        """One request."""
        url = urllib.parse.urlsplit(request.path)
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        asked = {key: values[-1] for key, values in urllib.parse.parse_qs(url.query).items()}
        if url.path == "/write":
            self._write(request, body)
        elif url.path == "/query":
            if request.command == "POST":
                asked |= {key: values[-1] for key, values in urllib.parse.parse_qs(body.decode()).items()}
            self._query(request, asked)
        elif url.path == "/ping":
            version = {1: "1.6.7", 2: "v2.9.1"}.get(self.dialect)
            headers = {"X-Influxdb-Version": version} if version else {}
            self.answer(request, 200, {"version": "3.9.6"} if self.dialect == 3 else None, headers)
        elif url.path == "/api/v3/configure/database":
            self.answer(request, 200, None)
        else:
            self.answer(request, 404, {"error": "not found"})

    def answer(self, request, status, document, headers=None):
        """Send an answer."""
        data = b"" if document is None else json.dumps(document).encode()
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    # --- writing

    def _write(self, request, body):
        fault = None
        if self.faults:
            fault = self.faults[0] if self.lasting and len(self.faults) == 1 else self.faults.pop(0)
        lines = body.decode().split("\n")
        if fault is None:
            status, document = self._store(lines, len(body))
            self.writes.append((len(lines), status))
            return self.answer(request, status, document)
        kind, *rest = fault
        self.writes.append((len(lines), kind))
        if kind == "status":
            self.answer(request, rest[0], {"error": "as told"}, rest[1] if len(rest) > 1 else None)
        elif kind == "stored, then status":
            self._store(lines, len(body))
            self.answer(request, rest[0], {"error": "after storing"})
        elif kind in ("reset", "stored, then reset", "partly stored, then reset"):
            if kind != "reset":
                self._store(lines[: len(lines) // 2 + 1] if kind.startswith("partly") else lines, len(body))
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.close_connection = True
            request.connection.close()
        elif kind == "hang":
            self._store(lines, len(body))
            self.released.wait(30)
            request.close_connection = True
        elif kind == "drip":
            with contextlib.suppress(OSError):
                request.wfile.write(b"HTTP/1.1 204 No Content\r\nX: ")
                while not self.released.wait(0.05):
                    request.wfile.write(b"x")
            request.close_connection = True
        return None

    def _store(self, lines, size):
        if size > self.most_bytes:
            return 413, {"error": "request entity too large"}
        with self.lock:
            good, wrong = [], []
            for number, line in enumerate(lines, 1):
                try:
                    good.append(self._checked(line))
                except BadLine as error:
                    wrong.append((number, line, str(error)))
            if not wrong or self.dialect == 1 or (self.dialect == 2 and "conflict" in wrong[0][2]):
                for parsed in good:
                    self._put(*parsed)
        if not wrong:
            return 204, None
        number, line, reason = wrong[0]
        if self.dialect == 3:
            data = {"error_message": reason, "line_number": number, "original_line": line[:20]}
            return 400, {"error": "parsing failed for write_lp endpoint", "data": data}
        if "conflict" in reason:
            words = f"partial write: {reason} dropped={len(wrong)}"
            return (400, {"error": words}) if self.dialect == 1 else (422, {"code": "invalid", "message": words})
        words = f"unable to parse '{line}': {reason}"
        return (400, {"error": words}) if self.dialect == 1 else (400, {"code": "invalid", "message": words})

    def _checked(self, line):
        measurement, tags, fields, at = parse(line)
        for name, (kind, value) in fields.items():
            reason = self.bad(measurement, dict(tags), name, value)
            if reason:
                raise BadLine(reason)
            known = self.kinds.get((measurement, name), kind)
            if known != kind:
                raise BadLine(
                    f'field type conflict: input field "{name}" on measurement "{measurement}" is type {kind}, '
                    f"already exists as type {known}"
                    if self.dialect < 3
                    else f"invalid column type for column '{name}', expected {known}, got {kind}"
                )
        return measurement, tags, fields, at

    def _put(self, measurement, tags, fields, at):
        row = self.rows.setdefault((measurement, tags, at), {})
        for name, (kind, value) in fields.items():
            self.kinds.setdefault((measurement, name), kind)
            if not (self.stale and name in row and at % GRID_NS and kind == "float"):
                row[name] = value

    # --- reading

    def _query(self, request, asked):
        self.queries.append(asked["q"])
        params = json.loads(asked.get("params", "{}"))
        with self.lock:
            results = [
                {"statement_id": n} | self._statement(statement.strip(), params)
                for n, statement in enumerate(asked["q"].split(";"))
            ]
        pieces = [json.dumps({"results": [result]}) for result in results]
        data = "".join(pieces).encode() if asked.get("chunked") else json.dumps({"results": results}).encode()
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for i in range(0, len(data), 1000):  # cut anywhere, as a network does
            part = data[i : i + 1000]
            request.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        request.wfile.write(b"0\r\n\r\n")

    def _statement(self, text, params):
        shown = re.fullmatch(r'SHOW FIELD KEYS FROM "(\w+)"', text)
        if shown:
            names = [[name, kind] for (table, name), kind in self.kinds.items() if table == shown[1]]
            found = {"name": shown[1], "columns": ["fieldKey", "fieldType"], "values": names}
            return {"series": [found]} if names else {}
        select = re.fullmatch(
            r'SELECT (?P<what>.*) FROM "(?P<table>\w+)" WHERE (?P<where>.*?)'
            r"(?: GROUP BY (?P<by>.*?))?(?: fill\(none\))?"
            r"(?: ORDER BY time (?P<order>\w+))?(?: LIMIT (?P<limit>\d+))?",
            text,
        )
        if not select:
            return {"error": f"error parsing query: {text}"}
        low, high, tags, void = -(2**63), 2**63, {}, False
        for condition in select["where"].split(" AND "):
            name, sign, value = condition.split(" ")
            if name == "time":
                low, high = (int(value), high) if sign == ">=" else (low, int(value))
            elif name == '"void"':
                void = True
            else:
                tags[name.strip('"')] = params[value[1:]]
        rows = sorted(
            (at, dict(t), fields)
            for (table, t, at), fields in self.rows.items()
            if table == select["table"] and low <= at < high and all(dict(t).get(k) == v for k, v in tags.items())
        )
        files = {at // FILE_NS for (table, _, at) in self.rows if table == select["table"] and low <= at < high}
        if len(files) > self.file_limit:
            return {"error": f"Query would scan {len(files)} Parquet files, exceeding the file limit"}
        if void:
            rows = [row for row in rows if row[2].get("void") == 0]
        return self._answered(select, rows)

    def _answered(self, select, rows):
        table, by = select["table"], select["by"]
        step = re.fullmatch(r"time\((\d+)u\)", by or "")
        what = re.findall(r'(?:(\w+)\()?"(\w+)"\)?', select["what"])
        columns = ["time", *(function or name for function, name in what)]
        if step:
            width = int(step[1]) * 1000
            groups = {}
            for at, _, fields in rows:
                if what[0][1] in fields:
                    groups.setdefault(at // width * width, []).append(fields[what[0][1]])
            values = [[at, *(_aggregate(f, v) for f, _ in what)] for at, v in sorted(groups.items())]
            return {"series": [{"name": table, "columns": columns, "values": values}]} if values else {}
        if by:
            ((function, name),) = what
            keys = re.findall(r'"(\w+)"', by)
            groups = {}
            for at, tags, fields in rows:
                if name in fields:
                    groups.setdefault(tuple(tags.get(key, "") for key in keys), []).append((at, fields[name]))
            found = []
            for key, got in groups.items():
                at, value = {"first": got[0], "last": got[-1], "count": (0, len(got))}[function]
                tags = dict(zip(keys, key, strict=True))
                found.append({"name": table, "tags": tags, "columns": ["time", function], "values": [[at, value]]})
            return {"series": found} if found else {}
        names = [name for _, name in what]
        values = [[at, *(fields.get(n) for n in names)] for at, _, fields in rows if any(n in fields for n in names)]
        if select["order"] == "DESC":
            values.reverse()
        values = values[: int(select["limit"])] if select["limit"] else values
        return {"series": [{"name": table, "columns": columns, "values": values}]} if values else {}


def _aggregate(function, values):
    return {"min": min, "max": max, "count": len, "mean": lambda v: sum(v) / len(v)}[function](values)
