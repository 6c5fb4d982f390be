"""Line protocol: how readings and intervals are written to InfluxDB, and what is never sent.

The layout is documented in `docs/influx-schema.md`. Some servers are harmed for good by what others only
refuse (a tag named twice, an infinite number, an empty tag), so the encoder refuses all of it itself.
Times are nanoseconds, the one precision that needs no naming on any version.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from metering.quantity import QUANTITIES, Carrier, Phase
from metering.reading import Measure, Point
from storage.notes import Note

if TYPE_CHECKING:
    from numpy.typing import NDArray

RAW, VEHICLE_RAW = "raw", "vehicle_raw"
DEVICE_TAG = {RAW: "meter", VEHICLE_RAW: "vehicle"}
# What a server's 64-bit nanoseconds hold, with its two lowest values left out: 1677-09-21 to 2262-04-11.
FIRST_US, LAST_US = -(2**63 - 2) // 1000 + 2, (2**63 - 2) // 1000 - 1
LONGEST_TAG = 1024  # characters; servers give up at 64 KiB a series

_FIELD = re.compile(r"[a-z][a-z0-9_]*")
_HARMFUL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff\\]")
_ESCAPES = str.maketrans({",": r"\,", " ": r"\ ", "=": r"\="})
_PHASES = {phase.value for phase in Phase} - {Phase.TOTAL.value}
_RESERVED = ("_quality", "_batch")


class Unwritable(ValueError):
    """What a server would refuse, misread or be harmed by."""


def tag(key: str, value: str) -> str:
    """`key=value`, escaped. Unwritable if the value is empty, too long, or has a control character or backslash."""
    if not value:
        raise Unwritable(f"the {key} is empty")
    if len(value) > LONGEST_TAG:
        raise Unwritable(f"the {key} is longer than {LONGEST_TAG} characters")
    found = _HARMFUL.search(value)
    if found:
        raise Unwritable(f"the {key} {value!r} has the character {found.group()!r}")
    return f"{key}={value.translate(_ESCAPES)}"


def series_key(measurement: str, tags: Sequence[tuple[str, str]]) -> str:
    """The part of a line before its fields. Unwritable for a tag named twice, and as `tag`."""
    keys = [key for key, _ in tags]
    if len(set(keys)) != len(keys):
        raise Unwritable(f"a tag is named twice: {', '.join(keys)}")
    return ",".join([measurement, *(tag(key, value) for key, value in sorted(tags))])


def measurement_of(point: Point) -> str:
    """`vehicle_raw` for what only vehicles say, else `raw`: fixed by the quantity, so that no row ever moves."""
    known = QUANTITIES.get(point.quantity)
    return VEHICLE_RAW if known is not None and known.carrier is Carrier.VEHICLE else RAW


def field_of(point: Point) -> str:
    """The field's name: quantity, and phase where it is not the total. Unwritable if it cannot be one."""
    name = point.quantity if point.phase == Phase.TOTAL.value else f"{point.quantity}_{point.phase}"
    if not _FIELD.fullmatch(name) or name in ("time", "batch", "void") or name.endswith(_RESERVED):
        raise Unwritable(f"{name!r} is no name for a field")
    return name


def point_of(site: str, device: str, field: str) -> Point | None:
    """The point of a field; None for a field that says something about others."""
    if field == "batch" or field.endswith(_RESERVED):
        return None
    quantity, _, phase = field.rpartition("_")
    if field not in QUANTITIES and phase in _PHASES:
        return Point(site, device, quantity, phase)
    return Point(site, device, field)


def device_key(point: Point) -> str:
    """The part of a raw line before its fields, of a point's meter or vehicle."""
    measurement = measurement_of(point)
    return series_key(measurement, (("site", point.site), (DEVICE_TAG[measurement], point.meter)))


class Encoded(NamedTuple):
    """Lines, and the first row of each in the order they were given in."""

    body: bytes
    first: list[int]


class RawRows(NamedTuple):
    """Raw rows in columns, one a point and time, sorted by (device, at).

    device : int64 (n,), index into `keys`
    at : int64 (n,) [us since 1970], in [FIRST_US, LAST_US]
    field : list (n,) of str
    value : float64 (n,), finite
    quality : uint8 (n,)
    batch : int64 (n,)
    late : bool (n,): another row may stand at that device and time: batch and quality are named by field
    """

    keys: Sequence[str]
    device: NDArray[np.int64]
    at: NDArray[np.int64]
    field: Sequence[str]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]
    batch: NDArray[np.int64]
    late: NDArray[np.bool_]

    def pick(self, rows: NDArray[np.int64]) -> RawRows:
        """Some of the rows, in the order given."""
        return RawRows(
            self.keys,
            self.device[rows],
            self.at[rows],
            [self.field[i] for i in rows.tolist()],
            self.value[rows],
            self.quality[rows],
            self.batch[rows],
            self.late[rows],
        )


def encode_raw(rows: RawRows) -> Encoded:
    """One line a device and time, with all its fields.

    Raises
    ------
    Unwritable
        For a value that is not finite, a time out of range, or a point twice at one time.
    """
    if not np.isfinite(rows.value).all():
        raise Unwritable("a value is not finite")
    if len(rows.at) and (rows.at.min() < FIRST_US or rows.at.max() > LAST_US):
        raise Unwritable("a time is outside the years that the server can hold")
    lines: list[str] = []
    first: list[int] = []
    fields: list[str] = []
    names: set[str] = set()
    previous = None
    end = ""
    columns = (rows.device, rows.at, rows.value, rows.quality, rows.batch, rows.late)
    for i, (device, at, value, quality, batch, late, field) in enumerate(
        zip(*(column.tolist() for column in columns), rows.field, strict=True)
    ):
        if (device, at, batch, late) != previous:
            if fields:
                lines.append(",".join(fields) + end)
            previous, end = (device, at, batch, late), f" {at * 1000}"
            first.append(i)
            fields, names = [rows.keys[device] + (" " if late else f" batch={batch}i")], set()
            if late:
                fields[0] += f"{field}_batch={batch}i"
        elif late:
            fields.append(f"{field}_batch={batch}i")
        if field in names:
            raise Unwritable(f"the field {field} is there twice at one time")
        names.add(field)
        fields.append(f"{field}={value!r}")
        if quality or late:
            fields.append(f"{field}_quality={quality}i")
    if fields:
        lines.append(",".join(fields) + end)
    return Encoded("\n".join(lines).encode(), first)


def interval_measurement(resolution: str) -> str:
    """The measurement of a resolution. ValueError if there is no such resolution."""
    if resolution not in ("15min", "day"):
        raise ValueError(f'resolution is "{resolution}"; use 15min or day')
    return f"interval_{resolution}"


def carrier_of(measure: Measure) -> str:
    """The carrier that a measure counts: named by itself for a building or site, by its counter for a meter."""
    known = QUANTITIES.get(measure.name)
    return measure.name if known is None else known.carrier.value


def measure_tags(measure: Measure) -> tuple[tuple[str, str], ...]:
    """The tags of a measure's intervals."""
    return (
        ("carrier", carrier_of(measure)),
        ("name", measure.name),
        ("node", measure.node),
        ("scope", measure.scope),
        ("site", measure.site),
        ("unit", measure.unit),
    )


def interval_line(
    key: str, start: int, end: int, amount: int, coverage: float, estimated: int, quality: int, *, void: bool = False
) -> str:
    """The line of one interval; `void` for one that no longer holds. Unwritable for a coverage that is no share."""
    if not 0.0 <= coverage <= 1.0:
        raise Unwritable(f"coverage is {coverage}, no share")
    return (
        f"{key} amount={amount}i,coverage={float(coverage)!r},end={end}i,estimated={estimated}i,quality={quality}i,"
        f"value={amount / 1000.0!r},void={int(void)}i {start * 1000}"
    )


def note_line(note: Note) -> str:
    """The line of a note. Unwritable as `series_key`, for a field that cannot be one, and a number that is none."""
    fields = []
    for name, value in note.fields.items():
        if not _FIELD.fullmatch(name) or name in ("time", "void"):
            raise Unwritable(f"{name!r} is no name for a field")
        if isinstance(value, str):
            text = _HARMFUL.sub(" ", value).replace('"', r"\"")
            fields.append(f'{name}="{text}"')
        elif isinstance(value, int):
            fields.append(f"{name}={value}i")
        elif math.isfinite(value):
            fields.append(f"{name}={value!r}")
        else:
            raise Unwritable(f"{name} is {value}")
    key = series_key(note.measurement, note.tags)
    return f"{key} {','.join([*fields, 'void=0i'])} {note.at * 1000}"


def printable(text: str) -> str:
    """A text without what no server holds safely in a tag; "-" for an empty one."""
    return _HARMFUL.sub(" ", text).strip()[:LONGEST_TAG] or "-"
