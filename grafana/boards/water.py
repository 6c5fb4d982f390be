"""Water: how much, where, and what flows at night."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as dash

from grafana.boards.building import days
from grafana.frame import Language, Variable, link_to, speaker
from grafana.frame import board as frame
from grafana.panels import Panel, by_name, chart, figure, hours, joined, listing
from grafana.query import ENDED, IN_RANGE, LIVE, SITE, InfluxQuery, equals, named, rows_of, select
from grafana.tokens import CARRIER
from metering.site import Name

WATER = equals("carrier", "water")
UNIT = "suffix: m³"
FLOW = "suffix: m³/h"


def board(language: Language) -> dash.Dashboard:
    """The dashboard in one language."""
    say = speaker(language)

    table, *where = rows_of("site", carrier="water")
    used = figure(
        say("Water", "用水"),
        say("The days of the range added up, the running one so far.", "所选时段各日用水之和，当日计至目前。"),
        say("No water meter", "无水表数据"),
        UNIT,
        (8, 6),
        colour=CARRIER["water"],
    ).ask(InfluxQuery(select('sum("value") AS "used"', table, *where, IN_RANGE)))
    profile = ("profile_day", equals("scope", "site"), SITE, WATER, LIVE)
    night = figure(
        say("Least flow of the last whole day", "最近完整日的最小流量"),
        say(
            "Water of the quietest hour, mostly at night. What never stops may be a leak.",
            "用水最少一小时的流量，多在夜间；始终不为零可能存在漏水。",
        ),
        say("No whole day yet", "尚无完整日数据"),
        FLOW,
        (8, 6),
        colour=CARRIER["water"],
        calc="lastNotNull",
        spark=True,
    ).ask(InfluxQuery(select('sum("base") AS "least"', *profile, IN_RANGE, ENDED, by="time(15m) fill(none)")))
    lost = figure(
        say("If that never stops: in a year", "若持续不止：折合全年"),
        say("The mean least flow of the range, for a year.", "所选时段最小流量均值折合全年水量。"),
        say("No whole day yet", "尚无完整日数据"),
        UNIT,
        (8, 6),
        colour=CARRIER["water"],
        calc="lastNotNull",
    ).ask(InfluxQuery(select('8760 * mean("base") AS "year"', *profile, IN_RANGE, ENDED)))
    for panel in (night,):
        panel.defaults.decimals = 2
    bars = days(
        language,
        Name("Water by day", "逐日用水"),
        Name("No water in this range", "该时段无用水数据"),
        UNIT,
        CARRIER["water"],
        (table, *where),
        (12, 9),
    )
    lines = (
        chart(
            say("Least flow of each day, by building", "各建筑逐日最小流量"),
            say(
                "The quietest hour of each day. A line that leaves zero and stays up is worth a walk.",
                "每日最低小时流量；离开零且不回落的曲线值得现场查看。",
            ),
            say("No whole day in this range", "该时段无完整日数据"),
            FLOW,
            (12, 9),
            legend=True,
        )
        .ask(
            InfluxQuery(
                select(
                    '"base" AS "least"',
                    "profile_day",
                    equals("scope", "building"),
                    SITE,
                    WATER,
                    LIVE,
                    IN_RANGE,
                    ENDED,
                    by='"node"',
                ),
                table=True,
            ),
            named("building", {"name": f"name_{language}"}),
        )
        .then(*by_name("least"))
    )
    lines.defaults.display_name = "${__field.labels.name}"
    columns = ", ".join(f'"h{hour:02d}" AS "{hour:02d}:00"' for hour in range(24))
    grid = hours(
        say("Hour by day, the site", "全单位逐日逐时用水"),
        say("Bright rows at night are what to look for.", "留意夜间仍然明亮的行。"),
        say("No whole day in this range", "该时段无完整日数据"),
        FLOW,
        (24, 12),
    ).ask(InfluxQuery(select(columns, *profile, IN_RANGE), alias="$col"), least="1d")
    grid.panel.options.color.fill = CARRIER["water"]  # type: ignore[union-attr]
    return frame(
        "water",
        Name("Water", "用水"),
        Name("How much water, where, and what flows at night.", "用水总量、分布与夜间流量。"),
        language,
        [Variable("site")],
        [[used, night, lost], [bars, lines], [grid], [_buildings(language)]],
        since="now-30d/d",
    )


def _buildings(language: Language) -> Panel:
    say = speaker(language)

    table, *where = rows_of("building", carrier="water")
    used = InfluxQuery(select('sum("value") AS "used"', table, *where, IN_RANGE, by='"node"'), table=True)
    least = InfluxQuery(
        select(
            'last("base") AS "least"',
            "profile_day",
            equals("scope", "building"),
            SITE,
            WATER,
            LIVE,
            IN_RANGE,
            ENDED,
            by='"node"',
        ),
        table=True,
    )
    to = link_to("building", language, building="${__data.fields.node}")
    return (
        listing(
            say("By building", "分建筑"),
            say(
                "Water of the range, and the least flow of the last whole day.", "所选时段用水及最近完整日的最小流量。"
            ),
            say("No water meter", "无水表数据"),
            (24, 8),
            unit=UNIT,
        )
        .ask(used, least, named("building", {"name": f"name_{language}", "persons": "persons"}))
        .then(*joined(["name", "used", "least", "persons", "node"], sort="least"))
        .but(
            "name",
            displayName=say("Building", "建筑"),
            links=[{"title": say("This building", "查看此建筑"), "url": to}],
        )
        .but("used", displayName=say("Used", "用量"), decimals=1)
        .but("least", displayName=say("Least flow", "最小流量"), unit=FLOW, decimals=2)
        .but("persons", displayName=say("Persons", "人数"), unit="none")
    )
