"""One meter, and how complete the data of all is."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as dash

from grafana.boards.building import days
from grafana.frame import Language, Variable, link_to, speaker
from grafana.frame import board as frame
from grafana.panels import Panel, chart, figure, from_configuration, joined, listing, ordered, states, strip
from grafana.query import (
    COUNTERS,
    ENDED,
    IN_RANGE,
    LATELY,
    LIVE,
    SITE,
    InfluxQuery,
    chosen,
    equals,
    named,
    rows_of,
    select,
    threshold,
)
from grafana.tokens import ACCENT, INK, STATE
from metering.site import Name

LAST_HUNDRED = "time >= ${__to}ms - 100d"
LAST_MONTH = "time >= ${__to}ms - 31d"  # of a list that is about now
SITE_OR_NONE = f"({SITE} OR {equals('site', '-')})"  # of a line or a broker
MISSING = '100 - 100 * mean("coverage") AS "missing"'


def board(language: Language) -> dash.Dashboard:
    """The dashboard in one language."""
    say = speaker(language)

    meter = (equals("scope", "meter"), SITE, chosen("node", "meter"))
    of_meter = ("interval_day", *meter, chosen("name", "counter"), LIVE)
    none = say("Nothing is known of this meter in this range", "该时段无此表数据")
    state = figure(
        say("State", "状态"),
        say("As the collector sees it now.", "采集器当前所见状态。"),
        none,
        "none",
        (6, 4),
        calc="lastNotNull",
        colour=INK,
    ).ask(InfluxQuery(select('last("state") AS "state"', "node", *meter, LIVE, LATELY)))
    state.defaults.mappings = states(language)  # type: ignore[assignment]
    seen = figure(
        say("Last heard", "最近数据"),
        say("Time of its newest reading.", "最新读数的时间。"),
        none,
        "dateTimeFromNow",
        (6, 4),
        calc="lastNotNull",
    ).ask(InfluxQuery(select('last("last_ms") AS "seen"', "node", *meter, LIVE, LATELY)))
    missing = (
        figure(
            say("Missing", "缺数率"),
            say("Share of the time without readings, days that are over.", "已结束各日中无读数时间所占比例。")
            + say(" Red above the configured threshold.", "超过配置阈值时变红。"),
            none,
            "percent",
            (6, 4),
            calc="lastNotNull",
            by_state=True,
        )
        .ask(InfluxQuery(select(MISSING, *of_meter, IN_RANGE, ENDED), table=True), threshold("missing"))
        .then(from_configuration())
    )
    estimated = (
        figure(
            say("Estimated", "估算占比"),
            say("Share of the amount that was spread over gaps.", "用量中按中断均摊所得部分的比例。")
            + say(" Red above the configured threshold.", "超过配置阈值时变红。"),
            none,
            "percent",
            (6, 4),
            calc="lastNotNull",
            by_state=True,
        )
        .ask(
            InfluxQuery(
                select('100 * sum("estimated") / sum("amount") AS "estimated"', *of_meter, IN_RANGE), table=True
            ),
            threshold("estimated"),
        )
        .then(from_configuration())
    )
    bars = days(
        language,
        Name("By day", "逐日用量"),
        Name("Nothing counted in this range", "该时段无用量"),
        "none",
        ACCENT,
        of_meter,
        (24, 8),
    )
    bars.panel.description = (bars.panel.description or "") + say(
        " In the meter's own unit: ${counter}.", "单位为该表自身单位：${counter}。"
    )
    cells = strip(
        say("Completeness by day", "逐日完整率"),
        say("Share of each day in which readings came; pale is little.", "每日有读数时间的比例，颜色浅表示缺数多。"),
        none,
        "percent",
        (24, 5),
        "continuous-blues",
    ).ask(
        InfluxQuery(
            select('100 * "coverage" AS "arrived"', *of_meter, IN_RANGE, ENDED), alias=say("arrived", "完整率")
        ),
        least="1d",
    )
    return frame(
        "meter",
        Name("Meter and data quality", "计量表与数据质量"),
        Name("One meter, and how complete the readings of all are.", "单表情况与全部读数的完整率。"),
        language,
        [
            Variable("site"),
            Variable("building", ("site",), several=True),
            Variable("carrier", ("site", "building"), several=True, key="carrier"),
            Variable("meter", ("site", "building", "carrier")),
            Variable("counter", ("site", "meter"), key="counter", hidden=True),
        ],
        [[state, seen, missing, estimated], [bars], [cells], [_needs(language), _course(language)], [_worst(language)]],
        since="now-30d/d",
    )


def _course(language: Language) -> Panel:
    say = speaker(language)

    table, *where = rows_of("meter")
    query = InfluxQuery(
        select(
            MISSING.replace("missing", say("missing", "缺数率")),
            table,
            *where,
            COUNTERS,
            '"carrier" =~ /^${carrier:regex}$/',
            IN_RANGE,
            LAST_HUNDRED,
            ENDED,
            by="time(15m) fill(none)",
        ),
        alias="$col",
    )
    return (
        chart(
            say("Readings that did not come, all meters", "全部计量表缺数率"),
            say(
                "Mean of the site's meters, at most a hundred days of the range. Dashed: the threshold.",
                "本单位各表已结束各日的平均值（最多为所选时段最后 100 天），虚线为配置阈值。",
            ),
            say("No day of this range is over", "该时段内尚无已结束的日期"),
            "percent",
            (12, 9),
            colour=STATE["needs"],
            limit=True,
        )
        .ask(query, threshold("missing"), least="1d")
        .then(from_configuration())
    )


def _worst(language: Language) -> Panel:
    say = speaker(language)

    table, *where = rows_of("meter")
    share = InfluxQuery(
        select(
            f'{MISSING}, 100 * sum("estimated") / sum("amount") AS "estimated"',
            table,
            *where,
            COUNTERS,
            '"carrier" =~ /^${carrier:regex}$/',
            IN_RANGE,
            LAST_MONTH,
            ENDED,
            by='"node"',
        ),
        table=True,
    )
    names = named(
        "meter",
        {"name": f"name_{language}", "place": f"place_{language}", "state": "state", "seen": "last_ms"},
        chosen("building", "building"),
        chosen("carrier", "carrier"),
    )
    to = link_to("meter", language, meter="${__data.fields.node}")
    return (
        listing(
            say("Meters, the most incomplete first", "计量表（缺数最多者在前）"),
            say(
                "The last month of the range; at most a hundred. A click on a name shows that meter above.",
                "所选时段最后一个月；最多列出 100 块，点击名称在上方查看该表。",
            ),
            say("No meter here", "此处无计量表"),
            (24, 12),
            unit="percent",
        )
        .ask(share, names)
        .then(*joined(["name", "place", "state", "seen", "missing", "estimated", "node"], sort="missing", most=100))
        .but("name", displayName=say("Meter", "计量表"), links=[{"title": say("This meter", "查看此表"), "url": to}])
        .but("place", displayName=say("Where", "位置"))
        .but(
            "state",
            displayName=say("State", "状态"),
            mappings=states(language),
            unit="none",
            custom__cellOptions={"type": "color-text"},
            custom__align="left",
        )
        .but("seen", displayName=say("Last heard", "最近数据"), unit="dateTimeFromNow")
        .but("missing", displayName=say("Missing", "缺数率"), decimals=1)
        .but("estimated", displayName=say("Estimated", "估算占比"), decimals=1)
    )


def _needs(language: Language) -> Panel:
    say = speaker(language)

    columns = f'"severity" AS "state", "title_{language}" AS "what", "at_ms" AS "since"'
    query = InfluxQuery(
        select(columns, "event", equals("kind", "need"), SITE_OR_NONE, LIVE, "time > now() - 400d"),
        table=True,
    )
    organised = ordered(["state", "what", "since"])
    return (
        listing(
            say("Needs somebody now", "当前待处理"),
            say("The same list as on Meterhall's own page.", "与 Meterhall 页面上的清单一致。"),
            say("Nothing needs anybody", "当前无待处理事项"),
            (12, 9),
            unit="none",
        )
        .ask(query)
        .then(organised)
        .but(
            "state",
            displayName=" ",
            mappings=states(language),
            custom__cellOptions={"type": "color-text"},
            custom__align="left",
            custom__width=110,
        )
        .but("what", displayName=say("What", "事项"))
        .but("since", displayName=say("Since", "开始"), unit="dateTimeFromNow", custom__width=150)
    )
