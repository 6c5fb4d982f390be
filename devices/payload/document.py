"""A JSON payload as a document, within limits: size, encoding, depth, keys, each key once."""

from __future__ import annotations

import json
import re
from typing import Any

from devices.decoded import Rejected

MAX_BYTES = 256 << 10
MAX_DEPTH = 32
MAX_KEYS = 1000
_LONG_INTEGER = 18  # digits; longer ones are read as floats
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


class _KeyCounter:
    def __init__(self) -> None:
        self.keys = 0

    def object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self.keys += len(pairs)
        if self.keys > MAX_KEYS:
            raise Rejected("keys", f"more than {MAX_KEYS} keys")
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [key for key, _ in pairs]
            twice = next(key for key in names if names.count(key) > 1)
            raise Rejected("duplicate_key", f"{twice[:60]!r} stands twice in one object")
        return found


def read_json(payload: bytes, max_bytes: int = MAX_BYTES) -> Any:
    """The document of a JSON payload, checked; NaN and 1e999 become non-finite floats for the value table.

    Raises
    ------
    Rejected
        size, empty, encoding, depth, keys, duplicate_key, malformed.
    """
    if len(payload) > max_bytes:
        raise Rejected("size", f"{len(payload)} bytes, more than {max_bytes}")
    if not payload.strip():
        raise Rejected("empty", "an empty payload says nothing; retained, it deletes what the broker kept")
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Rejected("encoding", f"byte {error.start} is not UTF-8") from None
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", payload)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            raise Rejected("depth", f"nested deeper than {MAX_DEPTH}")
    try:
        return json.loads(text, object_pairs_hook=_KeyCounter().object, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise Rejected("malformed", f"not JSON: {error}"[:200]) from None


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONG_INTEGER else float(digits)
