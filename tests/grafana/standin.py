"""A stand-in for Grafana's HTTP interface, built from its documentation: no package of Grafana can be installed.

Folders, data sources and dashboards by uid, with the documented statuses: 401 without a right token, 404 for what is
not there, 409 and 412 for what is there already or was changed meanwhile.
"""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "glsa_standin"
CREDENTIALS = {f"Bearer {TOKEN}", "Basic " + base64.b64encode(b"admin:secret").decode()}


class Grafana:
    """What it holds, and the requests that changed something."""

    def __init__(self):
        self.folders, self.sources, self.boards = {}, {}, {}
        self.changes = []
        self.broken = 0  # status to answer everything with
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self):
        """No more answers."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def answer(self, method, path, body):
        """(status, document) of a request."""
        kind, _, rest = path.removeprefix("/api/").partition("/")
        if kind == "health":
            return 200, {"commit": "x", "database": "ok", "version": "10.4.0"}
        if kind == "folders":
            return self._folder(method, rest, body)
        if kind == "datasources":
            return self._source(method, rest.removeprefix("uid/"), body)
        if kind == "dashboards":
            return self._board(method, rest, body)
        return 404, {"message": "Not found"}

    def _folder(self, method, uid, body):
        if method == "GET":
            return (200, self.folders[uid]) if uid in self.folders else (404, {"message": "folder not found"})
        if body["uid"] in self.folders:
            return 409, {"message": "a folder with the same uid already exists"}
        self.folders[body["uid"]] = {"id": len(self.folders) + 1, "version": 1, **body}
        return 200, self.folders[body["uid"]]

    def _source(self, method, uid, body):
        if method == "GET":
            return (200, self.sources[uid]) if uid in self.sources else (404, {"message": "Data source not found"})
        if method == "POST" and body["uid"] in self.sources:
            return 409, {"message": "data source with the same uid already exists"}
        old = self.sources.get(uid, {"version": 0})
        if method == "PUT" and body.get("version", old["version"]) != old["version"]:
            return 409, {"message": "Datasource has already been updated by someone else"}
        secrets = body.pop("secureJsonData", {})
        kept = {
            "id": 1, "orgId": 1, "typeLogoUrl": "", "password": "", "user": "", "isDefault": False, "readOnly": False,
            **body, "version": old["version"] + 1,
            "secureJsonFields": {**old.get("secureJsonFields", {}), **dict.fromkeys(secrets, True)},
        }  # fmt: skip
        self.sources[body["uid"]] = kept
        message = "Datasource added" if method == "POST" else "Datasource updated"
        return 200, {"datasource": kept, "id": 1, "message": message, "name": kept["name"]}

    def _board(self, method, rest, body):
        if method == "GET":
            uid = rest.removeprefix("uid/")
            return (200, self.boards[uid]) if uid in self.boards else (404, {"message": "Dashboard not found"})
        board = body["dashboard"]
        old = self.boards.get(board["uid"])
        if old and not body.get("overwrite"):
            return 412, {"message": "The dashboard has been changed by someone else", "status": "version-mismatch"}
        if old and old["meta"].get("provisioned"):
            return 400, {"message": "Cannot save provisioned dashboard"}
        if body.get("folderUid") not in self.folders:
            return 400, {"message": "folder not found"}
        version = old["dashboard"]["version"] + 1 if old else 1
        number = old["dashboard"]["id"] if old else len(self.boards) + 1
        self.boards[board["uid"]] = {
            "dashboard": {**board, "id": number, "version": version},
            "meta": {"folderUid": body["folderUid"], "provisioned": False},
        }
        return 200, {"id": number, "uid": board["uid"], "status": "success", "version": version}

    def _handler(self):
        grafana = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm, wbufsize = True, -1

            def _serve(self):
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                if self.headers.get("Authorization") not in CREDENTIALS:
                    status, document = 401, {"message": "Unauthorized"}
                elif grafana.broken:
                    status, document = grafana.broken, {"message": "broken"}
                else:
                    status, document = grafana.answer(self.command, self.path.partition("?")[0], body)
                    if self.command != "GET" and status == 200:
                        grafana.changes.append((self.command, self.path))
                data = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = _serve  # noqa: N815

            def log_message(self, *_):
                pass

        return Handler
