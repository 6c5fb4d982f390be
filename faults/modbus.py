"""A Modbus line of 32 units behind a gateway that misbehaves, in both framings.

Every reply carries unit, register and the number of the request it answers. So a stored value shows by itself
whether it was ever sent, by whom, and in answer to which request.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from faults.oracle import ROWS
from faults.product import SITE, Product, write_configuration
from faults.report import Row
from faults.waiting import TooLate, wait_until
from simulators.modbus_gateway import FaultyGateway

UNITS = 32
POLL_S = 1.0
TIMEOUT_S = 0.3
LATE_S = 0.7
SLOTS = [
    (q, phase) for q in ("active_power", "reactive_power", "apparent_power") for phase in ("total", "l1", "l2", "l3")
]
UNITS_OF = {"active_power": "W", "reactive_power": "var", "apparent_power": "VA"}
REFUSERS = range(29, UNITS + 1)  # those that say "illegal ...": the product leaves such a block alone for 15 minutes
ANSWERERS = range(1, 29)
PROFILE = "faults_u32"
FRAMINGS = {"tcp": "modbus-tcp", "rtu": "modbus-rtu-tcp"}


def word_of(unit: int, slot: int, number: int) -> int:
    """The 32-bit count of a register pair: 5 bits of unit, 4 of slot, 20 of the request's number."""
    return (unit & 31) << 24 | slot << 20 | number & 0xFFFFF


class Gateway:
    """A faulty gateway in a thread of its own; notes when each request came."""

    def __init__(self, framer: str) -> None:
        self.gateway = FaultyGateway("127.0.0.1", 0, framer, delay_s=LATE_S)
        self.asked_at: dict[tuple[int, int], float] = {}  # (unit, number) -> wall clock [s]
        for unit in range(1, UNITS + 1):
            self.gateway.add_registers(unit, lambda table, address, unit=unit: self._cell(unit, address))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.gateway.start(), self._loop).result(10)

    def _cell(self, unit: int, address: int) -> int | None:
        if address >= 2 * len(SLOTS):
            return None
        number = self.gateway.asked[unit]
        if address == 0:
            self.asked_at[unit, number] = time.time()
        return word_of(unit, address // 2, number) >> (0 if address % 2 else 16) & 0xFFFF

    def close(self) -> None:
        """Stop listening."""
        asyncio.run_coroutine_threadsafe(self.gateway.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


def configure(folder: Path, product_port: int, ports: dict[str, int], poll_s: float = POLL_S) -> None:
    """A profile of our own and 32 meters a line."""
    profiles = folder / "profiles"
    profiles.mkdir(parents=True)
    rows = [
        f'id = "{PROFILE}"\nversion = 1\nmanufacturer = "faults"\nmodel = "u32"\nprotocol = "modbus"\n'
        'source = "the fault harness"\nconfidence = "made up"\nmax_words = 60\n'
        'defaults = { table = "holding", type = "u32" }'
    ]
    rows += [
        f'[[register]]\nquantity = "{q}"\nphase = "{phase}"\naddress = {2 * slot}\nunit = "{UNITS_OF[q]}"'
        for slot, (q, phase) in enumerate(SLOTS)
    ]
    (profiles / f"{PROFILE}.toml").write_text("\n\n".join(rows) + "\n")
    meters = [
        f'[[meter]]\nid = "{framer}{unit}"\nname = "{framer} {unit}"\ncarrier = "electricity"\nprofile = "{PROFILE}"\n'
        f'connection = "{FRAMINGS[framer]}://127.0.0.1:{port}"\nunit_id = {unit}\npoll_s = {poll_s}'
        for framer, port in ports.items()
        for unit in range(1, UNITS + 1)
    ]
    write_configuration(folder, port=product_port, meters=meters, modbus_timeout_s=TIMEOUT_S)


class Line:
    """The product polling 32 units through a faulty gateway, over TCP and over RTU frames at once."""

    def __init__(self, folder: Path, *, launch: Sequence[str] = (), poll_s: float = POLL_S) -> None:
        self.gateways = {framer: Gateway(framer) for framer in FRAMINGS}
        self.product = Product(folder, launch=launch)
        ports = {framer: each.gateway.port for framer, each in self.gateways.items()}
        configure(folder, self.product.port, ports, poll_s)

    def __enter__(self) -> Line:
        self.product.start().wait_live()
        self.product.wait_connected()
        return self

    def __exit__(self, *_: object) -> None:
        if self.product.running:
            self.product.kill()
        for gateway in self.gateways.values():
            gateway.close()

    def set_mode(self, mode: str, units: Sequence[int]) -> None:
        """Let these units answer so, and the others well."""
        for gateway in self.gateways.values():
            for unit in range(1, UNITS + 1):
                gateway.gateway.set_mode(mode if unit in units else "pass", unit)

    def replies(self) -> int:
        """Requests so far."""
        return sum(each.gateway.requests for each in self.gateways.values())

    def check(self) -> tuple[int, list[str], dict[str, np.ndarray]]:
        """Readings stored, what is wrong with them, and the polls of each meter [s since 1970]; it must have ended."""
        with duckdb.connect(str(self.product.data / "meterhall.duckdb"), read_only=True) as con:
            found = con.execute(
                f"""SELECT p.meter, p.quantity, p.phase, r.observed_at, r.value FROM ({ROWS}) r
                    JOIN point p ON p.id = r.point WHERE p.site = ? ORDER BY p.meter, r.observed_at""",  # noqa: S608
                [SITE],
            )
            return self._check(row for some in iter(lambda: found.fetchmany(100_000), []) for row in some)

    def _check(self, rows: Iterable[tuple[Any, ...]]) -> tuple[int, list[str], dict[str, np.ndarray]]:
        wrong: list[str] = []
        numbers: dict[tuple[str, int], set[int]] = {}
        stored = 0
        for meter, quantity, phase, at, value in rows:
            stored += 1
            unit, slot, word = int(meter[3:]), SLOTS.index((quantity, phase)), int(value)
            number = word & 0xFFFFF
            asked = self.gateways[meter[:3]].asked_at.get((unit, number))
            if value != word or word != word_of(unit, slot, number) or asked is None:
                wrong.append(f"{meter} {quantity}/{phase}: {value:g} was never sent so")
            elif not -0.05 <= at / 1e6 - asked <= LATE_S - 0.05:
                wrong.append(f"{meter}: the reply to a request of {at / 1e6 - asked:.2f} s ago was stored as of now")
            numbers.setdefault((meter, at), set()).add(number)
        wrong += [
            f"{meter}: one poll holds values of several replies" for (meter, _), of in numbers.items() if len(of) > 1
        ]
        polls: dict[str, list[float]] = {}
        for meter, at in numbers:
            polls.setdefault(meter, []).append(at / 1e6)
        return stored, wrong, {meter: np.array(sorted(times)) for meter, times in polls.items()}


def share_kept(polls: dict[str, np.ndarray], healthy: Sequence[int], start: float, end: float) -> float:
    """The share of their schedule that the healthy units kept in [start, end), the worst line's."""
    due = (end - start) / POLL_S
    shares = []
    for framer in FRAMINGS:
        kept = [
            (
                (polls.get(f"{framer}{unit}", np.empty(0)) >= start) & (polls.get(f"{framer}{unit}", np.empty(0)) < end)
            ).sum()
            for unit in healthy
        ]
        shares.append(sum(kept) / (due * len(healthy)))
    return float(min(shares))


MODES = (
    "slow", "late", "wrong_tid", "wrong_unit", "wrong_function", "short", "long", "cut", "bad_crc", "noise", "twice",
    "exception 1", "exception 2", "exception 3", "exception 4", "exception 5", "exception 6", "exception 8",
    "exception 10", "exception 11", "close",
)  # fmt: skip


def dead_units(folder: Path, *, phase_s: float) -> Row:
    """1 and then 8 of 32 units dead: what the others keep of their schedule."""
    row = Row("Modbus: 1 and 8 of 32 dead", "polls due")
    spans: dict[int, tuple[float, float]] = {}
    with Line(folder) as line:
        time.sleep(3 * POLL_S)
        for dead in (0, 1, 8):
            line.set_mode("dead", range(1, dead + 1))
            start = time.time()
            time.sleep(phase_s)
            spans[dead] = start, time.time()
            offline = [
                unit["device"] for each in line.product.lines() for unit in each["units"] if unit["breaker"] != "closed"
            ]
            row.notes[f"offline with {dead} dead"] = len(offline)
        line.product.stop()
        stored, wrong, polls = line.check()
    for dead, target in ((0, 0.0), (1, 0.95), (8, 0.80)):
        kept = share_kept(polls, range(dead + 1, UNITS + 1), *spans[dead])
        row.notes[f"kept with {dead} dead"] = round(kept, 3)
        row.expect(
            kept >= target, f"healthy units kept {kept:.1%} of their schedule with {dead} dead; target {target:.0%}"
        )
    row.count = int(phase_s / POLL_S) * UNITS * 2 * 3
    row.invented = len(wrong)
    row.missed += wrong[:3]
    row.notes["readings"] = stored
    return row


def wrong_replies(
    folder: Path,
    *,
    phase_s: float,
    launch: Sequence[str] = (),
    modes: Sequence[str] = MODES,
    requests: int = 0,
    poll_s: float = POLL_S,
) -> Row:
    """A quarter of the units answers wrongly, one way after another, then all well again: no wrong value is stored.

    It goes round all the ways until there were so many `requests`.
    """
    row = Row("Modbus: wrong replies", "requests")
    with Line(folder, launch=launch, poll_s=poll_s) as line:
        for number in itertools.count():
            if number >= len(modes) and line.replies() >= requests:
                break
            mode = modes[number % len(modes)]
            refusing = mode in ("exception 1", "exception 2", "exception 3")
            line.set_mode(mode, REFUSERS if refusing else [unit for unit in ANSWERERS if unit % 4 == number % 4])
            time.sleep(phase_s)
        if "close" in modes:
            for gateway in line.gateways.values():
                gateway.gateway.close_at_once = True
            connects = sum(each.gateway.connects for each in line.gateways.values())
            time.sleep(2 * phase_s)
            connects = sum(each.gateway.connects for each in line.gateways.values()) - connects
            row.notes["connects a second while it closes at once"] = round(
                connects / (2 * phase_s) / len(line.gateways), 2
            )
            row.expect(
                connects <= 2 * phase_s * len(line.gateways) * 1.2 + 2,
                f"{connects} connects in {2 * phase_s:g} s to a gateway that closes",
            )
            for gateway in line.gateways.values():
                gateway.gateway.close_at_once = False
                gateway.gateway.set_mode("freeze")
            time.sleep(phase_s)
            for gateway in line.gateways.values():
                gateway.gateway.set_mode("pass")
        healed = time.time()
        line.set_mode("pass", [])
        row.notes["errors"] = _errors(line.product)
        if "close" in modes:
            try:
                wait_until(lambda: _newest(line.product, healed), 90, "every unit answers again", every_s=0.2)
                row.recovered(time.time() - healed)
            except TooLate as late:
                silent = [
                    unit["device"]
                    for each in line.product.lines()
                    for unit in each["units"]
                    if unit["unit_id"] in ANSWERERS and unit["breaker"] != "closed"
                ]
                row.missed.append(f"{late}: {silent[:5]}")
        row.count = line.replies()
        line.product.stop()
        stored, wrong, _ = line.check()
    row.invented = len(wrong)
    row.missed += wrong[:3]
    row.notes["readings"] = stored
    row.expect(stored > 0, "nothing was stored at all")
    return row


def _errors(product: Product) -> dict[str, int]:
    total: dict[str, int] = {}
    for line in product.lines():
        for unit in line["units"]:
            for kind, count in unit["errors"].items():
                total[kind] = total.get(kind, 0) + count
    return total


def _newest(product: Product, since: float) -> bool:
    """Has every unit answered since then?"""
    units = [unit for line in product.lines() for unit in line["units"] if unit["unit_id"] in ANSWERERS]
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since + 1))
    return bool(units) and all(unit["last_answer"] and unit["last_answer"][:19] > stamp for unit in units)
