"""Finding a model in a SunSpec device: its place differs from device to device, so the chain of models is walked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from collector.modbus.frames import REFUSALS, ReadFailed

BASES = (40_000, 50_000, 0)  # where the mark may stand
MARK = b"SunS"
END = 0xFFFF
MOST_MODELS = 64


async def find_model(read: Callable[[int], Awaitable[bytes]], wanted: int) -> int:
    """The address of the ID register of a model.

    Parameters
    ----------
    read : gives the two holding registers from an address, as 4 bytes; raises ReadFailed

    Raises
    ------
    ReadFailed
        "no model 203", if the device has none, or what `read` raised for another reason than a refusal.
    """
    for base in BASES:
        try:
            if await read(base) != MARK:
                continue
            at = base + len(MARK) // 2
            for _ in range(MOST_MODELS):
                head = await read(at)
                model, length = int.from_bytes(head[:2], "big"), int.from_bytes(head[2:], "big")
                if model == wanted:
                    return at
                if model == END or at + 4 + length > 65_535:
                    break
                at += 2 + length
        except ReadFailed as failed:
            if failed.code not in REFUSALS:
                raise
    raise ReadFailed(f"no model {wanted}")
