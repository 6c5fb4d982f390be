"""The parts of the InfluxDB store: lines, addresses, answers; and what only a real server can show."""

import json
import re
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.explain import ExplainedError
from metering.quantity import QUANTITIES, Phase
from metering.reading import Measure, Origin, Point, ReadingBatch
from storage.influx import line_protocol as lp
from storage.influx.address import parse_address
from storage.influx.client import Client, Rejected, documents
from storage.influx.setup import prepare
from storage.influx.store import InfluxStore
from storage.store import Outcome
from tests.influx import InfluxDB1, VictoriaMetrics
from tests.influx_standin import StandIn, parse

# --- lines


def raw(rows):
    """RawRows of (key, at, field, value, quality, batch, late)."""
    keys = sorted({row[0] for row in rows})
    return lp.RawRows(
        keys,
        np.array([keys.index(row[0]) for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int64),
        [row[2] for row in rows],
        np.array([row[3] for row in rows], np.float64),
        np.array([row[4] for row in rows], np.uint8),
        np.array([row[5] for row in rows], np.int64),
        np.array([row[6] for row in rows], bool),
    )


def test_one_line_a_device_and_time_with_batch_and_quality_where_it_is_not_0():
    key = lp.device_key(Point("plant", "main incomer", "active_power"))
    got = lp.encode_raw(
        raw(
            [
                (key, 5, "active_power", 1.5, 0, 7, False),
                (key, 5, "voltage_l1", 230.0, 1, 7, False),
                (key, 4, "voltage_l1", 1e-300, 0, 8, True),
            ]
        )
    )
    assert got.body.decode().split("\n") == [
        r"raw,meter=main\ incomer,site=plant batch=7i,active_power=1.5,voltage_l1=230.0,voltage_l1_quality=1i 5000",
        r"raw,meter=main\ incomer,site=plant voltage_l1_batch=8i,voltage_l1=1e-300,voltage_l1_quality=0i 4000",
    ]
    assert got.first == [0, 2]


@given(
    site=st.text(max_size=20), meter=st.text(max_size=20), value=st.floats(allow_nan=False, allow_infinity=False),
    at=st.integers(lp.FIRST_US, lp.LAST_US), phase=st.sampled_from(Phase), quantity=st.sampled_from(sorted(QUANTITIES)),
)  # fmt: skip
def test_a_line_is_refused_or_says_what_was_meant(site, meter, value, at, phase, quantity):
    point = Point(site, meter, quantity, phase.value)
    try:
        rows = raw([(lp.device_key(point), at, lp.field_of(point), value, 1, 3, False)])
    except lp.Unwritable:
        assert not (site and meter and (site + meter).isprintable() and "\\" not in site + meter)
        return
    body = lp.encode_raw(rows).body.decode()
    assert len(body.splitlines()) == 1
    measurement, tags, fields, time_ns = parse(body)
    device = dict(tags)[lp.DEVICE_TAG[measurement]]
    field = lp.field_of(point)
    assert lp.point_of(dict(tags)["site"], device, field) == point
    assert fields == {"batch": ("integer", 3), field: ("float", value), f"{field}_quality": ("integer", 1)}
    assert time_ns == at * 1000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_encoded(value):
    with pytest.raises(lp.Unwritable, match="finite"):
        lp.encode_raw(raw([("raw,meter=m,site=s", 1, "speed", value, 0, 0, False)]))


def test_a_tag_or_a_field_twice_is_never_encoded():
    with pytest.raises(lp.Unwritable, match="twice"):
        lp.series_key("raw", (("site", "a"), ("site", "b")))
    with pytest.raises(lp.Unwritable, match="twice"):
        lp.encode_raw(raw([("raw,meter=m,site=s", 1, "speed", 1.0, 0, 0, False)] * 2))


@pytest.mark.parametrize("value", ["", "a\nb", "a\rb", "a\\", "\u2028", "a\x00", "x" * 2000, "\ud800"])
def test_a_tag_that_harms_a_server_is_never_encoded(value):
    with pytest.raises(lp.Unwritable):
        lp.tag("meter", value)


def test_vehicles_have_a_measurement_of_their_own():
    assert lp.device_key(Point("s", "car", "odometer")) == "vehicle_raw,site=s,vehicle=car"
    assert lp.device_key(Point("s", "m", "water_volume")) == "raw,meter=m,site=s"


def test_an_interval_carries_its_carrier_and_void():
    measure = Measure("s", "building", "hall", "electricity", "kWh")
    key = lp.series_key(lp.interval_measurement("15min"), lp.measure_tags(measure))
    assert lp.interval_line(key, 0, 9, 1500, 1, 0, 3) == (
        "interval_15min,carrier=electricity,name=electricity,node=hall,scope=building,site=s,unit=kWh "
        "amount=1500i,coverage=1.0,end=9i,estimated=0i,quality=3i,value=1.5,void=0i 0"
    )
    meter = Measure("s", "meter", "m", "water_volume", "m3")
    assert lp.carrier_of(meter) == "water"


# --- addresses


def test_an_address_never_shows_its_secrets(tmp_path):
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    address = parse_address(f"influxdbs://db.example:443/energy?org=town&token_file={secret}", {})
    assert (address.token, address.org, address.tls, address.gzip) == ("s3cret", "town", True, True)
    assert str(address) == "influxdbs://db.example:443/energy"
    assert "s3cret" not in repr(address)
    assert parse_address("influxdb://[::1]/e", {"INFLUX_TOKEN": "t"}).token == "t"
    user = parse_address("influxdb://h/e?user=u", {"METERHALL_INFLUX_PASSWORD": "p", "INFLUX_TOKEN": "t"})
    assert (user.password, user.token, user.port) == ("p", "", 8086)


@pytest.mark.parametrize(
    "url",
    [
        "influxdb://u:s3cret@h/e", "influxdb://h/e?token=s3cret", "influxdb://h/e?p=s3cret", "influxdb://h/",
        "influxdb://h/a/b", "influxdb:///e", "influxdb://h:99999/e", "influxdb://h/e?colour=red",
    ],
)  # fmt: skip
def test_an_address_that_is_wrong_is_refused_without_showing_what_is_in_it(url):
    with pytest.raises(ExplainedError) as refusal:
        parse_address(url, {})
    assert "s3cret" not in str(refusal.value)


# --- answers


@given(
    st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.floats(allow_nan=False)))),
    st.sampled_from(["", "\n"]),
    st.integers(1, 50),
)
def test_documents_are_found_wherever_the_network_cuts_them(written, between, size):
    data = between.join(json.dumps(document, ensure_ascii=False) for document in written).encode("utf-8", "replace")
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    assert list(documents(chunks)) == json.loads(
        json.dumps([json.loads(json.dumps(d, ensure_ascii=False).encode("utf-8", "replace")) for d in written])
    )


def test_a_document_that_is_cut_off_is_an_error():
    with pytest.raises(ValueError):
        list(documents([b'{"a": 1}{"b": ']))


# --- preparing


@pytest.mark.parametrize("dialect", [1, 3])
def test_setup_says_what_is_there_and_what_the_server_cannot_do(dialect):
    server = StandIn(dialect)
    server._statement = lambda text, params: {}
    try:
        steps = prepare(parse_address(f"{server.root}/meterhall", {}))
    finally:
        server.stop()
    assert ("the database can be written", "present") in [(step.what, step.state) for step in steps]
    mends = " ".join(step.mend for step in steps)
    assert ("--query-file-limit" in mends) is (dialect == 3)


def test_setup_refuses_names_that_are_none():
    with pytest.raises(ExplainedError, match="letters"):
        prepare(parse_address("influxdb://127.0.0.1/a%22b", {}))


# --- real servers


@pytest.fixture(scope="module")
def influxdb(tmp_path_factory):
    server = InfluxDB1(tmp_path_factory.mktemp("influxdb"), lines=["max-series-per-database = 30"]).start()
    yield server
    server.stop()


def opened(server, folder, name):
    address = parse_address(f"influxdb://127.0.0.1:{server.port}/{name}", {})
    states = [(step.what, step.state) for step in prepare(address, retention_days=0)]
    assert (f"the database {name}", "done") in states
    return InfluxStore(address, folder / f"{name}.sqlite")


def rows_of(points, n=1):
    """A batch of n rows a point, a second apart."""
    count = len(points) * n
    number = np.arange(count)
    return ReadingBatch(
        tuple(points),
        (number % len(points)).astype(np.int32),
        (1_700_000_000 + number // len(points)) * 1_000_000,
        number.astype(float),
        np.zeros(count, np.uint8),
        np.zeros(count, np.int32),
        (Origin("demo", 5, "p@1", "00000001:0"),),
    )


def test_a_real_server_keeps_a_field_of_another_type_out_and_the_others_in(influxdb, tmp_path):
    store = opened(influxdb, tmp_path, "conflict")
    client = Client(parse_address(f"influxdb://127.0.0.1:{influxdb.port}/conflict", {}))
    client.write(b'raw,meter=m1,site=plant voltage="x" 1700000000000000000')
    points = [Point("plant", "m1", "active_power"), Point("plant", "m1", "voltage"), Point("plant", "m2", "voltage")]
    result = store.write(rows_of(points, 20))
    assert {points[i % 3] for i in np.flatnonzero(result.outcome == Outcome.REFUSED)} == set(points[1:])
    assert "type conflict" in result.refusals[0][1]
    assert store.points() == points[:1]
    assert len(store.series(points[0], 0, 2**60)) == store.count() == 20
    with pytest.raises(Rejected, match="unable to parse"):
        client.write(b"raw,meter= x=1")
    client.close()
    store.close()


def test_a_real_server_that_holds_no_more_series_takes_what_it_knows(influxdb, tmp_path):
    store = opened(influxdb, tmp_path, "limit")
    points = [Point("plant", f"m{i:02}", "active_power") for i in range(60)]
    result = store.write(rows_of(points))
    stored = int((result.outcome == Outcome.STORED).sum())
    assert 0 < stored < 60
    assert "max-series" in result.refusals[0][1]
    assert store.count() == stored == len(store.points())
    known = store.points()
    assert (store.write(rows_of(known, 3)).outcome != Outcome.REFUSED).all()
    store.close()


@pytest.mark.slow
def test_the_lines_are_understood_by_the_write_path_of_2_through_its_own_library(tmp_path):
    import influxdb_client as client_library

    server = VictoriaMetrics(tmp_path).start()
    try:
        key = lp.device_key(Point("市政府", "三号楼/总表", "active_power"))
        at = int(time.time()) * 1_000_000
        body = lp.encode_raw(raw([(key, at, "active_power", 230.125, 0, 7, False)])).body
        url = f"http://127.0.0.1:{server.port}"
        with client_library.InfluxDBClient(url=url, token="-", org="-") as client:
            from influxdb_client.client.write_api import SYNCHRONOUS

            client.write_api(write_options=SYNCHRONOUS).write("b", "-", record=body)
        Client(parse_address(f"influxdb://127.0.0.1:{server.port}/b", {})).write(body.replace(b"230.125", b"231.5"))
        found = []
        deadline = time.monotonic() + 20
        while len(found) < 2 and time.monotonic() < deadline:
            query = "/api/v1/export?match[]=raw_active_power"
            found = [json.loads(line) for line in urllib.request.urlopen(url + query, timeout=5)]
            found = [value for series in found for value in series["values"]]
            time.sleep(0.05)
        assert sorted(found) == [230.125, 231.5]
    finally:
        server.stop()


def test_the_layout_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "influx-schema.md").read_text()
    measure = Measure("s", "meter", "m", "water_volume", "m3")
    line = lp.interval_line("k", 0, 9, 1, 1, 0, 0)
    names = [
        *lp.DEVICE_TAG, *lp.DEVICE_TAG.values(), *(key for key, _ in lp.measure_tags(measure)),
        *re.findall(r"(\w+)=", line), *(lp.interval_measurement(r) for r in ("15min", "day")), "batch",
    ]  # fmt: skip
    assert [name for name in names if f"`{name}`" not in text] == []
