"""Sending rows so that a bad one does not keep the good ones out: what the server refuses is found, with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from storage.influx.client import Rejected, TooLarge
from storage.influx.line_protocol import Encoded
from storage.store import StoreUnavailable

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_ROWS = 10_000  # in one request
MOST_BYTES = 4 << 20  # in one request; 3.x takes 10 MiB
MOST_REQUESTS = 200  # to isolate single rows; then whole fields
FEW = 4  # refused rows until which the rest is tried in one piece

Encode = Callable[["NDArray[np.int64]"], Encoded]


class Refusal(NamedTuple):
    """A row that the server does not take."""

    row: int
    reason: str


class _No(NamedTuple):
    """A refusal of several rows, and those that the server's words point at."""

    rejection: Rejected
    blamed: NDArray[np.int64]


class Sender:
    """Sends rows by `post`, encoded by `encode`; `field_of` names a row's field.

    A set that is refused is halved: one half is sent; if it is taken, the bad row is in the other. What was set
    apart on the way is sent together at the end. So one bad row among 5,000 costs 15 requests, or 2 where the server
    names its line.
    """

    def __init__(self, post: Callable[[bytes], None], encode: Encode, field_of: Callable[[int], str]) -> None:
        self._post, self._encode, self._field_of = post, encode, field_of
        self._refused: list[Refusal] = []
        self._requests = 0

    def send(self, rows: NDArray[np.int64]) -> list[Refusal]:
        """Send rows; returns those that are refused.

        Raises
        ------
        StoreUnavailable
            If the server is away, or refuses all in words that mean the request and not its rows.
        """
        todo = [rows[i : i + MOST_ROWS] for i in range(0, len(rows), MOST_ROWS)][::-1]
        about_rows = True
        while todo:
            suspects = todo.pop()
            no = self._attempt(suspects, todo)
            if no is None:
                continue
            about_rows &= no.rejection.about_rows
            if self._requests > MOST_REQUESTS:
                self._by_field(suspects, no)
            else:
                self._isolate(suspects, no, todo)
        if len(self._refused) == len(rows) and not about_rows:
            raise StoreUnavailable(f"the server refuses everything: {self._refused[0].reason}")
        return self._refused

    def _attempt(self, rows: NDArray[np.int64], todo: list[NDArray[np.int64]]) -> _No | None:
        """Send some rows; the server's refusal, or None if they are stored (or are split and put into `todo`)."""
        if not len(rows):
            return None
        encoded = self._encode(rows)
        if len(encoded.body) <= MOST_BYTES or len(rows) == 1:
            self._requests += 1
            try:
                self._post(encoded.body)
                return None
            except Rejected as rejection:
                return _No(rejection, _blamed(rejection, encoded, rows, self._field_of))
            except TooLarge as error:
                if len(rows) == 1:
                    return _No(Rejected(str(error) or "too large"), rows)
        todo += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
        return None

    def _isolate(self, suspects: NDArray[np.int64], no: _No, todo: list[NDArray[np.int64]]) -> None:
        """Find one bad row among suspects that were refused together; the rest goes to `todo`."""
        apart: list[NDArray[np.int64]] = []
        while len(suspects) > 1:
            blamed = no.blamed[np.isin(no.blamed, suspects)]
            if 0 < len(blamed) <= len(suspects) // 2:
                tried, other = suspects[~np.isin(suspects, blamed)], blamed
            else:
                tried, other = suspects[: len(suspects) // 2], suspects[len(suspects) // 2 :]
            again = self._attempt(tried, todo)
            if again is None:
                suspects = other
            else:
                apart.append(other)
                suspects, no = tried, again
        self._refused.append(Refusal(int(suspects[0]), no.rejection.message))
        if not apart:
            return
        if len(self._refused) <= FEW:
            todo.append(np.sort(np.concatenate(apart)))
        else:
            todo.extend(apart)

    def _by_field(self, suspects: NDArray[np.int64], no: _No) -> None:
        """Too many are bad to find each: refuse whole fields, so that the others get in."""
        fields: dict[str, list[int]] = {}
        for row in suspects.tolist():
            fields.setdefault(self._field_of(row), []).append(row)
        todo = [np.array(rows, np.int64) for rows in fields.values()]
        while todo:
            rows = todo.pop()
            again = self._attempt(rows, todo) if len(fields) > 1 else no
            if again is not None:
                self._refused += [Refusal(row, again.rejection.message) for row in rows.tolist()]


def _blamed(
    rejection: Rejected, encoded: Encoded, rows: NDArray[np.int64], field_of: Callable[[int], str]
) -> NDArray[np.int64]:
    """The rows that the server's words point at; empty if at none."""
    line = rejection.line
    if not line and rejection.quoted:
        lines = encoded.body.decode().split("\n")
        line = lines.index(rejection.quoted) + 1 if rejection.quoted in lines else 0
    blamed = rows
    if 0 < line <= len(encoded.first):
        stop = encoded.first[line] if line < len(encoded.first) else len(rows)
        blamed = rows[encoded.first[line - 1] : stop]
    if rejection.field:
        blamed = np.array([row for row in blamed.tolist() if field_of(row) == rejection.field], np.int64)
    return blamed
