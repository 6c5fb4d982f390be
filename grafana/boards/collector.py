"""Is everything that comes in stored? The collector's books, lines, spool and disk."""

# ruff: noqa: E501  (texts and queries stand on one line)
from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as dash

from grafana.frame import Language, Variable, speaker
from grafana.frame import board as frame
from grafana.panels import CORE, Panel, chart, figure, from_configuration, listing, ordered, states
from grafana.query import IN_RANGE, LIVE, InfluxQuery, select, threshold
from grafana.tokens import ACCENT, CARRIER, STATE
from metering.site import Name

NOW = "time > now() - 15m"


def board(language: Language) -> dash.Dashboard:
    """The dashboard in one language."""
    say = speaker(language)

    core = CORE[language]
    quiet = say("Nothing heard of a collector for 15 minutes", "15 分钟未收到采集器状态")
    none = say("Nothing heard of a collector in this range", "该时段未收到采集器状态")

    def now(title: str, about: str, what: str, unit: str, **options: object) -> Panel:
        query = InfluxQuery(
            select(f'{what} AS "value"', "collector", LIVE, NOW, by='"collector"'), alias="$tag_collector", table=False
        )
        return figure(title, about, quiet, unit, (6, 5), calc="lastNotNull", **options).ask(query)  # type: ignore[arg-type]

    waiting = now(
        say("Waiting to be stored", "待入库"),
        say("Messages that are durable in the spool and not stored yet.", "已落盘、尚未入库的报文数。"),
        'last("waiting")',
        "short",
    )
    oldest = now(
        say("The oldest waits", "最久等待"),
        say("How long the first of them has waited.", "最早一条的等待时间。"),
        'last("oldest_s")',
        "s",
    )
    open_ = now(
        say("Needs somebody", "待处理"),
        say("As on Meterhall's page.", "与 Meterhall 页面一致。"),
        'last("needs")',
        "none",
        colour=STATE["needs"],
    )
    rejected = (
        figure(
            say("Could not be read", "无法解析"),
            say(
                "Share of the messages of the range that went to quarantine or were dropped. Red above the configured threshold.",
                "所选时段进入隔离区或被丢弃的报文比例，超过配置阈值时变红。",
            )
            + f" {core}",
            none,
            "percent",
            (6, 5),
            calc="lastNotNull",
            by_state=True,
        )
        .ask(
            InfluxQuery(
                select(
                    '100 * (spread("messages_rejected") + spread("messages_dropped")) / spread("messages_received") AS "share"',
                    "collector",
                    LIVE,
                    IN_RANGE,
                ),
                table=True,
            ),
            threshold("rejected"),
        )
        .then(from_configuration())
    )
    stored = chart(
        say("Readings stored a minute", "每分钟入库读数"),
        say("By source.", "按来源。") + f" {core}",
        none,
        "short",
        (24, 8),
        legend=True,
    ).ask(
        InfluxQuery(
            select(
                'non_negative_derivative(last("readings_stored"), 1m) AS "stored"',
                "collector_source",
                LIVE,
                IN_RANGE,
                by='time($__interval), "source" fill(none)',
            ),
            alias="$tag_source",
        ),
        least="1m",
    )
    names = {
        name: say(*words)
        for name, words in {
            "messages_rejected": ("not readable", "无法解析"),
            "messages_dropped": ("dropped", "丢弃"),
            "readings_conflict": ("conflicting", "冲突"),
            "readings_rejected": ("refused", "拒收"),
            "messages_repeated": ("repeated", "重复"),
        }.items()
    }
    wrong = chart(
        say("What was not taken, a minute", "每分钟未采纳"),
        say(
            "Each with its reason; the books on Meterhall's page add up to the last one.",
            "按原因分列；Meterhall 页面的账目可逐条核对。",
        )
        + f" {core}",
        none,
        "short",
        (24, 8),
        legend=True,
        bars=True,
        stacked=True,
    ).ask(
        InfluxQuery(
            select(
                ", ".join(f'non_negative_derivative(last("{field}"), 1m) AS "{name}"' for field, name in names.items()),
                "collector",
                LIVE,
                IN_RANGE,
                by="time($__interval) fill(none)",
            ),
            alias="$col",
        ),
        least="1m",
    )
    queue = (
        chart(
            say("Messages waiting", "待入库报文"),
            say("The dashed line is the configured threshold.", "虚线为配置阈值。") + f" {core}",
            none,
            "short",
            (12, 8),
            limit=True,
            colour=ACCENT,
        )
        .ask(
            InfluxQuery(
                select(
                    'max("waiting") AS "waiting"',
                    "collector",
                    LIVE,
                    IN_RANGE,
                    by='time($__interval), "collector" fill(none)',
                ),
                alias="$tag_collector",
            ),
            threshold("waiting"),
            least="1m",
        )
        .then(from_configuration())
    )
    disk = (
        chart(
            say("Disk in use", "磁盘占用"),
            say(
                "Of the data folder's disk. The dashed line is the configured threshold.",
                "数据目录所在磁盘，虚线为配置阈值。",
            )
            + f" {core}",
            none,
            "percent",
            (12, 8),
            limit=True,
            colour=CARRIER["vehicle"],
        )
        .ask(
            InfluxQuery(
                select(
                    '100 - 100 * mean("disk_free") / mean("disk_total") AS "disk"',
                    "collector",
                    LIVE,
                    IN_RANGE,
                    by='time($__interval), "collector" fill(none)',
                ),
                alias="$tag_collector",
            ),
            threshold("disk"),
            least="1m",
        )
        .then(from_configuration())
    )
    return frame(
        "collector",
        Name("Collector health", "采集器状态"),
        Name("Is everything that comes in stored?", "来的数据是否都已入库？"),
        language,
        [Variable("site")],
        [[waiting, oldest, rejected, open_], [_lines(language)], [stored], [wrong], [queue, disk]],
        since="now-6h",
        refresh="1m",
    )


def _lines(language: Language) -> Panel:
    say = speaker(language)

    columns = 'last("state") AS "state", last("units_ok") AS "ok", last("units") AS "units", last("address") AS "address", last("note") AS "note"'
    query = InfluxQuery(select(columns, "collector_line", LIVE, NOW, by='"line"'), table=True)
    return (
        listing(
            say("Ways in", "采集通道"),
            say(
                "Modbus lines and brokers, and how many of their devices answer.",
                "Modbus 总线与消息代理，及其正常应答的设备数。",
            ),
            say("Nothing heard of a collector for 15 minutes", "15 分钟未收到采集器状态"),
            (24, 9),
            unit="none",
        )
        .ask(query)
        .then(ordered(["line", "state", "ok", "units", "address", "note"]))
        .but("line", displayName=say("Line", "通道"))
        .but(
            "state",
            displayName=say("State", "状态"),
            mappings=states(language),
            custom__cellOptions={"type": "color-text"},
            custom__align="left",
            custom__width=110,
        )
        .but("ok", displayName=say("Answer", "正常"), custom__width=80)
        .but("units", displayName=say("Devices", "设备"), custom__width=80)
        .but("address", displayName=say("Address", "地址"))
        .but("note", displayName=say("What is wrong", "说明"))
    )
