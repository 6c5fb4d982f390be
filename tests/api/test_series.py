"""Readings: complete, once each, with facts, in local time."""

import csv
import io
import json
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.cells import text_cell
from metering.clock import DAY_US, HOUR_US, MINUTE_US, SECOND_US, to_us
from metering.reading import Point
from tests.api.plant import AUTUMN, BERLIN, GAP, IN, NOW, batch, local

SERIES = "/api/v1/series/plant"


def us(text):
    return to_us(datetime.fromisoformat(text))


def pages(client, url, **params):
    """Every row of all pages, and how many pages there were."""
    rows, cursor, count = [], None, 0
    while True:
        page = client.get(url, params={**params, **({"cursor": cursor} if cursor else {})}).json()
        rows += page["rows"]
        count += 1
        cursor = page["next"]
        if cursor is None:
            return rows, count


def test_a_day_of_readings_has_unit_kind_quality_and_local_times(client):
    page = client.get(f"{SERIES}/main/active_power", params={"start": "2026-04-01", "end": "2026-04-02"}).json()
    assert page["unit"] == "W"
    assert page["kind"] == "gauge"
    assert page["tz"] == "Europe/Berlin"
    assert len(page["rows"]) == 96
    assert page["rows"][0] == {"at": "2026-04-01T00:00:00.000000+02:00", "value": 4000.0, "quality": 0}
    assert page["next"] is None


@pytest.mark.parametrize("limit", [1, 7, 96, 97])
def test_pages_hold_every_reading_once(client, limit):
    params = {"start": "2026-04-01", "end": "2026-04-02", "limit": limit}
    rows, count = pages(client, f"{SERIES}/main/active_power", **params)
    times = [us(row["at"]) for row in rows]
    assert times == list(range(local(2026, 4, 1), local(2026, 4, 2), 15 * MINUTE_US))
    assert count == -(-96 // limit)


def test_pages_lose_nothing_and_repeat_nothing_while_new_readings_arrive(client, services):
    point = Point("plant", "hall-e", "voltage")
    begin = local(2026, 4, 2)
    written = 0

    def arrive(n):
        nonlocal written
        at = begin + (written + np.arange(n)) * SECOND_US
        services.store.write(batch({point: (at, 230.0 + np.arange(n) % 5)}))
        written += n

    arrive(500)
    url, seen, cursor = f"{SERIES}/hall-e/voltage", [], None
    while True:
        params = {"start": "2026-04-02", "limit": 97, **({"cursor": cursor} if cursor else {})}
        page = client.get(url, params=params).json()
        seen += [us(row["at"]) for row in page["rows"]]
        cursor = page["next"]
        if cursor is None:
            break
        if written < 900:
            arrive(50)
    assert seen == [begin + i * SECOND_US for i in range(len(seen))]
    assert len(seen) == written


def test_a_gap_has_no_rows_and_no_zeros(client):
    params = {"start": "2026-03-20", "end": "2026-03-22"}
    assert client.get(f"{SERIES}/hall-w/water_volume", params=params).json()["rows"] == []
    assert (local(2026, 3, 20), local(2026, 3, 22)) == GAP


def test_dated_facts_are_applied_from_their_day_on_unless_raw_is_asked_for(client, services):
    params = {"start": "2026-03-29T23:30:00+02:00", "end": "2026-03-30T00:30:00+02:00"}
    shown = client.get(f"{SERIES}/lab-e/active_power", params=params).json()
    raw = client.get(f"{SERIES}/lab-e/active_power", params={**params, "facts": "raw"}).json()
    assert shown["facts_applied"] and not raw["facts_applied"]
    assert [row["value"] for row in raw["rows"]] == [1000.0] * 4
    assert [row["value"] for row in shown["rows"]] == [1000.0, 1000.0, 2000.0, 2000.0]
    stored = services.store.series(Point("plant", "lab-e", "active_power"), local(2026, 3, 30), local(2026, 3, 31))
    assert set(stored.value.tolist()) == {1000.0, 3000.0}


def test_hours_and_days_of_a_gauge_agree_with_its_readings(client):
    for day, hours in (("2026-03-28", 24), ("2026-03-29", 23)):
        params = {"start": day, "end": f"2026-03-{int(day[-2:]) + 1}"}
        raw = client.get(f"{SERIES}/sky/outdoor_temperature", params=params).json()["rows"]
        by_hour = client.get(f"{SERIES}/sky/outdoor_temperature", params={**params, "aggregate": "hour"}).json()["rows"]
        by_day = client.get(f"{SERIES}/sky/outdoor_temperature", params={**params, "aggregate": "day"}).json()["rows"]
        values = [row["value"] for row in raw]
        assert len(raw) == hours * 4
        assert len(by_hour) == hours
        assert [row["count"] for row in by_hour] == [4] * hours
        assert len(by_day) == 1
        assert by_day[0]["lowest"] == min(values)
        assert by_day[0]["highest"] == max(values)
        assert by_day[0]["mean"] == pytest.approx(sum(values) / len(values))


def test_a_ratio_that_begins_inside_a_step_counts_for_its_part(client):
    params = {"start": "2026-03-29", "end": "2026-03-31", "aggregate": "day", "tz": "UTC"}
    first = client.get(f"{SERIES}/lab-e/active_power", params=params).json()["rows"][0]
    raw = client.get(f"{SERIES}/lab-e/active_power", params={**params, "aggregate": "raw"}).json()["rows"]
    values = [row["value"] for row in raw if row["at"] < "2026-03-30T00:00"]
    assert first["mean"] == pytest.approx(sum(values) / len(values))
    assert first["count"] == len(values)


def test_a_counter_is_not_rolled_up_but_sent_to_its_consumption(client):
    reply = client.get(f"{SERIES}/main/{IN}", params={"aggregate": "hour"})
    assert reply.status_code == 422
    assert "consumption" in reply.json()["mend"]


def test_streams_hold_what_pages_hold(client):
    params = {"start": "2026-03-01", "end": "2026-04-06"}
    rows, _ = pages(client, f"{SERIES}/lab-e/active_power", limit=1000, **params)
    lines = client.get(f"{SERIES}/lab-e/active_power", params={**params, "format": "ndjson"}).text.splitlines()
    assert [(row["at"], row["value"], row["quality"]) for row in map(json.loads, lines)] == [
        (row["at"], row["value"], row["quality"]) for row in rows
    ]
    table = client.get(f"{SERIES}/lab-e/active_power", params={**params, "format": "csv"}).text
    read = list(csv.reader(io.StringIO(table)))
    assert read[0] == ["point", "at", "value [W]", "quality"]
    assert [(at, float(value), int(quality)) for _, at, value, quality in read[1:]] == [
        (row["at"], row["value"], row["quality"]) for row in rows
    ]


def test_a_csv_keeps_negative_numbers_as_numbers(client):
    text = client.get(f"{SERIES}/pv/active_power", params={"format": "csv"}).text
    assert ",-1200.0," in text or ",-3600.0," in text


def test_a_download_has_a_file_name_of_ids_and_dates(client):
    params = {"start": "2026-04-01", "end": "2026-04-02", "format": "csv"}
    found = client.get(f"{SERIES}/main/active_power", params=params).headers["content-disposition"]
    assert found.startswith('attachment; filename="plant_main_active_power_raw_20260401T0000_20260402T0000.csv"')


@given(st.text(max_size=30) | st.sampled_from(["=1+1", " =1", "@x", "\t=a", "-cmd", "+1", "\n=1", '"=1', "a,b"]))
def test_no_text_cell_begins_a_formula_and_none_breaks_its_row(text):
    cell = text_cell(text)
    (row,) = csv.reader(io.StringIO(cell + ",1\r\n", newline=""))
    assert len(row) == 2
    assert not row[0].strip().startswith(("=", "+", "-", "@"))
    assert row[0].removeprefix("'") == text.removeprefix("'")


@pytest.mark.parametrize(
    ("params", "where"),
    [
        ({"tz": "Moon/Base"}, "tz"),
        ({"tz": "../../etc/passwd"}, "tz"),
        ({"start": "yesterday"}, "start"),
        ({"start": "2026-04-01T00:00:00"}, "start"),
        ({"start": "2026-04-02", "end": "2026-04-01"}, "end"),
        ({"start": "0001-01-01"}, "start"),
        ({"cursor": "!!"}, "cursor"),
        ({"start": "1990-01-01", "aggregate": "1min"}, "resolution"),
    ],
)
def test_a_question_that_cannot_be_answered_is_explained(client, params, where):
    reply = client.get(f"{SERIES}/main/active_power", params=params)
    assert reply.status_code == 422
    assert reply.json()["where"] == where
    assert reply.json()["mend"]


@pytest.mark.parametrize("path", ["nowhere/main/active_power", "plant/nobody/active_power", "plant/main/charm"])
def test_what_is_not_configured_is_not_found(client, path):
    reply = client.get(f"/api/v1/series/{path}")
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"


def test_a_plus_sign_that_became_a_blank_is_understood(client):
    page = client.get(
        f"{SERIES}/main/active_power?start=2026-04-01T00:00:00+02:00&end=2026-04-01T01:00:00+02:00"
    ).json()
    assert len(page["rows"]) == 4


def test_readings_of_long_ago_are_found_without_reading_everything_between(client):
    params = {"start": "1980-01-01", "end": "2026-01-01"}
    rows, _ = pages(client, f"{SERIES}/main/active_power", **params)
    assert us(rows[0]["at"]) == AUTUMN[0]
    assert len(rows) == (AUTUMN[1] - AUTUMN[0]) // (15 * MINUTE_US)


@settings(max_examples=30)
@given(st.integers(0, 25 * 3600), st.integers(1, 40), st.integers(1, 15))
def test_iso_columns_agree_with_datetimes(offset, n, step_min):
    from api.periods import iso_column

    at = local(2026, 3, 28) + offset * SECOND_US + np.arange(n, dtype=np.int64) * step_min * MINUTE_US * 10
    assert [us(text) for text in iso_column(at, BERLIN)] == at.tolist()


def test_the_default_period_is_the_last_day(client):
    page = client.get(f"{SERIES}/main/active_power").json()
    assert us(page["end"]) == NOW
    assert us(page["start"]) == NOW - DAY_US
    assert HOUR_US * 24 == DAY_US
