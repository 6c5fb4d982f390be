"""What a Modbus device says and where: profiles as data, read from TOML files and checked as a whole."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast

from devices.tables import Document, Table
from devices.units import conversion
from metering.explain import ExplainedError
from metering.quantity import QUANTITIES, Kind, Phase

TableName = Literal["holding", "input", "coil", "discrete"]
TABLES: tuple[TableName, ...] = ("holding", "input", "coil", "discrete")
BIT_TABLES = frozenset({"coil", "discrete"})
WORDS = {"u16": 1, "i16": 1, "u32": 2, "i32": 2, "f32": 2, "u64": 4, "i64": 4, "f64": 4}
TYPES = (*WORDS, "bits", "bit", "string")
ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
TRANSFORMS = ("schneider_power_factor",)
MOST_WORDS = 125  # a reply holds no more [MODBUS Application Protocol V1.1b3, 6.3]
_INPUT = re.compile(r"(.+)\.(\d{1,3})")


@dataclass(frozen=True, slots=True)
class RegisterSpec:
    """One value of a device: where it stands, how it is written, what it means.

    value = raw x scale [x 10^(the register at `scale_from`)], then converted from `unit`.

    Attributes
    ----------
    table, address : zero-based, as on the wire; in a SunSpec model counted from its ID register
    type : u16 i16 u32 i32 u64 i64 f32 f64; `bits` (a field inside `words` words); `bit` (coil, discrete)
    order : ABCD is high word first; CDAB low word first; BADC and DCBA have the bytes swapped too
    scale : `unit` per count; a negative one turns the sign
    invalid : raw patterns (as unsigned numbers, in ABCD order) that mean "not available"
    rollover : value at which a counter wraps to zero [the quantity's unit]; None: not declared
    poll : "fast" at each poll, "slow" at each `slow_every`-th
    plus : addresses of further registers of this type that are added (tariffs)
    scale_from, exponent : address of an i16 power of ten; what an encoder writes there
    transform : a named decoding that no scale can say, see `devices.codec`
    bit, bits : lowest bit and width of a field
    """

    quantity: str
    phase: str
    table: TableName
    address: int
    type: str
    order: str = "ABCD"
    scale: float = 1.0
    unit: str = ""
    invalid: tuple[int, ...] = ()
    rollover: float | None = None
    poll: Literal["fast", "slow"] = "fast"
    plus: tuple[int, ...] = ()
    scale_from: int | None = None
    exponent: int = 0
    transform: str = ""
    bit: int = 0
    bits: int = 1
    words: int = 1

    @property
    def slot(self) -> tuple[str, str]:
        """(quantity, phase)."""
        return self.quantity, self.phase

    @property
    def span(self) -> tuple[int, int]:
        """[first, end) of all addresses the value needs: they are read in one request, so nothing can tear."""
        places = [self.address, *self.plus]
        first, end = min(places), max(places) + self.words
        if self.scale_from is not None:
            first, end = min(first, self.scale_from), max(end, self.scale_from + 1)
        return first, end


@dataclass(frozen=True, slots=True)
class TextSpec:
    """A text of the device (serial number, model): identification, never a reading."""

    name: str
    table: TableName
    address: int
    words: int


@dataclass(frozen=True, slots=True)
class Constant:
    """A register that always holds one value: a reply where it does not is another device's and is refused."""

    table: TableName
    address: int
    value: int


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """A kind of Modbus device, as data.

    Attributes
    ----------
    source : document and revision the addresses were taken from
    confidence : how sure they are, in words
    max_words : most registers of one request; many devices take fewer than 125
    max_gap : most registers between two values that are read along rather than asked apart
    pause_s : rest between two requests to the device
    slow_every : `slow` registers are read at each n-th poll
    illegal : (table, first, last) that must not be read, not even in a gap
    one_value_per_request : the device answers no request for several values
    sunspec_model, sunspec_length : addresses count from this model's ID register; 0: they are absolute
    """

    id: str
    version: int
    manufacturer: str
    model: str
    source: str
    confidence: str
    registers: tuple[RegisterSpec, ...]
    texts: tuple[TextSpec, ...] = ()
    constants: tuple[Constant, ...] = ()
    max_words: int = MOST_WORDS
    max_gap: int = MOST_WORDS
    pause_s: float = 0.0
    slow_every: int = 10
    illegal: tuple[tuple[str, int, int], ...] = ()
    one_value_per_request: bool = False
    sunspec_model: int = 0
    sunspec_length: int = 0
    inputs: int = 0
    input_stride: int = 0
    protocol: str = "modbus"

    @property
    def name(self) -> str:
        """Id and version, as kept with each batch: `eastron_sdm630@1`."""
        return f"{self.id}@{self.version}"

    @property
    def slots(self) -> tuple[tuple[str, str], ...]:
        """(quantity, phase) of each register."""
        return tuple(register.slot for register in self.registers)

    def rollovers(self) -> dict[tuple[str, str], float]:
        """The declared counter widths: (quantity, phase) -> value at which it wraps [quantity's unit]."""
        return {r.slot: r.rollover for r in self.registers if r.rollover is not None}

    def for_input(self, number: int) -> DeviceProfile:
        """The profile of one input of a device with several like inputs (pulse counters); 1 is the first.

        Raises
        ------
        ExplainedError
            If the device has no such input.
        """
        if not 1 <= number <= self.inputs:
            known = f"use 1 to {self.inputs}" if self.inputs else "leave the number out"
            raise ExplainedError(f'profile "{self.id}.{number}"', f"has no input {number}", known)
        shift = (number - 1) * self.input_stride
        moved = tuple(replace(r, address=r.address + shift) for r in self.registers)
        return replace(self, id=f"{self.id}.{number}", registers=moved)


@cache
def bundled_folder() -> Path:
    """Where the profiles that come with the product stand."""
    return Path(str(resources.files("devices"))) / "profiles"


def modbus_profiles(folder: Path | None = None) -> dict[str, Path]:
    """Id and file of every Modbus profile: the product's own, then those of `folder` (which win).

    A device with several inputs has an id for each: `wirenboard_mcm8_water.3`.

    Raises
    ------
    ExplainedError
        If a file cannot be read, or its id is not its name.
    """
    found: dict[str, Path] = {}
    for place in (bundled_folder(), folder):
        if place is not None and place.is_dir():
            for path in sorted(place.glob("*.toml")):
                found.update(dict.fromkeys(_ids(path, path.stat().st_mtime_ns), path))
    return found


@lru_cache(maxsize=512)
def _ids(path: Path, _changed: int) -> tuple[str, ...]:
    problems: list[ExplainedError] = []
    root = Document(path, problems).root
    if problems:
        raise problems[0]
    if root.get("protocol") != "modbus":
        return ()
    inputs = root.get("inputs", 0)
    numbers = range(1, inputs + 1) if isinstance(inputs, int) and 0 < inputs <= 256 else range(0)
    return (path.stem, *(f"{path.stem}.{n}" for n in numbers))


def modbus_profile(profile_id: str, folder: Path | None = None) -> DeviceProfile:
    """The profile of that id, one input of it where the id ends with a number: `wirenboard_mcm8_water.3`.

    Raises
    ------
    ExplainedError
        If there is none, or its file has a mistake.
    """
    numbered = _INPUT.fullmatch(profile_id)
    stem, number = (numbered.group(1), int(numbered.group(2))) if numbered else (profile_id, 0)
    for place in (folder, bundled_folder()):
        path = place / f"{stem}.toml" if place is not None else None
        if path is not None and path.is_file() and _ids(path, path.stat().st_mtime_ns):
            profile = _loaded(path, path.stat().st_mtime_ns)
            return profile.for_input(number) if number else profile
    known = modbus_profiles(folder)
    near = difflib.get_close_matches(profile_id, known, n=3)
    raise ExplainedError(
        f'profile "{profile_id}"',
        "is not known",
        f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(sorted(known))}",
    )


@lru_cache(maxsize=512)
def _loaded(path: Path, _changed: int) -> DeviceProfile:
    return load_modbus_profile(path)


def load_modbus_profile(path: Path) -> DeviceProfile:
    """Read and check one profile.

    Raises
    ------
    ExplainedError
        The first mistake: file and line, `register[7].type`, the value found, the mend.
    """
    problems: list[ExplainedError] = []
    document = Document(path, problems)
    if not problems:
        profile = _Reader(document).profile()
        if not problems:
            return profile
    raise problems[0]


_TOP = (
    "id", "version", "manufacturer", "model", "protocol", "source", "confidence", "max_words", "max_gap", "pause_s",
    "slow_every", "one_value_per_request", "inputs", "input_stride", "defaults", "illegal", "sunspec", "constant",
    "register",
)  # fmt: skip
_DEFAULTS = ("table", "type", "order", "scale", "unit", "phase", "invalid", "poll")


class _Reader:
    """One profile file; mistakes gather in the document."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def profile(self) -> DeviceProfile:
        document = self.document
        document.only(_TOP)
        plain = {k: v for k, v in document.root.items() if not isinstance(v, dict) and not _is_tables(v)}
        top = _Top(document, plain)
        if top.text("id") != document.path.stem:
            top.wrong("id", f'is "{plain.get("id")}" in {document.path.name}', f'write id = "{document.path.stem}"')
        top.choice("protocol", ("modbus",))
        defaults = document.root.get("defaults", {})
        for key in defaults if isinstance(defaults, dict) else ("",):
            if key not in _DEFAULTS:
                document.wrong("defaults", f'holds "{key}"', f"known: {', '.join(_DEFAULTS)}")
        sunspec = document.table("sunspec")
        model = sunspec.number("model", 0, low=1, high=65_534, whole=True)
        length = sunspec.number("length", 0, low=1, high=65_535, whole=True)
        sunspec.done()
        specs: list[RegisterSpec] = []
        owner: list[Table] = []
        texts: list[TextSpec] = []
        rows = document.tables("register")
        for row in rows:
            # the defaults hold unless the row says otherwise; a default unit or sentinel is not for texts
            row.values = {**(defaults if isinstance(defaults, dict) else {}), **row.values}
            if row.choice("type", TYPES, "u16") == "string":
                texts.append(self._text(row))
            else:
                own = list(self._registers(row))
                specs.extend(own)
                owner.extend([row] * len(own))
        if not specs and document.root:
            document.wrong("register", "is missing", "add [[register]] with quantity, table, address, type and unit")
        profile = DeviceProfile(
            id=document.path.stem,
            version=top.number("version", low=1, high=10**6, whole=True),
            manufacturer=top.text("manufacturer"),
            model=top.text("model"),
            source=top.text("source", words="the document and its revision, in quotes"),
            confidence=top.text("confidence", words='how sure the addresses are: "two sources agree"'),
            registers=tuple(specs),
            texts=tuple(texts),
            constants=tuple(self._constant(row) for row in document.tables("constant")),
            max_words=top.number("max_words", MOST_WORDS, low=1, high=MOST_WORDS, whole=True),
            max_gap=top.number("max_gap", MOST_WORDS, low=0, high=MOST_WORDS, whole=True),
            pause_s=float(top.number("pause_s", 0.0, low=0, high=60)),
            slow_every=top.number("slow_every", 10, low=1, high=100_000, whole=True),
            illegal=tuple(self._illegal(row) for row in document.tables("illegal")),
            one_value_per_request=top.flag("one_value_per_request"),
            sunspec_model=model,
            sunspec_length=length,
            inputs=top.number("inputs", 0, low=1, high=256, whole=True),
            input_stride=top.number("input_stride", 0, low=1, high=1000, whole=True),
        )
        if not document.problems:
            self._check(profile, owner)
        return profile

    def _registers(self, row: Table) -> Iterator[RegisterSpec]:
        name = row.text("quantity", words='a quantity of docs/glossary.md, such as "active_power"')
        if name and name not in QUANTITIES:
            near = difflib.get_close_matches(name, QUANTITIES, n=1)
            row.wrong("quantity", f'is "{name}"', f'did you mean "{near[0]}"?' if near else "see docs/glossary.md")
        unit = row.text("unit", words='the unit of one count x scale: "W", "kWh"')
        if name in QUANTITIES and unit:
            try:
                conversion(name, unit, "")
            except ExplainedError as problem:
                row.wrong("unit", problem.what.removeprefix("unit "), problem.mend)
        type_ = row.choice("type", TYPES, "u16")
        words = WORDS.get(type_) or (row.number("words", 1, low=1, high=4, whole=True) if type_ == "bits" else 1)
        scale = row.number("scale", 1.0)
        if scale == 0:
            row.wrong("scale", "is 0", "give the unit per count, such as 0.1")
        table = cast(TableName, row.choice("table", TABLES))
        if (table in BIT_TABLES) != (type_ == "bit"):
            fits = 'a coil or discrete input has type = "bit"' if table in BIT_TABLES else "use table coil or discrete"
            row.wrong("type", f'is "{type_}" in table {table}', fits)
        spec = RegisterSpec(
            quantity=name,
            phase=row.choice("phase", [p.value for p in Phase], "total"),
            table=table,
            address=0,
            type=type_,
            order=row.choice("order", ORDERS, "ABCD"),
            scale=float(scale or 1.0),
            unit=unit,
            invalid=self._invalid(row, words),
            rollover=self._rollover(row, name, unit, float(scale or 1.0)),
            poll=cast(Literal["fast", "slow"], row.choice("poll", ("fast", "slow"), "fast")),
            plus=self._numbers(row, "plus", 65_535),
            scale_from=row.number("scale_from", None, low=0, high=65_535, whole=True),
            exponent=row.number("exponent", 0, low=-10, high=10, whole=True),
            transform=row.choice("transform", TRANSFORMS, ""),
            bit=row.number("bit", 0, low=0, high=16 * words - 1, whole=True),
            bits=row.number("bits", 1, low=1, high=16 * words, whole=True),
            words=words,
        )
        if spec.type == "bits" and spec.bit + spec.bits > 16 * words:
            row.wrong("bits", f"is {spec.bits} from bit {spec.bit}", f"a field of {words} words ends at {16 * words}")
        for phase, address in self._addresses(row, spec.phase):
            yield replace(spec, phase=phase, address=address)
        row.done()

    def _addresses(self, row: Table, phase: str) -> Iterator[tuple[str, int]]:
        """An address, or one for each phase: `address = { l1 = 0, l2 = 2, l3 = 4 }`."""
        value = row._raw("address", ..., (int, dict), "a number, or { l1 = 0, l2 = 2 }")
        places = value.items() if isinstance(value, dict) else [(phase, value)]
        if value is ...:
            row.wrong("address", "is missing", "add address = 0x0000, as on the wire (zero-based)")
            return
        for name, address in places:
            key = "address" if name == phase and not isinstance(value, dict) else f"address.{name}"
            if name not in {p.value for p in Phase}:
                row.wrong(key, f'names the phase "{name}"', "use total, l1, l2, l3 or n")
            elif not isinstance(address, int) or isinstance(address, bool) or not 0 <= address <= 65_535:
                row.wrong(key, f"is {address!r}", "use 0 to 65535, as on the wire (30001 and 40001 are 0)")
            else:
                yield name, address

    def _invalid(self, row: Table, words: int) -> tuple[int, ...]:
        return self._numbers(row, "invalid", (1 << 16 * words) - 1)

    def _numbers(self, row: Table, key: str, highest: int) -> tuple[int, ...]:
        value = row._raw(key, [], list, "a list of numbers: [0x8000]")
        for item in value:
            if not isinstance(item, int) or isinstance(item, bool) or not 0 <= item <= highest:
                row.wrong(key, f"holds {item!r}", f"use whole numbers from 0 to 0x{highest:X}")
                return ()
        return tuple(value)

    def _rollover(self, row: Table, name: str, unit: str, scale: float) -> float | None:
        """`rollover` [the quantity's unit], or `rollover_counts` of the register."""
        own = row.number("rollover", None, low=1e-9)
        counts = row.number("rollover_counts", None, low=1)
        if own is None and counts is None:
            return None
        key = "rollover" if own is not None else "rollover_counts"
        if own is not None and counts is not None:
            row.wrong(key, "stands beside rollover_counts", "keep one of the two")
        if name in QUANTITIES and QUANTITIES[name].kind is not Kind.COUNTER:
            row.wrong(key, f"is given for {name}, a {QUANTITIES[name].kind}", "only a counter wraps: leave it out")
        if own is not None:
            return float(own)
        if row.has("scale_from"):
            row.wrong(key, "depends on the scale register", "give rollover in the quantity's unit, or leave it out")
            return None
        try:
            numerator, denominator, _ = conversion(name, unit, "")
        except (ExplainedError, KeyError):
            return None
        return float(Fraction(counts) * Fraction(str(abs(scale))) * numerator / denominator)

    def _text(self, row: Table) -> TextSpec:
        spec = TextSpec(
            name=row.text("name", words='what the text is: "serial_number"'),
            table=cast(TableName, row.choice("table", ("holding", "input"))),
            address=row.number("address", low=0, high=65_535, whole=True) or 0,
            words=row.number("words", low=1, high=MOST_WORDS, whole=True) or 1,
        )
        row.values = {k: v for k, v in row.values.items() if k not in _DEFAULTS}
        row.done()
        return spec

    def _constant(self, row: Table) -> Constant:
        constant = Constant(
            cast(TableName, row.choice("table", ("holding", "input"))),
            row.number("address", low=0, high=65_535, whole=True) or 0,
            row.number("value", low=0, high=65_535, whole=True) or 0,
        )
        row.done()
        return constant

    def _illegal(self, row: Table) -> tuple[str, int, int]:
        table = row.choice("table", TABLES)
        first = row.number("first", low=0, high=65_535, whole=True) or 0
        last = row.number("last", low=0, high=65_535, whole=True) or 0
        if last < first:
            row.wrong("last", f"is {last}, before first ({first})", "give the last address of the range")
        row.done()
        return table, first, last

    def _check(self, profile: DeviceProfile, owner: list[Table]) -> None:
        """What only shows when all registers are known; `owner` is the row of each register."""
        seen: dict[tuple[str, str], RegisterSpec] = {}
        exponents: dict[tuple[str, int], int] = {}
        for spec, row in zip(profile.registers, owner, strict=True):
            first, end = spec.span
            if spec.slot in seen:
                row.wrong("quantity", f'gives "{spec.quantity}" {spec.phase} twice', "a profile gives each value once")
            seen[spec.slot] = spec
            if end > 65_536:
                row.wrong("address", f"is {spec.address}", f"{spec.words} registers from there end after 65535")
            if spec.type != "bit" and end - first > profile.max_words:
                row.wrong(
                    "address",
                    f"needs {end - first} registers in one request",
                    f"the profile's max_words is {profile.max_words}",
                )
            for table, low, high in profile.illegal:
                if table == spec.table and first <= high and end > low:
                    row.wrong("address", f"is {spec.address}", f"{low} to {high} are declared illegal")
            if spec.scale_from is not None:
                before = exponents.setdefault((spec.table, spec.scale_from), spec.exponent)
                if before != spec.exponent:
                    row.wrong("exponent", f"is {spec.exponent}", f"another register of this scale has {before}")
        if bool(profile.inputs) != bool(profile.input_stride):
            self.document.wrong("input_stride", "and inputs go together", "give both, or none")


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


class _Top(Table):
    """The keys that stand before any table."""

    def __init__(self, document: Document, values: dict[str, Any]) -> None:
        super().__init__(document, "", 0, values)

    def wrong(self, key: str, what: str, mend: str) -> None:
        """Note a mistake at a top-level key."""
        self.document.wrong(key, what, mend, line=self.document.line_of(key, 0, key))
