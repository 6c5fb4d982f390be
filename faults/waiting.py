"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class TooLate(Exception):
    """A condition did not come true in time."""


def wait_until(condition: Callable[[], T], timeout_s: float, what: str, *, every_s: float = 0.01) -> T:
    """The condition's first true value.

    Raises
    ------
    TooLate
        After `timeout_s`; the message names `what`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TooLate(f"{what}: not within {timeout_s:g} s")
        time.sleep(every_s)
