"""The history a demo starts with: counters and mean power each quarter hour, in columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from metering.clock import DAY_US, HOUR_US, QUARTER_US, SECOND_US, now_us
from metering.quantity import QUANTITIES, Carrier, Kind, Phase, Quality
from metering.reading import Origin, Point, ReadingBatch
from metering.site import Meter, Vehicle
from simulators.config import Bureau
from simulators.faults import distort
from simulators.grid import Array
from simulators.meter import registers
from simulators.world import CLIMATE, RATE, World, _flow_kind, build, counter_of

TOTAL = Phase.TOTAL.value
SIMULATED, REPLAYED = "simulated history", "replayed history"


@dataclass(frozen=True, slots=True)
class Column:
    """One point's history: its own stamps where a clock was wrong, and which values it said."""

    point: Point
    value: Array
    said: NDArray[np.bool_] | None
    at: NDArray[np.int64] | None
    origin: int


def history(
    bureau: Bureau,
    start: int,
    end: int,
    *,
    step: int = QUARTER_US,
    received_at: int | None = None,
    chunk_days: int = 30,
    world: World | None = None,
    counters_only: bool = False,
) -> Iterator[ReadingBatch]:
    """Readings of all devices in [start, end), site by site; each batch is sorted by point and time.

    Parameters
    ----------
    start, end : [us since 1970]; values stand on the quarter hours
    step : spacing [us]; a multiple of a quarter hour
    received_at : when they came in; None: now [us since 1970]
    chunk_days : days a batch holds
    world : one that `build` made and that holds [start, end); None: it is built here
    counters_only : meters say their counter and no mean power; climate and vehicles are as ever

    Yields
    ------
    ReadingBatch
        With two origins, "simulated history" and "replayed history".

    Raises
    ------
    ValueError
        If `step` is no multiple of a quarter hour.
    ExplainedError
        If `end` lies before the bureau's anchor.
    """
    if step <= 0 or step % QUARTER_US:
        raise ValueError(f"step is {step} us; use a multiple of a quarter hour")
    came = now_us() if received_at is None else received_at
    for part in [bureau] if world else bureau.parts():
        yield from _history(world or build(part, end), start, end, step, came, chunk_days, counters_only)


def _history(
    world: World, start: int, end: int, step: int, came: int, chunk_days: int, counters_only: bool
) -> Iterator[ReadingBatch]:
    """The history of one site."""
    start = max(start, world.grid.start + QUARTER_US)
    first, last = -(-(start - world.grid.start) // QUARTER_US), -(-(end - world.grid.start) // QUARTER_US)
    edges = np.arange(first, last, step // QUARTER_US)
    if not len(edges):
        return
    columns = list(_columns(world, edges, counters_only))
    at = world.grid.edges[edges]
    origins = (Origin(SIMULATED, came, "", ""), Origin(REPLAYED, came, "", ""))
    points = tuple(column.point for column in columns)
    value = np.stack([column.value for column in columns])
    said = np.stack([np.ones(len(at), bool) if c.said is None else c.said for c in columns])
    stamps = {i: column.at for i, column in enumerate(columns) if column.at is not None}
    origin = np.array([column.origin for column in columns], dtype=np.int32)
    for begin in range(0, len(at), chunk := max(1, chunk_days * DAY_US // step)):
        part = slice(begin, begin + chunk)
        mask = said[:, part]
        times = np.broadcast_to(at[part], mask.shape)
        if stamps:
            times = times.copy()
            for i, own in stamps.items():
                times[i] = own[part]
        which = np.repeat(np.arange(len(points), dtype=np.int32), mask.sum(axis=1))
        yield ReadingBatch(
            points=points,
            point=which,
            at=times[mask],
            value=value[:, part][mask],
            quality=np.full(len(which), int(Quality.MEASURED), dtype=np.uint8),
            origin=origin[which],
            origins=origins,
        )


def _columns(world: World, edges: NDArray[np.int64], counters_only: bool) -> Iterator[Column]:
    seconds = (world.grid.edges[edges] - world.grid.start) / SECOND_US
    at = world.grid.edges[edges]
    for device in world.bureau.installation.devices():
        known = registers(device.profile)
        quiet = world.silent.get(device.id)
        said = None if quiet is None else ~quiet[edges - 1 - world.first]
        metered = isinstance(device, Meter) and device.carrier is not Carrier.CLIMATE
        for quantity, value in _true(world, device, edges, seconds):
            if counters_only and metered and QUANTITIES[quantity].kind is not Kind.COUNTER:
                continue
            if (quantity, TOTAL) in known:
                yield _told(world, device, quantity, at, value, said)


def _told(
    world: World,
    device: Meter | Vehicle,
    quantity: str,
    at: NDArray[np.int64],
    value: Array,
    said: NDArray[np.bool_] | None,
) -> Column:
    """A true course as the device says it: its faults, then its register."""
    stamps = None
    faults = world.faults_of(device)
    if faults:
        slot = (quantity, TOTAL)
        stamped, value, heard = distort(faults, quantity, at, value, partial(world.true_at, device, slot))
        said = heard if said is None else said & heard
        stamps = None if stamped is at else stamped
    held = registers(device.profile)[quantity, TOTAL].hold(value)
    if isinstance(device, Vehicle):
        awake = _awake(at, held)
        said = awake if said is None else said & awake
    return Column(
        Point(device.site, device.id, quantity),
        held,
        said,
        stamps,
        int(getattr(device, "replayed", False)),
    )


def _awake(at: NDArray[np.int64], value: Array) -> NDArray[np.bool_]:
    """A parked vehicle sleeps: it speaks when something has changed, and each full hour. bool (n,)"""
    changed = np.ones(len(value), dtype=bool)
    changed[1:] = value[1:] != value[:-1]
    changed[:-1] |= changed[1:]  # the last value before a change, so that nothing seems to drift
    changed |= at % HOUR_US == 0
    return changed


def _true(
    world: World, device: Meter | Vehicle, edges: NDArray[np.int64], seconds: Array
) -> Iterator[tuple[str, Array]]:
    """(quantity, true values at the edges) of a device; power is the mean of the step before."""
    if isinstance(device, Vehicle):
        yield from _vehicle(world, device, seconds)
        return
    kept = edges - world.first
    if device.carrier is Carrier.CLIMATE:
        for name in CLIMATE:
            yield name, world.gauges[device.id, name][kept]
        return
    name = counter_of(world.bureau, device)
    made_of = world.tree[world.row[device.id]]
    rows = np.flatnonzero(made_of)
    count = made_of[rows] @ world.counted[rows]
    spacing = int(edges[1] - edges[0]) if len(edges) > 1 else 1
    earlier = np.maximum(kept - spacing, 0)
    hours = np.maximum(kept - earlier, 1) / 4
    yield name, world.offset[device.id, name] + count[kept]
    mean = (count[kept] - count[earlier]) / hours * RATE[_flow_kind(device)]
    if device.carrier is Carrier.ELECTRICITY:
        yield "active_power", -mean if device.role == "generation" else mean
    elif device.carrier is Carrier.HEAT:
        yield "heat_power", mean
        for temperature in ("flow_temperature", "return_temperature"):
            yield temperature, world.gauges[device.id, temperature][kept]


def _vehicle(world: World, device: Vehicle, seconds: Array) -> Iterator[tuple[str, Array]]:
    course = world.fleet.courses[device.id]
    yield "odometer", course.value("odometer", seconds)
    if device.battery_kwh:
        yield "state_of_charge", 100 * course.value("battery", seconds) / device.battery_kwh
        yield "charge_energy", course.value("plug", seconds)
    if device.tank_l:
        yield "fuel_level", 100 * course.value("fuel", seconds) / device.tank_l
        yield "fuel_used", course.value("fuel_used", seconds)
