"""One building: what it used, when, through which meters, and how it stands among the others."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as dash

from grafana.frame import Language, Variable, link_to, speaker
from grafana.frame import board as frame
from grafana.panels import CORE, Panel, chart, figure, joined, listing, transformation
from grafana.query import COUNTERS, IN_RANGE, SETTLED, InfluxQuery, chosen, equals, named, rows_of, select
from grafana.tokens import CARRIER
from metering.site import Name

CARRIERS = {
    "electricity": Name("Electricity", "电"),
    "heat": Name("Heat", "热"),
    "cooling": Name("Cooling", "冷"),
    "water": Name("Water", "水"),
    "gas": Name("Gas", "燃气"),
}
UNITS = {"kWh": "kwatth", "m3": "suffix: m³"}


def total(language: Language, carrier: str, size: tuple[int, int] = (6, 4)) -> Panel:
    """What a building used of one carrier in the range."""
    name = CARRIERS[carrier].in_language(language)
    table, *where = rows_of("building", carrier=carrier, node="building")
    about = Name("The days of the range added up, the running one so far.", "所选时段各日用量之和，当日计至目前。")
    none = Name(f"No {name.lower()} is metered here", f"此处无{name}计量")
    query = InfluxQuery(select('sum("value") AS "used"', table, *where, IN_RANGE, by='"unit"'), alias="$tag_unit")
    panel = figure(
        name, about.in_language(language), none.in_language(language), "kwatth", size, colour=CARRIER[carrier]
    )
    return panel.ask(query).but("m3", unit="suffix: m³")


def days(
    language: Language, title: Name, none: Name, unit: str, colour: str, where: tuple[str, ...], size: tuple[int, int]
) -> Panel:
    """Bars of days, what was spread over gaps set apart; `where`: measurement and conditions."""
    about = Name(
        "Each bar is a local day. Estimated: counted on through a gap and spread over it.",
        "每柱为一个自然日。“估算”为数据中断期间按表底数均摊的部分。",
    )
    measured, estimated = (
        Name("measured", "实测").in_language(language),
        Name("estimated", "估算").in_language(language),
    )
    columns = f'sum("value") - sum("estimated") / 1000 AS "{measured}", sum("estimated") / 1000 AS "{estimated}"'
    query = InfluxQuery(select(columns, *where, IN_RANGE, by="time(15m) fill(none)"), alias="$col")
    panel = chart(
        title.in_language(language),
        about.in_language(language),
        none.in_language(language),
        unit,
        size,
        bars=True,
        colour=colour,
        stacked=True,
    )
    return panel.ask(query, least="15m").but(estimated, color={"mode": "fixed", "fixedColor": CARRIER["expected"]})


def board(language: Language) -> dash.Dashboard:
    """The dashboard in one language."""
    say = speaker(language)

    quarter, *where = rows_of("building", node="building", day=False)
    load = chart(
        say("Load", "负荷曲线"),
        say(
            "Mean power in each step. A break means that nothing is known. Dashed: what the baseline expects.",
            "各时段平均功率，断线表示无数据；虚线为基线预期。",
        )
        + f" {CORE[language]}",
        say("No load in this range", "该时段无负荷数据"),
        "kwatt",
        (24, 9),
        legend=True,
    ).ask(
        InfluxQuery(
            select(
                'mean("value") * 4 AS "kW"',
                quarter,
                *where,
                '"carrier" =~ /^(electricity|heat|cooling)$/',
                equals("unit", "kWh"),
                IN_RANGE,
                SETTLED,
                by='time($__interval), "carrier" fill(null)',
            ),
            alias="$tag_carrier",
        ),
        InfluxQuery(
            select(
                'mean("value") AS "kW"',
                "expected_hour",
                *rows_of("building", carrier="electricity", node="building")[1:],
                IN_RANGE,
                by="time($__interval) fill(none)",
            ),
            alias="expected",
        ),
        least="15m",
    )
    load.but(
        "expected",
        displayName=say("Electricity, expected", "电（预期）"),
        color={"mode": "fixed", "fixedColor": CARRIER["expected"]},
        custom__lineStyle={"fill": "dash", "dash": [8, 6]},
    )
    for carrier in ("electricity", "heat", "cooling"):
        load.but(
            carrier,
            displayName=CARRIERS[carrier].in_language(language),
            color={"mode": "fixed", "fixedColor": CARRIER[carrier]},
        )
    load.link(say("Heat map", "热力图"), link_to("heatmap", language, building="${building}"))
    electric = days(
        language,
        Name("Electricity by day", "逐日用电"),
        Name("No electricity in this range", "该时段无用电数据"),
        "kwatth",
        CARRIER["electricity"],
        rows_of("building", carrier="electricity", node="building"),
        (12, 8),
    )
    water = days(
        language,
        Name("Water by day", "逐日用水"),
        Name("No water in this range", "该时段无用水数据"),
        "suffix: m³",
        CARRIER["water"],
        rows_of("building", carrier="water", node="building"),
        (12, 8),
    )
    return frame(
        "building",
        Name("Building", "建筑"),
        Name("What a building used, when, and through which meters.", "单栋建筑的用量、时间分布与各表计。"),
        language,
        [
            Variable("site"),
            Variable("building", ("site",)),
            Variable("meters", ("site", "building"), several=True, key="node", hidden=True),
        ],
        [
            [total(language, carrier) for carrier in ("electricity", "heat", "water", "gas")],
            [load],
            [electric, water],
            [_meters(language), _compared(language)],
        ],
        since="now-7d/d",
    )


def _meters(language: Language) -> Panel:
    say = speaker(language)

    table, *where = rows_of("meter", carrier="electricity", node="meters")
    used = InfluxQuery(select('sum("value") AS "used"', table, *where, COUNTERS, IN_RANGE, by='"node"'), table=True)
    names = named(
        "meter", {"name": f"name_{language}"}, chosen("building", "building"), equals("carrier", "electricity")
    )
    columns = ["name", "used", "node"]
    panel = listing(
        say("Where the electricity goes", "用电去向"),
        say(
            "Each electricity meter of the building, the largest first; sub-meters are part of the meters above them.",
            "本建筑各电表用量，由大到小；分表用量包含在上级表中。",
        ),
        say("No electricity meter in this building", "本建筑无电表"),
        (12, 10),
        unit="kwatth",
    )
    to = link_to("meter", language, building="${building}", meter="${__data.fields.node}")
    return (
        panel.ask(used, names)
        .then(*joined(columns, sort="used", most=30))
        .but("name", displayName=say("Meter", "计量表"), links=[{"title": say("This meter", "查看此表"), "url": to}])
        .but(
            "used",
            displayName=say("Used", "用量"),
            custom__cellOptions={"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
            color={"mode": "fixed", "fixedColor": CARRIER["electricity"]},
            min=0,
        )
    )


def _compared(language: Language) -> Panel:
    say = speaker(language)

    table, *where = rows_of("building", carrier="electricity")
    used = InfluxQuery(select('sum("value") AS "used"', table, *where, IN_RANGE, by='"node"'), table=True)
    names = named("building", {"name": f"name_{language}", "area": "floor_area"})
    panel = listing(
        say("Beside the other buildings", "与其他建筑相比"),
        say(
            "Electricity in the range, for each square metre of floor area; the highest first.",
            "所选时段单位建筑面积用电量，由高到低。",
        ),
        say("No electricity in this range", "该时段无用电数据"),
        (12, 10),
        unit="kwatth",
    )
    share = transformation(
        "calculateField",
        mode="binary",
        alias="per_m2",
        binary={"left": "used", "operator": "/", "right": "area"},
        replaceFields=False,
    )
    steps = joined(["name", "used", "area", "per_m2", "node"])
    sort = transformation("sortBy", fields={}, sort=[{"field": "per_m2", "desc": True}])
    to = link_to("building", language, building="${__data.fields.node}")
    return (
        panel.ask(used, names)
        .then(*steps[:2], share, *steps[2:], sort)
        .but(
            "name",
            displayName=say("Building", "建筑"),
            links=[{"title": say("This building", "查看此建筑"), "url": to}],
        )
        .but("used", displayName=say("Used", "用量"))
        .but("area", displayName=say("Floor area", "建筑面积"), unit="suffix: m²", decimals=0)
        .but("per_m2", displayName=say("Per m²", "单位面积"), unit="suffix: kWh/m²", decimals=2)
    )
