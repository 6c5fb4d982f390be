"""A simulated installation: site.toml and factors.toml as for a real one, and story.toml beside them.

story.toml holds the seed, the anchor (the local day on which all counters begin), the `[[load]]` rows that
say how a meter's flow is shaped where its end use does not tell, the `[[change]]` rows of what changed on purpose,
and the `[[fault]]` rows of the story.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

from devices.catalog import load_installation
from devices.tables import Document, Table
from metering.clock import now_us
from metering.explain import ExplainedError
from metering.site import Installation, Meter
from simulators.changes import Change, read_changes
from simulators.faults import Fault, read_story, told_at, write_truth

SHAPES = (
    "lighting", "hvac", "sockets", "servers", "kitchen", "cold_room", "appliance", "whole", "common", "grounds",
    "solar", "heat", "pipes", "water", "supply", "cooking_gas",
)  # fmt: skip
DEFAULT_ANCHOR = date(2025, 1, 1)


@dataclass(frozen=True, slots=True)
class Load:
    """How one meter's own flow is shaped.

    shape : a method of `building.House`, "charger", or "" for a replayed one
    size : scales the shape [1]; for "solar" the peak [W]
    replay : column of the archive
    """

    shape: str = ""
    size: float = 1.0
    replay: str = ""


@dataclass(frozen=True, slots=True)
class Bureau:
    """An installation to be simulated.

    Attributes
    ----------
    anchor : local day on which all counters begin; nothing is known before
    story_at : the instant from which the story's relative times count back [us since 1970]
    loads : (pattern of meter ids, load), first match wins
    """

    installation: Installation
    seed: int
    anchor: date
    story_at: int
    faults: tuple[Fault, ...] = ()
    loads: tuple[tuple[str, Load], ...] = ()
    changes: tuple[Change, ...] = ()

    def parts(self) -> list[Bureau]:
        """One bureau for each site: they share nothing but the seed, so each is worked out alone."""
        whole = self.installation
        if len(whole.sites) == 1:
            return [self]
        split = []
        for site in whole.sites:
            own = Installation(
                sites=(site,),
                buildings=tuple(b for b in whole.buildings if b.site == site.id),
                meters=tuple(m for m in whole.meters if m.site == site.id),
                vehicles=tuple(v for v in whole.vehicles if v.site == site.id),
                factors=whole.factors,
            )
            split.append(replace(self, installation=own))
        return split

    @property
    def zone(self) -> str:
        """The IANA zone of the first site; a world is worked out site by site, see `parts`."""
        return self.installation.sites[0].timezone

    def load_of(self, meter: Meter) -> Load:
        """A meter's own load: its row in story.toml, else by end use and carrier."""
        for pattern, load in self.loads:
            if fnmatchcase(meter.id, pattern):
                return load
        below = bool(self.installation.children[meter.id])
        if meter.role == "generation":
            return Load("solar", meter.rated_power_w or 10_000.0)
        by_carrier = {
            "electricity": _electric(meter, below),
            "water": "supply" if below else "water",
            "gas": "cooking_gas",
            "heat": "pipes" if below else "heat",
        }
        return Load(by_carrier.get(meter.carrier.value, ""))


def _electric(meter: Meter, below: bool) -> str:
    if not meter.building:
        return "grounds"
    by_end_use = {"lighting": "lighting", "hvac": "hvac", "power": "sockets", "special": "servers"}
    return "common" if below else by_end_use.get(meter.end_use, "whole")


def load_bureau(folder: Path, *, story_at: int | None = None, seed: int | None = None) -> Bureau:
    """Read a folder with site.toml, and factors.toml and story.toml where they are.

    Parameters
    ----------
    story_at : when the story is told; None: now [us since 1970]
    seed : instead of story.toml's

    Raises
    ------
    devices.catalog.ConfigurationError
        If site.toml or factors.toml has mistakes.
    ExplainedError
        If story.toml has one.
    """
    installation = load_installation(folder)
    problems: list[ExplainedError] = []
    told = now_us() if story_at is None else story_at
    story = folder / "story.toml"
    if not story.exists():  # an installation of one's own: plain loads, no faults
        return Bureau(installation, 1 if seed is None else seed, DEFAULT_ANCHOR, told)
    document = Document(story, problems)
    loads = tuple(_load(table) for table in document.tables("load"))
    own_seed = document.root.get("seed", 1)
    anchor = document.root.get("anchor", DEFAULT_ANCHOR)
    if not isinstance(own_seed, int) or isinstance(own_seed, bool):
        document.wrong("seed", f"is {own_seed!r}", "write a whole number")
    if type(anchor) is not date:
        document.wrong("anchor", f"is {anchor!r}", "write a date such as 2025-01-01")
    meters = {meter.id for meter in installation.meters}
    changes = read_changes(document, told, installation.sites[0].timezone, meters)
    if problems:
        raise problems[0]
    brokers = {device.connection.removeprefix("mqtt://").partition("/")[0] for device in installation.devices()}
    faults = read_story(
        story,
        told,
        installation.sites[0].timezone,
        {device.id for device in installation.devices()} | brokers,
    )
    return Bureau(installation, own_seed if seed is None else seed, anchor, told, faults, loads, changes)


def open_bureau(folder: Path, truth: Path, *, seed: int | None = None) -> Bureau:
    """The bureau of a folder, its story told once: the truth file remembers when, and is written anew.

    Raises
    ------
    devices.catalog.ConfigurationError, ExplainedError
        As `load_bureau`; also if the truth file is damaged.
    """
    bureau = load_bureau(folder, story_at=told_at(truth), seed=seed)
    write_truth(truth, bureau.faults, seed=bureau.seed, story_at=bureau.story_at)
    return bureau


def _load(table: Table) -> tuple[str, Load]:
    shape = table.choice("shape", (*SHAPES, "charger"), "")
    load = Load(shape, float(table.number("size", 1.0, low=0)), table.text("replay", ""))
    if not shape and not load.replay:
        table.wrong("", "has neither shape nor replay", "add shape = one of " + ", ".join(SHAPES))
    pattern = table.text("meter")
    table.done()
    return pattern, load
