"""The ledger outside the product: what was sent, and what the broker acknowledged, one line each, only appended."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

SENT, ACKNOWLEDGED = "s", "a"


class LedgerFile:
    """The file while it is written. A line stands before the message goes out, another after its PUBACK."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def enter(self, what: str, k: int, n: int) -> None:
        """One line: `what` is SENT or ACKNOWLEDGED."""
        os.write(self._fd, f"{what} {k} {n}\n".encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


@dataclass
class Ledger:
    """What a ledger file says: how often message n of device k was sent, and acknowledged."""

    sent: Counter[tuple[int, int]] = field(default_factory=Counter)
    acknowledged: Counter[tuple[int, int]] = field(default_factory=Counter)

    @classmethod
    def read(cls, *paths: Path) -> Ledger:
        """Read some files as one; a last line that was cut off counts for nothing."""
        ledger = cls()
        for path in paths:
            text = path.read_text() if path.exists() else ""
            for line in text[: text.rfind("\n") + 1].splitlines():
                what, k, n = line.split()
                (ledger.sent if what == SENT else ledger.acknowledged)[int(k), int(n)] += 1
        return ledger

    @property
    def messages(self) -> int:
        """Acknowledged messages, repeats counted."""
        return self.acknowledged.total()
