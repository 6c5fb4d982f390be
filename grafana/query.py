"""InfluxQL for Grafana's InfluxDB data source: the query type that the SDK lacks, and the parts queries are made of.

Only what InfluxDB 1.x, 2.x and 3.x all understand. Every query has a time bound; derived rows are asked with void = 0.
Values of variables go into regular expressions in the format that escapes them (`:regex`).
"""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.models.common import DataSourceRef

from metering.quantity import CONSUMPTION

SOURCE = DataSourceRef(type_val="influxdb", uid="${datasource}")
LIVE = '"void" = 0'
IN_RANGE = "$timeFilter"
LATELY = "time > now() - 8d"  # names, states and thresholds are written anew each day
ENDED = "time <= now() - 24h"  # days that are over: of a running one the rest is missing
SETTLED = "time <= now() - 20m"  # quarter hours that are over: of a running one a part is known
SITE = '"site" =~ /^${site:regex}$/'
COUNTERS = f'"name" =~ /^({"|".join(sorted({name for names in CONSUMPTION.values() for name in names}))})$/'


class InfluxQuery(variants.Dataquery):
    """One query in InfluxQL. `alias` names series: $col, $tag_<key>. `more`: what only annotations have."""

    def __init__(self, query: str, *, ref: str = "A", table: bool = False, alias: str = "", **more: Any) -> None:
        self.query, self.ref, self.table, self.alias, self.more = query, ref, table, alias, more

    def to_json(self) -> dict[str, object]:
        """As Grafana stores it."""
        out: dict[str, object] = {
            "refId": self.ref,
            "datasource": SOURCE.to_json(),
            "query": self.query,
            "rawQuery": True,
            "resultFormat": "table" if self.table else "time_series",
            **self.more,
        }
        return out | ({"alias": self.alias} if self.alias else {})


def select(what: str, table: str, *where: str, by: str = "") -> str:
    """A statement; conditions that are empty are left out."""
    conditions = " AND ".join(filter(None, where))
    return f'SELECT {what} FROM "{table}" WHERE {conditions}' + (f" GROUP BY {by}" if by else "")  # noqa: S608


def around(what: str, inner: str, *where: str) -> str:
    """A statement over one or several others, in brackets and with commas between them."""
    return f"SELECT {what} FROM {inner} WHERE {' AND '.join(where)}"  # noqa: S608


def equals(tag: str, value: str) -> str:
    """`"tag" = 'value'`."""
    return f"\"{tag}\" = '{value}'"


def chosen(tag: str, variable: str) -> str:
    """The tag is what a variable says, or one of them."""
    return f'"{tag}" =~ /^${{{variable}:regex}}$/'


def rows_of(scope: str, *, carrier: str = "", node: str = "", day: bool = True) -> tuple[str, ...]:
    """Measurement and conditions of intervals; `node` is a variable."""
    measurement = "interval_day" if day else "interval_15min"
    conditions = (equals("scope", scope), SITE, chosen("node", node) if node else "")
    return measurement, *conditions, equals("carrier", carrier) if carrier else "", LIVE


def named(scope: str, fields: dict[str, str], *where: str, ref: str = "N") -> InfluxQuery:
    """The newest of what is said of things, in a table by node; `fields`: column -> field."""
    columns = ", ".join(f'last("{field}") AS "{column}"' for column, field in fields.items())
    conditions = (equals("scope", scope), SITE, *where, LIVE, LATELY)
    return InfluxQuery(select(columns, "node", *conditions, by='"node"'), ref=ref, table=True)


def threshold(name: str) -> InfluxQuery:
    """From where on a figure asks for attention, as configured: see `panels.from_configuration`."""
    return InfluxQuery(
        select('last("value") AS "threshold"', "threshold", equals("name", name), LIVE, LATELY), ref="T", table=True
    )
