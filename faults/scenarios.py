"""Every scenario by name, in the order they run, with its counts at either level."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from faults import kill, modbus, wrong
from faults.report import Row


class Context(NamedTuple):
    """Where a scenario works, at which level, from which seed."""

    folder: Path
    level: str
    seed: int

    def count(self, ci: int, full: int) -> int:
        """The number for this level."""
        return full if self.level == "full" else ci

    def sub(self, name: str) -> Path:
        """A folder for a part of it."""
        return self.folder / name


def wrong_toys(context: Context) -> Iterable[Row]:
    """The harness must fail on products that are wrong on purpose."""
    yield wrong.wrong_toys(context.folder, seed=context.seed)


def kills(context: Context) -> Iterable[Row]:
    """kill -9 under load, at random moments and aimed at file events; as shipped, and with small files."""
    half = context.count(30, 500)
    yield kill.kill_loop(context.sub("as-shipped"), kills=half, seed=context.seed).named("kill -9, as shipped")
    yield kill.kill_loop(context.sub("small"), kills=half, seed=context.seed + 1, launch=["--small"]).named(
        "kill -9, small files"
    )


def modbus_dead(context: Context) -> Iterable[Row]:
    """A Modbus line of 32 units, 1 and then 8 of them dead."""
    yield modbus.dead_units(context.folder, phase_s=context.count(20, 300))


def modbus_wrong(context: Context) -> Iterable[Row]:
    """Late, foreign, short, long, damaged replies, exceptions, a gateway that closes and freezes."""
    yield modbus.wrong_replies(context.folder, phase_s=context.count(3, 300))


SCENARIOS: dict[str, Callable[[Context], Iterable[Row]]] = {
    "toys": wrong_toys,
    "kill": kills,
    "modbus-dead": modbus_dead,
    "modbus-wrong": modbus_wrong,
}
