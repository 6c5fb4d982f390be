"""The simulated world: every flow and counter on the grid, and the state of each device at any instant.

A meter's own flow is what no meter below it sees; its total is the sum over its tree. Both are kept on
quarter hours; inside one the course is `meter.within`, so that live values join the history exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from metering.clock import DAY_US, QUARTER_US, SECOND_US
from metering.explain import ExplainedError
from metering.quantity import QUANTITIES, Carrier
from metering.site import Meter, Vehicle
from simulators import replay, vehicle
from simulators.building import House, Surroundings
from simulators.changes import changed
from simulators.config import Bureau
from simulators.faults import FLOW_FAULTS, SILENT, Fault, distort, extra_flow
from simulators.grid import STEPS_PER_DAY, Array, Grid, stream
from simulators.meter import electrical, registers, within
from simulators.weather import Weather, weather
from simulators.workdays import workdays

Slot = tuple[str, str]  # (quantity, phase)
OFFSET_DAYS = 60  # the first days of a world, from which its counters' beginnings are taken; it is never shorter
AHEAD_US = 32 * DAY_US  # how far a live world is worked out before it has to be renewed
RATE = {"electricity": 1000.0, "heat": 1000.0, "water": 1.0, "gas": 1.0}  # flow per unit of counter and hour
MAIN_COUNTER = {"electricity": "active_energy_import", "water": "water_volume", "heat": "heat_energy"}
CLIMATE = ("outdoor_temperature", "relative_humidity", "global_irradiance")
REPLAYED_CLIMATE = ("temp_c", "rh_pct", "ghi_wm2")
KWH_PER_M3_DEGREE = 1.163  # of water
KM_PER_DEGREE = 111.2


@dataclass
class World:
    """One stretch of the simulated world.

    Attributes
    ----------
    first : step of the grid at which the kept arrays begin
    own : float64 (m, k), own mean flow of each kept step [W, m3/h]
    counted : float64 (m, k + 1), own counter at the kept edges since the anchor [kWh, m3]
    silent : bool (k,) by replayed meter, where the archive has no reading
    gauges : float64 (k + 1,) by (meter, quantity), at the kept edges
    """

    bureau: Bureau
    grid: Grid
    meters: tuple[Meter, ...]
    first: int
    own: Array
    counted: Array
    offset: dict[tuple[str, str], float]
    silent: dict[str, NDArray[np.bool_]]
    gauges: dict[tuple[str, str], Array]
    fleet: vehicle.Fleet
    row: dict[str, int]
    tree: Array  # float64 (m, m): total = tree @ own
    wave: Array
    _true: dict[tuple[str, str, int], float] = field(default_factory=dict)
    _cache: tuple[int, Array, Array] | None = None

    @property
    def start(self) -> int:
        """First instant that can be asked for [us since 1970]."""
        return int(self.grid.edges[self.first + 1]) if self.first else self.grid.start

    @property
    def end(self) -> int:
        """Last instant that can be asked for [us since 1970]."""
        return int(self.grid.edges[-1]) - 4 * DAY_US

    # -- the flows of all meters at an instant

    def flows(self, at: int) -> tuple[Array, Array]:
        """Total flow of each meter at an instant, and its counter since the anchor. float64 (m,) each

        Raises
        ------
        ValueError
            If the instant lies outside [start, end].
        """
        if self._cache is not None and self._cache[0] == at:
            return self._cache[1], self._cache[2]
        if not self.start <= at <= self.end:
            raise ValueError(f"{at} lies outside the simulated stretch {self.start} to {self.end}")
        step = self.grid.step_of(at)
        k = step - self.first
        share = (at - int(self.grid.edges[step])) / QUARTER_US
        before = self.own[:, max(0, k - 1)]
        now, passed = within(before, self.own[:, k], self.own[:, k + 1], share, self.wave, step)
        count = self.counted[:, k] + passed / 4 / self._rate
        seconds = (at - self.grid.start) / SECOND_US
        for charger in self.fleet.chargers:
            i = self.row[charger]
            now[i] = self.fleet.charger_power(charger, seconds) * (1 + 0.008 * math.sin(seconds / 7 + self.wave[i]))
            count[i] = float(self.fleet.charger_energy(charger, seconds))
        total, counter = self.tree @ now, self.tree @ count
        self._cache = (at, total, counter)
        return total, counter

    @property
    def _rate(self) -> Array:
        return np.array([RATE[_flow_kind(meter)] for meter in self.meters])

    def gauge(self, device: str, quantity: str, at: int) -> float:
        """A gauge of the weather or of a heat meter, between its edges."""
        step = self.grid.step_of(at)
        share = (at - int(self.grid.edges[step])) / QUARTER_US
        edges = self.gauges[device, quantity]
        return float(edges[step - self.first] * (1 - share) + edges[step - self.first + 1] * share)

    # -- what each device says

    def faults_of(self, device: Meter | Vehicle) -> list[Fault]:
        """The faults that change what a device says, its broker's among them."""
        broker = device.connection.removeprefix("mqtt://").partition("/")[0]
        names = {device.id, broker} if device.connection.startswith("mqtt://") else {device.id}
        return [fault for fault in self.bureau.faults if fault.device in names and fault.kind not in FLOW_FAULTS]

    def true_values(self, device: Meter | Vehicle, at: int) -> dict[Slot, float]:
        """All a device could truly say at an instant, by (quantity, phase) [the quantity's unit].

        More than its profile has; `values` keeps to that.
        """
        if isinstance(device, Vehicle):
            told = vehicle.state(self.fleet.courses[device.id], device, at - self.grid.start)
            site = self.bureau.installation.site(device.site)
            north, east = told["away_km"] * math.cos(told["heading"]), told["away_km"] * math.sin(told["heading"])
            told["latitude"] = (site.latitude or 35.0) + north / KM_PER_DEGREE
            told["longitude"] = (site.longitude or 113.0) + east / KM_PER_DEGREE / 0.82
            return {(name, "total"): value for name, value in told.items() if name in QUANTITIES}
        if device.carrier is Carrier.CLIMATE:
            return {(name, "total"): self.gauge(device.id, name, at) for name in CLIMATE}
        total, counter = self.flows(at)
        i = self.row[device.id]
        flow, count = float(total[i]), float(counter[i])
        if device.carrier is Carrier.ELECTRICITY:
            return self._electrical(device, flow, count, at)
        if device.carrier is Carrier.HEAT:
            supply = self.gauge(device.id, "flow_temperature", at)
            back = self.gauge(device.id, "return_temperature", at)
            litres = flow / 1000 / KWH_PER_M3_DEGREE / max(supply - back, 4.0)
            # volume: of an even 18 K between flow and return, so that it stays a pure function of the energy
            volume = (self._offset(device, "heat_energy") + count) / KWH_PER_M3_DEGREE / 18.0
            told = {
                "heat_energy": self._offset(device, "heat_energy") + count,
                "heat_power": flow,
                "heat_flow": litres,
                "heat_volume": volume,
                "flow_temperature": supply,
                "return_temperature": back,
            }
            return {(name, "total"): value for name, value in told.items()}
        name = counter_of(self.bureau, device)
        told = {name: self._offset(device, name) + count}
        if name.endswith("_volume"):
            told[name.replace("_volume", "_flow")] = flow
        told["battery_level"] = 97.0 - (at - self.grid.start) / DAY_US * 0.02
        return {(name, "total"): value for name, value in told.items()}

    def _offset(self, meter: Meter, quantity: str) -> float:
        return self.offset.get((meter.id, quantity), 0.0)

    def _electrical(self, meter: Meter, flow: float, count: float, at: int) -> dict[Slot, float]:
        given = counter_of(self.bureau, meter)
        power = -flow if meter.role == "generation" else flow
        out = electrical(power, at / SECOND_US, float(self.wave[self.row[meter.id]]), meter.profile == "eastron_sdm120")
        energy = self._offset(meter, given) + count
        other = "active_energy_import" if given == "active_energy_export" else "active_energy_export"
        out[given, "total"], out[other, "total"] = energy, 0.0
        out["reactive_energy_import", "total"], out["reactive_energy_export", "total"] = 0.31 * energy, 0.0
        for phase, part in (("l1", 0.345), ("l2", 0.331), ("l3", 0.324)):
            out[given, phase], out[other, phase] = energy * part, 0.0
            out["reactive_energy_import", phase], out["reactive_energy_export", phase] = 0.31 * energy * part, 0.0
        return out

    def values(self, device: Meter | Vehicle, at: int) -> tuple[int, dict[Slot, float]] | None:
        """What a device says at an instant: its own stamp and its values; None while it says nothing.

        Values stand on their register's count and counters wrap at its limit, as in the history.
        """
        silent = self.silent.get(device.id)
        if silent is not None and silent[self.grid.step_of(at) - self.first]:
            return None
        faults = self.faults_of(device)
        if any(fault.kind in SILENT and fault.holds(at) for fault in faults):
            return None
        known = registers(device.profile)
        stamp, told = at, {slot: value for slot, value in self.true_values(device, at).items() if slot in known}
        faults = [fault for fault in faults if fault.start <= at or fault.kind == "swap"]
        here = np.array([at])
        for slot, value in told.items():
            column = np.array([value])
            if faults:
                stamps, column, _ = distort(faults, slot[0], here, column, partial(self.true_at, device, slot))
                stamp = int(stamps[0])
            told[slot] = float(known[slot].hold(column)[0])
        return stamp, told

    def true_at(self, device: Meter | Vehicle, slot: Slot, at: int) -> float:
        """A true value at the start of a fault; kept when the stretch moves on."""
        key = (device.id, "/".join(slot), at)
        if key not in self._true:
            clipped = min(max(at, self.start), self.end)
            self._true[key] = self.true_values(device, clipped).get(slot, 0.0)
        return self._true[key]


def _flow_kind(meter: Meter) -> str:
    """The kind of a meter's flow; replayed gas is energy."""
    return "heat" if meter.carrier is Carrier.GAS and meter.replayed else meter.carrier.value


def counter_of(bureau: Bureau, meter: Meter) -> str:
    """The quantity that a meter counts."""
    if meter.role == "generation":
        return "active_energy_export"
    if meter.carrier is Carrier.GAS:
        return "gas_energy" if bureau.load_of(meter).replay else "gas_volume"
    return MAIN_COUNTER[meter.carrier.value]


def build(bureau: Bureau, until: int, *, keep_from: int | None = None) -> World:
    """Work out the world from the anchor to past `until` [us since 1970].

    Parameters
    ----------
    keep_from : keep arrays only from about here on (a live world is small); None: all

    Raises
    ------
    ExplainedError
        If `until` lies before the anchor.
    """
    grid = Grid.between(bureau.anchor, until + 5 * DAY_US, bureau.zone)
    grid = Grid(grid.start, max(grid.n, (OFFSET_DAYS + 5) * STEPS_PER_DAY), grid.zone)
    if until < grid.start:
        raise ExplainedError(
            "story.toml: anchor", f"is {bureau.anchor}, after the time asked for", "set an earlier anchor"
        )
    site = bureau.installation.sites[0]
    sky = weather(grid, site.latitude or 35.0, site.longitude or 113.0, bureau.seed)
    around = Surroundings(grid, workdays(grid.days, site.country), sky, bureau.seed)
    meters = tuple(m for m in bureau.installation.meters if m.carrier is not Carrier.CLIMATE)
    chargers = {m.id: m for m in meters if bureau.load_of(m).shape == "charger"}
    fleet = vehicle.fleet(bureau.installation.vehicles, chargers, grid, around.workdays, sky.outside, bureau.seed)
    row = {meter.id: i for i, meter in enumerate(meters)}
    silent: dict[str, NDArray[np.bool_]] = {}
    own = _own_flows(bureau, meters, row, around, fleet, silent)
    rate = np.array([RATE[_flow_kind(meter)] for meter in meters])
    counted = np.zeros((len(meters), grid.n + 1))
    np.cumsum(own / (4 * rate[:, None]), axis=1, out=counted[:, 1:])
    world = World(
        bureau=bureau,
        grid=grid,
        meters=meters,
        first=0,
        own=own,
        counted=counted,
        offset={},
        silent=silent,
        gauges=_gauges(bureau, meters, own, row, around, silent),
        fleet=fleet,
        row=row,
        tree=_tree(bureau, meters, row),
        wave=np.array([stream(bureau.seed, m.id, "wave").uniform(0, 2 * math.pi) for m in meters]),
    )
    _set_offsets(world)
    for device in bureau.installation.devices():
        for fault in world.faults_of(device):
            if fault.kind in ("swap", "reset", "stuck") and world.start <= fault.start <= world.end:
                for slot in world.true_values(device, fault.start):
                    world.true_at(device, slot, fault.start)
    return world if keep_from is None else _from(world, keep_from)


def _own_flows(
    bureau: Bureau,
    meters: tuple[Meter, ...],
    row: dict[str, int],
    around: Surroundings,
    fleet: vehicle.Fleet,
    silent: dict[str, NDArray[np.bool_]],
) -> Array:
    """Each meter's own flow. A replayed main keeps its own total: what its sub-meters take is part of it."""
    grid = around.grid
    houses = {building.id: House(building, around) for building in bureau.installation.buildings} | {
        "": House(None, around)
    }
    own = np.zeros((len(meters), grid.n))
    for meter in meters:
        load, i = bureau.load_of(meter), row[meter.id]
        if load.replay:
            own[i], silent[meter.id] = replay.flow(load.replay, grid)
        elif load.shape == "charger":
            seconds = (grid.edges - grid.start) / SECOND_US
            own[i] = np.diff(fleet.charger_energy(meter.id, seconds)) * 4000.0
        elif load.shape:
            own[i] = np.maximum(getattr(houses[meter.building], load.shape)(meter.id, load.size), 0.0)
        for change in bureau.changes:
            if change.device == meter.id:
                own[i] = changed(own[i], change, grid)
        for fault in bureau.faults:
            if fault.device == meter.id and fault.kind in FLOW_FAULTS:
                own[i] += extra_flow(fault, grid)
    for meter in meters:
        if bureau.load_of(meter).replay:
            for child in bureau.installation.children[meter.id]:
                own[row[child.id]] = np.minimum(own[row[child.id]], 0.3 * own[row[meter.id]])
                own[row[meter.id]] -= own[row[child.id]]
    return own


def _tree(bureau: Bureau, meters: tuple[Meter, ...], row: dict[str, int]) -> Array:
    """Which own flows a meter's total is made of; generation is taken off the meters above it, or the grid's main."""
    tree = np.eye(len(meters))
    for meter in meters:
        at = meter.parent
        while at:
            tree[row[at], row[meter.id]] = -1.0 if meter.role == "generation" else 1.0
            above = bureau.installation.by_id[at]
            at = above.parent if isinstance(above, Meter) else ""
    for meter in meters:
        if meter.role != "generation" or meter.parent:
            continue
        mains = [
            m for m in meters
            if m.site == meter.site and m.role == "grid" and not m.parent and m.carrier is Carrier.ELECTRICITY
        ]  # fmt: skip
        if mains:
            tree[row[mains[0].id], row[meter.id]] = -1.0
    return tree


def _gauges(
    bureau: Bureau,
    meters: tuple[Meter, ...],
    own: Array,
    row: dict[str, int],
    around: Surroundings,
    silent: dict[str, NDArray[np.bool_]],
) -> dict[tuple[str, str], Array]:
    sky: Weather = around.weather
    out: dict[tuple[str, str], Array] = {}
    for meter in bureau.installation.meters:
        if meter.carrier is Carrier.CLIMATE:
            for name, column, simulated in zip(
                CLIMATE, REPLAYED_CLIMATE, (sky.temperature, sky.humidity, sky.irradiance), strict=True
            ):
                if meter.replayed:
                    out[meter.id, name], missing = replay.climate(column, around.grid)
                    silent[meter.id] = missing[:-1]
                else:
                    out[meter.id, name] = simulated
    season = np.append(around.heating, around.heating[-1])
    wanted = np.clip(58 - 1.25 * (np.append(sky.lagged, sky.lagged[-1]) - 2), 42, 88)
    for meter in meters:
        if meter.carrier is Carrier.HEAT:
            flow = np.append(own[row[meter.id]], own[row[meter.id], -1])
            share = np.clip(flow / (meter.rated_power_w or 400_000.0), 0, 1.2)
            idle = 21.0 + 0.25 * (np.append(sky.lagged, sky.lagged[-1]) - 15)
            near = 1.5 if meter.parent else 0.0
            supply = idle + season * (wanted - near - idle)
            out[meter.id, "flow_temperature"] = supply
            out[meter.id, "return_temperature"] = supply - season * (9 + 15 * share) - 0.2
    return out


def _set_offsets(world: World) -> None:
    """What each counter had counted before the anchor: some years of its own ordinary use."""
    span = OFFSET_DAYS * STEPS_PER_DAY
    for meter in world.meters:
        name = counter_of(world.bureau, meter)
        years = stream(world.bureau.seed, meter.id, "offset").uniform(0.6, 4.5)
        mean = float(world.tree[world.row[meter.id]] @ world.counted[:, span]) / OFFSET_DAYS
        world.offset[meter.id, name] = float(round(max(mean, 0.02) * 365 * years * 0.7, 1))


def _from(world: World, keep_from: int) -> World:
    """The world from about `keep_from` on, with its arrays cut off."""
    first = max(0, world.grid.step_of(keep_from) - 2)
    world.own = world.own[:, first:].copy()
    world.counted = world.counted[:, first:].copy()
    world.silent = {name: rows[first:].copy() for name, rows in world.silent.items()}
    world.gauges = {name: rows[first:].copy() for name, rows in world.gauges.items()}
    world.first = first
    world._cache = None
    return world
