"""When a building uses energy, hour by hour, and what runs when nobody is there."""

# ruff: noqa: E501  (texts and queries stand on one line)
from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as dash

from grafana.frame import Language, Variable, link_to, speaker
from grafana.frame import board as frame
from grafana.panels import Panel, chart, figure, from_configuration, hours, joined, listing
from grafana.query import IN_RANGE, LIVE, SITE, InfluxQuery, chosen, equals, named, select, threshold
from grafana.tokens import CARRIER, INK
from metering.site import Name

PROFILE = ("profile_day", equals("scope", "building"), SITE)
HOURS_A_YEAR = 8760


def board(language: Language) -> dash.Dashboard:
    """The dashboard in one language."""
    say = speaker(language)

    own = (*PROFILE, chosen("node", "building"), chosen("carrier", "carrier"), LIVE, IN_RANGE)
    columns = ", ".join(f'"h{hour:02d}" AS "{hour:02d}:00"' for hour in range(24))
    unit = say("per hour", "每小时")
    grid = hours(
        say("Hour by day", "逐日逐时用能"),
        say(
            "What was used in each hour of the local clock: days run across, hours run down. Dark is little, bright is much; empty is not known.",
            "本地时间每小时用量：横向为日，纵向为时；越亮用量越大，空白为无数据。",
        ),
        say("No whole day in this range", "该时段无完整日数据"),
        f"suffix: {unit}",
        (24, 14),
    ).ask(InfluxQuery(select(columns, *own), alias="$col"), least="1d")
    names = {
        "base": say("quietest hour", "最低小时"),
        "mean": say("mean", "平均"),
        "peak": say("highest hour", "最高小时"),
    }
    lines = chart(
        say("Base load and peak of each day", "逐日基础负荷与峰值"),
        say(
            "Quietest hour, mean and highest hour of each local day [kWh or m³ an hour].",
            "每日最低小时、平均与最高小时用量（kWh 或 m³ 每小时）。",
        ),
        say("No whole day in this range", "该时段无完整日数据"),
        f"suffix: {unit}",
        (16, 9),
        colour=INK,
        legend=True,
    ).ask(
        InfluxQuery(select(", ".join(f'"{key}" AS "{name}"' for key, name in names.items()), *own), alias="$col"),
        least="1d",
    )
    for key, colour in (("base", CARRIER["water"]), ("mean", CARRIER["electricity"]), ("peak", CARRIER["heat"])):
        lines.but(names[key], color={"mode": "fixed", "fixedColor": colour})
    share = (
        figure(
            say("Runs when nobody is there", "无人时段仍在用"),
            say(
                "Quietest hour against the mean hour. Red above the configured threshold.",
                "最低小时占平均小时的比例，超过配置阈值时变红。",
            ),
            say("No whole day in this range", "该时段无完整日数据"),
            "percent",
            (8, 9),
            calc="lastNotNull",
            by_state=True,
        )
        .ask(
            InfluxQuery(select('100 * mean("base") / mean("mean") AS "share"', *own), table=True),
            threshold("base_load"),
        )
        .then(from_configuration())
    )
    share.defaults.decimals = 0
    return frame(
        "heatmap",
        Name("Heat map and base load", "热力图与基础负荷"),
        Name("When energy is used, and what runs when nobody is there.", "何时在用能，以及无人时段仍在运行的负荷。"),
        language,
        [Variable("site"), Variable("building", ("site",)), _carrier()],
        [[grid], [lines, share], [_ranking(language)]],
        since="now-35d/d",
    )


def _carrier() -> Variable:
    return Variable(
        "carrier", ("site", "building"), key="carrier", where='"carrier" =~ /^(electricity|water|gas|heat|cooling)$/'
    )


def _ranking(language: Language) -> Panel:
    say = speaker(language)

    columns = (
        f'mean("base") AS "base", 100 * mean("base") / mean("mean") AS "share", {HOURS_A_YEAR} * mean("base") AS "year"'
    )
    query = InfluxQuery(
        select(columns, *PROFILE, equals("carrier", "electricity"), LIVE, IN_RANGE, by='"node"'), table=True
    )
    to = link_to("heatmap", language, building="${__data.fields.node}")
    return (
        listing(
            say("Electric base load of all buildings", "各建筑用电基础负荷"),
            say(
                "Mean of the quietest hours, its share of the mean load, and what it comes to in a year.",
                "最低小时均值、占平均负荷的比例及折合全年用电量。",
            ),
            say("No whole day in this range", "该时段无完整日数据"),
            (24, 9),
            unit="kwatt",
        )
        .ask(query, named("building", {"name": f"name_{language}"}))
        .then(*joined(["name", "base", "share", "year", "node"], sort="base"))
        .but(
            "name",
            displayName=say("Building", "建筑"),
            links=[{"title": say("This building", "查看此建筑"), "url": to}],
        )
        .but("base", displayName=say("Base load", "基础负荷"), unit="kwatt", decimals=1)
        .but("share", displayName=say("Of the mean load", "占平均负荷"), unit="percent", decimals=0)
        .but("year", displayName=say("In a year", "折合全年"), unit="kwatth", decimals=1)
    )
