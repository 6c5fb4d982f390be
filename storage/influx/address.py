"""Where an InfluxDB is and how to sign in: `influxdb://host:port/database?options`; secrets never stand in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from metering.explain import ExplainedError

SCHEMES = {"influxdb": False, "influxdbs": True}
FORM = (
    "write influxdb://host:8086/database, influxdbs:// for TLS; options: org, user, token_file, password_file, "
    "ca_file, gzip, local"
)
_OPTIONS = {"org", "user", "token_file", "password_file", "ca_file", "gzip", "local"}


@dataclass(frozen=True, slots=True)
class Address:
    """A database of a server, and the secrets to use it (never shown)."""

    host: str
    port: int
    database: str
    tls: bool = False
    org: str = ""
    user: str = ""
    token: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    ca_file: str = ""
    gzip: bool = False
    local: str = ""  # the file of what the server cannot keep

    def __str__(self) -> str:
        return f"{'influxdbs' if self.tls else 'influxdb'}://{self._authority}/{quote(self.database, safe='')}"

    @property
    def _authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def http_url(self) -> str:
        """The server's URL for HTTP clients."""
        return f"{'https' if self.tls else 'http'}://{self._authority}"


def parse_address(url: str, environ: Mapping[str, str] = os.environ) -> Address:
    """The address that a URL means.

    The token comes from `token_file`, METERHALL_INFLUX_TOKEN or INFLUX_TOKEN; a user's password from
    `password_file` or METERHALL_INFLUX_PASSWORD.

    Raises
    ------
    ExplainedError
        If the URL is wrong or holds a secret, or a file of a secret cannot be read. The URL is not repeated.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ExplainedError("store.url", "names no InfluxDB", FORM)
    options = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
    if parts.username or parts.password or options.keys() & {"token", "password", "p", "u"}:
        raise ExplainedError(
            "store.url",
            "holds a name or a secret",
            "name the user by ?user=, and give secrets by token_file, password_file or the environment "
            "(METERHALL_INFLUX_TOKEN, METERHALL_INFLUX_PASSWORD)",
        )
    unknown = sorted(options.keys() - _OPTIONS)
    if unknown:
        raise ExplainedError("store.url", f"has the unknown option {unknown[0]}", FORM)
    database = unquote(parts.path.strip("/"))
    try:
        port = parts.port or 8086
    except ValueError:
        port = 0
    if not parts.hostname or not database or "/" in database or not port:
        raise ExplainedError("store.url", "names no host, port or database", FORM)
    user = options.get("user", "")
    secret = _secret(options.get("password_file"), environ.get("METERHALL_INFLUX_PASSWORD", ""))
    token = _secret(options.get("token_file"), environ.get("METERHALL_INFLUX_TOKEN") or environ.get("INFLUX_TOKEN", ""))
    local_host = parts.hostname in ("localhost", "127.0.0.1", "::1")
    return Address(
        host=parts.hostname,
        port=port,
        database=database,
        tls=SCHEMES[parts.scheme],
        org=options.get("org", environ.get("INFLUX_ORG", "")),
        user=user,
        token="" if user else token,
        password=secret if user else "",
        ca_file=options.get("ca_file", ""),
        gzip=options.get("gzip", "0" if local_host else "1") == "1",
        local=options.get("local", ""),
    )


def _secret(file: str | None, otherwise: str) -> str:
    if not file:
        return otherwise.strip()
    try:
        found = Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ExplainedError(file, f"cannot be read: {error}", "let the user who runs Meterhall read it") from None
    if not found or not found.isprintable():
        raise ExplainedError(file, "holds no secret", "write the secret alone into it, on one line")
    return found
