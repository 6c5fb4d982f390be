"""What all dashboards share: identity, variables, annotations, links from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from grafana_foundation_sdk.models import dashboard as dash

from grafana.panels import Panel
from grafana.query import IN_RANGE, LATELY, LIVE, SITE, SOURCE, InfluxQuery, chosen, equals, select
from grafana.tokens import ACCENT, STATE
from metering.site import Name

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
SOURCE_UID = "meterhall-influxdb"
SCHEMA = 39  # of Grafana 10.4, the oldest that these are for; newer ones bring it up to date themselves
LABELS = {
    "site": Name("Site", "单位"),
    "building": Name("Building", "建筑"),
    "carrier": Name("Carrier", "能源品种"),
    "meter": Name("Meter", "计量表"),
    "vehicle": Name("Vehicle", "车辆"),
}
SCOPES = {"site": "site", "building": "building", "meter": "meter", "vehicle": "vehicle"}
NAMED = r"/^(?<text>.*) \[(?<value>[^\]]*)\]$/"  # of a label: what is shown, and what it means
ALL = "$__all"


def speaker(language: Language) -> Callable[[str, str], str]:
    """Says (English, Chinese) in one of them."""
    return lambda en, zh: Name(en, zh).in_language(language)


class Variable(NamedTuple):
    """One drop-down. within : variables that narrow it; several : more than one, or all, may be chosen."""

    name: str
    within: tuple[str, ...] = ()
    several: bool = False
    key: str = ""  # the tag; "": the thing's name
    hidden: bool = False
    where: str = ""


def variable(wanted: Variable, language: Language) -> dash.VariableModel:
    """As Grafana has it; asks within a time bound, since a server may look at the last day only."""
    spoken = not wanted.key or wanted.key == "carrier"  # has a name in each language
    key = f"{wanted.key or 'label'}_{language}" if spoken else wanted.key
    scope = SCOPES.get(wanted.name, "meter")
    narrow = [SITE if name == "site" else chosen(name if name != "meter" else "node", name) for name in wanted.within]
    conditions = " AND ".join([equals("scope", scope), *narrow, *filter(None, [wanted.where]), LATELY])
    query = f'SHOW TAG VALUES FROM "node" WITH KEY = "{key}" WHERE {conditions}'
    label = LABELS.get(wanted.name)
    out = dash.VariableModel(
        type_val=dash.VariableType.QUERY,
        name=wanted.name,
        label=label.in_language(language) if label else None,
        hide=dash.VariableHide.HIDE_VARIABLE if wanted.hidden else dash.VariableHide.DONT_HIDE,
        query=query,
        datasource=SOURCE,
        multi=wanted.several,
        include_all=wanted.several,
        refresh=dash.VariableRefresh.ON_DASHBOARD_LOAD,
        sort=dash.VariableSort.ALPHABETICAL_ASC,
        regex=NAMED if spoken else "",
    )
    if wanted.several:
        out.all_value = None if wanted.hidden else ".*"
        out.current = dash.VariableOption(text="All", value=ALL)
    return out


def source_variable() -> dash.VariableModel:
    """Which data source: the provisioned one, unless another is chosen."""
    return dash.VariableModel(
        type_val=dash.VariableType.DATASOURCE,
        name="datasource",
        label="InfluxDB",
        hide=dash.VariableHide.DONT_HIDE,
        query="influxdb",
        current=dash.VariableOption(text="Meterhall", value=SOURCE_UID),
    )


def annotations(language: Language) -> list[dash.AnnotationQuery]:
    """Swaps and other facts with a date; holidays and work days on weekends, as ranges."""
    rows = (
        (Name("Meters replaced", "换表"), "kind =~ /^(swap|fact)$/", ACCENT, ""),
        (Name("Holidays", "节假日与调休"), equals("kind", "calendar"), STATE["unknown"], "end_ms"),
    )
    out = []
    for name, kind, colour, until in rows:
        columns = f'"title_{language}" AS "title", "text_{language}" AS "text"' + (f', "{until}"' if until else "")
        condition = kind.replace("kind =~", '"kind" =~')
        query = InfluxQuery(
            select(columns, "event", condition, SITE, LIVE, IN_RANGE),
            ref="Anno",
            fromAnnotations=True,
            textColumn="text",
            titleColumn="title",
            tagsColumn="",
            timeEndColumn=until,
            name=name.in_language(language),
        )
        out.append(
            dash.AnnotationQuery(
                name=name.in_language(language), datasource=SOURCE, enable=True, icon_color=colour, target=query
            )
        )
    return out


def link_to(board: str, language: Language, **variables: str) -> str:
    """The address of another dashboard, with the time range, the data source, the site and more variables."""
    own = "".join(f"&var-{name}={value}" for name, value in variables.items())
    return f"/d/{uid(board, language)}?${{__url_time_range}}&${{datasource:queryparam}}&${{site:queryparam}}{own}"


def uid(board: str, language: Language) -> str:
    """A dashboard's id."""
    return f"meterhall-{board}-{language}"


def board(
    name: str,
    title: Name,
    about: Name,
    language: Language,
    variables: Sequence[Variable],
    rows: Sequence[Sequence[Panel]],
    *,
    since: str,
    refresh: str = "5m",
) -> dash.Dashboard:
    """A dashboard of rows of panels; each row is as high as its highest panel."""
    panels: list[Any] = []
    y = 0
    for row in rows:
        x = 0
        for each in row:
            panel = each.build()
            assert panel.grid_pos is not None
            panel.id_val, panel.grid_pos.x, panel.grid_pos.y = len(panels) + 1, x, y
            x += panel.grid_pos.w
            panels.append(panel)
        y += max(panel.grid_pos.h for panel in panels[-len(row) :])
    return dash.Dashboard(
        uid=uid(name, language),
        title=title.in_language(language),
        description=about.in_language(language),
        tags=["meterhall", f"meterhall-{language}"],
        schema_version=SCHEMA,
        timezone="browser",
        editable=True,
        graph_tooltip=dash.DashboardCursorSync.CROSSHAIR,
        time=dash.DashboardDashboardTime(since, "now"),
        refresh=refresh,
        week_start="monday",
        panels=panels,
        templating=dash.DashboardDashboardTemplating(
            [source_variable(), *(variable(each, language) for each in variables)]
        ),
        annotations=dash.AnnotationContainer(annotations(language)),
        links=[_menu(language)],
    )


def _menu(language: Language) -> dash.DashboardLink:
    return dash.DashboardLink(
        title="Meterhall",
        type_val=dash.DashboardLinkType.DASHBOARDS,
        icon="external link",
        tooltip="",
        tags=[f"meterhall-{language}"],
        as_dropdown=False,
        target_blank=False,
        include_vars=True,
        keep_time=True,
    )
