"""Errors a person can act on, and remarks about data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


class ExplainedError(Exception):
    """An error a person can act on: where it is, what is wrong, how to mend it."""

    def __init__(self, where: str, what: str, mend: str) -> None:
        super().__init__(where, what, mend)
        self.where, self.what, self.mend = where, what, mend

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.mend}"


@dataclass(frozen=True, slots=True)
class Finding:
    """A remark about data: a code, how bad it is, and the words for a person."""

    code: str
    severity: Literal["info", "warning", "disqualifies"]
    message: str
    data: dict[str, Any] = field(default_factory=dict)
