"""From values to an MQTT payload: the profile run backwards, for simulators and for testing both ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from devices.payload.paths import ABSENT, Steps, find, place
from devices.payload.profile import BASE, Field, PayloadProfile, TimeRule, TopicRule
from devices.payload.values import FLAGS
from metering.clock import from_us
from metering.explain import ExplainedError

Values = Mapping[tuple[str, str], float]
_CHINA = timezone(timedelta(hours=8))


def encode_payload(profile: PayloadProfile, topic: str, values: Values, at: int, *, timezone: str = "UTC") -> bytes:
    """The payload such a device would publish.

    Parameters
    ----------
    topic : as the profile has it, `{base}/SENSOR`
    values : (quantity, phase) -> value [quantity's unit]; those that the topic does not carry are left out
    at : when it was measured [us since 1970]; written where the format carries a time
    timezone : of a format without offset

    Raises
    ------
    ExplainedError
        If the topic is not the profile's, or carries none of the values.
    """
    rule = next((rule for rule in profile.topics if rule.topic == topic), None)
    fields = [f for f in profile.fields if f.topic == topic and (f.quantity, f.phase) in values]
    if rule is None or not fields:
        raise ExplainedError(
            f"{profile.path}: topic {topic}",
            "is not there" if rule is None else "carries none of the values given",
            f"use one of {', '.join(t.topic for t in profile.topics)}",
        )
    if fields[0].paths == ((),):
        return _bare(fields, values).encode()
    document = _document(rule, fields, values)
    if rule.time is not None:
        document = place(document, rule.time.path, _time(rule.time, at, timezone))
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def encode_messages(
    profile: PayloadProfile, base_topic: str, values: Values, at: int, *, timezone: str = "UTC"
) -> list[tuple[str, bytes]]:
    """Every (exact topic, payload) that carries some of the values."""
    carrying = {field.topic for field in profile.fields if (field.quantity, field.phase) in values}
    return [
        (rule.topic.replace(BASE, base_topic), encode_payload(profile, rule.topic, values, at, timezone=timezone))
        for rule in profile.topics
        if rule.topic in carrying
    ]


def _raw(field: Field, value: float) -> float | int:
    raw = (value - field.shift) * field.denominator / field.numerator
    if field.decimals == 0:
        return round(raw)
    return round(raw, 9 if field.decimals is None else field.decimals)


def _written(field: Field, value: float) -> Any:
    """The raw value in the form the device writes it."""
    raw = _raw(field, value)
    if field.type in ("map", "flag"):
        codes = field.codes or (FLAGS if field.paths == ((),) else {})
        for code, meaning in codes.items():
            if meaning == raw:
                return int(code) if code.lstrip("-").isdecimal() else code
        return bool(raw) if field.type == "flag" else str(raw)
    if field.type == "text" or field.split:
        text = str(raw).replace(".", field.decimal)
        return f"{text} {field.suffix}" if field.suffix else text
    return raw


def _bare(fields: list[Field], values: Values) -> str:
    parts: dict[int, str] = {}
    for field in fields:
        written = _written(field, values[field.quantity, field.phase])
        parts[field.part] = ("true" if written else "false") if isinstance(written, bool) else str(written)
    return (fields[0].split or ",").join(parts.get(i, "0") for i in range(max(parts) + 1))


def _document(rule: TopicRule, fields: list[Field], values: Values) -> Any:
    document: Any = ABSENT
    if rule.when is not None and rule.when.equals:
        document = place(document, rule.when.path, rule.when.equals[0])
    lists: dict[Steps, dict[int, str]] = {}
    separators: dict[Steps, str] = {}
    for field in sorted(fields, key=lambda f: bool(f.minus)):  # what is subtracted is placed first
        written = _written(field, values[field.quantity, field.phase])
        if field.when is not None and field.when.equals:
            document = place(document, field.when.path, field.when.equals[0])
        if field.split:
            lists.setdefault(field.paths[0], {})[field.part] = str(written)
            separators[field.paths[0]] = field.split
            continue
        for steps in field.minus:
            there = find(document, steps)
            written = round(written + (0.0 if there is ABSENT else there), 9)
            document = place(document, steps, 0.0) if there is ABSENT else document
        document = place(document, field.paths[0], written)
        for steps in field.paths[1:]:
            document = place(document, steps, 0)
    for steps, parts in lists.items():
        document = place(document, steps, separators[steps].join(parts.get(i, "0") for i in range(max(parts) + 1)))
    return document


def _time(rule: TimeRule, at: int, zone: str) -> Any:
    name = rule.formats[0]
    instant = from_us(at)
    if name == "rfc3339":
        return instant.isoformat().replace("+00:00", "Z")
    if name == "local":
        return instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None).isoformat()
    if name == "gbt32960":
        china = instant.astimezone(_CHINA)
        return {
            "Year": china.year - 2000, "Month": china.month, "Day": china.day,
            "Hour": china.hour, "Minute": china.minute, "Second": china.second,
        }  # fmt: skip
    per_unit = {"unix_s": 1_000_000, "unix_ms": 1000, "unix_us": 1}[name]
    return at // per_unit if at % per_unit == 0 else at / per_unit
