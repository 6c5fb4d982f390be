"""The simulated compound in a real InfluxDB, filled once for all tests that ask it."""

import pytest

from storage.influx.client import Client
from tests.grafana.town import town
from tests.influx import InfluxDB1, drop_database, named_server

DAYS = 16


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """The compound's open node, and a client of its database."""
    folder = tmp_path_factory.mktemp("boards")
    named = named_server()
    server = None if named else InfluxDB1(folder / "server").start()
    root = named[0] if named else f"influxdb://127.0.0.1:{server.port}"
    with town(folder / "config", root, days=DAYS) as (node, url):
        client = Client(node.store.address)
        yield node, client
        client.close()
    if server:
        server.stop()
    else:
        drop_database(url)
