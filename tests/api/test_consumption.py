"""Consumption: exact sums in local time, gaps that are gaps, money where a factor exists."""

import csv
import io
from datetime import datetime, timedelta

import numpy as np
import pytest

from api import figures
from api.periods import Period
from metering.clock import QUARTER_US, to_us
from metering.quantity import Carrier
from metering.reading import Point
from tests.api.plant import BERLIN, IN, NOW, SPREAD, local


def ask(client, **params):
    reply = client.get("/api/v1/consumption", params=params)
    assert reply.status_code == 200, reply.text
    return reply.json()


HALL = {"scope": "meter", "node": "hall-e", "quantity": IN}
SITE = {"scope": "site", "node": "plant", "carrier": "electricity"}


def counter(services, meter, start, end):
    """The difference of a counter's readings at two instants [0.001 unit]."""
    series = services.store.series(Point("plant", meter, IN), start, end + 1)
    assert series.at[0] == start and series.at[-1] == end
    return round(series.value[-1] * 1000) - round(series.value[0] * 1000)


@pytest.mark.parametrize("resolution", ["15min", "hour", "day", "month", "year", "total"])
@pytest.mark.parametrize("asked", [HALL, SITE, {"scope": "building", "node": "lab", "carrier": "electricity"}])
def test_every_resolution_adds_up_to_the_same_integer(client, asked, resolution):
    span = {"start": "2026-03-03T05:15:00+01:00", "end": "2026-04-05T17:45:00+02:00"}
    total = ask(client, **asked, **span, resolution="total")["total"]
    found = ask(client, **asked, **span, resolution=resolution)
    assert sum(row["amount"] for row in found["rows"]) == found["total"] == total
    assert total > 0


def test_a_period_uses_what_the_counter_moved(client, services):
    found = ask(client, **HALL, start="2026-03-10", end="2026-03-20", resolution="day")
    assert found["total"] == counter(services, "hall-e", local(2026, 3, 10), local(2026, 3, 20))
    assert found["unit"] == "kWh"
    assert found["coverage"] == 1.0
    assert found["estimated"] == 0


@pytest.mark.parametrize(
    ("day", "hours", "first", "last"),
    [
        ("2026-03-29", 23, "+01:00", "+02:00"),
        ("2025-10-26", 25, "+02:00", "+01:00"),
        ("2026-03-28", 24, "+01:00", "+01:00"),
    ],
)
def test_a_day_has_the_hours_its_zone_gives_it(client, day, hours, first, last):
    end = (datetime.fromisoformat(day) + timedelta(days=1)).date().isoformat()
    by_hour = ask(client, **HALL, start=day, end=end, resolution="hour")
    assert len(by_hour["rows"]) == hours
    assert by_hour["rows"][0]["start"].endswith(first)
    assert by_hour["rows"][-1]["end"].endswith(last)
    whole = ask(client, **HALL, start=day, end=end, resolution="day")
    assert len(whole["rows"]) == 1
    assert whole["rows"][0]["amount"] == by_hour["total"]


def test_a_time_of_which_nothing_is_known_is_absent_and_not_zero(client):
    found = ask(
        client, scope="meter", node="hall-w", carrier="water", start="2026-03-19", end="2026-03-24", resolution="day"
    )
    days = [row["start"][:10] for row in found["rows"]]
    assert "2026-03-21" not in days
    assert {"2026-03-19", "2026-03-22", "2026-03-23"} <= set(days)
    assert found["coverage"] < 0.7
    nothing = ask(client, scope="meter", node="hall-w", carrier="water", start="2026-03-21", end="2026-03-22")
    assert nothing["total"] is None
    assert nothing["rows"] == []
    assert nothing["coverage"] == 0.0


def test_energy_of_a_gap_is_marked_and_can_be_left_out(client, services):
    span = {"start": "2026-03-24", "end": "2026-03-25", "resolution": "hour"}
    found = ask(client, **HALL, **span)
    assert found["total"] == counter(services, "hall-e", local(2026, 3, 24), local(2026, 3, 25))
    assert found["estimated"] == counter(services, "hall-e", SPREAD[0], SPREAD[1])
    assert found["coverage"] == pytest.approx(18 / 24)
    without = ask(client, **HALL, **span, estimates="exclude")
    assert without["total"] == found["total"] - found["estimated"]
    assert len(without["rows"]) == 18
    assert all(row["estimated"] == 0 for row in without["rows"])


def test_a_building_is_net_of_nothing_but_its_own(client):
    span = {"start": "2026-03-10", "end": "2026-03-11"}
    lab = ask(client, scope="building", node="lab", carrier="electricity", **span)
    meter = ask(client, scope="meter", node="lab-e", carrier="electricity", **span)
    assert lab["total"] == meter["total"]
    hall = ask(client, scope="building", node="hall", carrier="electricity", **span)
    assert hall["total"] == ask(client, **HALL, **span)["total"]


def test_a_site_uses_what_comes_in_and_what_it_makes(client):
    span = {"start": "2026-03-10", "end": "2026-03-11"}
    main = ask(client, scope="meter", node="main", quantity=IN, **span)["total"]
    sun = ask(client, scope="meter", node="pv", quantity="active_energy_export", **span)["total"]
    assert ask(client, **SITE, **span)["total"] == main + sun
    assert ask(client, scope="site", node="plant", carrier="generation", **span)["total"] == sun


def test_another_time_zone_cuts_its_own_days(client):
    span = {"start": "2026-03-10", "end": "2026-03-12", "tz": "Asia/Shanghai"}
    days = ask(client, **HALL, **span, resolution="day")
    hours = ask(client, **HALL, **span, resolution="15min")
    assert [row["start"] for row in days["rows"]] == [
        "2026-03-10T00:00:00.000000+08:00",
        "2026-03-11T00:00:00.000000+08:00",
    ]
    assert days["total"] == hours["total"]


def test_money_uses_the_price_of_each_day_and_names_it(client):
    span = {"start": "2026-03-31", "end": "2026-04-02", "resolution": "day"}
    found = ask(client, **HALL, **span)
    before, after = (row["amount"] for row in found["rows"])
    price = found["converted"]["price"]
    assert price["value"] == pytest.approx((before * 0.25 + after * 0.30) / 1000)
    assert price["unit"] == "EUR"
    assert [(f["value"], f["source"], f["status"]) for f in price["factors"]] == [
        (0.25, "contract 2025", "unverified"),
        (0.30, "contract 2026", "verified"),
    ]


def test_no_factor_for_part_of_a_period_means_no_figure(client):
    found = ask(client, **HALL, start="2026-03-24", end="2026-03-27", resolution="day")
    assert "co2" not in found["converted"]
    assert "price" in found["converted"]
    later = ask(client, **HALL, start="2026-03-26", end="2026-03-27", resolution="month")
    assert later["converted"]["co2"]["value"] == pytest.approx(later["total"] * 0.4 / 1000)


def test_a_carrier_without_factors_stays_physical(client):
    assert ask(client, scope="meter", node="hall-w", carrier="water")["converted"] == {}


def test_csv_has_exact_decimals(client):
    params = {**HALL, "start": "2026-03-10", "end": "2026-03-11", "format": "csv"}
    text = client.get("/api/v1/consumption", params=params).text
    head, *rows = csv.reader(io.StringIO(text))
    assert head == ["start", "end", "amount [kWh]", "estimated [kWh]", "coverage"]
    assert len(rows) == 24
    total = ask(client, **HALL, start="2026-03-10", end="2026-03-11")["total"]
    assert sum(int(row[2].replace(".", "")) for row in rows) == total


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"carrier": "electricity"}, 422),
        ({"quantity": None}, 422),
        ({"node": "nobody"}, 404),
        ({"scope": "building"}, 404),
        ({"quantity": "active_power"}, 404),
        ({"scope": "planet"}, 422),
        ({"tz": "Moon"}, 422),
        ({"start": "1975-01-01", "resolution": "15min"}, 422),
        ({"start": "2026-04-01", "end": "2026-04-01"}, 422),
    ],
)
def test_questions_that_make_no_sense_are_explained(client, change, status):
    params = {key: value for key, value in {**HALL, **change}.items() if value is not None}
    reply = client.get("/api/v1/consumption", params=params)
    assert reply.status_code == status
    assert reply.json()["detail"]


def test_today_so_far_is_compared_with_the_same_hours_of_last_week(services):
    today = Period(local(2026, 4, 6), local(2026, 4, 7))
    found = figures.compare(services, "meter", "hall-e", IN, today)
    assert found.this.period == (local(2026, 4, 6), local(2026, 4, 6, 14))
    assert found.that.period == (local(2026, 3, 30), local(2026, 3, 30, 14))
    assert found.this.value == counter(services, "hall-e", *found.this.period)
    assert found.that.value == counter(services, "hall-e", *found.that.period)
    assert found.change == (found.this.value - found.that.value) / found.that.value
    assert found.this.coverage == 1.0


def test_last_week_over_the_change_of_clocks_keeps_wall_clock_hours(services):
    wednesday = Period(local(2026, 4, 1), local(2026, 4, 2))
    found = figures.compare(services, "meter", "hall-e", IN, wednesday)
    assert found.that.period == (local(2026, 3, 25), local(2026, 3, 26))


def test_the_usual_is_the_mean_of_the_weeks_that_were_observed(services):
    measure = figures.measure_of(services, "meter", "hall-e", IN)
    day = (local(2026, 3, 31), local(2026, 4, 1))  # Tuesdays before: 24 March had 6 h estimated, all else whole
    (found,) = figures.usual(services, [measure], *day)
    weeks = [counter(services, "hall-e", local(2026, 3, d), local(2026, 3, d + 1)) for d in (3, 10, 17, 24)]
    assert found.value == round(sum(weeks) / 4)
    (none,) = figures.usual(services, [measure], local(2026, 3, 2), local(2026, 3, 3))
    assert none.value is None


def test_the_tree_shows_shares_and_the_rest(services):
    day = Period(local(2026, 3, 10), local(2026, 3, 11))
    (main,) = figures.tree(services, "plant", Carrier.ELECTRICITY, day)
    assert main.meter.id == "main"
    by_id = {part.meter.id: part for part in main.parts}
    assert set(by_id) == {"hall-e", "lab-e", "pv"}
    assert by_id["hall-e"].share == by_id["hall-e"].amount.value / main.amount.value
    parts = by_id["hall-e"].amount.value + by_id["lab-e"].amount.value - by_id["pv"].amount.value
    assert main.rest == main.amount.value - parts


def test_the_tree_is_on_the_wire_too(client):
    found = client.get("/api/v1/tree/plant/electricity", params={"start": "2026-03-10", "end": "2026-03-11"}).json()
    assert found["tops"][0]["meter"] == "main"
    assert {part["meter"] for part in found["tops"][0]["parts"]} == {"hall-e", "lab-e", "pv"}
    assert client.get("/api/v1/tree/nobody/water").status_code == 404


def test_power_now_is_what_flows_in_and_what_is_made(services):
    site = figures.power_now(services, "plant")
    factor = 3.0  # noon, in UTC
    assert site.basis == "readings"
    assert site.value_w == pytest.approx((4000.0 + 1200.0) * factor)
    assert figures.power_now(services, "lab").value_w == pytest.approx(2 * 1000.0 * factor)


def test_power_of_a_building_whose_meter_is_silent_comes_from_its_last_quarter_hour(services):
    from dataclasses import replace

    later = replace(services, now=lambda: NOW + 50 * 60 * 1_000_000)
    found = figures.power_now(later, "lab")
    assert found.basis == "interval"
    silent = replace(services, now=lambda: NOW + 6 * 3600 * 1_000_000)
    assert figures.power_now(silent, "lab").value_w is None


def test_the_load_curve_is_mean_power(services):
    curve = figures.load_curve(services, "meter", "hall-e", IN, Period(local(2026, 3, 10), local(2026, 3, 11)))
    assert len(curve) == 96
    assert np.all(curve.end - curve.start == QUARTER_US)
    assert figures.mean_power_w(curve)[0] == pytest.approx(curve.amount[0] * 4)


def test_buildings_come_furthest_above_their_usual_first(services):
    day = Period(local(2026, 3, 31), local(2026, 4, 1))
    found = figures.building_figures(services, "plant", Carrier.ELECTRICITY, day)
    assert [each.building.id for each in found] == ["lab", "hall"]  # the lab's new ratio doubles it
    assert found[0].change > found[1].change
    assert found[1].per_m2 == found[1].amount.in_units / 1000.0


def test_vehicles_are_out_charging_or_not_heard_of(services):
    cars = services.installation.vehicles
    first, second = figures.vehicle_states(services, cars, Period(local(2026, 4, 1), local(2026, 4, 2)))
    assert first.activity == "parked"
    assert first.distance.in_units == pytest.approx(96 * 0.7)
    assert second.activity == "silent"
    assert second.charge is None


def test_the_quality_strip_has_a_cell_a_day(services):
    measure = figures.measure_of(services, "meter", "hall-w", "water")
    cells = figures.quality_days(services, measure, Period(local(2026, 3, 19), local(2026, 3, 23)))
    assert [start for start, _ in cells] == [local(2026, 3, d) for d in (19, 20, 21, 22)]
    assert cells[0][1] == 95 / 96  # its last reading is that of 23:45
    assert cells[2][1] is None
    assert to_us(datetime(2026, 3, 19, tzinfo=BERLIN)) == cells[0][0]
