"""The whole way of a reading into a real InfluxDB comes to what it comes to in the embedded store."""

import threading

import pytest

from meterhall.node import open_node
from metering.clock import HOUR_US
from tests.filled import FIRST, configure, contents, drain, fill, message, rows
from tests.influx import InfluxDB1, fresh_database

pytestmark = pytest.mark.slow
DAY_OF_MINUTES = 1440


@pytest.fixture
def server(tmp_path):
    it = InfluxDB1(tmp_path / "server").start()
    yield it
    it.stop()


def node_on(server, folder):
    """An open node whose store is a database of a server."""
    folder.mkdir()
    url = fresh_database(f"influxdb://127.0.0.1:{server.port}", folder)
    return open_node(configure(folder, more=f'[store]\nurl = "{url}"\n'))


def minutes(node, start):
    """A day of live messages, a minute apart, as they come while nobody stores them."""
    for lo in range(0, DAY_OF_MINUTES, 60):
        node.spool.append([message(start + i * 60_000_000, float(i), tag=1 + i) for i in range(lo, lo + 60)])


def test_one_trace_gives_the_same_on_both_stores_also_after_a_restart(server, tmp_path):
    with open_node(configure(tmp_path / "embedded")) as node:
        fill(node)
        expected = contents(node)
    with node_on(server, tmp_path / "influx") as node:
        fill(node)
        assert contents(node) == expected
    settings = node.settings
    with open_node(settings) as node:
        assert contents(node) == expected


def test_a_day_without_the_server_is_spooled_and_drained_while_live_data_goes_on(server, tmp_path):
    start = FIRST + 30 * 24 * HOUR_US
    with open_node(configure(tmp_path / "embedded")) as node:
        fill(node)
        minutes(node, start)
        node.spool.append([message(start + 2 * 24 * HOUR_US, 7.5, tag=9)])
        drain(node)
        node.deriver.run_once(start + 60 * 24 * HOUR_US)
        expected = contents(node)
    with node_on(server, tmp_path / "influx") as node:
        fill(node)
        before = node.store.count()
        server.stop()
        minutes(node, start)
        storing = threading.Thread(target=drain, args=(node,))
        storing.start()
        storing.join(2.5)
        assert storing.is_alive()
        assert node.pipeline.note
        assert node.store.count() == before
        node.spool.append([message(start + 2 * 24 * HOUR_US, 7.5, tag=9)])
        server.start()
        storing.join(60)
        assert not storing.is_alive()
        drain(node)
        node.deriver.run_once(start + 60 * 24 * HOUR_US)
        found = contents(node)
    assert len(list(rows(5))) < found["readings"]
    assert found == expected
