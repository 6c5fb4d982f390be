"""What is configured and how it does, on the wire."""

import json
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from api.app import create_app, openapi_text
from metering.reading import Point
from storage.store import StoreUnavailable
from tests.api.plant import ADMIN, IN, TOKEN, batch, local

OPENAPI = Path(__file__).parent.parent.parent / "api" / "openapi.json"


def get(client, path, **params):
    reply = client.get(path, params=params)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_sites_buildings_and_meters_are_listed_with_names_in_both_languages(client):
    assert get(client, "/api/v1/sites")[0]["name"] == {"en": "Plant", "zh": "厂区"}
    assert get(client, "/api/v1/sites/plant")["timezone"] == "Europe/Berlin"
    assert [each["id"] for each in get(client, "/api/v1/buildings", site="plant")] == ["hall", "lab"]
    assert get(client, "/api/v1/buildings/hall")["floor_area"] == [{"value": 1000.0, "valid_from": None}]
    meters = get(client, "/api/v1/meters", carrier="electricity")
    assert {each["id"] for each in meters} == {"main", "hall-e", "lab-e", "pv"}
    main = get(client, "/api/v1/meters/main")
    assert main["parts"] == ["hall-e", "lab-e", "pv"]
    assert f"plant/main/{IN}/total" in main["points"]
    assert [each["id"] for each in get(client, "/api/v1/meters", building="hall")] == ["hall-e", "pv", "hall-w"]


def test_a_meter_shows_its_dated_facts_and_not_its_address(client):
    text = client.get("/api/v1/meters/lab-e").text
    assert "mqtt://" not in text
    assert json.loads(text)["facts"][0]["valid_from"] == "2026-03-30T00:00:00+02:00"


@pytest.mark.parametrize("path", ["sites/x", "buildings/x", "meters/x", "meters/ev-1", "vehicles/x", "vehicles/main"])
def test_what_is_not_configured_is_not_found_with_a_mend(client, path):
    reply = client.get(f"/api/v1/{path}")
    assert reply.status_code == 404
    assert reply.json()["mend"].startswith("see /api/v1/")


def test_vehicles_come_with_what_they_do(client):
    first, second = get(client, "/api/v1/vehicles")
    assert (first["id"], first["activity"]) == ("ev-1", "parked")
    assert (second["id"], second["activity"]) == ("van-2", "silent")
    assert get(client, "/api/v1/vehicles/ev-1")["battery_kwh"] == 60.0


def test_devices_have_last_seen_errors_by_kind_and_offline_since(client):
    found = {each["id"]: each for each in get(client, "/api/v1/devices")}
    assert found["hall-e"]["state"] == "ok"
    assert found["hall-e"]["errors"] == {"timeout": 2}
    assert found["hall-e"]["line"] == "demo"
    assert found["van-2"]["state"] == "silent"
    assert found["van-2"]["offline_since"] == found["van-2"]["last_seen"] < "2026-04-04T14:07"


def test_lines_and_books_are_shown(client):
    (line,) = get(client, "/api/v1/lines")
    assert line["units"][0]["errors"] == {"timeout": 2}
    books = get(client, "/api/v1/books")
    for book in (*books["messages"].values(), books["total"]["messages"]):
        rest = book["decoded"] + book["repeated"] + sum(book["rejected"].values()) + book["pending"]
        assert book["received"] == rest
    assert books["spool"]["accepting"] is True


def test_events_are_open_ones_or_all_of_a_time(client):
    assert [each["kind"] for each in get(client, "/api/v1/events", open=True)] == ["water_at_night", "silent"]
    assert len(get(client, "/api/v1/events")) == 3
    (over,) = get(client, "/api/v1/events", node="hall-e")
    assert over["until"] is not None
    assert over["data"] == {"figure": 1.5}
    assert get(client, "/api/v1/events", start="2026-01-01", end="2026-02-01") == []


def test_quarantine_is_listed_in_pages_looked_at_and_replayed(client, services):
    page = get(client, "/api/v1/quarantine", limit=2)
    assert page["total"] == 3
    assert [row["reason"] for row in page["rows"]] == ["malformed", "not_text"]
    (last,) = get(client, "/api/v1/quarantine", limit=2, before=page["next"])["rows"]
    payload = get(client, f"/api/v1/quarantine/{last['id']}")
    assert payload["text"] == '{"power": "much"}'
    raw = get(client, f"/api/v1/quarantine/{page['rows'][1]['id']}")
    assert (raw["text"], raw["hex"], raw["size"]) == (None, "ff0001", 3)
    assert client.get("/api/v1/quarantine/99").status_code == 404
    assert len(get(client, "/api/v1/quarantine", reason="malformed")["rows"]) == 2
    reply = client.post("/api/v1/quarantine/replay", json={"ids": [last["id"]]}, headers=ADMIN)
    assert reply.json() == {"taken": 1}
    assert services.collector.replayed == [last["id"]]


def test_factors_show_their_source_and_dates(client):
    first = get(client, "/api/v1/factors")[0]
    assert first["valid_to"] == "2026-04-01T00:00:00+02:00"
    assert first["source"] == "contract 2025"


def test_a_reading_is_explained_from_the_wire_to_its_intervals(client, services):
    at = "2026-03-31T10:00:00+02:00"
    found = get(client, "/api/v1/explain", point=f"plant/lab-e/{IN}", at=at)
    assert found["value"] == 2 * found["value_as_the_meter_said"]
    assert found["origin"]["source"] == "demo"
    assert found["origin"]["profiles"] == "generic@1"
    assert found["origin"]["position"] == "00000001:0"
    assert [fact["reason"] for fact in found["facts"]] == ["new transformers"]
    assert [each["resolution"] for each in found["intervals"]] == ["15min", "day"]
    quarter = found["intervals"][0]
    assert quarter["start"] == at
    assert any("dated facts (ratio)" in sentence for sentence in found["words"])


def test_a_conflict_is_kept_listed_and_explained(client, services):
    point, at = Point("plant", "sky", "relative_humidity"), local(2026, 4, 5, 12)
    for value in (40.0, 41.0):
        services.store.write(batch({point: (np.array([at]), np.array([value]))}))
    rows = get(client, "/api/v1/conflicts", point="plant/sky/relative_humidity")
    assert [(row["value"], row["served"]) for row in rows] == [(40.0, False), (41.0, True)]
    found = get(client, "/api/v1/explain", point="plant/sky/relative_humidity", at="2026-04-05T12:00:00+02:00")
    assert found["value"] == 41.0
    assert len(found["conflicts"]) == 2
    assert any("kept aside" in sentence for sentence in found["words"])


def test_a_moment_between_readings_is_explained_by_the_one_before(client):
    found = get(client, "/api/v1/explain", point="plant/main/active_power", at="2026-04-01T10:07:00+02:00")
    assert found["at"] == "2026-04-01T10:00:00+02:00"
    assert client.get("/api/v1/explain?point=plant/main/active_power&at=2020-01-01").status_code == 404


def test_alive_does_not_ask_the_store(services):
    from dataclasses import replace

    alive = TestClient(create_app(replace(services, store=None, collector=None)), base_url="http://localhost")
    assert get(alive, "/health/live") == {"status": "ok"}


def test_ready_names_what_is_degraded(client, services):
    assert get(client, "/health/ready")["status"] == "ok"
    services.collector.state = "broken"
    found = get(client, "/health/ready")
    assert (found["status"], found["reasons"]) == ("degraded", ["demo is broken"])


def test_a_store_that_takes_nothing_is_broken_though_it_can_be_read(client, services):
    services.collector.note = "no space left"
    reply = client.get("/health/ready")
    assert reply.status_code == 503
    assert reply.json()["reasons"] == ["the store takes nothing; readings wait in the spool"]


def test_a_store_that_gives_nothing_is_broken_and_says_503(client_of):
    class Away:
        def statistics(self):
            raise StoreUnavailable("locked by process 7")

        points = latest = statistics

    away = client_of(store=Away())
    reply = away.get("/health/ready")
    assert (reply.status_code, reply.json()["status"]) == (503, "broken")
    reply = away.get("/api/v1/meters")
    assert reply.status_code == 503
    assert "process 7" not in reply.text
    assert int(reply.headers["retry-after"]) > 0
    assert away.get("/health/live").status_code == 200


def test_metrics_are_prometheus_text_and_carry_the_books(client):
    from prometheus_client.parser import text_string_to_metric_families

    text = client.get("/metrics").text
    found = {family.name: family for family in text_string_to_metric_families(text)}
    messages = {(s.labels["outcome"], s.labels["reason"]): s.value for s in found["meterhall_messages"].samples}
    assert messages["received", ""] == 12
    assert messages["rejected", "malformed"] == 1
    assert found["process_resident_memory_bytes"].samples[0].value > 1e6
    assert TOKEN not in text


def test_the_list_of_routes_is_ours_alone(client):
    page = client.get("/docs")
    assert "/api/v1/consumption" in page.text
    assert "http://" not in page.text and "https://" not in page.text
    assert "<script" not in page.text
    assert client.get("/docs/style.css").headers["content-type"].startswith("text/css")
    assert client.get("/redoc").status_code == 404


def test_the_openapi_file_in_the_repository_is_the_live_one(services):
    live = openapi_text(create_app(services))
    assert OPENAPI.read_text() == live, "write it anew: python -m api.app > api/openapi.json"
