"""What a check found, in words: in order, to be looked at, or broken, each with its mend."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "broken"]
MARKS: dict[State, str] = {"ok": "ok", "warning": "▲", "broken": "■"}


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing looked at.

    subject : what was looked at: "data folder", "mosquitto.conf:12"
    what : what was found
    mend : what to do about it; empty where there is nothing to do
    """

    subject: str
    state: State
    what: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{MARKS[self.state]:2} {self.subject}: {self.what}{'; ' + self.mend if self.mend else ''}"


def ok(subject: str, what: str) -> Remark:
    """In order."""
    return Remark(subject, "ok", what)


def warning(subject: str, what: str, mend: str) -> Remark:
    """Works, and can cost something one day."""
    return Remark(subject, "warning", what, mend)


def broken(subject: str, what: str, mend: str) -> Remark:
    """Does not work, or loses readings."""
    return Remark(subject, "broken", what, mend)


def as_json(remarks: Iterable[Remark]) -> dict[str, Any]:
    """Remarks for a program; `broken` counts those that are."""
    rows = [asdict(each) for each in remarks]
    return {"broken": sum(row["state"] == "broken" for row in rows), "remarks": rows}
