"""Fills in what Grafana fills in before it asks InfluxDB, as its documentation says: for tests and benchmarks.

Variables (their queries, the text and value of a label, All), `${name:regex}`, `$timeFilter`, `${__from}`, `${__to}`,
`$__interval`. Nothing is asked here: the caller passes a function that asks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

ALL = "$__all"
POINTS = 1000  # as many as a panel asks for
STEPS_MS = [
    1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_200_000, 1_800_000,
    3_600_000, 7_200_000, 10_800_000, 21_600_000, 43_200_000, 86_400_000, 604_800_000,
]  # fmt: skip
_LENGTHS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SPECIAL = re.compile(r"[\\^$.|?*+()\[\]{}/]")
Values = list[list[Any]]
Ask = Callable[[str], list[Values]]  # a statement -> the rows of each series


class Chosen(NamedTuple):
    """What a variable stands at."""

    text: str
    value: str | list[str]
    raw: str = ""  # instead of the value, as it is: an "All" of its own

    @property
    def as_regex(self) -> str:
        """In the format `:regex`."""
        if self.raw:
            return self.raw
        if isinstance(self.value, list):
            return f"({'|'.join(_SPECIAL.sub(_escaped, value) for value in self.value)})"
        return _SPECIAL.sub(_escaped, self.value)


def _escaped(match: re.Match[str]) -> str:
    return "\\" + match.group()


class Question(NamedTuple):
    """One query of one panel, filled in."""

    panel: str
    ref: str
    query: str
    kind: str  # of the panel


def milliseconds(length: str) -> int:
    """`15m` -> 900000."""
    return int(length[:-1]) * _LENGTHS[length[-1]]


def interval(start_ms: int, end_ms: int, least: str | None) -> str:
    """`$__interval`: the range in so many points, rounded, not less than the panel's least."""
    wanted = max((end_ms - start_ms) / POINTS, milliseconds(least) if least else 1_000)
    step = next((step for step in STEPS_MS if step >= wanted), STEPS_MS[-1])
    unit, size = next((unit, size) for unit, size in reversed(_LENGTHS.items()) if step % size == 0)
    return f"{step // size}{unit}"


def fill(query: str, chosen: Mapping[str, Chosen], start_ms: int, end_ms: int, step: str = "1m") -> str:
    """A query as it is sent. KeyError for a variable that the dashboard does not have."""
    out = re.sub(r"\$\{(\w+):regex\}", lambda match: chosen[match.group(1)].as_regex, query)
    for macro, value in (
        ("${__from}", str(start_ms)),
        ("${__to}", str(end_ms)),
        ("$timeFilter", f"time >= {start_ms}ms and time <= {end_ms}ms"),
        ("$__interval", step),
    ):
        out = out.replace(macro, value)
    return out


def choose(dashboard: Mapping[str, Any], ask: Ask, wanted: Mapping[str, str] | None = None) -> dict[str, Chosen]:
    """What each variable stands at when the dashboard is opened: All, else the first value; or the one wanted."""
    out: dict[str, Chosen] = {}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] != "query":
            continue
        found = [str(row[1]) for rows in ask(fill(variable["query"], out, 0, 0)) for row in rows]
        pairs = sorted({pair for text in found for pair in _named(text, variable.get("regex", ""))})
        own = (wanted or {}).get(variable["name"])
        if own:
            text = next((text for text, value in pairs if value == own), own)
            out[variable["name"]] = Chosen(text, own)
        elif variable.get("includeAll"):
            values = [value for _, value in pairs]
            out[variable["name"]] = Chosen("All", values, variable.get("allValue") or "")
        else:
            text, value = pairs[0] if pairs else ("", "")
            out[variable["name"]] = Chosen(text, value)
    return out


def _named(text: str, regex: str) -> Iterator[tuple[str, str]]:
    """(text, value) by the named groups of a variable's regex; what it does not match is left out."""
    if not regex:
        yield text, text
        return
    match = re.search(regex.strip("/").replace("(?<", "(?P<"), text)
    if match:
        yield match["text"], match["value"]


def questions(
    dashboard: Mapping[str, Any], chosen: Mapping[str, Chosen], start_ms: int, end_ms: int
) -> Iterator[Question]:
    """Every query of every panel, and of the annotations, filled in."""
    for panel in dashboard["panels"]:
        step = interval(start_ms, end_ms, panel.get("interval"))
        for target in panel["targets"]:
            query = fill(target["query"], chosen, start_ms, end_ms, step)
            yield Question(panel["title"], target["refId"], query, panel["type"])
    for annotation in dashboard["annotations"]["list"]:
        query = fill(annotation["target"]["query"], chosen, start_ms, end_ms)
        yield Question(annotation["name"], "Anno", query, "annotation")
