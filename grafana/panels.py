"""Panels: each with unit, description, a text for no data, and the data source's variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.models import common, geomap, heatmap, stat, statushistory, table, timeseries
from grafana_foundation_sdk.models import dashboard as dash

from grafana.query import SOURCE, InfluxQuery
from grafana.tokens import CARRIER, INK, QUIET, STATE

Json = dict[str, Any]
CORE = {
    "en": "InfluxDB 3 Core answers at most 4 days of it at once.",
    "zh": "InfluxDB 3 Core 一次最多可查 4 天。",
}
BASE_STEP = dash.ThresholdsConfig(dash.ThresholdsMode.ABSOLUTE, [dash.Threshold(None, "text")])  # type: ignore[arg-type]


def fixed(colour: str) -> dash.FieldColor:
    """One colour."""
    return dash.FieldColor(dash.FieldColorModeId.FIXED, colour)


def override(name: str, **properties: Any) -> Json:
    """What is different for one field: `custom__x` is custom.x."""
    rows = [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": rows}


def mapped(rows: dict[float, tuple[str, str]]) -> list[Json]:
    """Codes as words in a colour."""
    options = {
        f"{code:g}": {"text": text, "color": colour, "index": i}
        for i, (code, (text, colour)) in enumerate(rows.items())
    }
    return [{"type": "value", "options": options}]


def states(language: str) -> list[Json]:
    """The state of a thing: a shape and a word first, then a colour."""
    words = {"en": ("ok", "look at it", "broken", "not known"), "zh": ("正常", "待查看", "故障", "未知")}[language]
    keys = ("ok", "needs", "broken", "unknown")
    rows = zip("●▲■○", words, keys, strict=True)
    return mapped({i: (f"{shape} {word}", STATE[key]) for i, (shape, word, key) in enumerate(rows)})


def transformation(kind: str, **options: Any) -> dash.DataTransformerConfig:
    """One step that Grafana does with the answers."""
    return dash.DataTransformerConfig(kind, options=options)


def from_configuration() -> dash.DataTransformerConfig:
    """The answer of query T becomes the panel's threshold."""
    mapping = {"fieldName": "threshold", "handlerKey": "threshold1"}
    return transformation("configFromData", configRefId="T", mappings=[mapping])


NAME_SIZE = 40  # of a figure on the wall [px]: read from four metres
TIMES = {"Time": True, "time": True}  # the one from Grafana's server, the other from its page


def joined(
    columns: Sequence[str], *, sort: str = "", most: int = 0, needed: Sequence[str] = ("name",)
) -> list[dash.DataTransformerConfig]:
    """Tables joined by node into columns in this order, the largest of `sort` first, at most so many rows.

    needed : columns without which a row is left out
    """
    steps = [
        transformation("organize", excludeByName=TIMES, indexByName={}, renameByName={"vehicle": "node"}),
        transformation("joinByField", byField="node", mode="outer"),
        ordered(columns),
        transformation("filterByValue", type="exclude", match="any", filters=[_nothing(name) for name in needed]),
    ]
    if sort:
        steps.append(transformation("sortBy", fields={}, sort=[{"field": sort, "desc": True}]))
    if most:
        steps.append(transformation("limit", limitField=most))
    return steps


def ordered(columns: Sequence[str]) -> dash.DataTransformerConfig:
    """One table's columns in this order, without the time."""
    index = {name: i for i, name in enumerate(columns)}
    return transformation("organize", excludeByName=TIMES, indexByName=index, renameByName={})


def by_name(value: str) -> list[dash.DataTransformerConfig]:
    """Series by node in one table, joined with the names of nodes (query N): one series a name."""
    names = transformation("organize", excludeByName=TIMES, indexByName={}, renameByName={})
    names.filter_val = dash.MatcherConfig("byRefId", "N")
    return [
        names,
        transformation("organize", excludeByName={}, indexByName={}, renameByName={"vehicle": "node"}),
        transformation("joinByField", byField="node", mode="outerTabular"),
        transformation("organize", excludeByName={"node": True}, indexByName={}, renameByName={}),
        transformation("filterByValue", type="exclude", match="any", filters=[_nothing("name"), _nothing(value)]),
        transformation("partitionByValues", fields=["name"], keepFields=False, naming={"asLabels": True}),
    ]


def _nothing(field: str) -> Json:
    return {"fieldName": field, "config": {"id": "isNull", "options": {}}}


class Panel:
    """A panel under construction. Sizes are in Grafana's grid: 24 columns, rows of 38 px.

    title, about, none : the title, the description, and what is said where there is no data
    """

    def __init__(self, kind: str, title: str, about: str, none: str, unit: str, size: tuple[int, int]) -> None:
        self.defaults = dash.FieldConfig(unit=unit, no_value=none, thresholds=BASE_STEP, custom={})
        self.overrides: list[Json] = []
        self.panel = dash.Panel(
            type_val=kind, title=title, description=about, datasource=SOURCE, grid_pos=dash.GridPos(size[1], size[0])
        )

    def ask(self, *queries: InfluxQuery, least: str = "") -> Panel:
        """Its queries, lettered A, B, ... unless they have a letter of their own; `least`: the smallest interval."""
        for letter, query in zip("ABCDEFGH", (q for q in queries if q.ref == "A"), strict=False):
            query.ref = letter
        self.panel.targets = list(queries)
        self.panel.interval = least or None
        return self

    def then(self, *steps: dash.DataTransformerConfig) -> Panel:
        """What is done with the answers, in order."""
        self.panel.transformations = [*(self.panel.transformations or ()), *steps]
        return self

    def but(self, name: str, **properties: Any) -> Panel:
        """What is different for one field."""
        if self.panel.type_val == "table" and name != "node":
            properties.setdefault("noValue", "–")  # of a cell; the panel's own text is for no data at all
        self.overrides.append(override(name, **properties))
        return self

    def link(self, title: str, url: str, field: str = "") -> Panel:
        """Where a click leads, of all values or of one field's."""
        link = {"title": title, "url": url, "targetBlank": False}
        if field:
            return self.but(field, links=[link])
        self.defaults.links = [link]
        return self

    def named(self, name: str) -> Panel:
        """A name, written as large as a wall needs, beside the figure."""
        self.defaults.display_name = name
        self.panel.options.text_mode = common.BigValueTextMode.VALUE_AND_NAME  # type: ignore[union-attr]
        self.panel.options.text = common.VizTextDisplayOptions(title_size=NAME_SIZE)  # type: ignore[union-attr]
        return self

    def build(self) -> dash.Panel:
        """The panel."""
        self.panel.field_config = dash.FieldConfigSource(self.defaults, self.overrides)  # type: ignore[arg-type]
        return self.panel


def figure(
    title: str,
    about: str,
    none: str,
    unit: str,
    size: tuple[int, int],
    *,
    colour: str = INK,
    calc: str = "sum",
    spark: bool = False,
    several: bool = False,
    by_state: bool = False,
) -> Panel:
    """One large figure, with its course behind it if wanted. `several`: one of each column, with its name."""
    out = Panel("stat", title, about, none, unit, size)
    out.defaults.color = dash.FieldColor(dash.FieldColorModeId.THRESHOLDS) if by_state else fixed(colour)
    out.defaults.custom = None
    out.panel.options = stat.Options(
        graph_mode=common.BigValueGraphMode.AREA if spark else common.BigValueGraphMode.NONE,
        color_mode=common.BigValueColorMode.VALUE,
        justify_mode=common.BigValueJustifyMode.AUTO,
        text_mode=common.BigValueTextMode.VALUE_AND_NAME if several else common.BigValueTextMode.VALUE,
        reduce_options=common.ReduceDataOptions(values=False, calcs=[calc], fields=""),
        orientation=common.VizOrientation.AUTO,
    )
    return out


def chart(
    title: str,
    about: str,
    none: str,
    unit: str,
    size: tuple[int, int],
    *,
    bars: bool = False,
    colour: str = "",
    legend: bool = False,
    limit: bool = False,
    stacked: bool = False,
) -> Panel:
    """Something over time: lines that break where nothing is known, or bars from zero. `limit`: draws the threshold."""
    out = Panel("timeseries", title, about, none, unit, size)
    out.defaults.color = fixed(colour) if colour else dash.FieldColor(dash.FieldColorModeId.PALETTE_CLASSIC)
    out.defaults.min_val = 0 if bars else None
    out.defaults.custom = timeseries.FieldConfig(
        draw_style=common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE,
        line_width=0 if bars else 2,
        fill_opacity=80 if bars else 0,
        bar_alignment=common.BarAlignment.AFTER if bars else common.BarAlignment.CENTER,
        show_points=common.VisibilityMode.NEVER,
        span_nulls=False,
        line_interpolation=common.LineInterpolation.LINEAR,
        stacking=common.StackingConfig(common.StackingMode.NORMAL if stacked else common.StackingMode.NONE, "A"),
        thresholds_style=common.GraphThresholdsStyleConfig(
            common.GraphThresholdsStyleMode.DASHED if limit else common.GraphThresholdsStyleMode.OFF
        ),
        axis_soft_min=0,
    )
    out.panel.options = timeseries.Options(
        legend=common.VizLegendOptions(
            common.LegendDisplayMode.LIST, common.LegendPlacement("bottom"), show_legend=legend, calcs=[]
        ),
        tooltip=common.VizTooltipOptions(common.TooltipDisplayMode.MULTI, common.SortOrder.DESCENDING),
    )
    return out


def listing(title: str, about: str, none: str, size: tuple[int, int], *, unit: str = "short") -> Panel:
    """A table; numbers right, words left."""
    out = Panel("table", title, about, none, unit, size)
    out.defaults.custom = {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}
    out.defaults.color = fixed(QUIET)
    out.panel.options = table.Options(show_header=True, cell_height=common.TableCellHeight.SM)
    return out.but("node", custom__hidden=True)


def hours(title: str, about: str, none: str, unit: str, size: tuple[int, int]) -> Panel:
    """A heat map of rows that are there already: one hue, from the ground to the full colour."""
    out = Panel("heatmap", title, about, none, unit, size)
    out.panel.options = heatmap.Options(
        calculate=False,
        color=heatmap.HeatmapColorOptions(
            mode=heatmap.HeatmapColorMode.OPACITY,
            fill=CARRIER["electricity"],
            scale=heatmap.HeatmapColorScale.EXPONENTIAL,
            exponent=0.6,
            steps=64,
        ),
        cell_values=heatmap.CellValues(unit=unit),
        y_axis=heatmap.YAxisConfig(reverse=True),
        legend=heatmap.HeatmapLegend(show=True),
        tooltip=heatmap.HeatmapTooltip(common.TooltipDisplayMode.SINGLE),
        rows_frame=heatmap.RowsHeatmapOptions(layout=common.HeatmapCellLayout.AUTO),
        cell_gap=1,
    )
    return out


def strip(title: str, about: str, none: str, unit: str, size: tuple[int, int], colours: str) -> Panel:
    """One cell a day."""
    out = Panel("status-history", title, about, none, unit, size)
    out.defaults.color = dash.FieldColor(colours)  # type: ignore[arg-type]
    out.defaults.min_val, out.defaults.max_val = 0, 100
    out.defaults.custom = statushistory.FieldConfig(line_width=0, fill_opacity=90)
    out.panel.options = statushistory.Options(
        show_value=common.VisibilityMode.NEVER,
        legend=common.VizLegendOptions(
            common.LegendDisplayMode.LIST, common.LegendPlacement("bottom"), show_legend=False, calcs=[]
        ),
        tooltip=common.VizTooltipOptions(common.TooltipDisplayMode.SINGLE, common.SortOrder.NONE),
    )
    return out


def places(title: str, about: str, none: str, size: tuple[int, int], colour: str) -> Panel:
    """Marks at latitude and longitude. No tiles are fetched: positions of vehicles tell nobody outside anything."""
    out = Panel("geomap", title, about, none, "degree", size)
    out.defaults.color = fixed(colour)
    style = {
        "color": {"fixed": colour},
        "size": {"fixed": 7, "min": 4, "max": 12},
        "symbol": {"fixed": "img/icons/marker/circle.svg", "mode": "fixed"},
        "text": {"field": "name", "fixed": "", "mode": "field"},
        "textConfig": {"fontSize": 14, "offsetX": 0, "offsetY": -16, "textAlign": "center", "textBaseline": "middle"},
    }
    layer = {
        "type": "markers",
        "name": title,
        "config": {"style": style, "showLegend": False},
        "location": {"mode": "coords", "latitude": "latitude", "longitude": "longitude"},
        "tooltip": True,
    }
    basemap = {"type": "xyz", "name": "", "config": {"url": "/public/no-tiles/{z}/{x}/{y}.png", "attribution": ""}}
    out.panel.options = geomap.Options(
        view=geomap.MapViewConfig(id_val="fit", lat=0, lon=0, zoom=12, all_layers=True),
        controls=geomap.ControlsOptions(show_zoom=True, mouse_wheel_zoom=False, show_scale=True),
        basemap=basemap,  # type: ignore[arg-type]
        layers=[layer],  # type: ignore[list-item]
        tooltip=geomap.TooltipOptions(geomap.TooltipMode.DETAILS),
    )
    return out
