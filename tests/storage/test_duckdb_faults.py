"""The embedded store on a machine that crashes, fills up and forgets: it starts by itself, and says what is gone."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest

from metering.clock import DAY_US, MINUTE_US
from metering.reading import Origin, Point, ReadingBatch
from storage.books import Books, State, decode_state, encode_state
from storage.duckdb.store import DuckDBStore
from storage.record import Position
from storage.store import Outcome, StoreUnavailable

ROOT = Path(__file__).parents[2]
EVER = (-(2**60), 2**60)
POINTS = tuple(Point("plant", f"meter-{i}", "active_power") for i in range(20))
K = 1000


def nth(i, k=K):
    """The i-th batch: `k` rows, minute by minute."""
    at = (i * k + np.arange(k)) * MINUTE_US
    return ReadingBatch(
        POINTS,
        (np.arange(k) % 20).astype(np.int32),
        at,
        np.random.default_rng(i).random(k),
        np.zeros(k, np.uint8),
        np.zeros(k, np.int32),
        (Origin("w", i, "p@1", f"0:{i}"),),
    )


def put(store, i, k=K):
    return store.write(nth(i, k), lambda result: str((i + 1) * k).encode())


CRASH = """
import os, sys
sys.path.insert(0, sys.argv[2])
from test_duckdb_faults import *
store = DuckDBStore(Path(sys.argv[1]))
for i in range(30):
    put(store, i)
    if i == 14:
        store.maintain(30 * DAY_US)
os._exit(0)
"""


@pytest.fixture(scope="module")
def crashed(tmp_path_factory):
    """A folder with a store that was killed: 15 batches are in the file, sealed or hot, 15 in its log."""
    folder = tmp_path_factory.mktemp("crashed")
    subprocess.run(
        [sys.executable, "-c", CRASH, str(folder / "s.duckdb"), str(Path(__file__).parent)],
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (folder / "s.duckdb.wal").stat().st_size > 10_000
    return folder


@pytest.fixture
def copy(crashed, tmp_path):
    """A copy of the killed store."""
    return Path(shutil.copytree(crashed, tmp_path / "copy")) / "s.duckdb"


def readable(store):
    return sum(len(store.series(point, *EVER)) for point in POINTS)


def test_after_a_kill_everything_committed_is_there(copy):
    store = DuckDBStore(copy)
    assert (store.count(), store.state(), store.findings) == (30 * K, str(30 * K).encode(), [])
    assert readable(store) == 30 * K
    store.close()


@pytest.mark.parametrize("damage", ["zero", "cut", "flip", "garbage"])
def test_a_damaged_log_is_cut_kept_aside_reported_and_what_is_left_is_a_whole_prefix(copy, damage):
    wal = Path(f"{copy}.wal")
    whole = wal.read_bytes()
    chance = random.Random(damage)
    for _ in range(2):
        shutil.copy(copy, copy.with_name("t.duckdb"))
        target = copy.with_name("t.duckdb.wal")
        at = chance.randrange(1000, len(whole))
        bad = bytearray(whole[:at] if damage == "cut" else whole)
        if damage == "zero":
            bad[at:] = bytes(len(whole) - at)
        elif damage == "flip":
            bad[at] ^= 1 << chance.randrange(8)
        elif damage == "garbage":
            bad[at : at + 40] = chance.randbytes(40)
        target.write_bytes(bad)
        store = DuckDBStore(copy.with_name("t.duckdb"))
        n = store.count()
        assert n % K == 0
        assert 15 * K <= n <= 30 * K
        assert store.state() == str(n).encode()
        assert readable(store) == n
        if damage != "cut" and n < 30 * K:
            assert "kept as t.duckdb.wal.damaged-" in store.findings[0]
            kept = next(copy.parent.glob("t.duckdb.wal.damaged-*"))
            assert kept.read_bytes() == bad
            kept.unlink()
        for i in range(30):  # as the spool replays
            put(store, i)
        assert (store.count(), readable(store)) == (30 * K, 30 * K)
        store.close()


@pytest.mark.parametrize("damage", ["emptied", "overwritten", "halved", "missing"])
def test_a_database_beyond_repair_is_set_aside_with_a_report_and_a_new_one_starts(copy, damage):
    data = copy.read_bytes()
    if damage == "missing":
        copy.unlink()
    else:
        copy.write_bytes({"emptied": b"", "overwritten": os.urandom(20_000), "halved": data[: len(data) // 2]}[damage])
    store = DuckDBStore(copy)
    assert (store.count(), store.state()) == (0, None)
    words = " ".join(store.findings)
    assert "15000 readings" in words
    assert "the spool replays" in words
    put(store, 0)
    assert readable(store) == K
    store.close()
    assert list(copy.parent.glob("s.duckdb.damaged-*"))
    store = DuckDBStore(copy)
    assert (store.count(), store.findings) == (K, [])
    store.close()


@pytest.mark.slow
def test_of_a_database_with_a_damaged_block_all_that_can_be_read_is_saved_and_the_loss_reported(copy):
    whole = copy.read_bytes()
    saved = []
    for block in range(1, len(whole) // 65536 + 1, 2):
        at = 12288 + block * 65536 - 30_000
        if at >= len(whole):
            break
        bad = bytearray(whole)
        bad[at : at + 8] = b"\xa5" * 8
        folder = copy.parent / str(block)
        folder.mkdir()
        path = folder / "s.duckdb"
        path.write_bytes(bad)
        shutil.copy(f"{copy}.wal", f"{path}.wal")
        shutil.copy(f"{copy}.summary", f"{path}.summary")
        store = DuckDBStore(path)
        try:
            readable(store)
        except StoreUnavailable:
            store.maintain(0)  # a writer comes by: the file is mended
        n = readable(store)
        assert n == store.count()
        if n < 30 * K:
            assert "lost" in " ".join(store.findings) or "replays" in " ".join(store.findings)
        if store.findings:
            assert list(folder.glob("s.duckdb*damaged-*"))
        saved.append(n)
        try:
            result = put(store, 99)
        except StoreUnavailable:  # once: what was stored last is gone, and who writes has to go back first
            result = put(store, 99)
        assert result.outcome.max() == Outcome.STORED
        store.close()
    assert max(saved) == 30 * K
    assert len([n for n in saved if n]) > len(saved) // 2


def test_an_opening_that_killed_its_process_is_tried_in_another_before_this_one(copy):
    Path(f"{copy}.opening").touch()  # as a killed opening leaves it; the file is sound
    store = DuckDBStore(copy)
    assert (store.count(), store.findings) == (30 * K, [])
    store.close()
    assert not Path(f"{copy}.opening").exists()


def test_a_mending_that_was_killed_half_way_is_finished_or_begun_again(copy):
    DuckDBStore(copy).close()
    copy.rename(f"{copy}.mended")  # killed between the two renames
    store = DuckDBStore(copy)
    assert store.count() == 30 * K
    store.close()
    shutil.copy(copy, f"{copy}.mended")  # killed before the first
    store = DuckDBStore(copy)
    assert store.count() == 30 * K
    store.close()
    assert not Path(f"{copy}.mended").exists()


# --- a full disk


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 12 MiB; only root can have one."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("this machine does not let us mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_stores_nothing_says_so_and_the_same_store_goes_on_when_space_returns(small_disk):
    filler = small_disk / "filler"
    filler.write_bytes(bytes(6 << 20))
    store = DuckDBStore(small_disk / "s.duckdb")
    done = 0
    with contextlib.suppress(StoreUnavailable):
        while done < 1000:
            put(store, done, 5000)
            done += 1
    assert done < 1000
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            put(store, done, 5000)
    assert store.count() == readable(store) == done * 5000
    assert store.state() == str(done * 5000).encode()
    filler.unlink()
    assert (put(store, done, 5000).outcome == Outcome.STORED).all()
    assert store.count() == readable(store) == (done + 1) * 5000
    store.close()
    store = DuckDBStore(small_disk / "s.duckdb")
    assert store.count() == readable(store) == (done + 1) * 5000
    assert store.findings == []
    store.close()


class Failing:
    """A connection whose n-th commit fails."""

    def __init__(self, con, error, after):
        self._con, self._error, self._after = con, error, after

    def __getattr__(self, name):
        return getattr(self._con, name)

    def commit(self):
        if self._after:
            self._con.commit()
        else:
            self._con.rollback()
        raise self._error


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    "error", [duckdb.IOException("No space left"), duckdb.FatalException("database has been invalidated")]
)
def test_a_commit_that_fails_before_or_after_the_fact_leaves_memory_and_file_in_step(tmp_path, error, after):
    store = DuckDBStore(tmp_path / "s.duckdb")
    put(store, 0)
    real = store._connections._writer
    store._connections._writer = Failing(real, error, after)
    with pytest.raises(StoreUnavailable):
        put(store, 1)
    if not store._connections.broken:  # else it is opened anew by itself
        store._connections._writer = real
    outcome = put(store, 1).outcome
    assert set(outcome.tolist()) == {Outcome.DUPLICATE if after else Outcome.STORED}
    assert store.count() == readable(store) == 2 * K
    assert [store.count(point) for point in POINTS] == [2 * K // 20] * 20
    store.close()


KILLED = """
import sys
sys.path.insert(0, sys.argv[2])
from test_duckdb_faults import *
store = DuckDBStore(Path(sys.argv[1]), period_rows=3000)
print("open", flush=True)
store.write(nth(0))
for i in range(1, 300):
    store.write(nth(i))
    store.maintain(400 * DAY_US if i % 2 else 5 * DAY_US)
    print(i, flush=True)
"""


@pytest.mark.slow
def test_killed_while_it_seals_no_row_is_lost_or_doubled(tmp_path):
    for attempt in range(2):
        path = tmp_path / str(attempt) / "s.duckdb"
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert child.stdout.readline() == "open\n"
        for _ in range(3 + attempt * 4):
            reached = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        store = DuckDBStore(path, period_rows=3000)
        assert store.findings == []
        n = store.count()
        assert n % K == 0
        assert n >= (reached + 1) * K
        assert readable(store) == n
        figures = store.statistics()
        assert figures["rows_hot"] + figures["rows_sealed"] == n
        store.maintain(400 * DAY_US)
        assert readable(store) == store.count() == n
        store.close()


def test_the_summary_beside_the_file_tells_what_the_last_checkpoint_held(tmp_path):
    store = DuckDBStore(tmp_path / "s.duckdb")
    put(store, 0)
    store.checkpoint()
    assert json.loads((tmp_path / "s.duckdb.summary").read_text()) == {"rows": K, "newest": (K - 1) * MINUTE_US}
    store.close()


def test_a_file_that_lost_rows_lets_the_spool_be_read_again_and_tells_who_writes(tmp_path):
    path = tmp_path / "s.duckdb"
    store = DuckDBStore(path)
    put(store, 0)
    state = State(Position(3, 900), Books().to_state())
    store.write(nth(1), lambda _: encode_state(state))
    store.checkpoint()
    with store._transaction() as con:  # a damaged block of points takes the names of all rows with it
        con.execute("DELETE FROM point")
    store._connections._damage, store._connections._broken = "a block", True
    with pytest.raises(StoreUnavailable, match="taken from the spool"):
        store.write(nth(2), lambda _: b"later")
    assert decode_state(store.state()) == State(Position(0, 0), state.books)
    assert "point is not known" in store.findings[0]
    assert set(store.write(nth(1), lambda _: b"later").outcome.tolist()) == {Outcome.STORED}
    store.close()
