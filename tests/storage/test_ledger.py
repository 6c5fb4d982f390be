"""The ledger on a real SQLite file, and on a real PostgreSQL."""

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from metering.explain import ExplainedError
from metering.site import Name
from storage.ledger.ledger import MIGRATIONS, Event, Ledger
from storage.ledger.tables import HEAD, metadata
from storage.store import StoreUnavailable


def url_of(path):
    return f"sqlite:///{path}"


def event(kind="silent", node="van-2", since=100, **more):
    return Event(
        kind, node, Name(f"{node} is {kind}", f"{node} 无数据"), since, **{"site": "city", "data": {"h": 1.5}, **more}
    )


def brief(found):
    return [(each.kind, each.node, each.since, each.until) for each in found]


def test_an_event_opens_changes_and_closes(ledger):
    assert ledger.open_events() == []
    assert ledger.sync_events([event()], 110).opened == 1
    (found,) = ledger.open_events()
    assert (found.text, found.data, found.site, found.severity) == (event().text, {"h": 1.5}, "city", "warning")
    assert (found.since, found.until, found.updated_at, found.subject) == (100, None, 110, "van-2")
    assert ledger.sync_events([event()], 120) == ledger.sync_events([event(since=115)], 130)
    assert ledger.open_events() == [found], "what holds still keeps its beginning and is not written again"
    done = ledger.sync_events([event(since=115, severity="broken", data={"h": 2})], 140)
    assert (done.opened, done.updated, done.closed) == (0, 1, 0)
    (worse,) = ledger.open_events()
    assert (worse.id, worse.since, worse.severity, worse.data, worse.updated_at) == (
        found.id,
        100,
        "broken",
        {"h": 2},
        140,
    )
    assert ledger.sync_events([], 150).closed == 1
    assert ledger.open_events() == [] and brief(ledger.events()) == [("silent", "van-2", 100, 150)]
    ledger.sync_events([event(since=160)], 170)
    assert brief(ledger.events()) == [("silent", "van-2", 160, None), ("silent", "van-2", 100, 150)]


def test_each_finder_minds_its_own_kinds(ledger):
    ledger.sync_events([event("silent"), event("stuck", "m1")], 10, kinds={"silent", "stuck"})
    ledger.sync_events([event("spool_damaged", "spool")], 20, kinds={"spool_damaged"})
    assert len(ledger.open_events()) == 3
    ledger.sync_events([], 30, kinds={"stuck"})
    assert {each.kind for each in ledger.open_events()} == {"silent", "spool_damaged"}


def test_events_are_found_by_time_site_node_and_kind(ledger):
    ledger.sync_events([event(node="a", since=10), event(node="b", since=20, site="other")], 30)
    ledger.sync_events([event(node="b", since=20, site="other")], 40)
    ledger.sync_events([event(node="b", since=20, site="other"), event("stuck", "c", 50)], 60)
    assert [each.node for each in ledger.events()] == ["c", "b", "a"]
    assert [each.node for each in ledger.events(0, 20)] == ["a"]
    assert [each.node for each in ledger.events(start=40, end=50)] == ["b"], "until and end are exclusive"
    assert [each.node for each in ledger.events(start=39)] == ["c", "b", "a"]
    assert [each.node for each in ledger.open_events("other")] == ["b"]
    assert [each.node for each in ledger.events(kind="stuck")] == ["c"]
    assert [each.node for each in ledger.events(node="a", open_only=True)] == []
    assert len(ledger.events(limit=2)) == 2


def test_the_file_is_private_durable_and_opens_again(tmp_path):
    path = tmp_path / "ledger.sqlite"
    first = Ledger.open(url_of(path))
    first.sync_events([event()], 110)
    with first._engine.connect() as con:
        assert con.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert con.execute(sa.text("PRAGMA synchronous")).scalar() == 2
    first.close()
    assert path.stat().st_mode & 0o777 == 0o600
    again = Ledger.open(url_of(path))
    assert brief(again.open_events()) == [("silent", "van-2", 100, None)] and again.note == ""
    again.close()


def test_the_migrations_lead_to_the_tables_as_they_are(ledger):
    with ledger._engine.connect() as con:
        assert compare_metadata(MigrationContext.configure(con), metadata) == []
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_a_newer_ledger_is_refused_with_the_mend(tmp_path):
    path = tmp_path / "ledger.sqlite"
    Ledger.open(url_of(path)).close()
    with sqlite3.connect(path) as con:
        con.execute("UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(ExplainedError, match=r"has format 0999.*run the newer Meterhall"):
        Ledger.open(url_of(path))
    with pytest.raises(ExplainedError, match="write postgresql:"):
        Ledger.open("nonsense")


def test_it_may_be_used_from_many_threads(ledger):
    def work(kind):
        for i in range(20):
            ledger.sync_events([event(kind, f"m{n}") for n in range(i % 3)], i, kinds={kind})
            ledger.open_events()

    problems = []
    threading.excepthook, usual = lambda found: problems.append(found.exc_value), threading.excepthook
    threads = [threading.Thread(target=work, args=(f"kind-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threading.excepthook = usual
    assert not problems
    assert len(ledger.open_events()) == 4 * (19 % 3)


def test_a_full_disk_changes_nothing_and_is_told(tmp_path):
    ledger = Ledger.open(url_of(tmp_path / "ledger.sqlite"))
    ledger.sync_events([event()], 110)
    with ledger._engine.connect() as con:
        pages = con.execute(sa.text("PRAGMA page_count")).scalar()
        con.execute(sa.text(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(StoreUnavailable, match="full"):
        ledger.sync_events([event(node=f"m{i}" * 50) for i in range(500)], 120)
    assert brief(ledger.open_events()) == [("silent", "van-2", 100, None)]
    ledger.close()


CHILD = """
import os, sys
from metering.site import Name
from storage.ledger.ledger import Event, Ledger
os.write(1, b"start\\n")
ledger = Ledger.open(sys.argv[1], sys.argv[2])
first = int(sys.argv[3])
for i in range(first, first + 10**6):
    text = Name(str(i))
    ledger.sync_events([Event("silent", f"m{n}", text, i, data={"round": i}) for n in range(i % 2, i % 2 + 40)], i)
    os.write(1, b"%d\\n" % i)
"""


@pytest.mark.slow
def test_kill_9_in_the_middle_of_a_sync_leaves_the_one_before_or_the_one_after(ledger_address):
    rng, first, working = random.Random(7), 1, 0
    for round_ in range(6):
        child = subprocess.Popen([sys.executable, "-c", CHILD, *ledger_address, str(first)], stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"start\n"
        if round_ % 2:
            child.stdout.readline()
            working += 1
        deadline = time.monotonic() + rng.uniform(0.0, 0.15)  # also while it makes its tables
        while time.monotonic() < deadline:
            pass
        child.send_signal(signal.SIGKILL)
        told = [int(line) for line in child.communicate()[0].split(b"\n")[:-1]]
        ledger = Ledger.open(*ledger_address)
        found = ledger.open_events()
        rounds = {each.data["round"] for each in found}
        assert len(rounds) <= 1 and len(found) in ((40,) if told or first > 1 else (0, 40))
        if found:
            (last,) = rounds
            assert {each.node for each in found} == {f"m{n}" for n in range(last % 2, last % 2 + 40)}
            assert not told or last in (told[-1], told[-1] + 1)
            first = last + 1
        ledger.close()
    assert working == 3 and first > 3


@pytest.mark.parametrize("how", ["noise", "cut", "emptied"])
def test_a_damaged_file_is_set_aside_what_is_readable_taken_over_and_the_start_goes_on(tmp_path, how):
    path = tmp_path / "ledger.sqlite"
    first = Ledger.open(url_of(path))
    first.sync_events([event(node=f"m{i}") for i in range(2000)], 110)
    first.close()
    data = bytearray(path.read_bytes())
    if how == "noise":
        data[len(data) // 2 : len(data) // 2 + 9000] = b"\xa5" * 9000
    else:
        del data[0 if how == "emptied" else len(data) // 3 :]
    path.write_bytes(data)
    again = Ledger.open(url_of(path))
    assert "damaged" in again.note and (tmp_path / "damaged" / "ledger-1.sqlite").read_bytes() == data
    kept = again.events(limit=10_000)
    assert {each.node for each in kept} <= {f"m{i}" for i in range(2000)}
    if how == "noise":
        assert len(kept) > 500 and all(each.data == {"h": 1.5} for each in kept)
    assert again.sync_events([event(node="new")], 120).opened == 1
    again.close()
