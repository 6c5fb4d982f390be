"""What a store can keep beside readings and intervals, for those who query it: names, states, dates, books.

Only a store that others query takes notes (InfluxDB): see `NoteStore`. Nothing of the product reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable


class Note(NamedTuple):
    """A row.

    tags : their keys are the same in every row of a measurement; no value is empty
    at : [us since 1970]
    fields : of a type that never changes; without "void", which the store adds
    """

    measurement: str
    tags: tuple[tuple[str, str], ...]
    at: int
    fields: Mapping[str, float | int | str]


@runtime_checkable
class NoteStore(Protocol):
    """A store that takes notes."""

    def note(self, notes: Sequence[Note]) -> None:
        """Write rows; one with the same tags and time is overwritten.

        Raises
        ------
        StoreUnavailable
            If they were not all stored; write them again later.
        """
        ...

    def note_exactly(self, kind: str, notes: Sequence[Note]) -> None:
        """Write rows, and mark those of this kind void that were written so before and are not among them.

        Raises
        ------
        StoreUnavailable
            If they were not all stored; write them again later.
        """
        ...
