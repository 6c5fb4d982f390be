"""What every decoder gives, whatever the wire was: one shape for Modbus blocks and MQTT payloads."""

from __future__ import annotations

from typing import NamedTuple, Protocol


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


class Decoder(Protocol):
    """Pure: raw bytes of one record in, values out."""

    slots: tuple[tuple[str, str], ...]  # (quantity, phase)
    profile: str  # "eastron_sdm630@1": id and version

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
