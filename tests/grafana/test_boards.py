"""The dashboards: generated from one source, complete, and within what every InfluxDB understands."""

import copy
import json
import re
import tomllib
from pathlib import Path

import pytest

from grafana.asking import Chosen, fill, interval
from grafana.build import FOLDER, dashboards, text_of
from grafana.lint import HEX, faults, wall_faults

ROOT = Path(__file__).parent.parent.parent
FILES = sorted(FOLDER.glob("*/*.json"))
BOARDS = [json.loads(path.read_text("utf-8")) for path in FILES]
NAMES = [f"{path.parent.name}/{path.stem}" for path in FILES]


def test_what_is_committed_is_what_is_generated():
    generated = {path: text_of(document) for path, document in dashboards()}
    assert sorted(generated) == FILES
    for path, text in generated.items():
        assert path.read_text("utf-8") == text, "python -m grafana.build"


@pytest.mark.parametrize("board", BOARDS, ids=NAMES)
def test_every_panel_has_what_it_must_have(board):
    assert list(faults(board)) == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_wall_is_read_from_four_metres(language):
    board = json.loads((FOLDER / language / "overview.json").read_text("utf-8"))
    assert list(wall_faults(board)) == []


def spoiled(change):
    """A dashboard with one change; the others stay as they are."""
    board = copy.deepcopy(BOARDS[NAMES.index("en/building")])
    change(board)
    return list(faults(board))


def of_first(**what):
    """A change of the first panel."""
    return lambda board: board["panels"][0].update(what)


def query(text):
    """A change of the first panel's query."""
    return lambda board: board["panels"][0]["targets"][0].update(query=text)


GOOD = 'SELECT sum("value") FROM "interval_day" WHERE "void" = 0 AND $timeFilter'


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (of_first(description=""), "has no description"),
        (of_first(datasource={"type": "influxdb", "uid": "mine"}), "not of the data source's variable"),
        (lambda b: b["panels"][0]["fieldConfig"]["defaults"].pop("unit"), "has no unit"),
        (lambda b: b["panels"][0]["fieldConfig"]["defaults"].pop("noValue"), "has no text for no data"),
        (lambda b: b["panels"][0]["fieldConfig"]["defaults"]["thresholds"]["steps"].append({}), "a threshold typed in"),
        (query(GOOD.replace("$timeFilter", '"a" = 1')), "without a time bound"),
        (query(GOOD.replace('"void" = 0 AND ', "")), "rows that are void"),
        (query(GOOD.replace("sum", "holt_winters")), "holt_winters"),
        (query(GOOD + " SLIMIT 3"), "SLIMIT"),
        (query(GOOD.replace('sum("value")', '* INTO "x"')), "INTO"),
        (query(GOOD.replace("interval_day", "raw")), "asks raw"),
        (query(GOOD.replace("interval_day", "vehicle_raw")), "for more than a week"),
        (query(GOOD.replace("interval_day", "interval_15min")), "InfluxDB 3 Core"),
        (query(GOOD + " AND \"node\" = '${building}'"), "the format :regex"),
        (query('SELECT last(*) FROM "node" WHERE "void" = 0 AND $timeFilter'), "(*"),
        (lambda b: b["panels"][1]["gridPos"].update(x=0), "lies over another"),
        (lambda b: b["links"][0].update(keepTime=False), "loses the time range"),
        (lambda b: b["templating"]["list"][1].update(query='SHOW TAG VALUES WITH KEY = "a"'), "no time bound"),
    ],
)
def test_the_linter_finds(change, said):
    assert any(said in fault for fault in spoiled(change))


def test_the_linter_finds_nothing_where_nothing_is():
    assert spoiled(query(GOOD)) == []


def test_a_legend_or_a_seventh_figure_is_not_for_the_wall():
    board = copy.deepcopy(BOARDS[NAMES.index("en/overview")])
    board["panels"][0]["options"]["legend"] = {"showLegend": True}
    board["panels"].append(copy.deepcopy(board["panels"][0]))
    board["panels"][-1]["gridPos"]["y"] = 22
    assert {"has a legend", "7 panels; at most 6"} <= {fault.split(": ")[-1] for fault in wall_faults(board)}
    assert "does not fit on a screen of 1080 lines" in list(wall_faults(board))


@pytest.mark.parametrize("board", BOARDS, ids=NAMES)
def test_links_lead_to_dashboards_that_are_there_with_variables_that_they_have(board):
    variables = {each["uid"]: {v["name"] for v in each["templating"]["list"]} for each in BOARDS}
    urls = re.findall(r'"url": "(/d/[^"]*)"', json.dumps(board))
    for url in urls:
        target = re.match(r"/d/([\w-]+)\?", url).group(1)
        assert target in variables
        assert set(re.findall(r"&var-(\w+)=", url)) <= variables[target]
        assert target.endswith(board["uid"][-3:]), "the language stays"


@pytest.mark.parametrize("board", BOARDS, ids=NAMES)
def test_colours_are_the_design_tokens(board):
    tokens = {each.lower() for each in HEX.findall((ROOT / "api/page/tokens.toml").read_text("utf-8"))}
    assert {each.lower() for each in HEX.findall(json.dumps(board))} <= tokens


def test_carriers_have_their_colour():
    carriers = tomllib.loads((ROOT / "api/page/tokens.toml").read_text("utf-8"))["dark"]["carrier"]
    panels = BOARDS[NAMES.index("en/overview")]["panels"]
    colours = {panel["title"]: panel["fieldConfig"]["defaults"]["color"]["fixedColor"] for panel in panels}
    assert colours["Water today"] == carriers["water"]
    assert colours["Heat today"] == carriers["heat"]


def shape(value):
    """A document without its texts."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return type(value).__name__


@pytest.mark.parametrize("name", sorted({path.stem for path in FILES}))
def test_both_languages_say_the_same(name):
    english, chinese = (BOARDS[NAMES.index(f"{language}/{name}")] for language in ("en", "zh"))
    strip = re.compile(r'"matcher": \{[^}]*\}')
    assert shape(english) == shape(chinese)
    for one, other in zip(english["panels"], chinese["panels"], strict=True):
        for text in (other["title"], other["description"], other["fieldConfig"]["defaults"]["noValue"]):
            assert re.search(r"[\u4e00-\u9fff]", text), text
        assert not re.search(r"[\u4e00-\u9fff]", strip.sub("", json.dumps(one, ensure_ascii=False)))


@pytest.mark.parametrize("board", BOARDS, ids=NAMES)
def test_the_sdk_reads_and_writes_it_without_losing_a_key(board):
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    again = json.loads(json.dumps(Dashboard.from_json(copy.deepcopy(board)), cls=JSONEncoder))
    assert list(lost(board, again)) == []
    del again["panels"][0]["title"]
    assert ".panels[0].title" in list(lost(board, again))


def lost(before, after, place=""):
    """Keys and values that are not there afterwards; what was added is no loss."""
    if isinstance(before, dict):
        for key, value in before.items():
            yield from lost(value, after[key], f"{place}.{key}") if key in after else [f"{place}.{key}"]
    elif isinstance(before, list):
        if len(before) != len(after):
            yield place
        for i, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from lost(one, other, f"{place}[{i}]")
    elif before != after:
        yield place


def test_what_grafana_fills_in():
    chosen = {
        "one": Chosen("A", "a.b"),
        "two": Chosen("All", ["a", "b+c"]),
        "all": Chosen("All", ["a"], ".*"),
    }
    text = "${one:regex} ${two:regex} ${all:regex} $timeFilter ${__from} ${__to} $__interval"
    assert fill(text, chosen, 1, 2, "15m") == r"a\.b (a|b\+c) .* time >= 1ms and time <= 2ms 1 2 15m"


@pytest.mark.parametrize(
    ("days", "least", "step"),
    [(1, "15m", "15m"), (7, "15m", "15m"), (30, "15m", "1h"), (30, "1d", "1d"), (1, "1m", "2m")],
)
def test_the_interval_is_the_range_in_a_thousand_points(days, least, step):
    assert interval(0, days * 86_400_000, least) == step
