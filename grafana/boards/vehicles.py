"""The fleet: what each vehicle does, its charge, its kilometres, and where it is if that is kept."""

# ruff: noqa: E501  (texts and queries stand on one line)
from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as dash

from grafana.boards.building import days
from grafana.frame import Language, Variable, link_to, speaker
from grafana.frame import board as frame
from grafana.panels import Json, Panel, by_name, chart, figure, from_configuration, joined, listing, mapped, places
from grafana.query import IN_RANGE, LATELY, LIVE, SITE, InfluxQuery, chosen, equals, named, select, threshold
from grafana.tokens import CARRIER, INK, QUIET, STATE
from metering.site import Name

FLEET = (equals("scope", "vehicle"), SITE)
LAST_WEEK = "time >= ${__to}ms - 7d"  # of what vehicles say themselves: no interval is stored of it
ACTIVITY = (
    (1, Name("driving", "行驶")),
    (2, Name("charging", "充电")),
    (0, Name("parked", "停放")),
    (3, Name("silent", "失联")),
)
COUNTED = tuple((name.en, name) for _, name in ACTIVITY)


def activities(language: Language) -> list[Json]:
    """What a vehicle does, as a shape and a word."""
    colours = {0: QUIET, 1: STATE["ok"], 2: CARRIER["electricity"], 3: STATE["needs"]}
    shapes = {0: "■", 1: "▶", 2: "⚡", 3: "▲"}
    rows = {float(code): (f"{shapes[code]} {name.in_language(language)}", colours[code]) for code, name in ACTIVITY}
    return mapped(rows | {4.0: (Name("○ not known", "○ 未知").in_language(language), STATE["unknown"])})


def board(language: Language) -> dash.Dashboard:
    """The dashboard in one language."""
    say = speaker(language)

    columns = ", ".join(f'last("vehicles_{word}") AS "{name.in_language(language)}"' for word, name in COUNTED)
    counted = InfluxQuery(select(columns, "node", equals("scope", "site"), SITE, LIVE, LATELY), alias="$col")
    fleet = figure(
        say("The fleet now", "车队当前状态"),
        say("Vehicles by what they do, told each quarter hour.", "各状态车辆数，每刻钟更新。"),
        say("No vehicle", "无车辆"),
        "none",
        (24, 4),
        calc="lastNotNull",
        several=True,
        colour=INK,
    ).ask(counted)
    distance = days(
        language,
        Name("Kilometres by day", "逐日行驶里程"),
        Name("No kilometres in this range", "该时段无里程"),
        "suffix: km",
        CARRIER["vehicle"],
        ("interval_day", equals("scope", "meter"), SITE, equals("name", "odometer"), LIVE),
        (12, 8),
    )
    charged = days(
        language,
        Name("Charged by day", "逐日充电量"),
        Name("Nothing was charged in this range", "该时段无充电"),
        "kwatth",
        CARRIER["electricity"],
        ("interval_day", equals("scope", "meter"), SITE, equals("name", "charge_energy"), LIVE),
        (12, 8),
    )
    charge = (
        chart(
            say("State of charge", "荷电状态"),
            say(
                "Of the vehicles chosen above, the last seven days of the range. The dashed line is the configured threshold.",
                "上方所选车辆在所选时段最后七天的电量，虚线为配置阈值。",
            ),
            say("No electric vehicle is chosen, or none told its charge", "未选电动车或无电量数据"),
            "percent",
            (12, 10),
            legend=True,
            limit=True,
        )
        .ask(
            InfluxQuery(
                select(
                    'mean("state_of_charge") AS "charge"',
                    "vehicle_raw",
                    SITE,
                    chosen("vehicle", "vehicle"),
                    IN_RANGE,
                    LAST_WEEK,
                    by='time($__interval), "vehicle" fill(none)',
                ),
                table=True,
            ),
            named("vehicle", {"name": f"name_{language}"}, chosen("node", "vehicle")),
            threshold("charge"),
            least="1h",
        )
        .then(from_configuration(), *by_name("charge"))
    )
    charge.defaults.display_name = "${__field.labels.name}"
    where = (
        places(
            say("Where they are", "车辆位置"),
            say(
                "Newest position of the vehicles that keep one; no map is fetched from outside.",
                "保留位置的车辆最新位置；不向外部请求底图。",
            ),
            say(
                "No vehicle keeps its position (position = true in site.toml)",
                "没有车辆保留位置（site.toml 中 position = true）",
            ),
            (12, 10),
            CARRIER["vehicle"],
        )
        .ask(
            InfluxQuery(
                select(
                    'last("latitude") AS "latitude", last("longitude") AS "longitude"',
                    "vehicle_raw",
                    SITE,
                    IN_RANGE,
                    LAST_WEEK,
                    by='"vehicle"',
                ),
                table=True,
            ),
            named("vehicle", {"name": f"name_{language}"}),
        )
        .then(*joined(["name", "latitude", "longitude", "node"], needed=("name", "latitude")))
    )
    return frame(
        "vehicles",
        Name("Vehicles", "车辆"),
        Name("What each vehicle does, its charge and its kilometres.", "各车辆状态、电量与里程。"),
        language,
        [Variable("site"), Variable("vehicle", ("site",), several=True)],
        [[fleet], [_list(language)], [distance, charged], [charge, where]],
        since="now-7d/d",
    )


def _list(language: Language) -> Panel:
    say = speaker(language)

    names = named(
        "vehicle",
        {
            "name": f"name_{language}",
            "plate": "plate",
            "activity": "activity",
            "charge": "charge",
            "fuel": "fuel",
            "odometer": "odometer",
            "seen": "last_ms",
        },
    )
    driven = InfluxQuery(
        select(
            'sum("value") AS "driven"',
            "interval_day",
            equals("scope", "meter"),
            SITE,
            equals("name", "odometer"),
            LIVE,
            IN_RANGE,
            by='"node"',
        ),
        table=True,
    )
    to = link_to("vehicles", language, vehicle="${__data.fields.node}")
    return (
        listing(
            say("Vehicles", "车辆清单"),
            say("Charge and fuel as last told; kilometres of the range.", "最近一次上报的电量与油量；里程为所选时段。"),
            say("No vehicle", "无车辆"),
            (24, 12),
            unit="none",
        )
        .ask(names, driven)
        .then(
            *joined(
                ["name", "plate", "activity", "charge", "fuel", "driven", "odometer", "seen", "node"], sort="driven"
            )
        )
        .but("name", displayName=say("Vehicle", "车辆"), links=[{"title": say("This vehicle", "查看此车"), "url": to}])
        .but("plate", displayName=say("Plate", "车牌"))
        .but(
            "activity",
            displayName=say("Now", "当前"),
            mappings=activities(language),
            custom__cellOptions={"type": "color-text"},
            custom__align="left",
        )
        .but(
            "charge",
            displayName=say("Charge", "电量"),
            unit="percent",
            decimals=0,
            min=0,
            max=100,
            custom__cellOptions={"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
            color={"mode": "fixed", "fixedColor": CARRIER["electricity"]},
        )
        .but("fuel", displayName=say("Fuel", "油量"), unit="percent", decimals=0)
        .but("driven", displayName=say("Driven", "行驶"), unit="suffix: km", decimals=0)
        .but("odometer", displayName=say("Odometer", "总里程"), unit="suffix: km", decimals=0)
        .but("seen", displayName=say("Last heard", "最近数据"), unit="dateTimeFromNow")
    )
