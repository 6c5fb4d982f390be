"""Batches over HTTP: durable, answered row by row, safe to repeat."""

import asyncio
import json
import threading
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.batches import read_batch
from api.errors import Refused
from metering.clock import to_us
from metering.explain import ExplainedError
from metering.reading import Point
from tests.api.plant import ADMIN, NOW, installation

URL = "/api/v1/ingest"
GOOD = {"site": "plant", "meter": "main", "quantity": "frequency", "at": "2026-04-06T13:00:00+02:00", "value": 50.01}


def send(client, rows, key="k1", **more):
    headers = {**ADMIN, "idempotency-key": key, **more}
    return client.post(URL, json={"rows": rows}, headers=headers)


def test_good_rows_are_taken_and_bad_ones_named_with_reason_and_mend(client, services):
    rows = [
        GOOD,
        {**GOOD, "meter": "nobody"},
        {**GOOD, "quantity": "charm"},
        {**GOOD, "value": 1e6},
        {**GOOD, "value": "much"},
        {**GOOD, "at": "2026-04-06T13:00:00"},
        {**GOOD, "at": "2036-04-06T13:00:00Z"},
        {**GOOD, "phase": "l9"},
        {**GOOD, "extra": 1},
        {"meter": "ev-1", "site": "plant", "quantity": "latitude", "at": GOOD["at"], "value": 52.5},
        {**GOOD, "at": "2026-04-06T11:00:01Z", "value": 49.99},
    ]
    reply = send(client, rows)
    assert reply.status_code == 200
    found = reply.json()
    assert (found["received"], found["accepted"]) == (11, 2)
    assert [(row["row"], row["reason"]) for row in found["rejected"]] == [
        (1, "unknown_device"),
        (2, "unknown_quantity"),
        (3, "out_of_range"),
        (4, "malformed"),
        (5, "malformed"),
        (6, "bad_time"),
        (7, "malformed"),
        (8, "malformed"),
        (9, "position"),
    ]
    assert all(row["mend"] for row in found["rejected"])
    point = Point("plant", "main", "frequency")
    series = services.store.series(point, NOW - 3 * 3600 * 10**6, NOW)
    assert series.value.tolist() == [50.01, 49.99]
    (source, key, payload, taken, refused) = services.collector.batches[0]
    assert (source, key) == ("ingest", "k1")
    assert json.loads(payload)["rows"][0] == GOOD
    assert len(taken) == 2 and len(refused) == 9


def test_the_same_batch_with_the_same_key_is_taken_once(client, services):
    first, second = send(client, [GOOD]), send(client, [GOOD])
    assert len(services.collector.batches) == 1
    assert second.json() == {**first.json(), "repeated": True}


def test_a_key_that_comes_with_another_body_is_refused(client):
    send(client, [GOOD])
    reply = send(client, [{**GOOD, "value": 51.0}])
    assert reply.status_code == 409
    assert "new key" in reply.json()["detail"]


def test_a_batch_that_failed_may_come_again_with_its_key(client, services):
    services.collector.refuse = ExplainedError("spool", "the disk is full", "make room")
    reply = send(client, [GOOD])
    assert reply.status_code == 503
    assert reply.json()["mend"] == "make room"
    assert int(reply.headers["retry-after"]) > 0
    services.collector.refuse = None
    assert send(client, [GOOD]).json()["repeated"] is False


def test_a_batch_that_is_repeated_while_it_is_under_way_waits_for_the_first(services, client):
    entered, go_on = threading.Event(), threading.Event()
    taken = services.collector.ingest

    async def slow(*args):
        entered.set()
        await asyncio.to_thread(go_on.wait, 10)
        return await taken(*args)

    services.collector.ingest = slow
    replies = []
    first = threading.Thread(target=lambda: replies.append(send(client, [GOOD], key="both").json()))
    first.start()
    assert entered.wait(10)
    second = threading.Thread(target=lambda: replies.append(send(client, [GOOD], key="both").json()))
    second.start()
    go_on.set()
    first.join(10)
    second.join(10)
    assert sorted(reply["repeated"] for reply in replies) == [False, True]
    assert len(services.collector.batches) == 1


def test_ndjson_is_taken_row_by_row(client):
    body = "\n".join([json.dumps(GOOD), "{broken", "", json.dumps({**GOOD, "value": 50.02})])
    headers = {**ADMIN, "idempotency-key": "nd", "content-type": "application/x-ndjson"}
    found = client.post(URL, content=body, headers=headers).json()
    assert (found["received"], found["accepted"]) == (3, 2)
    assert found["rejected"][0]["row"] == 1


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/json", 422),
        (b"[]", "application/json", 422),
        (b'{"rows": []}', "application/json", 422),
        (b"{" * 100_000, "application/json", 422),
        (b'{"rows": [' + b"[" * 50_000 + b"]" * 50_000 + b"]}", "application/json", 422),
        (b"\xff\xfe", "application/x-ndjson", 200),
        (b"x", "text/plain", 415),
        (b"x", "", 415),
    ],
)
def test_what_is_no_batch_is_refused_and_nothing_falls_over(client, body, kind, status):
    headers = {**ADMIN, "idempotency-key": "odd", "content-type": kind}
    reply = client.post(URL, content=body, headers=headers)
    assert reply.status_code == status
    if status == 200:
        assert reply.json()["accepted"] == 0


def test_a_batch_without_a_key_is_refused(client):
    assert client.post(URL, json={"rows": [GOOD]}, headers=ADMIN).status_code == 422


def test_a_batch_of_too_many_rows_is_refused(client_of, services):
    from api.services import Limits

    reply = send(client_of(limits=Limits(ingest_rows=2)), [GOOD] * 3)
    assert reply.status_code == 422
    assert "at most 2" in reply.json()["mend"]


def test_where_no_collector_runs_ingest_is_not_to_be_had(client_of):
    reply = send(client_of(collector=None), [GOOD])
    assert reply.status_code == 503


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.booleans())
def test_any_bytes_are_either_rows_or_refused(body, ndjson):
    try:
        accepted, rejected = read_batch(body, ndjson, installation(), NOW, 1000)
    except Refused:
        return
    assert {row.row for row in accepted}.isdisjoint(row.row for row in rejected)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.floats(40, 60), st.sampled_from(["main", "lab-e", "x"])), max_size=20)
)
def test_every_row_has_exactly_one_fate_and_keeps_its_value(rows):
    body = "\n".join(
        json.dumps({**GOOD, "meter": meter, "value": value, "at": f"2026-01-01T00:00:00.{at % 10**6:06d}Z"})
        for at, value, meter in rows
    )
    accepted, rejected = read_batch(body.encode(), True, installation(), NOW, 1000)
    assert sorted([row.row for row in accepted] + [row.row for row in rejected]) == list(range(len(rows)))
    midnight = to_us(datetime.fromisoformat("2026-01-01T00:00:00+00:00"))
    for row in accepted:
        at, value, meter = rows[row.row]
        assert (row.at, row.value, row.point.meter) == (midnight + at % 10**6, value, meter)
