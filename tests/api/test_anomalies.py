"""Baselines, what they expect, and incidents, over HTTP: real fits, a real ledger."""

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.live import LiveFeed
from api.services import Services
from metering.clock import DAY_US, from_us
from tests.api.plant import ADMIN, TOKEN
from tests.usual import FAULT, INSTALLATION, NOW, START, Clock, insights_of

BODY = {"feedback": "confirmed", "author": "front desk", "note": "timer mended"}


@pytest.fixture
def services(usual, tmp_path):
    ledger = usual.copy(tmp_path)
    yield Services(
        INSTALLATION, usual.store, ledger, None, None, LiveFeed(), TOKEN, tmp_path, NOW, now=lambda: NOW,
        insights=insights_of(usual.store, ledger, Clock()),
    )  # fmt: skip
    ledger.close()


@pytest.fixture
def client(services):
    with TestClient(create_app(services), base_url="http://localhost:8420") as client:
        yield client


def iso(us):
    return from_us(us).isoformat()


def test_each_baseline_is_told_with_its_quality_and_findings(client):
    found = client.get("/api/v1/baselines").json()
    rows = {row["node"]: row for row in found["rows"]}
    assert found["waiting"] == 0 and rows.keys() == {"plant", "hall", "main", "fans"}
    fans = rows["fans"]
    assert (fans["unit"], fans["kind"], fans["start"][:10]) == ("kWh", "hourly", iso(START)[:10])
    assert fans["quality"]["guideline14"] == "pass" and 0 < fans["quality"]["cvrmse"] < fans["quality"]["cvrmse_out"]
    assert "baseline.not_boosted" in [finding["code"] for finding in fans["findings"]]
    assert fans["temperature"] == ["plant/sky/outdoor_temperature/total"] and fans["alarms_per_month"] == 0.1
    (only,) = client.get("/api/v1/baselines?node=hall&versions=true").json()["rows"]
    assert only["scope"] == "building" and only["superseded_at"] is None
    assert client.get("/api/v1/baselines?versions=true").status_code == 422
    assert client.get("/api/v1/baselines?node=nope").status_code == 404


def test_the_expected_hours_add_up_to_days_and_to_the_total(client):
    query = {"scope": "building", "node": "hall", "carrier": "electricity", "start": iso(FAULT - 3 * DAY_US),
             "end": iso(NOW)}  # fmt: skip
    hours, days, total = (
        client.get("/api/v1/expected", params={**query, "resolution": each}).json() for each in ("hour", "day", "total")
    )
    assert hours["provisional_years"] == [2026], "this calendar knows no year"
    assert hours["total"] == days["total"] == total["total"] == sum(row["expected"] for row in hours["rows"])
    assert sum(row["expected"] for row in days["rows"]) == total["rows"][0]["expected"]
    assert all(row["low"] <= row["expected"] / 1000 <= row["high"] for row in [*hours["rows"], *days["rows"]])
    width = total["rows"][0]["high"] - total["rows"][0]["low"]
    assert width < sum(row["high"] - row["low"] for row in hours["rows"]) / 3, "errors of hours cancel out in a sum"
    assert (hours["unit"], hours["baseline"]["node"]) == ("kWh", "hall") and hours["measured_temperature"] > 0.9


def test_what_was_observed_stands_beside_what_was_expected(client):
    query = {"scope": "meter", "node": "fans", "quantity": "active_energy_import", "start": iso(FAULT + DAY_US),
             "end": iso(FAULT + 2 * DAY_US)}  # fmt: skip
    rows = client.get("/api/v1/expected", params=query).json()["rows"]
    above = [row for row in rows if row["observed"] > row["high"] * 1000]
    assert len(rows) in (24, 25) and len(above) > 8 and {row["coverage"] for row in rows} == {1.0}
    assert client.get("/api/v1/expected", params=query | {"node": "pv"}).status_code == 404
    assert client.get("/api/v1/expected", params=query | {"carrier": "electricity"}).status_code == 422


def test_incidents_are_told_the_dearest_first_with_their_money(client):
    found = client.get("/api/v1/anomalies?open=true").json()
    (row,) = found["rows"]
    assert (found["total"], found["open"], row["node"], row["building"], row["until"]) == (1, 1, "fans", "hall", None)
    assert row["cost"]["value"] == pytest.approx(row["size"] * 0.8) and row["cost"]["unit"] == "CNY"
    assert row["cost"]["status"] == "verified" and row["co2"]["unit"] == "kgCO2"
    assert row["text"]["en"] and row["text"]["zh"] and row["unit"] == "kWh"
    with_parts = client.get("/api/v1/anomalies?open=true&parts=true").json()["rows"]
    costs = [each["cost"]["value"] for each in with_parts]
    assert costs == sorted(costs, reverse=True) and {each["node"] for each in with_parts} == {"fans", "main"}
    assert client.get("/api/v1/anomalies?kind=leak").json()["rows"] == []
    assert client.get("/api/v1/anomalies?said=confirmed").json()["rows"] == []
    assert len(client.get("/api/v1/anomalies?said=nothing").json()["rows"]) == 1


def test_without_a_price_there_is_size_and_no_money(services):
    from dataclasses import replace

    bare = replace(services, installation=replace(INSTALLATION, factors=()))
    with TestClient(create_app(bare), base_url="http://localhost:8420") as client:
        (row,) = client.get("/api/v1/anomalies?open=true").json()["rows"]
    assert row["cost"] is None and row["co2"] is None and row["size"] > 100


def test_an_incident_shows_what_speaks_for_it(client):
    (row,) = client.get("/api/v1/anomalies?open=true").json()["rows"]
    detail = client.get(f"/api/v1/anomalies/{row['id']}").json()
    assert {key: detail[key] for key in row} == row
    hours = [each for each in detail["series"] if each["observed"] is not None and each["expected"] is not None]
    assert len(hours) > 7 * 24 and sum(h["observed"] > h["high"] for h in hours) > 60
    assert detail["evidence"]["scores"] and detail["evidence"]["limits"]
    assert [part["node"] for part in detail["parts"]] == ["main"] and detail["said"] == []
    assert detail["judged_by"]["node"] == "fans"
    assert client.get("/api/v1/anomalies/999999").status_code == 404


def test_what_people_say_needs_the_token_and_is_kept(client):
    (row,) = client.get("/api/v1/anomalies?open=true").json()["rows"]
    path = f"/api/v1/anomalies/{row['id']}/feedback"
    assert client.post(path, json=BODY).status_code == 401
    assert client.post(path, json=BODY | {"feedback": "nonsense"}, headers=ADMIN).status_code == 422
    assert client.post(path, json=BODY | {"author": ""}, headers=ADMIN).status_code == 422
    assert client.post(path, json=BODY, headers=ADMIN).json()["feedback"] == "confirmed"
    client.post(path, json=BODY | {"feedback": "planned", "note": ""}, headers=ADMIN)
    said = client.get(f"/api/v1/anomalies/{row['id']}").json()["said"]
    assert [(each["feedback"], each["note"], each["author"]) for each in said] == [
        ("confirmed", "timer mended", "front desk"), ("planned", "", "front desk"),
    ]  # fmt: skip
    assert client.get("/api/v1/anomalies?said=planned").json()["total"] == 1
    assert client.post("/api/v1/anomalies/999999/feedback", json=BODY, headers=ADMIN).status_code == 404


def test_a_setting_is_tried_before_it_is_set(client):
    tried = client.get("/api/v1/anomalies/try?node=fans&alarms_per_month=3").json()
    assert tried["in_use"] == 0.1 and tried["incidents"] == len(tried["rows"]) and tried["missed"] == []
    assert tried["days"] == sorted({row["since"][:10] for row in tried["rows"]})
    assert client.get("/api/v1/anomalies/try?node=pv&alarms_per_month=1").status_code == 404
    assert client.get("/api/v1/anomalies/try?node=fans&alarms_per_month=0").status_code == 422
    budget = {"node": "fans", "alarms_per_month": 0.5, "author": "front desk"}
    assert client.post("/api/v1/anomalies/watch", json=budget).status_code == 401
    assert client.post("/api/v1/anomalies/watch", json=budget, headers=ADMIN).json()["alarms_per_month"] == 0.5
    assert client.get("/api/v1/anomalies/try?node=fans&alarms_per_month=3").json()["in_use"] == 0.5


def test_where_nothing_is_fitted_it_says_so(services):
    from dataclasses import replace

    with TestClient(create_app(replace(services, insights=None)), base_url="http://localhost:8420") as client:
        reply = client.get("/api/v1/anomalies")
    assert reply.status_code == 503 and "not fitted here" in reply.json()["detail"]
