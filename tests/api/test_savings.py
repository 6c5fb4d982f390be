"""Savings over HTTP: real fits, a real ledger; in IPMVP's words, with money where a dated price exists."""

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.live import LiveFeed
from api.services import Services
from metering.clock import DAY_US, from_us
from storage.ledger.ledger import Ledger
from tests.api.plant import ADMIN, TOKEN
from tests.saved import DONE, HALL, INSTALLATION, NOW, PRICE_RISES, make_saved, savings_over

LAMPS = {
    "id": "lamps", "name": "New lamps", "name_zh": "照明改造", "what": "All lamps replaced by LED", "option": "C",
    "carrier": "electricity", "nodes": [{"node": "hall"}], "baseline_start": "2025-01-01", "baseline_end": "2026-01-05",
    "retrofit": "2026-01-05", "reporting_start": "2026-01-08", "author": "energy office",
}  # fmt: skip
REPAIRS = {"start": "2026-02-01", "end": "2026-02-11", "amount": 400, "reason": "repairs", "author": "energy office"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = make_saved(tmp_path_factory.mktemp("saved"))
    yield store
    store.close()


@pytest.fixture
def client(store, tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    services = Services(
        INSTALLATION, store, ledger, None, None, LiveFeed(), TOKEN, tmp_path, NOW, now=lambda: NOW,
        savings=savings_over(store, ledger),
    )  # fmt: skip
    with TestClient(create_app(services), base_url="http://localhost:8420") as client:
        yield client
    ledger.close()


def post(client, path, body):
    return client.post(f"/api/v1/savings{path}", json=body, headers=ADMIN)


def test_a_project_is_made_and_its_saving_told_with_money_and_adjustments(client):
    assert client.post("/api/v1/savings", json=LAMPS).status_code == 401
    made = post(client, "", LAMPS).json()
    assert made["nodes"] == [{"scope": "building", "node": "hall", "name": HALL.name}] and made["unit"] == "kWh"
    assert made["reporting_start"] == "2026-01-08T00:00:00+08:00" and made["reporting_end"] is None
    report = client.get("/api/v1/savings/lamps").json()
    saved = report["saved"]
    assert report["baseline"]["quality"]["guideline14"] == "pass" and saved["verdict"] == "significant"
    assert (saved["adjusted_baseline"] - saved["observed"]) / 1000 == pytest.approx(saved["avoided"])
    early = sum(day["avoided"] for day in report["days"] if day["start"] < from_us(PRICE_RISES).isoformat())
    price = 0.8 * early + 1.0 * (saved["avoided"] - early)
    assert saved["money"]["value"] == pytest.approx(price) and len(saved["money"]["factors"]) == 2
    assert saved["co2"]["value"] == pytest.approx(0.5 * saved["avoided"]) and saved["co2"]["unit"] == "kgCO2"
    assert saved["money"]["low"] < saved["money"]["value"] < saved["money"]["high"]
    assert post(client, "/lamps/adjustments", REPAIRS).status_code == 200
    adjusted = client.get("/api/v1/savings/lamps").json()["saved"]
    assert adjusted["avoided"] == pytest.approx(saved["avoided"] + 400)
    assert adjusted["without_adjustments"] == pytest.approx(saved["avoided"])
    assert adjusted["money"]["value"] == pytest.approx(saved["money"]["value"] + 0.8 * 400)
    assert adjusted["money"]["without_adjustments"] == pytest.approx(saved["money"]["value"])
    (row,) = client.get("/api/v1/savings").json()["rows"]
    assert row["saved"] == adjusted and row["project"]["id"] == "lamps"


def test_an_adjustment_is_never_overwritten(client):
    post(client, "", LAMPS)
    first = post(client, "/lamps/adjustments", REPAIRS).json()
    mended = post(client, "/lamps/adjustments", {**REPAIRS, "amount": -30, "corrects": first["id"]}).json()
    assert mended["corrects"] == first["id"]
    rows = client.get("/api/v1/savings/lamps/adjustments").json()["rows"]
    assert [(row["amount"], row["in_force"]) for row in rows] == [(400, False), (-30, True)]
    refused = post(client, "/lamps/adjustments", {**REPAIRS, "corrects": 99})
    assert refused.status_code == 422 and refused.json()["where"] == "corrects"
    assert post(client, "/nothing/adjustments", REPAIRS).status_code == 404


def test_what_cannot_be_a_project_is_refused_with_the_mend(client):
    for changes in (
        {"nodes": [{"node": "nowhere"}]},
        {"nodes": [{"node": "gas"}]},
        {"nodes": [{"node": "main"}, {"node": "fans"}]},
        {"retrofit": "2025-06-01"},
        {"baseline_start": "someday"},
        {"id": "Not an id"},
    ):
        reply = post(client, "", {**LAMPS, **changes})
        assert reply.status_code in (404, 422), reply.text
    assert client.get("/api/v1/savings").json() == {"rows": []}
    assert client.get("/api/v1/savings/lamps").status_code == 404


def test_a_refused_saving_says_why(client):
    post(client, "", {**LAMPS, "baseline_start": "2025-10-01"})
    report = client.get("/api/v1/savings/lamps").json()
    assert report["saved"] is None and report["baseline"]["kind"] == "none" and report["days"] == []
    assert any(f["severity"] == "disqualifies" and "days" in f["message"] for f in report["findings"])


def test_a_baseline_is_fitted_anew_on_demand(client):
    post(client, "", LAMPS)
    first = client.get("/api/v1/savings/lamps").json()["baseline"]
    again = post(client, "/lamps/fit", None)
    assert again.status_code == 200 and again.json()["quality"] == first["quality"]


def test_a_reporting_period_ends_where_it_was_told_to(client):
    post(client, "", {**LAMPS, "reporting_end": "2026-02-08"})
    report = client.get("/api/v1/savings/lamps").json()
    assert report["end"] == "2026-02-08T00:00:00+08:00"
    assert len(report["days"]) == 31 == (from_us(DONE + 31 * DAY_US) - from_us(DONE)).days
