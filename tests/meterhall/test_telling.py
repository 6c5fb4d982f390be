"""What is told to a real InfluxDB holds for what the store has, also after changes, gaps in service and restarts."""

import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import pytest

from analytics.workdays import Workdays
from api.live import LiveFeed
from api.services import Services
from meterhall.node import open_node
from meterhall.telling import Telling
from metering.clock import DAY_US, HOUR_US, MINUTE_US, QUARTER_US
from metering.site import Building, Name
from storage.influx.address import parse_address
from storage.influx.client import Client
from storage.ledger.ledger import Event
from storage.notes import Note
from storage.opening import open_store
from storage.store import StoreUnavailable
from tests.conftest import wait_until
from tests.filled import FIRST, configure, fill
from tests.influx import InfluxDB1, fresh_database

pytestmark = pytest.mark.slow
END = FIRST + 5 * DAY_US


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    it = InfluxDB1(tmp_path_factory.mktemp("influxdb")).start()
    yield it
    it.stop()


@pytest.fixture
def node(server, tmp_path):
    """An open node on a database of its own, filled."""
    url = fresh_database(f"influxdb://127.0.0.1:{server.port}", tmp_path)
    with open_node(configure(tmp_path, more=f'[store]\nurl = "{url}"\n')) as it:
        fill(it)
        yield it


class Quiet:
    """A collector without lines."""

    def __init__(self, node):
        self._node = node

    def books(self):
        return self._node.books.snapshot()

    def lines(self):
        return []

    def spool(self):
        return self._node.spool.health(self._node.pipeline.position)


def telling(node, installation=None):
    """What tells a node's dashboards."""
    services = Services(
        installation=installation or node.settings.installation, store=node.store, ledger=node.ledger,
        quarantine=node.quarantine, collector=Quiet(node), live=LiveFeed(), admin_token="x" * 32,
        data_folder=node.settings.data, started_at=END, simulated=True,
    )  # fmt: skip
    return Telling(node, services, lambda site: Workdays())


def asked(node, query):
    """The rows of an answer, as dicts with their tags."""
    client = Client(node.store.address)
    try:
        return [{**p.tags, **dict(zip(p.columns, row, strict=True))} for p in client.query(query) for row in p.values]
    finally:
        client.close()


def test_profiles_add_up_to_what_was_used(node):
    telling(node).run(END + HOUR_US)
    days = asked(
        node, 'SELECT * FROM "profile_day" WHERE "node" = \'plant\' AND "carrier" = \'electricity\' AND time >= 0'
    )
    used = asked(
        node,
        'SELECT "value" FROM "interval_day" WHERE "scope" = \'site\' AND "carrier" = \'electricity\' AND time >= 0',
    )
    sums = {day["time"]: sum(day[f"h{hour:02d}"] or 0 for hour in range(24)) for day in days}
    whole = [row for row in used if sums.get(row["time"]) and None not in (days[0], row["value"])]
    assert len(days) >= 5
    assert [pytest.approx(row["value"], abs=0.002) for row in whole[1:4]] == [sums[row["time"]] for row in whole[1:4]]


def test_late_readings_change_the_profile_of_their_day(node):
    tell = telling(node)
    tell.run(END + HOUR_US)
    query = 'SELECT "mean" FROM "profile_day" WHERE "scope" = \'site\' AND "carrier" = \'electricity\' AND time >= 0'
    before = asked(node, query)
    node.deriver.reload(replace(node.settings.installation, meters=tuple(
        replace(m, facts=(*m.facts, _ratio(2.0))) if m.id == "main" else m for m in node.settings.installation.meters
    )))  # fmt: skip
    node.deriver.run_once(END + HOUR_US)
    tell.run(END + HOUR_US + QUARTER_US)
    after = asked(node, query)
    assert [row["mean"] for row in after] == [pytest.approx(2 * row["mean"]) for row in before]


def _ratio(factor):
    from metering.site import Fact

    return Fact("ratio", -(2**60), factor)


def test_names_are_found_by_what_grafana_asks(node):
    telling(node).run(END + HOUR_US)
    rows = asked(node, 'SHOW TAG VALUES FROM "node" WITH KEY = "label_en" WHERE "scope" = \'building\' AND time > 0')
    assert [row["value"] for row in rows] == ["Hall [hall]"]


def test_what_no_longer_needs_anybody_is_void(node):
    tell = telling(node)
    tell.run(END + HOUR_US)
    query = 'SELECT "title_en" FROM "event" WHERE "kind" = \'need\' AND "void" = 0 AND time >= 0'
    assert [row["title_en"] for row in asked(node, query)] == ["Water has been silent"]
    node.ledger.sync_events([], END + HOUR_US)
    tell.run(END + HOUR_US + MINUTE_US)
    assert asked(node, query) == []
    node.ledger.sync_events(
        [Event("stuck", "main", Name("Main stands still", "总表不动"), END, "plant")], END + HOUR_US
    )
    telling(node).run(END + 2 * HOUR_US)  # after a restart
    assert [row["title_en"] for row in asked(node, query)] == ["Main stands still"]


def test_what_could_not_be_told_is_told_when_the_server_is_back(node, server):
    tell = telling(node)
    tell.run(END + HOUR_US)
    server.stop()
    with pytest.raises(StoreUnavailable):
        tell.run(END + 2 * HOUR_US)
    server.start()
    tell.run(END + 2 * HOUR_US + 1)
    assert len(asked(node, 'SELECT "waiting" FROM "collector" WHERE "void" = 0 AND time >= 0')) == 2


def test_a_building_that_was_renamed_shows_its_new_name(node):
    telling(node).run(END + HOUR_US)
    found = node.settings.installation
    renamed = replace(found, buildings=(Building("hall", "plant", Name("Great hall")),))
    telling(node, renamed).run(END + HOUR_US)
    where = 'WHERE "scope" = \'building\' AND "void" = 0 AND time >= 0 GROUP BY "node"'
    query = f'SELECT last("name_en") AS "name" FROM "node" {where}'
    assert [row["name"] for row in asked(node, query)] == ["Great hall"]


def test_notes_that_did_not_change_are_not_sent_again(node):
    note = Note("event", (("kind", "x"), ("node", "n"), ("site", "s")), FIRST, {"title_en": "a"})
    node.store.note_exactly("x", [note])
    sent = node.store._client.requests
    node.store.note_exactly("x", [note])
    assert node.store._client.requests == sent
    node.store.note_exactly("x", [note._replace(fields={"title_en": "b"})])
    assert (
        asked(node, 'SELECT "title_en" FROM "event" WHERE "kind" = \'x\' AND "void" = 0 AND time >= 0')[0]["title_en"]
        == "b"
    )


def test_a_database_that_was_made_anew_is_told_everything_at_the_next_start(node):
    telling(node).run(END + HOUR_US)
    client, database = Client(node.store.address), node.store.address.database
    client.manage(f'DROP DATABASE "{database}"')
    client.manage(f'CREATE DATABASE "{database}"')
    client.close()
    node.store.close()
    with closing(open_store(f"{node.store.address}?local={node.store._local.path}")) as again:
        telling(replace(node, store=again)).run(END + HOUR_US)
        rows = asked(node, 'SELECT "name_en" FROM "node" WHERE "scope" = \'building\' AND time >= 0')
    assert [row["name_en"] for row in rows] == ["Hall"]


def test_a_meterhall_that_runs_tells(server, tmp_path):
    url = fresh_database(f"influxdb://127.0.0.1:{server.port}", tmp_path)
    configure(tmp_path, port=0, more=f'[store]\nurl = "{url}"\n')
    client = Client(parse_address(url))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "meterhall", "run", "--config", str(tmp_path)], stdout=log, stderr=log
        )
    try:
        query = 'SELECT "waiting" FROM "collector" WHERE "void" = 0 AND time > now() - 5m'
        wait_until(lambda: list(client.query(query)), 40, f"news of the collector; see {tmp_path}/log")
        query = 'SELECT "value" FROM "threshold" WHERE "name" = \'missing\' AND "void" = 0 AND time > now() - 2d'
        wait_until(lambda: list(client.query(query)), 40, f"what is configured; see {tmp_path}/log")
    finally:
        client.close()
        process.terminate()
        process.wait(30)
