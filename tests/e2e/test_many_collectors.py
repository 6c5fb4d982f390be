"""Beyond one machine: collectors that share a subscription, and one at the edge whose line is cut and restored.

Everything is real: Mosquitto, InfluxDB 1.x, processes of Meterhall. Values verify themselves (`faults.values`).
"""

import signal
import time
from contextlib import ExitStack

import paho.mqtt.client as paho
import pytest

from faults.product import Product, write_configuration
from faults.values import KEYS, device_id, payload_of, value_of
from storage.influx.address import parse_address
from storage.influx.client import Client
from tests.conftest import wait_until
from tests.influx import InfluxDB1, free_port, fresh_database
from tests.line import Line

pytestmark = [pytest.mark.slow, pytest.mark.broker]
DEVICES = 20
FIELDS = dict(zip(("active_energy_import", "active_power", "voltage", "current"), range(len(KEYS)), strict=True))
SITE = "plant"


@pytest.fixture
def influx(tmp_path):
    server = InfluxDB1(tmp_path / "influx").start()
    yield server
    server.stop()


@pytest.fixture
def publish(mosquitto):
    """Publish messages [first, last) of every device; returns when the broker has acknowledged each."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.max_inflight_messages_set(1000)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", mosquitto.port)
    client.loop_start()
    t0 = int(time.time()) - 7200

    def send(first, last):
        sent = [
            client.publish(f"{SITE}/{device_id(k)}", payload_of(k, n, t0), qos=1)
            for n in range(first, last)
            for k in range(DEVICES)
        ]
        for each in sent:
            each.wait_for_publish(30)
        return len(sent)

    send.t0 = t0
    yield send
    client.disconnect()
    client.loop_stop()


def stored(url):
    """{(device, field, second): [values]} of a database, as the server has them."""
    client = Client(parse_address(url))
    names = ", ".join(f'"{name}"' for name in FIELDS)
    found = {}
    for piece in client.query(f'SELECT {names}, "meter" FROM "raw" WHERE time > 0'):
        at, device = piece.columns.index("time"), piece.columns.index("meter")
        for row in piece.values:
            for name in FIELDS:
                value = row[piece.columns.index(name)]
                if value is not None:
                    found.setdefault((row[device], name, row[at]), []).append(value)
    client.close()
    return found


def assert_whole(url, messages, t0):
    """Every value that was sent is there, once, and nothing else."""
    found = stored(url)
    assert len(found) == messages * DEVICES * len(FIELDS)
    times = sorted({at for _, _, at in found})
    assert len(times) == messages
    for (device, name, at), values in found.items():
        n = times.index(at)
        assert values == [value_of(int(device[1:]), FIELDS[name], n)], (device, name, n)
    return times


def collector(folder, broker, url, *lines):
    """A Meterhall of its own, on a store that others use too."""
    port = free_port()
    write_configuration(folder, port=port, broker=broker.url, devices=DEVICES, store_url=url, broker_lines=lines)
    return Product(folder, port=port)


def share(folder, broker, url, name):
    return collector(
        folder / name, broker, f"{url.partition('?')[0]}?local={folder / name / 'influx.sqlite'}",
        f'client_id = "collector-{name}"', 'share_group = "plant"', f'topics = ["{SITE}/#"]',
    )  # fmt: skip


def test_two_collectors_share_a_subscription_and_one_that_is_killed_loses_nothing(mosquitto, influx, publish, tmp_path):
    url = fresh_database(f"influxdb://127.0.0.1:{influx.port}", tmp_path)
    with ExitStack() as running:
        both = [share(tmp_path, mosquitto, url, name) for name in ("a", "b")]
        for each in both:
            running.callback(each.kill)
            each.start().wait_live()
            each.wait_connected()
        sent = publish(0, 100)
        wait_until(lambda: received(both) >= sent / 2, 60, "half of it has arrived")
        both[1].signal(signal.SIGKILL)
        both[1].process.wait(10)
        sent += publish(100, 150)
        both[1].start().wait_live()
        sent += publish(150, 200)
        wait_until(lambda: received(both) >= sent and pending(both) == 0, 90, "all of it is stored")
        shares = [each.totals()["messages"]["received"] for each in both]
        assert min(shares) > sent / 10, f"both take a part: {shares}"
        for each in both:
            messages, readings = each.totals()["messages"], each.totals()["readings"]
            assert messages["received"] == messages["decoded"] + messages["repeated"], messages
            assert readings["decoded"] == readings["stored"] + readings["duplicate"], readings
    assert_whole(url, 200, publish.t0)


def received(products):
    """Messages that came in, repeats left out."""
    totals = [each.totals().get("messages", {"received": 0, "repeated": 0}) for each in products]
    return sum(each["received"] - each["repeated"] for each in totals)


def pending(products):
    """Messages and readings that wait to be stored."""
    return sum(
        each.totals().get(book, {"pending": 1})["pending"] for each in products for book in ("messages", "readings")
    )


@pytest.mark.parametrize("how", ["cut", "cut in the middle of a write", "hanging"])
def test_an_edge_collector_ships_what_waited_when_its_line_is_back(mosquitto, influx, publish, tmp_path, how):
    line = Line(influx.port)
    url = fresh_database(f"influxdb://127.0.0.1:{influx.port}", tmp_path)
    name = url.partition("?")[0].rpartition("/")[2]
    through = f"influxdb://127.0.0.1:{line.port}/{name}?local={tmp_path / 'edge.sqlite'}"
    edge = collector(tmp_path / "edge", mosquitto, through)
    with ExitStack() as running:
        running.callback(line.close)
        running.callback(edge.kill)
        edge.start().wait_live()
        edge.wait_connected()
        publish(0, 20)
        edge.wait_drained(20 * DEVICES)
        if how == "hanging":
            line.hang()
        else:
            line.cut(after=3000 if "middle" in how else None)
        sent = publish(20, 80)
        wait_until(lambda: received([edge]) == 20 * DEVICES + sent, 60, "all of it is in the spool")
        assert pending([edge]) > 0 and len(stored(url)) < 80 * DEVICES * len(FIELDS)
        if how != "hanging":  # also over a restart while the line is away
            edge.signal(signal.SIGKILL)
            edge.process.wait(10)
            edge.start().wait_live()
        line.restore()
        publish(80, 100)  # live data goes on
        wait_until(lambda: received([edge]) >= 100 * DEVICES and pending([edge]) == 0, 120, "all of it is stored")
        totals = edge.totals()
        assert totals["readings"]["stored"] == 100 * DEVICES * len(FIELDS)
    assert_whole(url, 100, publish.t0)
