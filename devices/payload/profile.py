"""Payload mappings: how one kind of device says its values over MQTT, as a TOML file of `devices/profiles/`.

`docs/adding-a-device.md` explains the keys; `devices/profiles/plain_json.toml` is the shortest example.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast

from devices.payload.paths import Steps, parse_path
from devices.tables import Document, Table
from devices.units import conversion
from metering.explain import ExplainedError
from metering.quantity import QUANTITIES, Phase

SHIPPED = Path(__file__).parent.parent / "profiles"
BASE = "{base}"

FieldType = Literal["number", "text", "flag", "map"]
FIELD_TYPES = ("number", "text", "flag", "map")
TEXT_TIMES = ("rfc3339", "local")
NUMBER_TIMES = ("unix_s", "unix_ms", "unix_us")
TIME_FORMATS = (*TEXT_TIMES, *NUMBER_TIMES, "gbt32960")


@dataclass(frozen=True, slots=True)
class Condition:
    """Holds if the value at `path` is one of `equals` (where given) and none of `excludes`."""

    path: Steps
    equals: tuple[Any, ...] = ()
    excludes: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class TimeRule:
    """Where a message says when it was measured.

    formats : rfc3339 (with offset), local (without: the site's zone), unix_s, unix_ms, unix_us,
        gbt32960 (object of GMT+8); a text and a number format may stand together
    optional : without it, arrival time is used and marked; else the message is rejected
    """

    path: Steps
    formats: tuple[str, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class TopicRule:
    """What holds for all messages of one topic.

    topic : with `{base}` for the device's base topic
    time : None: messages carry no time, arrival counts
    when : other messages on the topic are skipped
    others : what becomes of a message without any mapped key
    """

    topic: str
    time: TimeRule | None = None
    when: Condition | None = None
    others: Literal["reject", "skip"] = "reject"


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a message, and the quantity it is.

    value [quantity's unit] = raw x numerator / denominator + shift, where raw is the sum of
    `paths` less the sum of `minus`.
    """

    topic: str
    paths: tuple[Steps, ...]
    minus: tuple[Steps, ...]
    minus_optional: bool  # a path of `minus` that is absent counts as 0; else there is no value
    quantity: str
    phase: str
    type: FieldType
    numerator: float
    denominator: float
    shift: float
    invalid: frozenset[str | float]  # raw codes that mean "not available"
    decimal: Literal[".", ","]  # of text
    suffix: str  # unit at the end of a text
    codes: dict[str, float]  # of flag and map
    otherwise: float | None  # of map: what any other code means
    split: str  # the text is a list
    part: int  # and this the item
    when: Condition | None
    absent: float | None  # what a key left out means [raw]
    decimals: int | None  # decimals of the raw number, for encoding


@dataclass(frozen=True, slots=True)
class PayloadProfile:
    """How one kind of device says its values over MQTT."""

    id: str
    version: int
    manufacturer: str
    model: str
    source: str
    note: str
    topics: tuple[TopicRule, ...]
    fields: tuple[Field, ...]
    path: Path

    protocol = "mqtt"

    @property
    def label(self) -> str:
        """Id and version, as kept with each batch of readings: `tasmota@1`."""
        return f"{self.id}@{self.version}"

    @property
    def slots(self) -> tuple[tuple[str, str], ...]:
        """(quantity, phase) of every value it can give, each once."""
        return tuple(dict.fromkeys((field.quantity, field.phase) for field in self.fields))


def mqtt_profiles(folder: Path | None = None) -> dict[str, Path]:
    """The MQTT profiles that are there, by id: the shipped ones, then those of `folder`.

    Raises
    ------
    ExplainedError
        If a file cannot be read as TOML, or an own profile takes a shipped one's id.
    """
    found: dict[str, Path] = {}
    for place in (SHIPPED, folder):
        if place is None or not place.is_dir():
            continue
        for path in sorted(place.glob("*.toml")):
            problems: list[ExplainedError] = []
            root = Document(path, problems).root
            if problems:
                raise problems[0]
            if root.get("protocol") != "mqtt":
                continue
            name = str(root.get("id", path.stem))
            if name in found:
                raise ExplainedError(
                    f"{path}: id", f'is "{name}", as in {found[name]}', "give your profile an id of its own"
                )
            found[name] = path
    return found


def load_mqtt_profile(path: Path) -> PayloadProfile:
    """Read and validate one payload mapping.

    Raises
    ------
    ExplainedError
        On the first mistake: file, line, field and key, value found, mend.
    """
    problems: list[ExplainedError] = []
    document = Document(path, problems)
    if problems:
        raise problems[0]
    profile = _Reader(document).profile()
    if problems:
        raise problems[0]
    return profile


class _Root(Table):
    """The keys outside any table."""

    def wrong(self, key: str, what: str, mend: str) -> None:
        self.document.wrong(key, what, mend, line=self.document.line_of(key, 0, key))


class _Reader:
    def __init__(self, document: Document) -> None:
        self.document = document

    def profile(self) -> PayloadProfile:
        document = self.document
        root = _Root(document, "", 0, document.root)
        identity = root.text("id", words="the file's name without .toml")
        if identity and not re.fullmatch(r"[a-z0-9_]{1,64}", identity):
            root.wrong("id", f'is "{identity}"', "use lower-case letters, digits and underscores")
        elif identity and identity != document.path.stem:
            root.wrong("id", f'is "{identity}"', f'name it as the file: id = "{document.path.stem}"')
        root.choice("protocol", ("mqtt",))
        default_topic = self._inner(root, "defaults")
        topic = self._topic(default_topic, "topic", BASE)
        default_topic.done()
        profile = PayloadProfile(
            id=identity,
            version=root.number("version", 1, low=1, high=10_000, whole=True),
            manufacturer=root.text("manufacturer", ""),
            model=root.text("model", ""),
            source=root.text("source", words="the document where the payload is described"),
            note=root.text("note", ""),
            topics=self._topics(topic),
            fields=tuple(self._field(table, topic) for table in document.tables("field")),
            path=document.path,
        )
        root._asked |= {"topic", "field"}
        root.done()
        self._check_whole(profile, root)
        return self._complete(profile)

    def _inner(self, table: Table, key: str) -> Table:
        """An inline table, empty if absent."""
        value = table._raw(key, {}, dict, f"a table: {key} = {{ ... }}")
        inner = Table(self.document, table.name or key, table.index, value)
        outer = table.label() if table.name else ""
        inner.label = lambda: f"{outer}.{key}" if outer else key  # type: ignore[method-assign]
        return inner

    def _topic(self, table: Table, key: str, default: str) -> str:
        topic = table.text(key, default)
        if BASE not in topic or {"+", "#"} & set(topic):
            table.wrong(key, f'is "{topic}"', 'write a topic with {base} and without + and #: "{base}/SENSOR"')
            return default
        return topic

    def _path(self, table: Table, key: str, text: str) -> Steps:
        try:
            return parse_path(text)
        except ValueError as error:
            table.wrong(
                key, f'is "{text}": {error}', 'write "a.b", "list[0].b" or "list[kind=x].b"; "" for a bare value'
            )
            return ()

    def _paths(self, table: Table, key: str, *, required: bool) -> tuple[Steps, ...]:
        if isinstance(table.values.get(key), list):
            return tuple(self._path(table, key, text) for text in table.texts(key))
        if not required and not table.has(key):
            return ()
        return (self._path(table, key, table.text(key, words='where the value stands: "ENERGY.Total", "" if bare')),)

    def _condition(self, table: Table, key: str) -> Condition | None:
        if not table.has(key):
            return None
        inner = self._inner(table, key)
        path = self._path(inner, "path", inner.text("path"))
        equals = tuple(inner._raw("equals", [], list, "a list of values"))
        excludes = tuple(inner._raw("not", [], list, "a list of values"))
        if not equals and not excludes:
            inner.wrong("equals", "is missing", 'say which values count: equals = ["location"]')
        inner.done()
        return Condition(path, equals, excludes)

    def _time(self, table: Table) -> TimeRule | None:
        if not table.has("time"):
            return None
        inner = self._inner(table, "time")
        path = self._path(inner, "path", inner.text("path"))
        formats: tuple[str, ...]
        if isinstance(inner.values.get("format"), list):
            formats = inner.texts("format")
        else:
            formats = (inner.choice("format", TIME_FORMATS),)
        kinds = [("text" if f in TEXT_TIMES else "number" if f in NUMBER_TIMES else f) for f in formats]
        if not formats or set(formats) - set(TIME_FORMATS) or len(set(kinds)) < len(kinds):
            inner.wrong(
                "format",
                f"is {list(formats)}",
                f"use one of {', '.join(TIME_FORMATS)}, or one for texts and one for numbers",
            )
        rule = TimeRule(path, formats, inner.flag("optional"))
        inner.done()
        return rule

    def _topics(self, default: str) -> tuple[TopicRule, ...]:
        rules: dict[str, TopicRule] = {}
        for table in self.document.tables("topic"):
            topic = self._topic(table, "topic", default)
            if topic in rules:
                table.wrong("topic", f'is "{topic}", a second time', "describe each topic once")
            rules[topic] = TopicRule(
                topic,
                self._time(table),
                self._condition(table, "when"),
                cast(Any, table.choice("others", ("reject", "skip"), "reject")),
            )
            table.done()
        return tuple(rules.values())

    def _field(self, table: Table, default_topic: str) -> Field:
        name = table.choice("quantity", QUANTITIES)
        kind = table.choice("type", FIELD_TYPES, "number")
        scale = table.number("scale", 1.0, low=-1e12, high=1e12)
        offset = table.number("offset", 0.0)
        if scale == 0:
            table.wrong("scale", "is 0", "leave it out, or give the units of one count")
            scale = 1.0
        numerator, denominator, shift = self._conversion(table, name, Fraction(repr(scale)), Fraction(repr(offset)))
        split = table.text("split", "")
        field = Field(
            topic=self._topic(table, "topic", default_topic),
            paths=self._paths(table, "path", required=True),
            minus=self._paths(table, "minus", required=False),
            minus_optional=table.flag("minus_optional"),
            quantity=name or "active_power",
            phase=table.choice("phase", [phase.value for phase in Phase], Phase.TOTAL.value),
            type=cast(FieldType, kind),
            numerator=numerator,
            denominator=denominator,
            shift=shift,
            invalid=self._invalid(table),
            decimal=cast(Any, table.choice("decimal", (".", ","), ".")),
            suffix=table.text("suffix", ""),
            codes=self._codes(table, kind),
            otherwise=table.number("otherwise", None),
            split=split,
            part=table.number("part", 0, low=0, high=1000, whole=True),
            when=self._condition(table, "when"),
            absent=table.number("absent", None),
            decimals=table.number("decimals", None, low=0, high=12, whole=True),
        )
        if table.has("part") and not split:
            table.wrong("part", f"is {field.part} without split", 'say what separates the parts: split = ","')
        if field.codes and kind not in ("map", "flag"):
            table.wrong("map", f'stands in a field of type "{kind}"', 'write type = "map"')
        table.done()
        return field

    def _conversion(self, table: Table, name: str, scale: Fraction, offset: Fraction) -> tuple[float, float, float]:
        unit = table.text("unit", words="the unit the device uses")
        n, d, shift = 1, 1, 0.0
        if name and unit:
            try:
                n, d, shift = conversion(name, unit, str(self.document.path))
            except ExplainedError as error:
                table.wrong("unit", error.what, error.mend)
        whole = scale * Fraction(n, d)
        return float(whole.numerator), float(whole.denominator), float(offset * Fraction(n, d) + Fraction(repr(shift)))

    def _invalid(self, table: Table) -> frozenset[str | float]:
        values = table._raw("invalid", [], list, 'a list: invalid = [65535, "nil"]')
        if not all(isinstance(value, (str, int, float)) and not isinstance(value, bool) for value in values):
            table.wrong("invalid", f"is {values!r}", 'write a list of numbers and texts: invalid = [65535, "nil"]')
            return frozenset()
        return frozenset(float(value) if isinstance(value, int) else value for value in values)

    def _codes(self, table: Table, kind: str) -> dict[str, float]:
        codes = table._raw("map", {}, dict, 'a table: map = { charging = 1, "3" = 0 }')
        if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in codes.values()):
            table.wrong("map", f"is {codes!r}", "give each code a number")
            return {}
        if kind == "map" and not codes:
            table.wrong("map", "is missing", "say what each code means: map = { charging = 1, idle = 0 }")
        return {str(code): float(value) for code, value in codes.items()}

    def _check_whole(self, profile: PayloadProfile, root: Table) -> None:
        if not profile.fields:
            root.wrong("field", "is missing", "add [[field]] with path, quantity and unit")
        described = {rule.topic for rule in profile.topics}
        used = {field.topic for field in profile.fields}
        for topic in sorted(described - used):
            root.wrong("topic", f'"{topic}" has no field', "add a [[field]] with that topic, or leave it out")
        seen: set[tuple[str, str, str]] = set()
        bare: dict[str, bool] = {}
        for index, field in enumerate(profile.fields):
            table = Table(self.document, "field", index, {})
            key = (field.topic, field.quantity, field.phase)
            if key in seen:
                table.wrong("quantity", f'is "{field.quantity}" {field.phase}, twice on {field.topic}', "map it once")
            seen.add(key)
            is_bare = field.paths == ((),)
            if bare.setdefault(field.topic, is_bare) != is_bare:
                table.wrong("path", f"is bare and not bare on {field.topic}", "a topic carries a bare value, or JSON")

    @staticmethod
    def _complete(profile: PayloadProfile) -> PayloadProfile:
        """Every used topic has its rule, in the order of the fields."""
        import dataclasses

        rules = {rule.topic: rule for rule in profile.topics}
        topics = dict.fromkeys(field.topic for field in profile.fields)
        return dataclasses.replace(profile, topics=tuple(rules.get(topic, TopicRule(topic)) for topic in topics))
