"""What a dashboard must have, as a list of its faults: for tests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]

SOURCE = {"type": "influxdb", "uid": "${datasource}"}
MEASUREMENTS = {
    "interval_15min", "interval_day", "profile_day", "vehicle_raw", "node", "event", "threshold", "collector",
    "collector_source", "collector_line", "expected_hour", "incident",
}  # fmt: skip
RAW = {"raw", "vehicle_raw"}
# a row an hour or more often
DENSE = {"interval_15min", "expected_hour", "collector", "collector_source", "collector_line"}
FUNCTIONS = {
    "sum", "mean", "count", "min", "max", "last", "first", "spread", "percentile", "non_negative_derivative", "time",
    "fill", "now",
}  # fmt: skip
# Not everywhere: 2.x lacks INTO and DROP, 3.x the others, too.
FORBIDDEN = re.compile(
    r"\b(INTO|SLIMIT|SOFFSET|DELETE|DROP|CREATE|HOLT_WINTERS|CARDINALITY|SHOW\s+SERIES|SHOW\s+FIELD)\b|\|>|\(\s*\*|\brp\b",
    re.IGNORECASE,
)
TIME = re.compile(r"\$timeFilter|\btime\s*(>=?)", re.IGNORECASE)
VOID = '"void" = 0'
WEEK = "time >= ${__to}ms - 7d"
SHORT = re.compile(r"time > now\(\) - (\d+)m\b|time >= \$\{__to\}ms - 12h")
CORE = "InfluxDB 3 Core"
HEX = re.compile(r"#[0-9A-Fa-f]{6}\b")
WALL_PANELS, WALL_ROWS = 6, 24  # 24 rows of 38 px under Grafana's bars: a screen of 1080 lines


def faults(board: Json) -> Iterator[str]:
    """What is wrong with a dashboard, in words."""
    for panel in board["panels"]:
        yield from (f"{panel['title'] or 'a panel'}: {fault}" for fault in _panel(panel))
    yield from _places(board["panels"])
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            if variable.get("datasource") != SOURCE:
                yield f"variable {variable['name']}: not of the data source's variable"
            if not TIME.search(variable["query"]):
                yield f"variable {variable['name']}: its query has no time bound"
    for annotation in board["annotations"]["list"]:
        if annotation.get("datasource") != SOURCE:
            yield f"annotation {annotation['name']}: not of the data source's variable"
        yield from (f"annotation {annotation['name']}: {fault}" for fault in _query(annotation["target"]["query"]))
    if not all(link["keepTime"] for link in board["links"]):
        yield "a link to other dashboards loses the time range"


def wall_faults(board: Json) -> Iterator[str]:
    """What keeps a dashboard from being read from four metres, without scrolling."""
    panels = board["panels"]
    if len(panels) > WALL_PANELS:
        yield f"{len(panels)} panels; at most {WALL_PANELS}"
    if max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) > WALL_ROWS:
        yield "does not fit on a screen of 1080 lines"
    for panel in panels:
        if panel["options"].get("legend", {}).get("showLegend"):
            yield f"{panel['title']}: has a legend"
        if panel["type"] != "stat" or len(panel["targets"]) > 1:
            yield f"{panel['title']}: is not one figure"


def _panel(panel: Json) -> Iterator[str]:
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    for what, value in (
        ("title", panel.get("title")),
        ("description", panel.get("description")),
        ("unit", defaults.get("unit")),
        ("text for no data", defaults.get("noValue")),
    ):
        if not value:
            yield f"has no {what}"
    if panel.get("datasource") != SOURCE or any(target.get("datasource") != SOURCE for target in panel["targets"]):
        yield "not of the data source's variable"
    steps = defaults.get("thresholds", {}).get("steps", [])
    if len(steps) > 1 or any(row["id"] == "thresholds" for o in _overrides(panel) for row in o["properties"]):
        yield "has a threshold typed in"
    for target in panel["targets"]:
        yield from (f"query {target['refId']} {fault}" for fault in _query(target["query"]))
        if _dense(target["query"]) and CORE not in panel["description"]:
            yield f"query {target['refId']} can ask more than InfluxDB 3 Core answers; the description does not say so"
    for link in _links(panel):
        if "${__url_time_range}" not in link["url"]:
            yield f"the link {link['title']} loses the time range"


def _overrides(panel: Json) -> list[Json]:
    return list(panel.get("fieldConfig", {}).get("overrides", []))


def _links(panel: Json) -> Iterator[Json]:
    yield from panel.get("fieldConfig", {}).get("defaults", {}).get("links", None) or ()
    for each in _overrides(panel):
        for row in each["properties"]:
            if row["id"] == "links":
                yield from row["value"]


def _query(query: str) -> Iterator[str]:
    if FORBIDDEN.search(query):
        yield f"uses {FORBIDDEN.search(query).group()!r}"  # type: ignore[union-attr]
    unknown = {name.lower() for name in re.findall(r"\b([A-Za-z_]+)\(", _without_texts(query))} - FUNCTIONS
    unknown -= {"and", "or", "from", "in"}
    if unknown:
        yield f"uses {', '.join(sorted(unknown))}"
    if "${" in re.sub(r"\$\{(\w+:regex|__from|__to)\}", "", query):
        yield "takes a variable as it is; use the format :regex"
    for table, where in re.findall(r'FROM "(\w+)" WHERE ((?:(?! FROM ).)*)', query):
        if table not in MEASUREMENTS:
            yield f"asks {table}"
        if not TIME.search(where):
            yield f"asks {table} without a time bound"
        if table in RAW and WEEK not in where:
            yield f"asks {table} for more than a week"
        if table not in RAW and VOID not in where:
            yield f"asks {table} for rows that are void, too"
    if not re.search(r'FROM "\w+" WHERE', query):
        yield "has no condition"


def _without_texts(query: str) -> str:
    return re.sub(r"'[^']*'|/\^[^/]*\$/|\"[^\"]*\"", "", query)


def _dense(query: str) -> bool:
    """Does it ask rows so dense, for as long as the range is chosen, that 3 Core gives up?"""
    tables = set(re.findall(r'FROM "(\w+)"', query))
    return bool(tables & DENSE) and not SHORT.search(query)


def _places(panels: list[Json]) -> Iterator[str]:
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        if cells & taken or at["x"] + at["w"] > 24:
            yield f"{panel['title']}: lies over another, or beyond the edge"
        taken |= cells
