"""What every decoder gives, whatever the wire was: one shape for Modbus blocks and MQTT payloads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Decoded(NamedTuple):
    """The values of one raw record.

    values : (slot, observed_at [us since 1970], value [quantity's unit], suspect) each;
        `slot` is an index into the decoder's `slots`
    missing : values the device gave as "not available" (sentinel, null): no row, but counted
    rejected : (reason, detail) of single values that cannot be a measurement
    """

    values: list[tuple[int, int, float, bool]]
    missing: int
    rejected: list[tuple[str, str]]


class Form(Protocol):
    """How records that look alike are read, many at a time; devices of one model share it.

    slots : int32 (k,), the slot of each value of a record
    missing : values each such record gives as "not available"
    """

    slots: NDArray[np.int32]
    missing: int

    def read(self, raws: Sequence[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Of n records: the values (n, k), and which records (n,) are beyond doubt; the rest is for `decode`."""
        ...


Glance = tuple[Form, Any, int]  # a record's form, what `Form.read` needs of it, its observed_at [us since 1970]


class Decoder(Protocol):
    """Pure: raw bytes of one record in, values out."""

    slots: tuple[tuple[str, str], ...]  # (quantity, phase)
    profile: str  # "eastron_sdm630@1": id and version

    def glance(self, payload: bytes, received_at: int) -> Glance | None:
        """The fast way, for a record that is not retained; None: only `decode` can tell. Both agree."""
        ...

    def decode(self, payload: bytes, received_at: int, retained: bool) -> Decoded:
        """Decode one record.

        Raises
        ------
        Rejected
            If the record as a whole cannot be read; its reason is a metric label.
        """
        ...


class Rejected(Exception):
    """A record that cannot be read: a short reason (a metric label) and the detail for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail
