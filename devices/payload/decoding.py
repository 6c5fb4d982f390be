"""From an MQTT payload to values: one decoder a topic, compiled from the profile.

Three kinds: bare values; flat objects of plain numbers, which msgspec reads straight into a
structure of just their mapped keys; and all other documents. The first two have a fast way
(`glance`), whose numbers are scaled and judged many at a time. What the fast way cannot read for
certain goes the careful way. Both agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from devices.decoded import Decoded, Glance, Rejected
from devices.payload.document import MAX_BYTES, read_json
from devices.payload.paths import ABSENT, Select, Steps, find
from devices.payload.profile import BASE, Condition, Field, PayloadProfile, TopicRule
from devices.payload.times import AHEAD_US, TimeOf, time_reader
from devices.payload.values import Unusable, raw_number
from metering.quantity import POSITION, quantity

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_BARE = 256  # bytes of a bare value
MAX_FAST = 4096  # bytes of a document that is not always read with care
MAX_SKELETONS = 32  # that one topic may add to what is learned
DIGITS = b"0123456789.+-"

_PLAIN_NUMBER = re.compile(rb"-?\d{1,15}(?:\.\d{1,15})?")

_NO_DIGITS = {digit: None for digit in DIGITS}

Slots = tuple[tuple[str, str], ...]


Scaling = tuple[int, float, float, float, float, float]  # slot, numerator, denominator, shift, lowest, highest


Learned = dict[tuple[str, bool], tuple[dict[bytes, Any], dict[bytes, Any]]]  # (topic, position) -> skeletons, plans


class Rule(NamedTuple):
    """One field, ready to apply."""

    slot: int
    numerator: float
    denominator: float
    shift: float
    lowest: float
    highest: float
    invalid: frozenset[str | float]
    field: Field


class FlatForm:
    """Plain numbers, each scaled and within its quantity's range; see `devices.decoded.Form`."""

    def __init__(self, rules: tuple[Scaling, ...], missing: int) -> None:
        self.rules, self.missing = rules, missing
        self.slots = np.array([rule[0] for rule in rules], np.int32)
        self._numerator, self._denominator, self._shift, self._lowest, self._highest = np.array(
            [rule[1:] for rule in rules], np.float64
        ).T

    def read(self, raws: Sequence[tuple[Any, ...]]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Of n records, each a tuple that begins with its raw numbers: the values, and which records are whole."""
        values = np.empty((len(raws), len(self.rules)))
        for i, (_, column) in enumerate(zip(self.rules, zip(*raws, strict=True), strict=False)):
            values[:, i] = column
        values = values * self._numerator / self._denominator + self._shift
        return values, ((values >= self._lowest) & (values <= self._highest)).all(axis=1)


flat_form = lru_cache(maxsize=4096)(FlatForm)  # one for all devices of a model: what they say is read together


def compile_payload(
    profile: PayloadProfile,
    base_topic: str,
    *,
    timezone: str,
    position: bool,
    max_bytes: int = MAX_BYTES,
    ahead_us: int = AHEAD_US,
    learned: Learned | None = None,
) -> dict[str, TopicDecoder]:
    """A decoder for each exact topic of one device.

    All decoders share `slots`: every (quantity, phase) the device can give, so that one device has
    one run of points whatever the topic. Without `position`, latitude and longitude are dropped
    here; a topic of nothing else keeps a decoder that gives nothing (its `idle` is true: there is
    no need to subscribe to it).

    Parameters
    ----------
    base_topic : what stands for `{base}`, from the device's connection
    timezone : IANA, for times without offset
    ahead_us : how far a device's time may lie in the future [us]
    learned : what decoders of this profile share: each gives and takes; None: nothing is shared
    """
    kept = [field for field in profile.fields if position or field.quantity not in POSITION]
    slots = tuple(dict.fromkeys((field.quantity, field.phase) for field in kept))
    index = {slot: i for i, slot in enumerate(slots)}
    decoders: dict[str, TopicDecoder] = {}
    for topic in profile.topics:
        rules = tuple(_rule(field, index) for field in kept if field.topic == topic.topic)
        time_of = time_reader(topic.time, timezone, ahead_us) if topic.time else None
        mapped = [field for field in profile.fields if field.topic == topic.topic]
        kind: type[TopicDecoder] = DocumentDecoder
        if mapped[0].paths == ((),):
            kind = BareDecoder
        elif rules and _is_flat(topic, rules):
            kind = FlatDecoder
        decoder = kind(profile.label, slots, topic, rules, time_of, max_bytes)
        if learned is not None and isinstance(decoder, DocumentDecoder):
            decoder.share(*learned.setdefault((topic.topic, position), ({}, {})))
        decoders[topic.topic.replace(BASE, base_topic)] = decoder
    return decoders


def topics_of(profile: PayloadProfile, base_topic: str) -> list[str]:
    """The exact topics one device publishes on, as the profile has them."""
    return [topic.topic.replace(BASE, base_topic) for topic in profile.topics]


def _rule(field: Field, index: dict[tuple[str, str], int]) -> Rule:
    of = quantity(field.quantity)
    return Rule(
        index[field.quantity, field.phase],
        field.numerator,
        field.denominator,
        field.shift,
        of.lowest,
        of.highest,
        field.invalid,
        field,
    )


class TopicDecoder:
    """Decodes the messages of one topic; see `devices.decoded.Decoder`."""

    def __init__(
        self,
        profile: str,
        slots: Slots,
        topic: TopicRule,
        rules: tuple[Rule, ...],
        time_of: TimeOf | None,
        max_bytes: int,
    ) -> None:
        self.profile, self.slots, self.topic = profile, slots, topic
        self._rules, self._time_of, self._max_bytes = rules, time_of, max_bytes
        self.idle = not rules

    def glance(self, payload: bytes, received_at: int) -> Glance | None:
        """The fast way to read a message, if this kind has one; see `devices.decoded.Decoder.glance`."""
        return None

    def decode(self, payload: bytes, received_at: int, retained: bool) -> Decoded:
        """Decode one message.

        Raises
        ------
        Rejected
            empty, size, encoding, malformed, depth, keys, duplicate_key, time, retained_without_time,
            nothing_mapped.
        """
        raise NotImplementedError

    def _arrival(self, received_at: int, retained: bool) -> int:
        if retained:
            raise Rejected(
                "retained_without_time", "kept by the broker for an unknown time; it is not a reading of now"
            )
        return received_at


def _apply(
    rule: Rule,
    raw: float,
    at: int,
    slots: Slots,
    values: list[tuple[int, int, float, bool]],
    rejected: list[tuple[str, str]],
) -> None:
    value = raw * rule.numerator / rule.denominator + rule.shift
    if rule.lowest <= value <= rule.highest:
        values.append((rule.slot, at, value, False))
    else:
        rejected.append(_out_of_range(rule.slot, value, slots))


def _out_of_range(slot: int, value: float, slots: Slots) -> tuple[str, str]:
    of = quantity(slots[slot][0])
    if value - value != 0:
        return "not_finite", f"{of.name} is {value}"
    return "range", f"{of.name} is {value:g} {of.unit}, outside [{of.lowest:g}, {of.highest:g}]"


class BareDecoder(TopicDecoder):
    """A payload that is the value itself: `48211.3`, `"67"`, `yes`."""

    def __init__(
        self,
        profile: str,
        slots: Slots,
        topic: TopicRule,
        rules: tuple[Rule, ...],
        time_of: TimeOf | None,
        max_bytes: int,
    ) -> None:
        super().__init__(profile, slots, topic, rules, time_of, max_bytes)
        field = rules[0].field if len(rules) == 1 else None
        self._plain = field is not None and field.type == "number" and not field.split and not field.invalid
        self._form = flat_form((rules[0][:6],), 0) if self._plain else None

    def glance(self, payload: bytes, received_at: int) -> Glance | None:
        """See `TopicDecoder.glance`."""
        if self._form is not None and _PLAIN_NUMBER.fullmatch(payload):
            return self._form, (float(payload),), received_at
        return None

    def decode(self, payload: bytes, received_at: int, retained: bool) -> Decoded:
        """See `TopicDecoder.decode`."""
        if self.idle:
            return Decoded([], 0, [])
        if len(payload) > MAX_BARE:
            raise Rejected("size", f"{len(payload)} bytes, more than {MAX_BARE} for a bare value")
        try:
            text = payload.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise Rejected("encoding", f"byte {error.start} is not UTF-8") from None
        if not text:
            raise Rejected("empty", "an empty payload says nothing; retained, it deletes what the broker kept")
        at = self._arrival(received_at, retained)
        if len(text) >= 2 and text[0] == text[-1] == '"':
            text = text[1:-1]
        values: list[tuple[int, int, float, bool]] = []
        missing, rejected = 0, []
        for rule in self._rules:
            try:
                raw = raw_number(text, rule.field) if text != "null" else None
            except Unusable as unusable:
                rejected.append((unusable.reason, unusable.detail))
                continue
            if raw is None:
                missing += 1
            else:
                _apply(rule, raw, at, self.slots, values, rejected)
        return Decoded(values, missing, rejected)


class DocumentDecoder(TopicDecoder):
    """Any JSON document.

    A payload without its digits, signs and points is its *skeleton*. What has the skeleton of a
    message that was read with care has the same nesting and the same keys, none of them twice: it
    can be read fast, and only the rules that found something then need to look again.
    """

    def __init__(
        self,
        profile: str,
        slots: Slots,
        topic: TopicRule,
        rules: tuple[Rule, ...],
        time_of: TimeOf | None,
        max_bytes: int,
    ) -> None:
        super().__init__(profile, slots, topic, rules, time_of, max_bytes)
        self._skeletons: dict[bytes, tuple[Rule, ...]] = {}
        self._plans: dict[bytes, Plan] = {}
        self._taught = 0

    def share(self, skeletons: dict[bytes, tuple[Rule, ...]], plans: dict[bytes, Plan]) -> None:
        """Learn together with other decoders of the same profile, topic and kept fields."""
        self._skeletons, self._plans = skeletons, plans

    def decode(self, payload: bytes, received_at: int, retained: bool) -> Decoded:
        """See `TopicDecoder.decode`."""
        rules = self._skeletons.get(payload.translate(None, DIGITS))
        if rules is not None and len(payload) <= MAX_FAST:
            try:
                return self._read(msgspec.json.decode(payload), rules, received_at, retained)
            except (msgspec.MsgspecError, RecursionError):
                pass
        return self._careful(payload, received_at, retained)

    def _careful(self, payload: bytes, received_at: int, retained: bool) -> Decoded:
        document = read_json(payload, self._max_bytes)
        skeleton = payload.translate(None, DIGITS)
        known = skeleton in self._skeletons or self._taught >= MAX_SKELETONS or len(payload) > MAX_FAST
        if not known and _is_typical(skeleton, document):
            self._taught += 1
            likely = tuple(rule for rule in self._rules if _may_find(rule.field, _without_digits(document)))
            self._skeletons[skeleton] = likely
            self._learn(skeleton, document, likely)
        return self._read(document, self._rules, received_at, retained)

    def _learn(self, skeleton: bytes, document: Any, likely: tuple[Rule, ...]) -> None:
        """A skeleton was seen for the first time."""

    def _read(self, document: Any, rules: tuple[Rule, ...], received_at: int, retained: bool) -> Decoded:
        if self.topic.when is not None and not _holds(self.topic.when, document):
            return Decoded([], 0, [])
        if self.idle:
            return Decoded([], 0, [])
        found = [(rule, _gather(rule.field, document)) for rule in rules]
        if not any(raw is not ABSENT for _, raw in found):
            if self.topic.others == "skip":
                return Decoded([], 0, [])
            wanted = ", ".join(dict.fromkeys(_text(path) for rule in self._rules for path in rule.field.paths))
            raise Rejected("nothing_mapped", f"holds none of {wanted}"[:300])
        at = self._at(document, received_at, retained)
        values: list[tuple[int, int, float, bool]] = []
        missing, rejected = 0, []
        for rule, raw in found:
            if raw is ABSENT:
                if rule.field.absent is None:
                    continue
                raw = rule.field.absent
            if rule.field.when is not None and not _holds(rule.field.when, document):
                missing += 1
                continue
            try:
                number = _sum(raw, rule.field)
            except Unusable as unusable:
                rejected.append((unusable.reason, unusable.detail))
                continue
            if number is None:
                missing += 1
            else:
                _apply(rule, number, at, self.slots, values, rejected)
        return Decoded(values, missing, rejected)

    def _at(self, document: Any, received_at: int, retained: bool) -> int:
        rule = self.topic.time
        if rule is None or self._time_of is None:
            return self._arrival(received_at, retained)
        raw = find(document, rule.path)
        if raw is ABSENT or raw is None:
            if rule.optional:
                return self._arrival(received_at, retained)
            raise Rejected("time", f"{_text(rule.path)} is missing")
        return self._time_of(raw, received_at)


class Plan(NamedTuple):
    """How messages of one skeleton are read: straight into a structure of just their mapped keys."""

    decode: Callable[[bytes], Any]
    get: Callable[[Any], tuple[Any, ...]]  # the raw values, and the time last
    form: FlatForm


class FlatDecoder(DocumentDecoder):
    """Plain numbers at plain keys."""

    def glance(self, payload: bytes, received_at: int) -> Glance | None:
        """See `TopicDecoder.glance`."""
        plan = self._plans.get(payload.translate(None, DIGITS))
        if plan is None or len(payload) > MAX_FAST:
            return None
        decode, get, form = plan
        time_of = self._time_of
        try:
            raws = get(decode(payload))
            return form, raws, received_at if time_of is None else time_of(raws[-1], received_at)
        except (msgspec.MsgspecError, RecursionError, Rejected):
            return None

    def _learn(self, skeleton: bytes, document: Any, likely: tuple[Rule, ...]) -> None:
        time = self.topic.time
        if time is not None and type(find(document, time.path)) not in (str, int, float):
            return
        raws = [(rule, find(document, rule.field.paths[0])) for rule in likely]
        present = [rule for rule, raw in raws if type(raw) in (int, float)]
        nulls = sum(raw is None for _, raw in raws)
        if not present or len(present) + nulls < len(likely) or any(rule.invalid for rule in present):
            return
        paths = [rule.field.paths[0] for rule in present] + ([time.path] if time else [])
        decode = _reader(tuple(paths), time.path if time else None)
        self._plans[skeleton] = Plan(decode, _getter(paths), flat_form(tuple(rule[:6] for rule in present), nulls))


def _is_typical(skeleton: bytes, document: Any) -> bool:
    """Does the skeleton alone settle which keys there are? Not where keys are escaped or differ in digits only."""
    return b"\\" not in skeleton and _stays_unique(document)


def _may_find(field: Field, reduced: Any) -> bool:
    """Can the field find something in a document of this skeleton? (`reduced`: keys without digits)"""
    steps = [step for path in (*field.paths, *field.minus) for step in path]
    if field.absent is not None or any(isinstance(step, Select) for step in steps):
        return True
    return any(find(reduced, _reduced_path(path)) is not ABSENT for path in field.paths)


def _reduced_path(path: Steps) -> Steps:
    return tuple(step.translate(_NO_DIGITS) if isinstance(step, str) else step for step in path)


def _without_digits(document: Any) -> Any:
    if isinstance(document, dict):
        return {key.translate(_NO_DIGITS): _without_digits(value) for key, value in document.items()}
    return [_without_digits(item) for item in document] if isinstance(document, list) else document


def _stays_unique(document: Any) -> bool:
    """Do the keys of every object differ in more than digits?"""
    if isinstance(document, dict):
        reduced = {key.translate(_NO_DIGITS) for key in document}
        return len(reduced) == len(document) and all(map(_stays_unique, document.values()))
    return all(map(_stays_unique, document)) if isinstance(document, list) else True


def _is_flat(topic: TopicRule, rules: tuple[Rule, ...]) -> bool:
    """Can msgspec read this topic's messages straight into a structure?"""
    paths = [rule.field.paths[0] for rule in rules]
    if topic.when is not None or (topic.time is not None and "gbt32960" in topic.time.formats):
        return False
    if topic.time is not None:
        paths.append(topic.time.path)
    for rule in rules:
        field = rule.field
        if len(field.paths) != 1 or field.minus or field.split or field.when or field.absent is not None:
            return False
        if field.type != "number":
            return False
    if not all(path and all(isinstance(step, str) for step in path) for path in paths):
        return False
    # no path may be the beginning of another, and none may repeat
    return not any(a[: len(b)] == b for i, a in enumerate(paths) for j, b in enumerate(paths) if i != j)


def _names(path: Steps) -> list[str]:
    """Attribute names for a path's keys, any text made a name."""
    return ["k_" + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in str(step)) for step in path]


def _getter(paths: list[Steps]) -> Callable[[Any], tuple[Any, ...]]:
    if all(len(path) == 1 for path in paths):
        return msgspec.structs.astuple
    get = attrgetter(*(".".join(_names(path)) for path in paths))
    return get if len(paths) > 1 else lambda message: (get(message),)


@lru_cache(maxsize=4096)
def _reader(paths: tuple[Steps, ...], time: Steps | None) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(_structure(paths, time)).decode


def _structure(paths: tuple[Steps, ...], time: Steps | None) -> type[msgspec.Struct]:
    """A msgspec structure of numbers at these paths, and the time at its own."""
    tree: dict[str, Any] = {}
    for path in paths:
        node = tree
        for step in path[:-1]:
            node = node.setdefault(str(step), {})
        node[str(path[-1])] = path

    def build(node: dict[str, Any], name: str) -> type[msgspec.Struct]:
        fields: list[tuple[str, Any]] = []
        for key, below in node.items():
            attribute = _names((key,))[0]
            if isinstance(below, dict):
                fields.append((attribute, build(below, f"{name}_{attribute}")))
            else:
                fields.append((attribute, str | int | float if below == time else float))
        rename = {_names((key,))[0]: key for key in node}
        return msgspec.defstruct(name, fields, rename=rename, frozen=True, gc=False)

    return build(tree, "Message")


def _holds(condition: Condition, document: Any) -> bool:
    raw = find(document, condition.path)
    if condition.equals and (raw is ABSENT or raw not in condition.equals):
        return False
    return not (raw is not ABSENT and raw in condition.excludes)


def _gather(field: Field, document: Any) -> Any:
    """The raw value, or (plus, minus) lists for a sum; ABSENT if any part needed is not there."""
    if len(field.paths) == 1 and not field.minus:
        return find(document, field.paths[0])
    plus = [find(document, path) for path in field.paths]
    minus = [find(document, path) for path in field.minus]
    if field.minus_optional:
        minus = [raw for raw in minus if raw is not ABSENT]
    if any(raw is ABSENT for raw in (*plus, *minus)):
        return ABSENT
    return plus, minus


def _sum(raw: Any, field: Field) -> float | None:
    if type(raw) is not tuple:
        return raw_number(raw, field)
    total = 0.0
    for sign, parts in zip((1.0, -1.0), raw, strict=True):
        for part in parts:
            number = raw_number(part, field)
            if number is None:
                return None
            total += sign * number
    return total


def _text(path: Steps) -> str:
    """A path as it is written in a profile."""
    text = ""
    for step in path:
        if isinstance(step, str):
            text += ("." if text else "") + (f'"{step}"' if "." in step else step)
        else:
            text += f"[{step}]" if isinstance(step, int) else f"[{step.key}={step.value}]"
    return text
