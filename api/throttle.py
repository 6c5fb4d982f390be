"""Slows down who fails again and again; takes the same memory however many try."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

SLOTS = 16_384  # of one throttle; names that meet in a slot share it


class Throttle:
    """A leaky bucket of failures for each name: `allowed` at once, then one each `drain_s` seconds.

    Names are hashed with a secret of this process into a fixed number of slots: nobody can push another's failures
    out by failing under many names, and an unknown name is slowed down like a known one.
    """

    def __init__(self, allowed: float, drain_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._allowed, self._drain_s, self._clock = allowed, drain_s, clock
        self._secret = secrets.token_bytes(16)
        self._levels: dict[int, tuple[float, float]] = {}  # slot: (failures, when)
        self._lock = threading.Lock()

    def _slot(self, name: str) -> int:
        digest = hashlib.blake2b(name.encode("utf-8", "replace"), key=self._secret, digest_size=8).digest()
        return int.from_bytes(digest) % SLOTS

    def _level(self, slot: int, now: float) -> float:
        level, at = self._levels.get(slot, (0.0, now))
        return max(0.0, level - (now - at) / self._drain_s)

    def take(self, name: str) -> float:
        """Count an attempt as failed until `give_back` says otherwise; 0, or how long to wait [s].

        Counted before it is tried: many at once are no way around it.
        """
        slot, now = self._slot(name), self._clock()
        with self._lock:
            level = self._level(slot, now)
            if level + 1.0 > self._allowed:
                return max(1.0, (level + 1.0 - self._allowed) * self._drain_s)
            self._levels[slot] = (level + 1.0, now)
        return 0.0

    def give_back(self, name: str) -> None:
        """The attempt was good, or was not made."""
        slot, now = self._slot(name), self._clock()
        with self._lock:
            level = self._level(slot, now) - 1.0
            if level > 0:
                self._levels[slot] = (level, now)
            else:
                self._levels.pop(slot, None)


class Remembered:
    """The newest few of what was good: only who gets in can fill it."""

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, it: tuple[str, str]) -> bool:
        with self._lock:
            return it in self._known

    def add(self, it: tuple[str, str]) -> None:
        """Remember it; the oldest is forgotten."""
        with self._lock:
            self._known[it] = None
            self._known.move_to_end(it)
            if len(self._known) > self._most:
                self._known.popitem(last=False)


def network_of(address: str) -> str:
    """What one sender can easily have many of: an IPv4 address, an IPv6 /64."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
