"""Every scenario by name, in the order they run, with its counts at either level."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from faults import (
    api,
    brokers,
    calls,
    clocks,
    disks,
    flood,
    kill,
    memory,
    modbus,
    operation,
    order,
    payloads,
    torn,
    untimed,
    upkeep,
    wrong,
    zones,
)
from faults.report import Row

Scenario = Callable[["Context"], Iterable["Row"]]


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

    def repeat(self, times: int, part: Callable[[Path, int], Row]) -> Row:
        """A part so often, each time in a folder of its own and with another seed; one row."""
        row: Row | None = None
        for number in range(times):
            found = part(self.sub(f"{number}"), self.seed + number)
            row = found if row is None else row.merge(found)
            shutil.rmtree(self.sub(f"{number}"), ignore_errors=row.passed)
        assert row is not None
        return row

    @contextlib.contextmanager
    def in_memory(self, name: str) -> Iterator[Path]:
        """A folder in memory where there is one: for faults that are put in between us and the disk anyway."""
        shared = Path("/dev/shm")  # noqa: S108
        parent = shared if shared.is_dir() and os.access(shared, os.W_OK) else self.folder
        with tempfile.TemporaryDirectory(prefix=f"faults-{name}-", dir=parent) as folder:
            yield Path(folder)


def toy(name: str) -> Scenario:
    """The scenario of one wrong toy: the harness must fail on it."""

    def scenario(context: Context) -> Iterable[Row]:
        yield wrong.caught(context.folder, name, seed=context.seed)

    scenario.__doc__ = f"The harness must catch a product that is wrong on purpose: {name.replace('_', ' ')}."
    return scenario


def kills(context: Context) -> Iterable[Row]:
    """kill -9 under load, at random moments and aimed at file events; as shipped, and with small files."""
    shipped = kill.kill_loop(
        context.sub("as-shipped"), kills=context.count(20, 300), seed=context.seed, aimed=context.count(0, 1)
    )
    yield shipped.named("kill -9, as shipped")
    small = kill.kill_loop(
        context.sub("small"), kills=context.count(40, 700), seed=context.seed + 1, launch=["--small"], aimed=0.8
    )
    yield small.named("kill -9, small files, aimed")


def poison(context: Context) -> Iterable[Row]:
    """A message that ends the process is put aside after at most three restarts."""
    yield kill.poison(context.folder, seed=context.seed)


def modbus_dead(context: Context) -> Iterable[Row]:
    """A Modbus line of 32 units, 1 and then 8 of them dead."""
    yield modbus.dead_units(context.folder, phase_s=context.count(20, 300))


def modbus_wrong(context: Context) -> Iterable[Row]:
    """Late, foreign, short, long, damaged replies, exceptions, a gateway that closes and freezes."""
    full = context.level == "full"
    yield modbus.wrong_replies(
        context.folder, phase_s=context.count(3, 20), requests=context.count(0, 1_000_000), poll_s=0.25 if full else 1.0
    )


def torn_files(context: Context) -> Iterable[Row]:
    """Every file of the data folder cut, zero-tailed, bit-flipped, emptied, deleted; recovery in-process."""
    with context.in_memory("torn") as folder:
        yield torn.torn_in_process(folder, trials=context.count(5_000, 100_000), seed=context.seed)


def torn_real(context: Context) -> Iterable[Row]:
    """The same, and the real process has to start on it."""
    yield torn.torn_real(context.folder, trials=context.count(100, 2_000), seed=context.seed)


def failing_calls(context: Context) -> Iterable[Row]:
    """Each write, sync, rename and open fails once: in-process for every n, and the real process under strace."""
    with context.in_memory("calls") as folder:
        yield disks.calls_in_process(folder)
    yield calls.calls_real(context.sub("real"), lives=context.count(40, 200), seed=context.seed)
    if context.level == "full":
        yield calls.calls_everywhere(context.sub("everywhere"), seed=context.seed)


def full_disks(context: Context) -> Iterable[Row]:
    """No room under the spool, and under the store."""
    for under in ("spool", "store"):
        yield disks.disk_full(context.sub(under), under=under, seed=context.seed, full_s=context.count(6, 60))


def broker_away(context: Context) -> Iterable[Row]:
    """The broker is absent at the start, restarted, killed, frozen."""
    times, away = context.count(1, 50), context.sub
    yield brokers.absent_at_start(away("absent"), seed=context.seed, times=times)
    yield brokers.restarted(away("restarted"), seed=context.seed, times=context.count(3, 50))
    yield context.repeat(times, lambda folder, seed: brokers.power_cut_of_broker(folder / "killed", seed=seed))
    yield brokers.frozen(away("frozen"), seed=context.seed, times=times)


def broker_odd(context: Context) -> Iterable[Row]:
    """The network flaps, the broker's queue is full, our client id is used twice."""
    times = context.count(1, 50)
    yield brokers.flapping(context.sub("flapping"), seed=context.seed, seconds=context.count(20, 600))
    yield context.repeat(times, lambda folder, seed: brokers.queue_full(folder / "queue", seed=seed))
    yield context.repeat(times, lambda folder, seed: brokers.same_client_id(folder / "twice", seed=seed))


def broker_tls(context: Context) -> Iterable[Row]:
    """Three brokers that cannot be trusted get no credentials."""
    for kind in brokers.BAD_TLS:
        yield context.repeat(
            context.count(1, 50), lambda folder, seed, kind=kind: brokers.bad_tls(folder, kind, seed=seed)
        )


def floods(context: Context) -> Iterable[Row]:
    """One device at 1,000 times its rate, a million topics, a new field in each message."""
    seconds = context.count(30, 600)
    yield flood.flood(
        context.folder, seconds=seconds, topics=1_000_000, seed=context.seed, judge_slope=context.level == "full"
    )


def payload_bombs(context: Context) -> Iterable[Row]:
    """What a broken or hostile device may send: through every decoder, and over the wire."""
    yield payloads.bombs_in_process(count=context.count(100_000, 10_000_000), seed=context.seed)
    yield payloads.bombs_over_the_wire(context.folder, count=context.count(3_000, 100_000), seed=context.seed)


def clock(context: Context) -> Iterable[Row]:
    """Eight jumps of the wall clock; at full level also every change of every zone's clocks in a year."""
    yield clocks.clock_jumps(context.sub("jumps"), phase_s=context.count(5, 60))
    if context.level == "full":
        yield zones.every_zone(context.sub("zones"), phase_s=6.0, seed=context.seed)


def any_order(context: Context) -> Iterable[Row]:
    """Out of order, late, repeated, in conflict: sums as of the sorted run."""
    for number in range(context.count(1, 5)):
        yield order.any_order(context.sub(str(number)), count=1_000_000, seed=context.seed + number)


def two_collectors(context: Context) -> Iterable[Row]:
    """A second collector on one folder."""
    yield operation.two_on_one_folder(context.folder, times=context.count(1, 100), seed=context.seed)


def sigterm(context: Context) -> Iterable[Row]:
    """SIGTERM under load."""
    yield operation.sigterm(context.folder, times=context.count(5, 100), seed=context.seed)


def without_time(context: Context) -> Iterable[Row]:
    """Messages without a device time: delivered again after kill -9, and kept by the broker."""
    yield untimed.without_time(context.sub("killed"), kills=context.count(5, 100), seed=context.seed)
    yield untimed.retained(context.sub("retained"), count=context.count(1_000, 10_000), seed=context.seed)


def reloads(context: Context) -> Iterable[Row]:
    """The configuration changes under load, with mistakes and kills between."""
    yield upkeep.reload_under_load(context.folder, times=context.count(8, 200), seed=context.seed)


def backups(context: Context) -> Iterable[Row]:
    """Backups under load; the restored copies have equal books and sums."""
    yield upkeep.backup_under_load(context.folder, times=context.count(2, 50), seed=context.seed)


def api_overloaded(context: Context) -> Iterable[Row]:
    """Slow clients, giant bodies and dear questions while readings come."""
    yield api.overloaded(context.folder, seconds=context.count(15, 600), seed=context.seed)


def memory_refused(context: Context) -> Iterable[Row]:
    """The process gets no more memory for a while."""
    yield context.repeat(
        context.count(1, 20), lambda folder, seed: memory.memory_refused(folder, seed=seed, tight_s=10.0)
    )


def backlog(context: Context) -> Iterable[Row]:
    """Millions of readings wait in the spool at the start."""
    yield operation.backlog(context.folder, readings=context.count(5_000_000, 43_000_000), seed=context.seed)


TOYS: dict[str, Scenario] = {f"toy-{name.replace('_', '-')}": toy(name) for name in wrong.EXPECTED}
SCENARIOS: dict[str, Scenario] = {
    **TOYS,
    "torn": torn_files,
    "torn-real": torn_real,
    "kill": kills,
    "poison": poison,
    "calls": failing_calls,
    "disk-full": full_disks,
    "broker-away": broker_away,
    "broker-odd": broker_odd,
    "broker-tls": broker_tls,
    "modbus-dead": modbus_dead,
    "modbus-wrong": modbus_wrong,
    "flood": floods,
    "bombs": payload_bombs,
    "clock": clock,
    "order": any_order,
    "untimed": without_time,
    "reload": reloads,
    "backup": backups,
    "api": api_overloaded,
    "memory": memory_refused,
    "two": two_collectors,
    "sigterm": sigterm,
    "backlog": backlog,
}

PUNCTUAL = frozenset({"modbus-dead", "clock"})  # these keep a schedule, and need little of the machine
ALONE = frozenset({"flood", "backlog"})  # these measure what all of the machine can do


def processor_time() -> float:
    """Seconds of processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


class TimeIsUp(BaseException):
    """A scenario was given a time, and it is over."""


class Bell:
    """Raises TimeIsUp once, after so many seconds; 0: never."""

    def __init__(self, seconds: float) -> None:
        self.rang = False
        signal.signal(signal.SIGALRM, self._over)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def _over(self, number: int, frame: object) -> None:
        self.rang = True
        raise TimeIsUp

    def quiet(self) -> None:
        """Ring no more."""
        signal.setitimer(signal.ITIMER_REAL, 0)


def run_scenario(name: str, level: str, seed: int, keep: bool, most_s: float = 0.0) -> list[Row]:
    """One scenario, in a folder of its own; one that itself breaks off, without a verdict, is begun once more.

    What was lost, doubled or invented is a verdict, and nothing takes it back.

    most_s : it is ended after so long and counts as not run; 0: as long as it takes
    """
    logging.basicConfig(handlers=[logging.NullHandler()])  # what the product says while it is hurt is in its own log
    folder = Path(tempfile.mkdtemp(prefix=f"faults-{name}-"))
    started, before = time.monotonic(), processor_time()
    found: list[Row] = []
    for attempt in (1, 2):
        bell, verdicts = Bell(most_s), len(found)
        try:
            (own := folder / str(attempt)).mkdir()
            for row in SCENARIOS[name](Context(own, level, seed)):
                if row.scenario not in {each.scenario for each in found}:  # said before it was begun once more
                    found.append(row)
            bell.quiet()
            break
        except (Exception, TimeIsUp) as error:
            bell.quiet()
            if bell.rang:  # a library in between may have made another error of it
                found.append(Row(name, skipped=f"began, and was ended after {most_s:g} s as asked"))
                break
            traceback.print_exc()
            if attempt == 2 or not all(row.passed for row in found[verdicts:]):
                found.append(Row(name, missed=[f"the scenario itself broke off: {error!r}"]))
                break
    for row in found:
        row.took_s = round((time.monotonic() - started) / len(found), 1)
        row.cpu_s = round((processor_time() - before) / len(found), 1)
    if keep and not all(row.passed for row in found):
        print(f"    kept: {folder}", flush=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return found
