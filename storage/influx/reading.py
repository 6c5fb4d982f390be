"""Questions to a server, in InfluxQL: values go in as bind parameters, names of ours are quoted, every one is bounded.

A range that touches more files than InfluxDB 3 Core opens is asked in halves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from metering.reading import IntervalSeries, Measure, Point, Series
from storage.influx.client import Client, Rows, TooManyFiles
from storage.influx.line_protocol import (
    DEVICE_TAG,
    FIRST_US,
    LAST_US,
    Unwritable,
    field_of,
    interval_measurement,
    measurement_of,
    point_of,
)
from storage.store import Rollup

CHUNK = 10_000
_PER_REQUEST = 60  # statements
_APART_US = 600_000_000  # rows further apart than this are asked for one by one


class Found(NamedTuple):
    """A value that is stored."""

    value: float
    quality: int
    batch: int


def clamp(start: int, end: int) -> tuple[int, int]:
    """A range within what a server can hold."""
    return max(start, FIRST_US), min(end, LAST_US + 1)


def _device(point: Point, suffix: str = "") -> tuple[str, str, dict[str, Any]]:
    measurement = measurement_of(point)
    where = f'"site" = $s{suffix} AND "{DEVICE_TAG[measurement]}" = $d{suffix}'
    return measurement, where, {f"s{suffix}": point.site, f"d{suffix}": point.meter}


def _during(start: int, end: int) -> str:
    return f"time >= {start * 1000} AND time < {end * 1000}"


def _field(point: Point) -> str | None:
    try:
        return field_of(point)
    except Unwritable:
        return None


def in_halves(client: Client, ask: Any, start: int, end: int, grid: int = 1) -> Iterator[Rows]:
    """The answers to `ask(start, end)` -> (statement, params), earlier first."""
    try:
        yield from list(client.query(*ask(start, end), chunk=CHUNK))
    except TooManyFiles:
        middle = (start + end) // 2 // grid * grid
        if not start < middle < end:
            raise
        yield from in_halves(client, ask, start, middle, grid)
        yield from in_halves(client, ask, middle, end, grid)


def no_series(point: Point) -> Series:
    """A series without samples."""
    return Series(point, np.empty(0, np.int64), np.empty(0), np.empty(0, np.uint8))


def series(client: Client, point: Point, start: int, end: int) -> Series:
    """Samples in [start, end)."""
    start, end = clamp(start, end)
    field = _field(point)
    if field is None or start >= end:
        return no_series(point)
    measurement, where, params = _device(point)

    def ask(a: int, b: int) -> tuple[str, dict[str, Any]]:
        return f'SELECT "{field}", "{field}_quality" FROM "{measurement}" WHERE {where} AND {_during(a, b)}', params  # noqa: S608

    rows = [row for piece in in_halves(client, ask, start, end) for row in piece.values if row[1] is not None]
    at, value, quality = zip(*rows, strict=True) if rows else ((), (), ())
    return Series(
        point,
        np.array(at, np.int64) // 1000,
        np.array(value, np.float64),
        np.array([q or 0 for q in quality], np.uint8),
    )


def neighbour(client: Client, point: Point, start: int, end: int, *, last: bool) -> Series:
    """The first or last sample in [start, end)."""
    start, end = clamp(start, end)
    field = _field(point)
    if field is None or start >= end:
        return no_series(point)
    measurement, where, params = _device(point)
    order = "DESC" if last else "ASC"
    width = 72 * 3_600_000_000
    windows = [(start, end)]
    while windows:
        a, b = windows.pop(0)
        try:
            pieces = list(
                client.query(
                    f'SELECT "{field}", "{field}_quality" FROM "{measurement}" WHERE {where} AND {_during(a, b)} '  # noqa: S608
                    f"ORDER BY time {order} LIMIT 1",
                    params,
                )
            )
        except TooManyFiles:
            middle = max(a + 1, b - width) if last else min(b - 1, a + width)
            if not a < middle < b:
                raise
            windows = [(middle, b), (a, middle)] if last else [(a, middle), (middle, b)]
            continue
        for piece in pieces:
            for at, value, quality in piece.values:
                if value is not None:
                    return Series(
                        point,
                        np.array([at // 1000], np.int64),
                        np.array([value], np.float64),
                        np.array([quality or 0], np.uint8),
                    )
    return no_series(point)


def batches(client: Client, point: Point, start: int, end: int) -> list[tuple[int, int]]:
    """(observed_at, number of the batch) of the samples in [start, end)."""
    start, end = clamp(start, end)
    field = _field(point)
    if field is None or start >= end:
        return []
    measurement, where, params = _device(point)

    def ask(a: int, b: int) -> tuple[str, dict[str, Any]]:
        return (
            f'SELECT "{field}", "{field}_batch", "batch" FROM "{measurement}" WHERE {where} AND {_during(a, b)}',  # noqa: S608
            params,
        )

    rows = (row for piece in in_halves(client, ask, start, end) for row in piece.values)
    return [
        (at // 1000, own if own is not None else common or 0) for at, value, own, common in rows if value is not None
    ]


def look_up(client: Client, keys: Sequence[tuple[Point, int]]) -> dict[tuple[Point, int], Found]:
    """What is stored at some points and times."""
    wanted: dict[tuple[str, str, str], dict[str, list[int]]] = {}
    for point, at in keys:
        field = _field(point)
        if field is not None and FIRST_US <= at <= LAST_US:
            wanted.setdefault((measurement_of(point), point.site, point.meter), {}).setdefault(field, []).append(at)
    asked: list[tuple[str, dict[str, Any]]] = []
    for n, ((measurement, site, device), fields) in enumerate(wanted.items()):
        names = ", ".join(f'"{f}", "{f}_quality", "{f}_batch"' for f in fields)
        params = {f"s{n}": site, f"d{n}": device}
        for first, last in _pieces(sorted({at for ats in fields.values() for at in ats})):
            asked.append(
                (
                    f'SELECT "batch", {names} FROM "{measurement}" WHERE "site" = $s{n} AND '  # noqa: S608
                    f'"{DEVICE_TAG[measurement]}" = $d{n} AND {_during(first, last + 1)}',
                    params,
                )
            )
    keyset = set(keys)
    found: dict[tuple[Point, int], Found] = {}
    devices = list(wanted)
    for begin in range(0, len(asked), _PER_REQUEST):
        part = asked[begin : begin + _PER_REQUEST]
        params = {key: value for _, some in part for key, value in some.items()}
        owners = [int(next(iter(some))[1:]) for _, some in part]
        for piece in client.query(";".join(statement for statement, _ in part), params, chunk=CHUNK):
            _, site, device = devices[owners[piece.statement]]
            _take(piece, site, device, keyset, found)
    return found


def _pieces(ats: Sequence[int]) -> Iterator[tuple[int, int]]:
    first = previous = ats[0]
    for at in ats[1:]:
        if at - previous > _APART_US:
            yield first, previous
            first = at
        previous = at
    yield first, previous


def _take(
    piece: Rows, site: str, device: str, wanted: set[tuple[Point, int]], found: dict[tuple[Point, int], Found]
) -> None:
    place = {name: i for i, name in enumerate(piece.columns)}
    fields = [
        (point, i, place[f"{name}_quality"], place[f"{name}_batch"])
        for name, i in place.items()
        if name != "time" and (point := point_of(site, device, name)) is not None
    ]
    for row in piece.values:
        at = row[0] // 1000
        for point, value, quality, batch in fields:
            if row[value] is not None and (point, at) in wanted:
                number = row[batch] if row[batch] is not None else row[place["batch"]]
                found[point, at] = Found(float(row[value]), row[quality] or 0, number or 0)


def rollup(client: Client, point: Point, start: int, end: int, step: int) -> Rollup:
    """Minimum, mean, maximum in steps on the grid of multiples of `step` since 1970."""
    start, end = clamp(start, end)
    field = _field(point)
    rows: list[list[Any]] = []
    if field is not None and start < end:
        measurement, where, params = _device(point)

        def ask(a: int, b: int) -> tuple[str, dict[str, Any]]:
            return (
                f'SELECT min("{field}"), mean("{field}"), max("{field}"), count("{field}") FROM "{measurement}" '  # noqa: S608
                f"WHERE {where} AND {_during(a, b)} GROUP BY time({step}u) fill(none)",
                params,
            )

        rows = [row for piece in in_halves(client, ask, start, end, step) for row in piece.values if row[4]]
    at, lowest, mean, highest, count = zip(*rows, strict=True) if rows else ((),) * 5
    return Rollup(
        point,
        np.array(at, np.int64) // 1000,
        np.array(lowest, np.float64),
        np.array(mean, np.float64),
        np.array(highest, np.float64),
        np.array(count, np.int64),
    )


class Held(NamedTuple):
    """What a server has of a point: count, first time, newest row."""

    point: Point
    n: int
    oldest: int
    at: int
    value: float
    quality: int


def inventory(client: Client) -> list[Held]:
    """All points of a server, each with its count and newest row; reads everything once.

    One selector a statement: with several, the times that come back are not those of the values.
    """
    held = []
    for measurement, device_tag in DEVICE_TAG.items():
        fields = [
            name
            for piece in client.query(f'SHOW FIELD KEYS FROM "{measurement}"')
            for name, kind in piece.values
            if kind == "float" and point_of("s", "d", name)
        ]
        for field in fields:
            by = f'FROM "{measurement}" WHERE {_during(FIRST_US, LAST_US + 1)} GROUP BY "site", "{device_tag}"'
            counts, firsts = (
                {(p.tags["site"], p.tags[device_tag]): p.values[0] for p in client.query(f'SELECT {s}("{field}") {by}')}
                for s in ("count", "first")
            )
            for piece in client.query(f'SELECT last("{field}") {by}'):
                device = piece.tags["site"], piece.tags[device_tag]
                point = point_of(*device, field)
                if point is None or measurement_of(point) != measurement:
                    continue
                at, value = piece.values[0]
                (newest,) = look_up(client, [(point, at // 1000)]).values() or (Found(value, 0, 0),)
                held.append(
                    Held(point, counts[device][1], firsts[device][0] // 1000, at // 1000, value, newest.quality)
                )
    return held


# --- intervals

_COLUMNS = '"end", "amount", "coverage", "estimated", "quality"'


def intervals(
    client: Client, measures: Sequence[Measure], resolution: str, spans: Sequence[tuple[int, int]]
) -> dict[Measure, IntervalSeries]:
    """The intervals of each measure that start in its span; void ones are left out."""
    table = interval_measurement(resolution)
    rows: dict[Measure, list[list[Any]]] = {measure: [] for measure in measures}
    wanted = [(measure, *clamp(*span)) for measure, span in zip(measures, spans, strict=True)]
    wanted = [(measure, start, end) for measure, start, end in wanted if start < end]
    for begin in range(0, len(wanted), _PER_REQUEST):
        part = wanted[begin : begin + _PER_REQUEST]
        statements, params = [], {}
        for n, (measure, start, end) in enumerate(part):
            statement, values = _select(table, measure, start, end, str(n))
            statements.append(statement)
            params |= values
        got: dict[Measure, list[list[Any]]] = {measure: [] for measure, _, _ in part}
        try:
            for piece in client.query(";".join(statements), params, chunk=CHUNK):
                got[part[piece.statement][0]].extend(piece.values)
        except TooManyFiles:
            for measure, start, end in part:
                pieces = in_halves(client, lambda a, b, m=measure: _select(table, m, a, b, ""), start, end)
                got[measure] = [row for piece in pieces for row in piece.values]
        for measure, some in got.items():
            rows[measure].extend(some)
    return {measure: _interval_series(measure, some) for measure, some in rows.items()}


def _select(table: str, measure: Measure, start: int, end: int, n: str) -> tuple[str, dict[str, Any]]:
    params = {f"{tag}{n}": getattr(measure, tag) for tag in ("site", "scope", "node", "name", "unit")}
    where = " AND ".join(f'"{key.removesuffix(n) if n else key}" = ${key}' for key in params)
    return (
        f'SELECT {_COLUMNS} FROM "{table}" WHERE {where} AND "void" = 0 AND {_during(start, end)}',  # noqa: S608
        params,
    )


def _interval_series(measure: Measure, rows: Sequence[Sequence[Any]]) -> IntervalSeries:
    start, end, amount, coverage, estimated, quality = zip(*rows, strict=True) if rows else ((),) * 6
    return IntervalSeries(
        measure,
        np.array(start, np.int64) // 1000,
        np.array(end, np.int64),
        np.array(amount, np.int64),
        np.array(coverage, np.float64),
        np.array(estimated, np.int64),
        np.array(quality, np.uint8),
    )
