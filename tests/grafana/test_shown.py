"""What panels show, worked out by Grafana's own code from a real InfluxDB's answers: see `shown.cjs`."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from grafana.asking import choose, questions
from grafana.build import FOLDER
from tests.influx import find

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
PACKAGES = ("@grafana/data@11.6.0", "react@18.3.1", "react-dom@18.3.1", "rxjs@7.8.1", "jsdom@26.1.0")
DAYS = {"overview": 0.5, "collector": 0.25}  # the others: 14


@pytest.fixture(scope="session")
def grafana_code(tmp_path_factory):
    """A folder with the script and Grafana's package."""
    npm = find("npm", "npm")
    folder = tmp_path_factory.mktemp("grafana-data")
    (folder / "package.json").write_text('{"private": true}')
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--legacy-peer-deps", *PACKAGES]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    shutil.copy(HERE / "shown.cjs", folder / "shown.cjs")
    return folder


@pytest.fixture(scope="session")
def show(filled, grafana_code):
    """A function: what each panel of a dashboard shows, by its title."""
    _, client = filled

    def shown(name, language="en", **wanted):
        board = json.loads((FOLDER / language / f"{name}.json").read_text("utf-8"))
        chosen = choose(board, lambda query: [piece.values for piece in client.query(query)], wanted)
        end = int(time.time() * 1000)
        start = end - int(DAYS.get(name, 14) * 86_400_000)
        queries = iter(questions(board, chosen, start, end))
        for panel in board["panels"]:
            panel["answers"] = [
                [piece._asdict() for piece in client.query(next(queries).query)] for _ in panel["targets"]
            ]
        done = subprocess.run(
            ["node", "shown.cjs"],
            cwd=grafana_code,
            input=json.dumps(board),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return {panel["title"]: panel for panel in json.loads(done.stdout)}

    return shown


def columns(panel):
    """The columns that a table shows, by name."""
    (frame,) = panel["frames"]
    return {field["name"]: field["texts"] for field in frame if not field["hidden"]}


def test_figures_of_the_wall_are_short_and_have_their_unit(show):
    wall = show("overview")
    texts = {title: panel["figures"][0]["text"] for title, panel in wall.items()}
    assert texts["Electricity today"].endswith("Wh")
    assert texts["Water today"].endswith(" m³")
    assert texts["Electric load now"].endswith("W")
    assert texts["Electricity against a week ago"].endswith("%")
    assert texts["Needs somebody"] == "1"
    assert all(len(text) <= 10 for text in texts.values())
    assert wall["Electricity today"]["figures"][0]["name"] == "Electricity"
    assert all(len(panel["figures"]) == 1 for panel in wall.values())


def test_tables_show_names_and_the_largest_first(show):
    building = show("building", building="office")
    goes = columns(building["Where the electricity goes"])
    assert list(goes) == ["Meter", "Used"]
    assert goes["Meter"][0] == "Office, main"
    others = columns(building["Beside the other buildings"])
    assert list(others) == ["Building", "Used", "Floor area", "Per m²"]
    assert len(others["Building"]) == 7
    rates = [float(text.split()[0]) for text in others["Per m²"]]
    assert rates == sorted(rates, reverse=True)
    assert all(text.endswith("kWh/m²") for text in others["Per m²"])
    ranking = columns(show("heatmap", building="office", carrier="electricity")["Electric base load of all buildings"])
    assert list(ranking) == ["Building", "Base load", "Of the mean load", "In a year"]


def test_a_cell_without_a_value_is_a_dash(show):
    fleet = columns(show("vehicles")["Vehicles"])
    assert len(fleet["Vehicle"]) == 20
    assert set(fleet["Now"]) <= {"■ parked", "▶ driving", "⚡ charging", "▲ silent"}
    assert "–" in fleet["Fuel"]
    assert all(text.endswith("%") or text == "–" for text in fleet["Charge"])
    assert all(text.endswith(" km") for text in fleet["Odometer"])


def test_only_vehicles_that_keep_their_position_are_on_the_map(show):
    (frame,) = show("vehicles")["Where they are"]["frames"]
    found = {field["name"]: field["values"] for field in frame}
    assert (len(found["name"]), found["latitude"], found["longitude"]) == (1, [35.0], [113.0])


def test_lines_bear_the_names_of_buildings_and_vehicles(show):
    flows = show("water")["Least flow of each day, by building"]["frames"]
    labels = {field["labels"]["name"] for frame in flows for field in frame if field["type"] == "number"}
    assert {"Riverside school", "Archive"} <= labels
    assert all({"time", "number"} == {field["type"] for field in frame} for frame in flows)
    charge = show("vehicles", "zh")["荷电状态"]["frames"]
    assert len(charge) == 14
    assert all("车" in field["labels"]["name"] for frame in charge for field in frame if field["type"] == "number")


def test_the_list_of_meters_keeps_to_the_building_that_is_chosen(show):
    found = columns(show("meter", building="school", meter="school-main")["Meters, the most incomplete first"])
    assert set(found["Where"]) == {"Riverside school"}
    assert set(found["State"]) == {"● ok"}
    needs = columns(show("meter", "zh")["当前待处理"])
    assert needs["事项"] == ["3 号充电桩无数据"]
    assert needs[" "] == ["▲ 待查看"]


def test_thresholds_are_the_configured_ones(show, filled):
    node, _ = filled
    configured = node.settings.thresholds
    meter, collector = show("meter", meter="office-main"), show("collector")
    assert meter["Missing"]["threshold"] == configured.missing
    assert meter["Estimated"]["threshold"] == configured.estimated
    assert collector["Messages waiting"]["threshold"] == configured.waiting
    assert show("heatmap")["Runs when nobody is there"]["threshold"] == configured.base_load


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_heat_map_has_a_row_an_hour_in_order(show, language):
    title = {"en": "Hour by day", "zh": "逐日逐时用能"}[language]
    frames = show("heatmap", language)[title]["frames"]
    assert [frame[1]["name"] for frame in frames] == [f"{hour:02d}:00" for hour in range(24)]
