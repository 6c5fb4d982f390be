"""What only a ledger on PostgreSQL has: a server that goes, another process, a password, the way there from SQLite."""

import threading

import pytest
import sqlalchemy as sa

from metering.explain import ExplainedError
from metering.site import Name
from storage.ledger import engines
from storage.ledger.baselines import WatchRow
from storage.ledger.incidents import FeedbackRow, IncidentRow
from storage.ledger.ledger import Event, Ledger, look_at_ledger
from storage.ledger.moving import move_ledger
from storage.ledger.tables import HEAD
from storage.store import StoreUnavailable
from tests.postgres import PASSWORD

slow = pytest.mark.slow


def event(node="m1", since=100):
    return Event("silent", node, Name("silent", "无数据"), since, site="city", data={"h": 1.5})


def incident(node, since):
    return IncidentRow("plant", node, "active_energy_import", "kWh", "step_up", "use", since, None, since + 5, 12.5,
                       0.5, 0.8, Name("more than usual", "比通常多"), {"usual": 3.0}, 1)  # fmt: skip


@pytest.fixture
def url(postgres):
    return postgres.new_database()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(engines, "CLAIM_S", 0.3)
    monkeypatch.setattr(engines, "AGAIN_S", 0.1)


@slow
def test_it_is_durable_whatever_the_servers_default_is(postgres, url):
    postgres.execute(url.rpartition("/")[2], f"ALTER ROLE CURRENT_USER IN DATABASE {url.rpartition('/')[2]} "
                     "SET synchronous_commit = off")  # fmt: skip
    ledger = Ledger.open(url, PASSWORD)
    with ledger._begin() as con:
        assert con.execute(sa.text("SHOW synchronous_commit")).scalar() == "on"
    ledger.close()


@slow
def test_one_meterhall_at_a_time_and_the_next_one_when_it_has_ended(url, impatient):
    first = Ledger.open(url, PASSWORD)
    with pytest.raises(ExplainedError, match=r"another Meterhall uses this ledger; stop that one"):
        Ledger.open(url, PASSWORD)
    first.sync_events([event()], 110)
    threading.Timer(0.1, first.close).start()
    second = Ledger.open(url, PASSWORD)
    assert len(second.open_events()) == 1
    with pytest.raises(StoreUnavailable, match="another Meterhall"):
        first.sync_events([], 120)
    assert len(second.open_events()) == 1, "who has lost the database changes nothing in it"
    second.close()


@slow
def test_a_server_that_goes_and_comes_back_is_found_again(postgres, url, impatient):
    ledger = Ledger.open(url, PASSWORD)
    ledger.sync_events([event()], 110)
    postgres.stop()
    try:
        with pytest.raises(StoreUnavailable, match="cannot be used now") as told:
            ledger.sync_events([event(), event("m2")], 120)
        assert PASSWORD not in str(told.value)
    finally:
        postgres.start()
    assert [each.node for each in ledger.open_events()] == ["m1"]
    assert ledger.sync_events([event(), event("m2")], 130).opened == 1
    with ledger._begin() as con:
        assert con.execute(sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")).scalar() == 1
    ledger.close()


@slow
def test_it_may_be_asked_from_more_threads_than_it_has_connections(url):
    ledger = Ledger.open(url, PASSWORD)
    ledger.sync_events([event(f"m{i}") for i in range(50)], 110)
    found = []
    threads = [threading.Thread(target=lambda: found.append(len(ledger.open_events()))) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [50] * 40
    ledger.close()


@slow
def test_a_text_that_the_database_does_not_take_is_said_and_changes_nothing(url):
    ledger = Ledger.open(url, PASSWORD)
    (made,) = ledger.incidents.write([incident("m1", 10)], 50)
    with pytest.raises(ExplainedError, match="leave out control characters"):
        ledger.incidents.say(FeedbackRow(made.id, "planned", "a\x00b", "front desk", 60))
    assert ledger.incidents.said_of(made.id) == [] and ledger.incidents.get(made.id) == made
    ledger.close()


@slow
def test_a_look_at_it_neither_claims_nor_changes_it(postgres, url):
    name = url.rpartition("/")[2]
    shown = f"postgresql://meterhall@127.0.0.1:{postgres.port}/{name}"
    assert look_at_ledger(url, PASSWORD) == (shown, None)
    assert postgres.execute(name, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    ledger = Ledger.open(url, PASSWORD)
    assert look_at_ledger(url, PASSWORD) == (shown, HEAD)
    ledger.close()


@slow
@pytest.mark.parametrize("mend", [lambda url: url, lambda url: url.replace("meterhall@", "nobody@")])
def test_a_wrong_password_or_user_is_said_without_it(url, mend):
    with pytest.raises(ExplainedError, match="cannot be opened") as told:
        Ledger.open(mend(url), "a-wrong-one")
    assert "a-wrong-one" not in str(told.value) and "***" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://meterhall:canary@db/meterhall", "holds a password"),
        ("postgresql://meterhall@db/meterhall?password=canary", "holds a password"),
        ("postgresql://meterhall@db/", "names no database"),
        ("postgresql://meterhall@db/x?options=-cfsync%3Doff", "names no database"),
        ("mysql://db/canary", "names mysql"),
        ("postgresql+asyncpg://db/x", "names postgresql"),
        ("nonsense canary", "is no address"),
        ("postgresql://db:canary/x", "is no address"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused_without_repeating_it(url, words):
    with pytest.raises(ExplainedError, match=words) as told:
        Ledger.open(url)
    assert "canary" not in str(told.value)


@slow
def test_a_ledger_moves_from_sqlite_with_its_ids_and_goes_on_there(url, tmp_path):
    old = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    old.sync_events([event(f"m{i}") for i in range(1200)], 110)
    old.sync_events([event(f"m{i}") for i in range(700)], 120)
    rows = old.incidents.write([incident(f"m{i}", i) for i in range(20)], 50)
    old.incidents.say(FeedbackRow(rows[3].id, "planned", "维修", "front desk", 60))
    old.baselines.watch(WatchRow("plant", "main", "active_energy_import", 0.5, "front desk", 10))
    new = Ledger.open(url, PASSWORD)
    moved = move_ledger(old, new)
    assert (moved["events"], moved["incidents"], moved["feedback"], moved["watches"]) == (1200, 20, 1, 1)
    assert new.events(limit=5000) == old.events(limit=5000)
    assert new.incidents.list() == old.incidents.list() and new.baselines.watches() == old.baselines.watches()
    assert new.incidents.said_of(rows[3].id) == old.incidents.said_of(rows[3].id)
    (made,) = new.incidents.write([incident("new", 99)], 70)
    assert made.id > max(row.id for row in rows)
    assert new.sync_events([event("new")], 130).opened == 1
    with pytest.raises(ExplainedError, match="holds events already"):
        move_ledger(old, new)
    for ledger in (old, new):
        ledger.close()
