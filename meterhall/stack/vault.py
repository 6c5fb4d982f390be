"""Secrets of docker-compose.yml: made once, one copy for each reader, which belongs to that service's user (0400).

The folder is a named volume. `setup/` holds each secret for root alone, `<service>/` the copies. Root needs only
CAP_CHOWN for this: it owns the folders, and never opens a copy again.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

ROUNDS = 1000  # of a broker password's hash; the passwords are random, and long


class Owner(NamedTuple):
    """User and group that a service runs as in its container."""

    uid: int
    gid: int


# As docker-compose.yml has them.
OWNERS: Mapping[str, Owner] = {
    "mosquitto": Owner(1883, 1883),
    "influxdb": Owner(1000, 1000),
    "grafana": Owner(472, 0),
    "server": Owner(10001, 10001),
    "simulators": Owner(10002, 10002),
}


class Vault:
    """The folder of the secrets.

    owners : of the copies; tests give their own
    """

    def __init__(self, folder: Path, owners: Mapping[str, Owner] = OWNERS) -> None:
        self.folder, self._owners = folder, owners

    def keep(self, name: str, make: Callable[[], str] = lambda: secrets.token_hex(24)) -> tuple[str, bool]:
        """A secret, and whether it was made now. Letters and digits only: some readers expand $ and the like."""
        path = self._folder("setup", 0o700) / name
        with contextlib.suppress(FileNotFoundError):
            return path.read_text(encoding="ascii"), False
        value = make()
        _write(path, value, None)
        return value, True

    def replace(self, name: str, value: str) -> None:
        """Keep another value under a name."""
        _write(self._folder("setup", 0o700) / name, value, None)

    def drop(self, name: str) -> None:
        """Forget a secret; the copies stay until they are given anew."""
        (self._folder("setup", 0o700) / name).unlink(missing_ok=True)

    def give(self, reader: str, name: str, value: str, *, anew: bool = False) -> bool:
        """A reader's copy, where it is not there yet; `anew`: another one in its place. Whether it was written."""
        path = self._folder(reader, 0o755) / name
        if path.exists() and not anew:
            return False
        _write(path, value, self._owners[reader])
        return True

    def has(self, reader: str, name: str) -> bool:
        """Is the copy there?"""
        return (self.folder / reader / name).exists()

    def _folder(self, name: str, mode: int) -> Path:
        path = self.folder / name
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        path.chmod(mode)
        return path


def _write(path: Path, value: str, owner: Owner | None) -> None:
    """Whole or not at all, durable, and never readable by anybody else on the way."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o400)
    try:
        os.write(fd, value.encode("ascii"))
        os.fchmod(fd, 0o400)
        if owner is not None:
            os.fchown(fd, *owner)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(fresh, path)


def broker_line(user: str, password: str) -> str:
    """A line of Mosquitto's password file: PBKDF2 with SHA-512, as `mosquitto_passwd` writes it."""
    salt = os.urandom(12)
    found = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ROUNDS, 64)
    return f"{user}:$7${ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(found).decode()}"
