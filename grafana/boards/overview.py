"""The wall: six figures that are read from four metres."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as dash

from grafana.frame import Language, Variable, link_to, speaker
from grafana.frame import board as frame
from grafana.panels import CORE, figure, mapped
from grafana.query import IN_RANGE, LIVE, SETTLED, InfluxQuery, around, rows_of, select
from grafana.tokens import CARRIER, INK, STATE
from metering.site import Name

SIZE = (8, 11)
AGO = "7d"


def board(language: Language) -> dash.Dashboard:
    """The dashboard in one language."""
    say = speaker(language)

    core = CORE[language]
    today = say(
        "So far in the chosen range, today as it opens: quarter hours added up.", "所选时段（默认今日）各刻钟用量之和。"
    )
    since = f"time >= ${{__from}}ms - {AGO} AND time <= ${{__to}}ms - {AGO}"
    quarter, *use = rows_of("site", carrier="electricity", day=False)
    power = InfluxQuery(
        select(
            'sum("value") * 4 AS "kW"',
            quarter,
            *use,
            "time >= ${__to}ms - 12h",
            "time <= ${__to}ms - 20m",
            by="time(15m) fill(none)",
        )
    )
    now, before = (
        select('"value" AS "now"', quarter, *use, IN_RANGE, SETTLED),
        select('"value" AS "before"', quarter, *use, since, f"{SETTLED} - {AGO}"),
    )
    both = f"time >= ${{__from}}ms - {AGO} AND time <= ${{__to}}ms"
    against = InfluxQuery(around('sum("now") / sum("before") - 1 AS "change"', f"({now}), ({before})", both))
    lately = "time > now() - 15m"
    each = select('last("needs") AS "each"', "collector", LIVE, lately, by='"collector"')
    needs = InfluxQuery(around('sum("each") AS "needs"', f"({each})", lately))

    def used(carrier: str, title: str, none: str, unit: str):  # type: ignore[no-untyped-def]
        table, *where = rows_of("site", carrier=carrier, day=False)
        query = InfluxQuery(select(f'sum("value") AS "{carrier}"', table, *where, IN_RANGE, by="time(15m) fill(none)"))
        panel = figure(title, f"{today} {core}", none, unit, SIZE, colour=CARRIER[carrier], spark=True)
        return panel.ask(query).link(say("By building", "按建筑查看"), link_to("building", language))

    electricity = used(
        "electricity",
        say("Electricity today", "今日用电"),
        say("No electricity yet today", "今日尚无用电数据"),
        "kwatth",
    )
    water = used("water", say("Water today", "今日用水"), say("No water meter", "无水表数据"), "suffix: m³")
    water.link(say("Water", "用水"), link_to("water", language))
    heat = used("heat", say("Heat today", "今日用热"), say("No heat meter", "无热量表数据"), "kwatth")
    change = (
        figure(
            say("Electricity against a week ago", "用电较上周同期"),
            say("The same hours, seven days earlier. More is above zero.", "与七天前相同时段相比，正值表示用得更多。")
            + f" {core}",
            say("Nothing to compare with a week ago", "上周同期无数据"),
            "percentunit",
            SIZE,
            colour=INK,
            calc="lastNotNull",
        )
        .ask(against)
        .link(say("Load curve", "负荷曲线"), link_to("building", language))
    )
    change.defaults.decimals = 1
    load = (
        figure(
            say("Electric load now", "当前用电负荷"),
            say(
                "Mean power of the last whole quarter hour; the curve shows twelve hours.",
                "最近一个完整刻钟的平均功率；曲线为近 12 小时。",
            )
            + f" {core}",
            say("No load known in the last hours", "近几小时无负荷数据"),
            "kwatt",
            SIZE,
            colour=CARRIER["electricity"],
            calc="lastNotNull",
            spark=True,
        )
        .ask(power)
        .link(say("Base load", "基础负荷"), link_to("heatmap", language))
    )
    needed = (
        figure(
            say("Needs somebody", "待处理"),
            say(
                "What is silent, stuck or out of the ordinary now; a click lists it.",
                "当前无数据、卡死或异常的项目数，点击查看清单。",
            ),
            say("Not known: nothing heard of the collector for 15 minutes", "未知：15 分钟未收到采集器状态"),
            "none",
            SIZE,
            colour=STATE["needs"],
            calc="lastNotNull",
        )
        .ask(needs)
        .link(say("The list", "清单"), link_to("meter", language))
    )
    needed.defaults.mappings = mapped({0: (say("● nothing", "● 无"), STATE["ok"])})  # type: ignore[assignment]
    for panel, name in (
        (electricity, say("Electricity", "用电")),
        (change, say("Against a week ago", "较上周同期")),
        (load, say("Load now", "当前负荷")),
        (water, say("Water", "用水")),
        (heat, say("Heat", "用热")),
        (needed, say("Needs somebody", "待处理")),
    ):
        panel.named(name)
    return frame(
        "overview",
        Name("Overview", "总览"),
        Name("For the wall: today at a glance.", "大屏：今日一览。"),
        language,
        [Variable("site", several=True)],
        [[electricity, change, load], [water, heat, needed]],
        since="now/d",
        refresh="1m",
    )
