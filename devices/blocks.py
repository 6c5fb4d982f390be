"""Planning requests: which registers are read together, so that 40 values cost one to three requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from devices.registers import BIT_TABLES, Constant, DeviceProfile, RegisterSpec, TableName

BITS_A_WORD = 16
MOST_BITS = 2000  # of one coil or discrete request [MODBUS Application Protocol V1.1b3, 6.1]


@dataclass(frozen=True, slots=True)
class Block:
    """One request.

    Attributes
    ----------
    address, count : first register and how many, as in the profile (bits for coil and discrete)
    registers : the values that lie in it whole
    constants : registers whose value must be right, else the reply is another device's
    """

    table: TableName
    address: int
    count: int
    registers: tuple[RegisterSpec, ...]
    constants: tuple[Constant, ...] = ()
    poll: Literal["fast", "slow"] = "fast"

    @property
    def end(self) -> int:
        """The address after the last one."""
        return self.address + self.count

    @property
    def size(self) -> int:
        """Bytes of data in a whole reply."""
        return (self.count + 7) // 8 if self.table in BIT_TABLES else 2 * self.count


def block_key(device: str, block: Block) -> str:
    """The key of a block's record in the spool: `<meter id>/<table>/<address>`."""
    return f"{device}/{block.table}/{block.address}"


def plan_blocks(profile: DeviceProfile, registers: Iterable[RegisterSpec] | None = None) -> list[Block]:
    """The requests that read these registers (all of the profile, if none are named).

    A value is never split; no block is longer than `max_words`, touches an illegal range, or reads
    along a gap wider than `max_gap`. Fast registers come first; slow ones that lie in a fast block
    anyway are read with it.
    """
    wanted = list(profile.registers if registers is None else registers)
    blocks: list[Block] = []
    for poll in ("fast", "slow"):
        for table in ("input", "holding", "discrete", "coil"):
            group = [r for r in wanted if r.table == table and r.poll == poll]
            inside = [r for r in group if any(_holds(block, r) for block in blocks)]
            blocks = [
                replace(block, registers=(*block.registers, *(r for r in inside if _holds(block, r))))
                for block in blocks
            ]
            blocks.extend(_runs(profile, poll, table, [r for r in group if r not in inside]))
    return blocks


def _holds(block: Block, register: RegisterSpec) -> bool:
    first, end = register.span
    return block.table == register.table and block.address <= first and end <= block.end


def _runs(
    profile: DeviceProfile, poll: Literal["fast", "slow"], table: TableName, registers: Sequence[RegisterSpec]
) -> list[Block]:
    constants = [c for c in profile.constants if c.table == table]
    spans: list[tuple[int, int, RegisterSpec | None]] = [(*r.span, r) for r in registers]
    if registers and not profile.one_value_per_request:
        spans += [(c.address, c.address + 1, None) for c in constants]
    most = min(MOST_BITS, profile.max_words * BITS_A_WORD) if table in BIT_TABLES else profile.max_words
    runs: list[tuple[int, int, list[RegisterSpec]]] = []
    for first, end, register in sorted(spans, key=lambda span: span[:2]):
        own = [] if register is None else [register]
        if runs and not profile.one_value_per_request:
            start, last, members = runs[-1]
            whole = max(last, end)
            if whole - start <= most and first - last <= profile.max_gap and _legal(profile, table, start, whole):
                runs[-1] = (start, whole, members + own)
                continue
        runs.append((first, end, own))
    return [
        Block(table, start, end - start, tuple(members), tuple(c for c in constants if start <= c.address < end), poll)
        for start, end, members in runs
        if members
    ]


def _legal(profile: DeviceProfile, table: str, first: int, end: int) -> bool:
    return not any(t == table and first <= high and end > low for t, low, high in profile.illegal)
