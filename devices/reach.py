"""[server]: how page and API are reached; beyond this machine only with TLS, or with a proxy that does it."""

from __future__ import annotations

import ipaddress
import re
import stat
from pathlib import Path

from devices.settings import EVERYWHERE, LOOPBACK, ServerSettings
from devices.tables import Table, split_url

HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9a-fA-F:]+\]")


def read_server(folder: Path, table: Table, host: str) -> ServerSettings:
    """The rest of [server], beside host and port; every mistake is noted."""
    server = ServerSettings(
        cert_file=file_of(folder, table, "cert_file"),
        key_file=_key_file(folder, table),
        behind_proxy=_behind_proxy(table),
        proxies=_networks(table),
        allowed_hosts=table.texts("allowed_hosts"),
        sign_in=table.flag("sign_in"),
    )
    for key, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if getattr(server, key) and not table.has(other):
            table.wrong(other, f"is missing beside {key}", "TLS needs both")
    for name in server.allowed_hosts:
        if not HOST.fullmatch(name):
            table.wrong("allowed_hosts", f'holds "{name}"', 'write names without port: "meter.example"')
    if host not in LOOPBACK:
        if not server.cert_file and not server.behind_proxy:
            table.wrong(
                "host",
                f'is "{host}", where others can listen in',
                "add cert_file and key_file, or behind_proxy = "
                '"https://name" if a proxy in front does TLS; else bind 127.0.0.1',
            )
        if host in EVERYWHERE and not server.allowed_hosts and not server.behind_proxy:
            table.wrong(
                "allowed_hosts",
                "is missing",
                f'host = "{host}" is no name: add allowed_hosts = ["the name people type"]',
            )
    table.done()
    return server


def file_of(folder: Path, table: Table, key: str) -> str:
    """A file's path, relative to the configuration folder; "" if none is named."""
    name = table.text(key, "")
    if not name:
        return ""
    path = folder / name
    if not path.is_file():
        table.wrong(key, f'is "{name}", which is not there', "give a file's path, relative to the configuration folder")
    return str(path)


def _key_file(folder: Path, table: Table) -> str:
    path = file_of(folder, table, "key_file")
    if path and Path(path).is_file():
        if Path(path).stat().st_mode & (stat.S_IRWXO | stat.S_IWGRP):
            table.wrong("key_file", f"{path} can be read or changed by others", f"chmod 600 {path}")
        if Path(path).stat().st_size == 0:
            table.wrong("key_file", f"{path} is empty", "write the key into it")
    return path


def _behind_proxy(table: Table) -> str:
    url = table.text("behind_proxy", "").rstrip("/")
    if not url:
        return ""
    parts = split_url(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
        table.wrong("behind_proxy", f'is "{url}"', 'write the address people type: "https://meter.example"')
        return ""
    if parts.username is not None or parts.fragment:
        table.wrong("behind_proxy", "holds more than scheme, name and port", 'write "https://meter.example"')
        return ""
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        table.wrong(
            "behind_proxy",
            f'is "{url}", and passwords would go over the network in clear',
            "let the proxy do TLS: https://",
        )
    return url.lower()


def _networks(table: Table) -> tuple[str, ...]:
    if not table.has("proxies"):
        return ServerSettings().proxies
    found = []
    for text in table.texts("proxies"):
        try:
            found.append(str(ipaddress.ip_network(text)))
        except ValueError:
            table.wrong("proxies", f'holds "{text}"', 'write addresses or networks: ["10.0.0.5", "172.16.0.0/12"]')
    return tuple(found)
