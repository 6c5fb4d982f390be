"""A Modbus line: one task that polls its units one after another, for ever, and hands over what they answer.

A line never gives up and never raises: what goes wrong is counted per unit, said in words in its health, and tried
again at a pace that leaves the healthy units their schedule.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from collector.modbus.address import connector
from collector.modbus.connection import Connect, Connection
from collector.modbus.frames import EXCEPTIONS, GATEWAY_SILENT, REFUSALS, ReadFailed, Request
from collector.modbus.patience import Breaker, Grid
from collector.modbus.sunspec import find_model
from devices.blocks import Block, block_key, plan_blocks
from devices.registers import DeviceProfile
from metering.clock import now_us
from metering.health import LineHealth, State, UnitHealth
from metering.site import Meter
from storage.record import Record, Wire

log = logging.getLogger("meterhall.modbus")

Deliver = Callable[[list[Record]], Awaitable[None]]

LONGEST_BACKOFF_S = 10.0
HAND_OVER_S = 0.25  # while the line is busy, records wait at most this long
MOST_WAITING = 5000  # records; beyond it the line waits for the spool
TROUBLE_SHARE = 0.2  # of a shared line's time, for units that failed at their last poll
UNREACHABLE = "its gateway cannot be reached"
SILENT_AFTER = 4  # time-outs in a row, whatever the unit: the connection itself is dead
BLOCK_FAULTS = 3  # refusals in a row until a block is left alone
REFUSED_REST_S = 900.0
STUMBLE_REST_S = 60.0


@dataclass(frozen=True, slots=True)
class ModbusUnit:
    """One device on a line.

    Attributes
    ----------
    device : its meter id, the beginning of its records' keys
    blocks : the planned requests (`devices.blocks.plan_blocks`)
    poll_s : time between two polls [s]
    """

    device: str
    unit_id: int
    profile: DeviceProfile
    blocks: tuple[Block, ...]
    poll_s: float


@dataclass(slots=True)
class _BlockState:
    block: Block
    key: str
    request: Request
    faults: int = 0
    rests_until: float = 0.0
    note: str = ""


@dataclass(slots=True)
class _UnitState:
    unit: ModbusUnit
    grid: Grid
    health: UnitHealth
    blocks: list[_BlockState]
    breaker: Breaker = field(default_factory=Breaker)
    polled: int = 0
    failing_since: int | None = None
    located: bool = False  # SunSpec: is the model's place known, on this connection?

    def count(self, kind: str, times: int = 1) -> None:
        self.health.errors[kind] = self.health.errors.get(kind, 0) + times


class ModbusLine:
    """Polls the units behind one address.

    Parameters
    ----------
    line_id : the source named in records, books and health
    url : modbus-tcp://host:port, modbus-rtu-tcp://host:port, modbus-rtu:///dev/ttyUSB0?baud=9600&parity=N
    units : the devices on it
    deliver : takes records, returns when they are durable; only then does a poll count as good
    timeout_s : time-out of one request [s]
    monotonic, sleep, connect : for tests; by default the real ones

    Raises
    ------
    ExplainedError
        If the address cannot be understood.
    """

    def __init__(
        self,
        line_id: str,
        url: str,
        units: Sequence[ModbusUnit],
        deliver: Deliver,
        *,
        timeout_s: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        connect: Connect | None = None,
    ) -> None:
        self.id, self.url = line_id, url
        self._deliver, self._timeout_s = deliver, timeout_s
        self._monotonic, self._sleep = monotonic, sleep
        self._connect = connect or connector(url, timeout_s)
        self._units = [_state(unit) for unit in units]
        self._due: list[tuple[float, int]] = []
        self._connection: Connection | None = None
        self._health = LineHealth(line_id, "modbus", url, units=[state.health for state in self._units])
        self._attempts = 0  # connects since the last answer
        self._connect_at = float("-inf")
        self._silent = 0  # time-outs in a row
        self._was_silent = False  # the connection was given up for it, and nobody answered since
        self._trouble_until = float("-inf")
        self._rescheduled = False
        self._records: list[Record] = []
        self._polled: list[tuple[_UnitState, bool]] = []
        self._waiting_since = 0.0
        self._handing_over: asyncio.Task[None] | None = None

    def health(self) -> LineHealth:
        """A copy of the line's state and its units'."""
        units = [replace(unit, errors=dict(unit.errors)) for unit in self._health.units]
        return replace(self._health, units=units)

    async def run(self) -> None:
        """Poll until cancelled."""
        if not self._units:
            await asyncio.Event().wait()
        start = self._monotonic()
        for i, state in enumerate(self._units):
            state.grid.next = start
            self._due.append((start, i))
        heapq.heapify(self._due)
        try:
            while True:
                try:
                    await self._step()
                except Exception:  # a mistake of ours must not end the line: it is said, and polling goes on
                    log.exception("%s: a poll went wrong", self.id)
                    for state in self._units[:1]:
                        state.count("internal error")
                    await self._sleep(1.0)
        finally:
            if self._handing_over is not None:
                self._handing_over.cancel()
            self._drop_connection()

    # -- the schedule ------------------------------------------------------------------------------------------------

    async def _step(self) -> None:
        """Poll the unit that is due, or hand over and wait for the next one."""
        now = self._monotonic()
        due, index = self._due[0]
        if due > now:
            await self._hand_over_all()
            now = self._monotonic()
            if due > now:
                await self._sleep(due - now)
            return
        state = self._units[index]
        asked = self._may_ask(state, now)
        connection = self._connection
        if asked and (connection is None or not connection.alive or not connection.safe_for(state.unit.unit_id)):
            await self._hand_over_all()
            await self._open()
            return
        missed = state.grid.take(now)
        if missed:
            state.count("missed slot", missed)
        try:
            if asked and connection is not None:
                await self._poll(state, connection)
            else:
                state.count("resting")
                if state.breaker.state == "open":
                    state.grid.skip_to(state.breaker.until)
        finally:
            if self._rescheduled:
                self._rescheduled = False
                self._due = [(other.grid.next, i) for i, other in enumerate(self._units)]
                heapq.heapify(self._due)
            else:
                heapq.heapreplace(self._due, (state.grid.next, index))
        if self._records and self._monotonic() - self._waiting_since > HAND_OVER_S:
            await self._hand_over_beside()

    def _may_ask(self, state: _UnitState, now: float) -> bool:
        """Not while its breaker is open; and beside healthy units, troubled ones get a share of the time only."""
        troubled = state.breaker.failures and now < self._trouble_until
        if troubled and any(other.breaker.failures == 0 for other in self._units):
            return False
        return state.breaker.may_ask(now)

    # -- one poll ----------------------------------------------------------------------------------------------------

    async def _poll(self, state: _UnitState, connection: Connection) -> None:
        unit, health = state.unit, state.health
        began = self._monotonic()
        blocks = self._blocks(state, began)
        if not blocks:
            state.count("resting")
            return
        health.polls += 1
        health.breaker = state.breaker.state
        good = 0
        failure = ""
        answered = False
        try:
            if unit.profile.sunspec_model and not state.located:
                await self._locate(state, connection)
            for block in blocks:
                try:
                    payload = await connection.read(block.request, self._timeout_s)
                except ReadFailed as failed:
                    state.count(failed.kind)
                    if not self._block_failed(block, failed, answered):
                        raise
                    answered = True
                    failure = failed.kind
                else:
                    if not self._records:
                        self._waiting_since = began
                    self._records.append(Record(Wire.MODBUS, self.id, block.key, payload, now_us()))
                    good += 1
                    answered = True
                    if block.faults:
                        block.faults, block.note = 0, ""
                if unit.profile.pause_s:
                    await self._sleep(unit.profile.pause_s)
        except ReadFailed as failed:
            failure = failed.kind
            self._silent = self._silent + 1 if failure == "timeout" else 0
        if connection.strays:
            self._silent = 0
            self._count_strays(state, connection)
        if answered:
            self._unit_answered(state, "" if good else failure)
        elif failure:
            self._unit_failed(state, failure, began)
        if self._silent >= SILENT_AFTER:
            if not self._was_silent:
                log.warning("%s: nothing answers; connecting anew", self.id)
            self._was_silent = True
            self._drop_connection()
        if good:
            self._polled.append((state, good == len(blocks)))

    def _blocks(self, state: _UnitState, now: float) -> list[_BlockState]:
        """The blocks of this poll; those that failed lately come last, so that the others are read before."""
        slow = state.polled % state.unit.profile.slow_every == 0
        state.polled += 1
        blocks = [b for b in state.blocks if (slow or b.block.poll == "fast") and now >= b.rests_until]
        if any(block.faults for block in blocks):
            blocks.sort(key=lambda block: block.faults)
        return blocks

    def _block_failed(self, block: _BlockState, failed: ReadFailed, answered: bool) -> bool:
        """Book it; is it an answer of the device (an exception of its own)? Else the rest of the poll is given up."""
        block.faults += 1
        if failed.code in GATEWAY_SILENT or not (failed.code or answered):
            return False
        where = f"{block.block.table} {block.block.address} to {block.block.end - 1}"
        if failed.code in REFUSALS and block.faults >= BLOCK_FAULTS:
            block.rests_until = self._monotonic() + REFUSED_REST_S
            words = EXCEPTIONS[failed.code]
            block.note = (
                f"{where}: the device answers '{words}' (exception {failed.code}); "
                "check its model and the profile's addresses, max_words, max_gap and illegal ranges"
            )
            log.warning("%s: %s", self.id, block.note)
        elif not failed.code and block.faults >= BLOCK_FAULTS:
            block.rests_until = self._monotonic() + STUMBLE_REST_S
            block.note = f"{where}: {failed.kind} each time, while the device answers elsewhere"
        return bool(failed.code)

    def _count_strays(self, state: _UnitState, connection: Connection) -> None:
        for kind, times in connection.strays.items():
            state.count(kind, times)
        connection.strays.clear()

    # -- what a poll says about its unit -------------------------------------------------------------------------------

    def _unit_answered(self, state: _UnitState, refusal: str) -> None:
        """The unit is there; `refusal` is what it said, if it gave no value at all."""
        self._silent = self._attempts = 0
        health = state.health
        health.last_answer = now_us()
        if state.breaker.failures or health.offline_since is not None:
            if health.note != UNREACHABLE:
                if health.offline_since is not None:
                    log.info("%s: %s answers again", self.id, health.device)
            elif self._health.state == "broken":  # the first of its units: what was said once is taken back once
                log.info("%s: %s answers again", self.id, self.url)
            state.breaker.answered()
            state.failing_since = health.offline_since = None
        health.breaker = state.breaker.state
        faulty = next((block.note for block in state.blocks if block.note), "")
        faulty = faulty or (f"answers without values ({_words(refusal)})" if refusal else "")
        self._unit_is(state, "degraded" if faulty else "ok", faulty)
        if self._was_silent:
            self._was_silent = False
            self._line_is_back()

    def _unit_failed(self, state: _UnitState, kind: str, began: float) -> None:
        now = self._monotonic()
        if state.failing_since is None:
            state.failing_since = now_us()
        state.breaker.failed(now, now - began)
        self._trouble_until = now + (now - began) * (1.0 / TROUBLE_SHARE - 1.0)
        health = state.health
        health.breaker = state.breaker.state
        if state.breaker.state == "open":
            if health.offline_since is None:
                health.offline_since = state.failing_since
                log.warning("%s: %s (unit %s) does not answer: %s", self.id, health.device, health.unit_id, kind)
            mend = "check its profile" if kind.startswith("no model") else "check its power, wiring and unit_id"
            self._unit_is(state, "broken", f"does not answer ({_words(kind)}); {mend}")
        else:
            self._unit_is(state, "degraded", f"the last poll failed ({_words(kind)})")

    def _line_is_back(self) -> None:
        """The whole line was silent and is not any more: nobody waits for the end of a long rest."""
        now = self._monotonic()
        for state in self._units:
            if state.breaker.state == "open":
                state.breaker.hurry(now)
                slots = max(0, int((state.grid.next - now) / state.grid.period))
                state.grid.next -= slots * state.grid.period
        self._trouble_until = now
        self._rescheduled = True

    def _unit_is(self, state: _UnitState, what: State, note: str) -> None:
        if (state.health.state, state.health.note) == (what, note):
            return
        state.health.state, state.health.note = what, note
        self._judge()

    def _judge(self, note: str = "") -> None:
        """The line's own state, from its connection and its units."""
        states = [unit.state for unit in self._health.units]
        troubled = [unit.device for unit in self._health.units if unit.state in ("broken", "degraded")]
        if note or (states and all(state == "broken" for state in states)):
            what: State = "broken"
            note = note or "no unit answers; check the gateway and the bus"
        elif troubled:
            what, note = "degraded", f"{len(troubled)} of {len(states)} units: {', '.join(troubled[:5])}"
        else:
            what = "ok" if "ok" in states else "unknown"
        if what != self._health.state:
            self._health.state, self._health.since = what, now_us()
        self._health.note = note

    # -- the connection ----------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Connect, or wait before the next attempt: at most one a second, ever rarer, at random moments."""
        # given up by us: the gateway takes connections, so there is no reason to stay away for long
        ours = self._was_silent or (self._connection is not None and self._connection.alive)
        self._drop_connection()
        wait = self._connect_at - self._monotonic()
        if wait > 0:
            await self._sleep(wait)
        backoff = min(LONGEST_BACKOFF_S, 2.0 ** min(self._attempts, 10))
        self._connect_at = self._monotonic() + max(1.0, backoff * random.uniform(0.5, 1.0))
        if not ours:
            self._attempts += 1
        try:
            self._connection = await self._connect()
        except (OSError, TimeoutError) as error:
            self._attempts += ours
            why = str(error) or "no answer"
            self._unreachable(f"cannot be reached: {why}; check address, network and power")
            return
        self._health.connects += 1
        self._silent = 0
        for state in self._units:
            state.located = False
        if self._attempts > 3:
            self._unreachable("takes connections, but closes them or answers nothing; does it allow one client only?")

    def _unreachable(self, note: str) -> None:
        """The line as a whole does not work: say it once, and book it for each unit."""
        if self._health.state != "broken":
            log.warning("%s: %s %s", self.id, self.url, note)
        for state in self._units:
            state.count("unreachable")
            if state.health.offline_since is None:
                state.health.offline_since = now_us()
            state.health.state, state.health.note = "broken", UNREACHABLE
        self._judge(note)

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _locate(self, state: _UnitState, connection: Connection) -> None:
        """Find where the profile's SunSpec model stands on this device."""

        async def read(address: int) -> bytes:
            request = Request.read(state.unit.unit_id, "holding", address, 2)
            return await connection.read(request, self._timeout_s)

        try:
            base = await find_model(read, state.unit.profile.sunspec_model)
        except ReadFailed as failed:
            state.count(failed.kind)
            raise
        for block in state.blocks:
            block.request = Request.of(state.unit.unit_id, block.block, base)
        state.located = True

    # -- handing over ------------------------------------------------------------------------------------------------

    async def _hand_over_all(self) -> None:
        if self._handing_over is not None:
            await self._handing_over
            self._handing_over = None
        if self._records:
            await self._hand_over()

    async def _hand_over_beside(self) -> None:
        """Hand over while polling goes on; one batch at a time."""
        if self._handing_over is not None:
            if not self._handing_over.done() and len(self._records) < MOST_WAITING:
                return
            await self._handing_over
        self._handing_over = asyncio.ensure_future(self._hand_over())

    async def _hand_over(self) -> None:
        records, self._records = self._records, []
        polled, self._polled = self._polled, []
        while True:
            try:
                await self._deliver(records)
                break
            except Exception:  # nothing is durable yet, so nothing is counted; the same records again
                log.exception("%s: %d records could not be handed over; trying again", self.id, len(records))
                await self._sleep(1.0)
        for state, whole in polled:
            state.health.good += whole


def _state(unit: ModbusUnit) -> _UnitState:
    blocks = [
        _BlockState(block, block_key(unit.device, block), Request.of(unit.unit_id, block)) for block in unit.blocks
    ]
    return _UnitState(unit, Grid(unit.poll_s, 0.0), UnitHealth(unit.device, unit_id=unit.unit_id), blocks)


def _words(kind: str) -> str:
    if kind.startswith("exception "):
        return f"{kind}: {EXCEPTIONS.get(int(kind.split()[1]), 'not in the standard')}"
    return kind


def modbus_lines(
    meters: Iterable[Meter], profile_of: Callable[[str], DeviceProfile], deliver: Deliver, *, timeout_s: float = 1.0
) -> list[ModbusLine]:
    """One line for each Modbus address that meters name; its id is the address.

    Raises
    ------
    ExplainedError
        If an address or a profile cannot be understood.
    """
    at: dict[str, list[ModbusUnit]] = {}
    for meter in meters:
        if meter.connection.startswith("modbus"):
            profile = profile_of(meter.profile)
            unit = ModbusUnit(meter.id, meter.unit_id or 0, profile, tuple(plan_blocks(profile)), meter.poll_s)
            at.setdefault(meter.connection, []).append(unit)
    return [ModbusLine(url, url, units, deliver, timeout_s=timeout_s) for url, units in at.items()]
