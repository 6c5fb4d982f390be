"""The demo's project of measurement and verification: the archive's fans, on what story.toml says was changed."""

from __future__ import annotations

from datetime import timedelta

from analytics.edges import day_start, local_date
from meterhall.node import Node
from meterhall.projects import check_project
from metering.clock import HOUR_US
from metering.reading import Measure
from metering.site import Name
from storage.ledger.savings import AdjustmentRow, ProjectRow

PROJECT, METER = "archive-fans", "archive-hvac"
WORK_DAYS_AGO, DONE_DAYS_AGO, BASELINE_DAYS = 30, 28, 365
HIRED_DAYS_AGO, HIRED_AT_H, HIRED_H, HIRED_KW = 17, 9, 96, 2.5
NAME = Name("Archive: fans with frequency converters", "档案馆：风机变频改造")
WHAT = Name(
    "The two fans of the stacks' air handling got frequency converters; nothing else was touched. Simulated.",
    "库房空调机组两台风机加装变频器，其他未动。（模拟）",
)
HIRED = "Dehumidifiers hired after a leak in the stacks: 2.5 kW for 96 h, from the hire note / 库房漏水租用除湿机"
AUTHOR = "demo"


def tell_savings(node: Node, story_at: int, days: int) -> None:
    """Enter the project, if the history is long enough for its baseline and there is none yet."""
    installation, ledger = node.settings.installation, node.ledger.savings
    if days < WORK_DAYS_AGO + BASELINE_DAYS or METER not in installation.by_id or ledger.projects():
        return
    zone = installation.timezone_of(METER)
    today = local_date(zone, story_at)

    def ago(count: int) -> int:
        return day_start(zone, today - timedelta(days=count))

    site = installation.by_id[METER].site  # type: ignore[union-attr]
    row = ProjectRow(
        PROJECT, NAME, "B", (Measure(site, "meter", METER, "active_energy_import", "kWh"),),
        ago(WORK_DAYS_AGO + BASELINE_DAYS), ago(WORK_DAYS_AGO), ago(WORK_DAYS_AGO), ago(DONE_DAYS_AGO), None, WHAT,
        AUTHOR, story_at,
    )  # fmt: skip
    check_project(installation, row)
    ledger.put_project(row)
    hired = ago(HIRED_DAYS_AGO) + HIRED_AT_H * HOUR_US
    ledger.put_adjustment(
        AdjustmentRow(PROJECT, hired, hired + HIRED_H * HOUR_US, HIRED_KW * HIRED_H, HIRED, AUTHOR, story_at)
    )
