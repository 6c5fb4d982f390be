"""Passwords: argon2id, few at a time, and as long for nobody's account as for somebody's."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import Argon2Error, InvalidHashError

from api.errors import Busy, Refused

SHORTEST, LONGEST = 12, 256  # characters
AT_ONCE = 2
PATIENCE_S = 5.0

# 46 MiB and one pass: a first choice of the OWASP password storage cheat sheet
_hasher = PasswordHasher(time_cost=1, memory_cost=47_104, parallelism=1, type=Type.ID)
T = TypeVar("T")
_places = threading.BoundedSemaphore(AT_ONCE)


def hashed(password: str) -> str:
    """The hash of a password that follows the rules.

    Raises
    ------
    Busy
        If others are being worked on for too long.
    """
    return _with_place(lambda: _hasher.hash(_bytes(password)))


def fits(password: str, hash_: str) -> bool:
    """Whether a password is that of a hash; for "", which no password fits, it takes as long."""

    def verify() -> bool:
        try:
            return _hasher.verify(hash_ or _nobodys(), _bytes(password)) and bool(hash_)
        except (Argon2Error, InvalidHashError):
            return False

    if len(password) > LONGEST:
        password = ""
    return _with_place(verify)


def is_outdated(hash_: str) -> bool:
    """Whether it was made with another cost than today's."""
    return _hasher.check_needs_rehash(hash_)


def refuse_weak(password: str, name: str) -> None:
    """Refused if it is too short, too long, or the name itself.

    Length is what counts; no rules about digits and signs, which make passwords worse.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise Refused("password", f"has {len(password)} characters", f"use {SHORTEST} to {LONGEST}")
    if len(set(password)) < 5 or password.casefold() in (name.casefold() * 8, name.casefold()):
        raise Refused("password", "can be guessed", "use several words, or what a password manager proposes")


def _bytes(password: str) -> bytes:
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


@cache
def _nobodys() -> str:
    return _hasher.hash(b"nobody's password")


def _with_place(work: Callable[[], T]) -> T:
    if not _places.acquire(timeout=PATIENCE_S):
        raise Busy("sign-in", "waits behind others", "try again in some seconds")
    try:
        return work()
    finally:
        _places.release()
