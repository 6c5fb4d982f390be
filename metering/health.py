"""How things are: the states that collector, API and page share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

State = Literal["ok", "degraded", "broken", "unknown"]


@dataclass(slots=True)
class UnitHealth:
    """One Modbus unit, or one device behind a broker."""

    device: str  # meter or vehicle id
    state: State = "unknown"
    last_answer: int | None = None  # [us since 1970]
    offline_since: int | None = None
    polls: int = 0
    good: int = 0
    errors: dict[str, int] = field(default_factory=dict)  # kind ("timeout", "exception 2", "short") -> count
    breaker: Literal["closed", "open", "probing"] = "closed"
    unit_id: int | None = None
    note: str = ""


@dataclass(slots=True)
class LineHealth:
    """One way in: a Modbus line, a broker, the ingest route."""

    id: str
    kind: Literal["modbus", "mqtt", "ingest"]
    address: str  # without secrets
    state: State = "unknown"
    since: int | None = None  # in this state [us since 1970]
    note: str = ""  # what is wrong and the mend, in words
    connects: int = 0
    units: list[UnitHealth] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SpoolHealth:
    """The spool: what is durable and not yet stored."""

    pending_messages: int
    bytes: int
    segments: int
    oldest_pending_us: int | None
    damaged: tuple[str, ...]  # damaged segments set aside, in words
    accepting: bool
    note: str = ""


class Books(Protocol):
    """The two books; both balance at every sample."""

    def snapshot(self) -> dict[str, Any]:
        """`{"messages": {source: {...}}, "readings": {source: {...}}, "total": {"messages": ..., "readings": ...}}`.

        Each inner dict of messages: received, decoded, repeated, rejected {reason: n},
        dropped {reason: n}, pending. Of readings: decoded, stored, duplicate, conflict,
        missing, rejected {reason: n}, dropped {reason: n}, pending.
        """
        ...


class CollectorStatus(Protocol):
    """What the API asks of the collector, in this process or far away."""

    @property
    def note(self) -> str:
        """What is wrong with storing, in words; empty when all is well."""
        ...

    def books(self) -> dict[str, Any]:
        """The snapshot of the two books."""
        ...

    def lines(self) -> list[LineHealth]:
        """Every way in, with its units."""
        ...

    def spool(self) -> SpoolHealth:
        """The spool's state."""
        ...

    def ingest(self, source: str, payload: bytes, rows: Sequence[Any]) -> Any:
        """Take a batch that came over HTTP; returns after it is durable. See `collector.intake`."""
        ...


LiveListener = Callable[[dict[str, Any]], None]
