"""Every query of every panel, filled in as Grafana does, on a real InfluxDB that the product filled by simulation."""

import json
import math
import time

import pytest

from grafana.asking import choose, interval, questions
from grafana.build import FOLDER
from metering.clock import DAY_US, HOUR_US
from storage.notes import Note

pytestmark = pytest.mark.slow
RANGE_DAYS = {"overview": 0.5, "collector": 0.25, "vehicles": 7}  # the others: 14
# Offices have no gas, and no baseline was fitted; what is asked of both, and of dates, has tests of its own.
EMPTY = {("building", "Gas", "A"), ("building", "Load", "B")}
BOARDS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((FOLDER / "en").glob("*.json"))}


def rows_of(client, query):
    """The rows of an answer, as dicts."""
    return [{**p.tags, **dict(zip(p.columns, row, strict=True))} for p in client.query(query) for row in p.values]


def opened(client, name, **wanted):
    """A dashboard as it is opened: what its variables stand at, and its range."""
    now = int(time.time() * 1000)
    start = now - int(RANGE_DAYS.get(name, 14) * 86_400_000)
    chosen = choose(BOARDS[name], lambda query: [piece.values for piece in client.query(query)], wanted)
    return chosen, start, now


def answers(client, name, **wanted):
    """{(panel, letter): rows} of a dashboard."""
    chosen, start, end = opened(client, name, **wanted)
    return {(q.panel, q.ref): rows_of(client, q.query) for q in questions(BOARDS[name], chosen, start, end)}


def number(rows, column):
    """The one value of a column."""
    (row,) = rows
    return row[column]


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_every_panel_is_answered(filled, name):
    _, client = filled
    found = answers(client, name, building="office", meter="office-main")
    for (panel, letter), rows in found.items():
        if letter == "Anno" or (name, panel, letter) in EMPTY:
            continue
        values = [value for row in rows for key, value in row.items() if key != "time" and value is not None]
        assert values, f"{panel} {letter}: nothing"
        assert all(isinstance(value, str) or math.isfinite(value) for value in values)


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_every_variable_has_names_and_means_ids(filled, name):
    node, client = filled
    chosen, _, _ = opened(client, name)
    known = set(node.settings.installation.by_id)
    for variable in ("site", "building", "meter", "vehicle"):
        if variable in chosen:
            value = chosen[variable].value
            values = value if isinstance(value, list) else [value]
            assert values
            assert set(values) <= known
            assert chosen[variable].text == "All" or chosen[variable].text not in known


def used(node, scope, place, carrier, days):
    """What the product's own store says was used, in units."""
    measure = next(m for m in node.store.measures() if (m.scope, m.node, m.name) == (scope, place, carrier))
    end = int(time.time() * 1e6)
    (series,) = node.store.intervals([measure], "day", end - int(days * DAY_US), end)
    return series.amount.sum() / 1000


def test_figures_are_what_the_store_has(filled):
    node, client = filled
    building = answers(client, "building", building="office")
    assert number(building["Electricity", "A"], "used") == pytest.approx(
        used(node, "building", "office", "electricity", 14)
    )
    assert number(building["Water", "A"], "used") == pytest.approx(used(node, "building", "office", "water", 14))
    by_day = building["Electricity by day", "A"]
    assert sum(row["measured"] + row["estimated"] for row in by_day) == pytest.approx(
        number(building["Electricity", "A"], "used")
    )
    assert len(by_day) in (14, 15)
    water = answers(client, "water")
    assert number(water["Water", "A"], "used") == pytest.approx(used(node, "site", "riverside", "water", 14))
    compared = {row["node"]: row["used"] for row in building["Beside the other buildings", "A"]}
    assert compared["office"] == pytest.approx(number(building["Electricity", "A"], "used"))
    assert len(compared) == 7


def test_figures_are_of_the_expected_magnitude(filled):
    _, client = filled
    overview = answers(client, "overview")
    today = sum(row["electricity"] for row in overview["Electricity today", "A"])
    assert 1_000 < today < 20_000  # kWh in half a day, of a compound of seven buildings
    assert 50 < overview["Electric load now", "A"][-1]["kW"] < 1_500
    assert -0.5 < number(overview["Electricity against a week ago", "A"], "change") < 0.5
    assert number(overview["Needs somebody", "A"], "needs") == 1
    heat = answers(client, "heatmap", building="office", carrier="electricity")
    hours = heat["Hour by day", "A"][5]
    night, noon = hours["03:00"], hours["14:00"]
    assert 5 < night < 150
    assert noon > 5
    assert 10 < number(heat["Runs when nobody is there", "A"], "share") < 100
    vehicles = answers(client, "vehicles")
    fleet = vehicles["The fleet now", "A"][0]
    assert sum(fleet[name] for name in ("driving", "charging", "parked", "silent")) == 20
    assert all(0 <= row["charge"] <= 100 for row in vehicles["State of charge", "A"])
    assert number(vehicles["Where they are", "A"], "latitude") == pytest.approx(35.0)


def test_the_load_curve_is_power(filled):
    _, client = filled
    building = answers(client, "building", building="office")
    load = [row["kW"] for row in building["Load", "A"] if row["carrier"] == "electricity" and row["kW"] is not None]
    energy = number(building["Electricity", "A"], "used")
    assert interval(0, 14 * 86_400_000, "15m") == "30m"
    assert sum(load) / 2 == pytest.approx(energy, rel=0.02)


def test_thresholds_come_from_the_configuration(filled):
    node, client = filled
    assert number(answers(client, "vehicles")["State of charge", "T"], "threshold") == node.settings.thresholds.charge
    assert number(answers(client, "collector")["Disk in use", "T"], "threshold") == node.settings.thresholds.disk


def test_swaps_and_holidays_are_marked(filled):
    _, client = filled
    chosen, _, end = opened(client, "water")
    start = end - 365 * 86_400_000
    found = {
        q.panel: rows_of(client, q.query) for q in questions(BOARDS["water"], chosen, start, end) if q.ref == "Anno"
    }
    assert any("18764.2" in row["text"] for row in found["Meters replaced"])
    assert {row["title"] for row in found["Holidays"]} == {"Holiday", "Work day on a weekend"}
    assert all(row["end_ms"] * 1_000_000 > row["time"] for row in found["Holidays"])


def test_a_drill_down_leads_to_the_thing_that_was_clicked(filled):
    _, client = filled
    rows = answers(client, "building", building="school")["Where the electricity goes", "A"]
    meter = max(rows, key=lambda row: row["used"])["node"]
    found = answers(client, "meter", meter=meter)
    assert sum(row["measured"] for row in found["By day", "A"]) > 0


def test_what_a_baseline_expects_stands_beside_the_load(filled):
    node, client = filled
    now = int(time.time() * 1e6) // HOUR_US * HOUR_US
    tags = tuple(
        {"site": "riverside", "scope": "building", "node": "library", "name": "electricity", "carrier": "electricity",
         "unit": "kWh"}.items()
    )  # fmt: skip
    hours = [Note("expected_hour", tags, now - i * HOUR_US, {"value": 12.5, "amount": 12_500}) for i in range(1, 49)]
    node.store.note(hours)
    rows = answers(client, "building", building="library")["Load", "B"]
    assert {row["kW"] for row in rows} == {12.5}
    assert len(rows) == 48


def test_gas_is_shown_in_its_own_unit(filled):
    _, client = filled
    canteen = answers(client, "building", building="canteen")["Gas", "A"]
    assert [row["unit"] for row in canteen] == ["m3"]
    assert canteen[0]["used"] > 0
