"""What is measured and where: sites, buildings, meters, vehicles, and their dated facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from metering.distance import Position
from metering.explain import ExplainedError
from metering.quantity import Carrier

IMPORTED = "import://"  # the connection of a meter whose values come from files or another service

Role = Literal["grid", "generation", "storage", "load", "vehicle", "sensor"]


@dataclass(frozen=True, slots=True)
class Name:
    """A thing's name in both languages; `zh` falls back to `en`."""

    en: str
    zh: str = ""

    def in_language(self, language: str) -> str:
        """The name in `en` or `zh`."""
        return self.zh if language == "zh" and self.zh else self.en


@dataclass(frozen=True, slots=True)
class Fact:
    """A dated fact of a meter, applied on the way out and never to raw.

    Holds from `valid_from` [us since 1970] until the next fact of the same kind and quantity.

    kind `ratio`: values of power, energy and current are multiplied by `factor` (CT x VT).
    kind `sign`: `factor` -1 is a clamp put on backwards: power changes its sign, import and
        export energy change places.
    kind `rescale`: value x factor + offset, for the one `quantity` named (e.g. litres a pulse).
    kind `swap`: the meter was replaced at `valid_from`: `last` is the old counter's final
        value, `first` the new one's initial value [unit of `quantity`].
    """

    kind: Literal["ratio", "sign", "rescale", "swap"]
    valid_from: int
    factor: float = 1.0
    offset: float = 0.0
    quantity: str = ""
    last: float | None = None
    first: float | None = None
    reason: str = ""
    author: str = ""


@dataclass(frozen=True, slots=True)
class Dated:
    """A value with a date: floor area [m2], persons [1]."""

    value: float
    valid_from: int  # [us since 1970]


@dataclass(frozen=True, slots=True)
class Site:
    """One institution's compound."""

    id: str
    name: Name
    timezone: str  # IANA
    latitude: float | None = None  # [deg]
    longitude: float | None = None  # [deg]
    country: str = "CN"  # whose calendar


@dataclass(frozen=True, slots=True)
class Building:
    """A building: a node of its site's meter tree."""

    id: str
    site: str
    name: Name
    use: str = "office"  # office, service_hall, canteen, school, library, depot, ...
    floor_area: tuple[Dated, ...] = ()  # [m2]
    persons: tuple[Dated, ...] = ()  # [1]
    opens: str = "08:30"  # local time
    closes: str = "17:30"
    in_charge: str = ""


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter of one carrier, or a climate sensor."""

    id: str
    site: str
    building: str  # "" when it serves the site as a whole
    name: Name
    carrier: Carrier
    role: Role
    profile: str
    connection: str  # modbus-tcp://host:port, modbus-rtu-tcp://host:port, mqtt://<broker id>/<base topic>
    unit_id: int | None = None  # Modbus, 0..247
    parent: str = ""  # the meter whose flow this one is a part of
    end_use: str = ""  # lighting, hvac, power, special, ...
    poll_s: float = 60.0
    cadence_s: float | None = None  # expected spacing of readings; None: learn it
    rated_power_w: float | None = None
    facts: tuple[Fact, ...] = ()
    simulated: bool = False
    replayed: bool = False
    latitude: float | None = None  # [deg]; of a sensor that stands elsewhere than its site
    longitude: float | None = None  # [deg]

    @property
    def imported(self) -> bool:
        """Is it read by nobody here: its values are imported?"""
        return self.connection.startswith(IMPORTED)


@dataclass(frozen=True, slots=True)
class Vehicle:
    """An official vehicle."""

    id: str
    site: str
    name: Name
    drive: Literal["electric", "plug_in_hybrid", "petrol", "diesel"]
    profile: str
    connection: str
    building: str = ""  # where it is kept
    plate: str = ""
    battery_kwh: float | None = None
    tank_l: float | None = None
    position: bool = False  # keep its position (90 days)? else dropped at decoding
    cadence_s: float | None = None
    facts: tuple[Fact, ...] = ()
    simulated: bool = False

    @property
    def carrier(self) -> Carrier:
        """Vehicles are a carrier of their own."""
        return Carrier.VEHICLE

    @property
    def unit_id(self) -> None:
        """No vehicle speaks Modbus."""
        return None


Device = Meter | Vehicle


@dataclass(frozen=True)
class Installation:
    """Everything configured: one consistent, validated set.

    Raises
    ------
    ExplainedError
        On construction, if ids repeat, a parent, building or site is unknown, or the meter
        tree has a cycle. `where` names the id.
    """

    sites: tuple[Site, ...] = ()
    buildings: tuple[Building, ...] = ()
    meters: tuple[Meter, ...] = ()
    vehicles: tuple[Vehicle, ...] = ()
    factors: tuple[Factor, ...] = field(default=())

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for thing in self._things():
            if thing.id in seen:
                raise ExplainedError(
                    f'id "{thing.id}"',
                    "is used twice",
                    "give every site, building, meter and vehicle an id of its own",
                )
            seen.add(thing.id)
        sites = {site.id for site in self.sites}
        for thing in self._things():
            if not isinstance(thing, Site) and thing.site not in sites:
                raise ExplainedError(
                    f'"{thing.id}".site', f'is "{thing.site}"', f"name one of: {', '.join(sorted(sites)) or 'none yet'}"
                )
        buildings = {building.id for building in self.buildings}
        for device in self.devices():
            if device.building and device.building not in buildings:
                raise ExplainedError(
                    f'"{device.id}".building',
                    f'is "{device.building}"',
                    f"name one of: {', '.join(sorted(buildings)) or 'none yet'}",
                )
        self._check_tree()

    def _check_tree(self) -> None:
        parents = {meter.id: meter.parent for meter in self.meters}
        carriers = {meter.id: meter.carrier for meter in self.meters}
        for start in parents:
            path, at = [start], parents[start]
            while at:
                if at not in parents:
                    raise ExplainedError(
                        f'"{path[-1]}".parent', f'is "{at}"', "name a meter of this site, or leave it out"
                    )
                if carriers[at] != carriers[path[-1]]:
                    raise ExplainedError(
                        f'"{path[-1]}".parent',
                        f'is "{at}", a meter of {carriers[at]}',
                        f"name a meter of {carriers[path[-1]]}",
                    )
                if at in path:
                    raise ExplainedError(
                        f'"{start}".parent',
                        f"goes round in a circle: {' -> '.join([*path, at])}",
                        "a main meter has no parent",
                    )
                path.append(at)
                at = parents[at]

    def _things(self) -> Iterator[Site | Building | Meter | Vehicle]:
        yield from self.sites
        yield from self.buildings
        yield from self.meters
        yield from self.vehicles

    def devices(self) -> Iterator[Device]:
        """Meters, then vehicles."""
        yield from self.meters
        yield from self.vehicles

    @cached_property
    def by_id(self) -> dict[str, Site | Building | Meter | Vehicle]:
        """Every configured thing by its id."""
        return {thing.id: thing for thing in self._things()}

    @cached_property
    def children(self) -> dict[str, tuple[Meter, ...]]:
        """The sub-meters of each meter, by its id."""
        below: dict[str, list[Meter]] = {meter.id: [] for meter in self.meters}
        for meter in self.meters:
            if meter.parent:
                below[meter.parent].append(meter)
        return {key: tuple(value) for key, value in below.items()}

    def site(self, site_id: str) -> Site:
        """The site of that id; KeyError if there is none."""
        found = self.by_id[site_id]
        if not isinstance(found, Site):
            raise KeyError(site_id)
        return found

    def timezone_of(self, thing_id: str) -> str:
        """The IANA zone of a site, building, meter or vehicle."""
        thing = self.by_id[thing_id]
        return thing.timezone if isinstance(thing, Site) else self.site(thing.site).timezone

    def position_of(self, thing_id: str) -> Position | None:
        """Where a thing stands: a meter's own position, else its site's; None if neither is configured."""
        thing = self.by_id[thing_id]
        if isinstance(thing, Meter) and thing.latitude is not None and thing.longitude is not None:
            return Position(thing.latitude, thing.longitude)
        site = thing if isinstance(thing, Site) else self.site(thing.site)
        known = site.latitude is not None and site.longitude is not None
        return Position(site.latitude, site.longitude) if known else None  # type: ignore[arg-type]

    def contributions(self, scope: str, node: str, carrier: Carrier) -> tuple[tuple[Meter, int], ...]:
        """The meters whose import counters add up to a node's consumption, each with +1 or -1.

        A building's top meters of a carrier (parent elsewhere or none) count +1, net of sub-meters
        that stand below them and belong to another building (-1). A site's top meters are those
        without parent. Export is handled by `roles`: see `analytics.nodes`.
        """
        out: list[tuple[Meter, int]] = []
        for meter in self.meters:
            if meter.carrier != carrier or meter.role == "sensor":
                continue
            parent = self.by_id.get(meter.parent)
            if scope == "site":
                if meter.site == node and not meter.parent:
                    out.append((meter, 1))
            else:
                above = parent.building if isinstance(parent, Meter) else None
                if meter.building == node and above != node:
                    out.append((meter, 1))
                elif meter.building != node and above == node:
                    out.append((meter, -1))
        return tuple(out)


@dataclass(frozen=True, slots=True)
class Factor:
    """A dated, sourced conversion factor: price, CO2, standard coal, density. None is a constant in code."""

    id: str  # e.g. "price.electricity", "co2.electricity"
    value: float
    unit: str
    valid_from: int  # [us since 1970]
    valid_to: int | None = None
    scope: str = "national"
    source: str = ""
    status: Literal["verified", "unverified"] = "unverified"
