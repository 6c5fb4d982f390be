"""What a raw value means: one explicit table, for every kind of field.

| raw                        | number        | text             | flag          | map            |
|----------------------------|---------------|------------------|---------------|----------------|
| null, one of `invalid`     | missing       | missing          | missing       | missing        |
| whole or decimal number    | value         | value            | 1 and 0 only  | its code       |
| true, false                | not_numeric   | not_numeric      | 1, 0          | its code       |
| text                       | not_numeric   | parsed strictly  | on/off, ...   | its code       |
| NaN, 1e999, "nan", "inf"   | not_finite    | not_finite       | unknown_code  | unknown_code   |
| object, list               | not_numeric   | not_numeric      | not_numeric   | not_numeric    |

Afterwards a value outside its quantity's physical range is rejected as `range`.
"""

from __future__ import annotations

import math
import re
from typing import Any

from devices.payload.profile import Field

MISSING = None
FLAGS = {"true": 1.0, "on": 1.0, "yes": 1.0, "1": 1.0, "false": 0.0, "off": 0.0, "no": 0.0, "0": 0.0}
_POINT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
_COMMA = re.compile(r"[+-]?(?:\d{1,3}(?:[ .']\d{3})+|\d+)(?:,\d*)?", re.ASCII)
_SPACES = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " "})
_NOT_FINITE = {"nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"}


class Unusable(Exception):
    """A value that cannot be a measurement: a short reason and the detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def raw_number(raw: Any, field: Field) -> float | None:
    """The raw value as a number [raw], None where the device says "not available".

    Raises
    ------
    Unusable
        If it is no number by the table above.
    """
    kind = type(raw)
    if raw is None or (kind in (str, int, float) and raw in field.invalid):  # 1 and 1.0 are equal and hash alike
        return MISSING
    if kind in (dict, list):
        raise Unusable("not_numeric", f"{field.quantity} is {'an object' if kind is dict else 'a list'}")
    if field.split:
        raw, kind = _part(raw, field), str
        if raw in field.invalid or raw == "":
            return MISSING
    if field.type == "flag":
        return _code(raw, {**FLAGS, **field.codes}, None, field)
    if field.type == "map":
        return _code(raw, field.codes, field.otherwise, field)
    if kind is str and (field.type == "text" or field.split or field.paths == ((),)):
        return _parse(raw, field)
    if kind is int or kind is float:
        try:
            number = float(raw)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise Unusable("not_finite", f"{field.quantity} is {_brief(raw)}")
        return number
    raise Unusable("not_numeric", f'{field.quantity} is {_brief(raw)}; a number in quotes needs type = "text"')


def _part(raw: Any, field: Field) -> str:
    if not isinstance(raw, str):
        raise Unusable("not_numeric", f"{field.quantity} is {_brief(raw)}, not a text to split")
    parts = raw.split(field.split)
    if field.part >= len(parts):
        raise Unusable("not_numeric", f"{field.quantity}: {_brief(raw)} has no part {field.part}")
    return parts[field.part].strip()


def _parse(raw: str, field: Field) -> float | None:
    text = raw.strip().translate(_SPACES)
    if len(text) > 64:
        raise Unusable("not_numeric", f"{field.quantity} is {_brief(raw)}")
    if field.suffix and text.endswith(field.suffix):
        text = text.removesuffix(field.suffix).rstrip()
    if not text or text == "null" or text in field.invalid:
        return MISSING
    if field.decimal == ",":
        if not _COMMA.fullmatch(text):
            raise Unusable("not_numeric", f"{field.quantity} is {_brief(raw)}")
        text = text.replace(" ", "").replace(".", "").replace("'", "").replace(",", ".")
    elif not _POINT.fullmatch(text):
        if text.lower() in _NOT_FINITE:
            raise Unusable("not_finite", f"{field.quantity} is {_brief(raw)}")
        raise Unusable("not_numeric", f"{field.quantity} is {_brief(raw)}")
    value = float(text)
    if not math.isfinite(value):
        raise Unusable("not_finite", f"{field.quantity} is {_brief(raw)}")
    if value in field.invalid:
        return MISSING
    return value


def _code(raw: Any, codes: dict[str, float], otherwise: float | None, field: Field) -> float | None:
    if isinstance(raw, bool):
        text = "true" if raw else "false"
    elif isinstance(raw, float) and raw.is_integer():
        text = str(int(raw))
    else:
        text = str(raw).strip()
    if text == "" and isinstance(raw, str):
        return MISSING
    found = codes.get(text)
    if found is None:
        found = codes.get(text.lower(), otherwise)
    if found is None:
        raise Unusable("unknown_code", f"{field.quantity} is {_brief(raw)}; known: {', '.join(list(codes)[:10])}")
    return found


def _brief(raw: Any) -> str:
    return repr(raw)[:60]
