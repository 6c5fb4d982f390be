"""What every store promises."""

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.clock import DAY_US, HOUR_US, from_us
from metering.explain import ExplainedError
from metering.quantity import Quality
from metering.reading import IntervalSeries, Measure, Origin, Point
from storage.opening import duckdb_url
from storage.store import Outcome

from .conftest import ORIGIN, batch, opened, point, samples

STORED, DUPLICATE, CONFLICT = Outcome.STORED, Outcome.DUPLICATE, Outcome.CONFLICT
A, B = point(1), point(2)
EVER = (-(2**60), 2**60)


# --- identity


def test_a_new_reading_is_stored_and_served_as_it_was_given(store):
    result = store.write(batch([(A, 1_700_000_000_123_457, 230.125, 1)]))
    assert result.outcome.tolist() == [STORED]
    got = store.series(A, *EVER)
    assert (got.point, samples(got), got.quality.tolist()) == (A, [(1_700_000_000_123_457, 230.125)], [1])
    assert (got.at.dtype, got.value.dtype, got.quality.dtype) == (np.int64, np.float64, np.uint8)


def test_the_same_value_again_is_a_duplicate_whatever_came_between(store):
    store.write(batch([(A, 5, 1.0)]))
    assert store.write(batch([(A, 5, 1.0)])).outcome.tolist() == [DUPLICATE]
    assert store.write(batch([(A, 5, 2.0)])).outcome.tolist() == [CONFLICT]
    assert store.write(batch([(A, 5, 1.0)])).outcome.tolist() == [DUPLICATE]
    assert samples(store.series(A, *EVER)) == [(5, 2.0)]
    assert store.count() == 1


def test_of_several_values_the_one_whose_first_arrival_is_latest_is_served(store):
    for value in (1.0, 2.0, 3.0, 2.0, 1.0):
        store.write(batch([(A, 5, value)]))
    assert samples(store.series(A, *EVER)) == [(5, 3.0)]
    assert store.latest()[A].value == 3.0


def test_order_within_a_batch_counts(store):
    result = store.write(batch([(A, 5, 1.0), (A, 5, 2.0), (B, 5, 2.0), (A, 5, 1.0), (A, 5, 2.0), (A, 6, 2.0)]))
    assert result.outcome.tolist() == [STORED, CONFLICT, STORED, DUPLICATE, DUPLICATE, STORED]
    assert samples(store.series(A, *EVER)) == [(5, 2.0), (6, 2.0)]


def test_all_values_of_a_conflict_are_listed_in_order_of_arrival_with_their_origins(store):
    later = Origin("line-1", ORIGIN.received_at + 1, "eastron_sdm630@2", "00000002:64")
    store.write(batch([(A, 5, 1.0, 0, 0), (A, 5, 2.0, 1, 1), (A, 6, 1.0, 0, 0)], [ORIGIN, later]))
    store.write(batch([(A, 5, 3.0, 0, 0)], [ORIGIN]))
    got = store.conflicts(A, *EVER)
    assert [(c.point, c.at, c.value, c.quality, c.origin, c.served) for c in got] == [
        (A, 5, 1.0, 0, ORIGIN, False),
        (A, 5, 2.0, 1, later, False),
        (A, 5, 3.0, 0, ORIGIN, True),
    ]
    assert store.conflicts(None, 5, 6) == got
    assert store.conflicts(B, *EVER) == store.conflicts(A, 6, 9) == store.conflicts(A, 0, 5) == []


def test_a_meter_was_last_seen_when_the_newest_of_its_points_was(store):
    other = Point(A.site, A.meter, "voltage" if A.quantity != "voltage" else "current")
    store.write(batch([(A, 5, 1.0), (other, 9, 230.0), (B, 3, 2.0)]))
    store.write(batch([(A, 7, 1.5), (other, 2, 229.0)]))
    expected = {A.meter: 9} | ({B.meter: 3} if B.meter != A.meter else {})
    assert store.last_seen() == expected


def test_negative_zero_is_zero(store):
    store.write(batch([(A, 5, 0.0), (A, 6, -0.0)]))
    assert store.write(batch([(A, 5, -0.0), (A, 6, 0.0)])).outcome.tolist() == [DUPLICATE, DUPLICATE]
    assert not np.signbit(store.series(A, *EVER).value).any()


def test_a_value_that_is_not_finite_is_refused_and_nothing_of_its_batch_stored(store):
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="finite"):
            store.write(batch([(B, 1, 1.0), (A, 5, value)]), lambda result: b"state")
    assert store.count() == 0
    assert store.state() is None


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 4), st.sampled_from([-1.5, 0.0, -0.0, 1.0, 2.0])),
    min_size=1,
    max_size=12,
)


def test_any_mix_of_repeats_conflicts_and_disorder_gives_what_a_simple_dictionary_gives(store):
    example = itertools.count()

    @settings(max_examples=15, deadline=None)
    @given(batches=st.lists(st.tuples(ROWS, st.booleans()), min_size=1, max_size=6))
    def check(batches):
        check_against_dictionary(store, [Point(str(next(example)), f"meter-{i}", "speed") for i in range(3)], batches)

    check()


def check_against_dictionary(store, points, batches):
    seen = {}
    for rows, tidy in batches:
        expected = []
        for p, day, value in rows:
            values = seen.setdefault((points[p], day * DAY_US), [])
            expected.append(DUPLICATE if value in values else CONFLICT if values else STORED)
            if value not in values:
                values.append(value)
        got = store.write(batch([(points[p], day * DAY_US, value) for p, day, value in rows]))
        assert got.outcome.tolist() == expected
        if tidy:
            store.maintain(400 * DAY_US)
    for p in points:
        served = sorted((at, values[-1]) for (q, at), values in seen.items() if q == p)
        assert samples(store.series(p, *EVER)) == served
        assert store.count(p) == len(served)
        newest = [(reading.observed_at, reading.value) for reading in store.latest([p]).values()]
        assert newest == [(from_us(at), value) for at, value in served[-1:]]
        several = sorted((at, values) for (q, at), values in seen.items() if q == p and len(values) > 1)
        assert [(c.at, c.value, c.served) for c in store.conflicts(p, *EVER)] == [
            (at, value, value == values[-1]) for at, values in several for value in values
        ]


# --- reading


def test_ranges_are_half_open_and_exact_to_the_microsecond(store):
    store.write(batch([(A, at, float(at)) for at in (9, 10, 11, 19, 20, 21)]))
    assert store.series(A, 10, 20).at.tolist() == [10, 11, 19]
    assert store.series(A, 20, 20).at.tolist() == []
    assert store.series(A, 20, 10).at.tolist() == []


def test_with_margin_the_neighbours_of_the_range_come_too(store):
    store.write(batch([(A, at, 1.0) for at in (1, 9, 10, 19, 20, 30)] + [(B, 8, 1.0), (B, 25, 1.0)]))
    assert store.series(A, 10, 20, margin=True).at.tolist() == [9, 10, 19, 20]
    assert store.series(A, 12, 15, margin=True).at.tolist() == [10, 19]
    assert store.series(A, 15, 15, margin=True).at.tolist() == [10, 19]
    assert store.series(A, 0, 100, margin=True).at.tolist() == [1, 9, 10, 19, 20, 30]
    assert store.series(A, 31, 40, margin=True).at.tolist() == [30]
    assert store.series(A, -5, 1, margin=True).at.tolist() == [1]


def test_what_is_not_there_is_empty_and_no_error(store):
    got = store.series(A, 0, 10, margin=True)
    assert (len(got), got.at.dtype, got.value.dtype, got.quality.dtype) == (0, np.int64, np.float64, np.uint8)
    assert store.points() == []
    assert store.latest() == store.latest([A]) == {}
    assert store.last_seen() == {}
    assert store.count() == store.count(A) == 0
    assert store.origins(A, *EVER) == []
    assert store.conflicts(None, *EVER) == []
    assert len(store.rollup(A, 0, 10, 5).start) == 0
    assert store.state() is None
    assert store.measures() == []
    store.maintain(0)
    store.checkpoint()
    assert store.write(batch([])).outcome.tolist() == []


def test_samples_come_in_time_order_however_they_were_written(store):
    ats = list(range(1000))
    random.Random(1).shuffle(ats)
    for i in range(0, 1000, 100):
        store.write(batch([(A, at, at / 8) for at in ats[i : i + 100]]))
    assert samples(store.series(A, *EVER)) == [(at, at / 8) for at in range(1000)]
    assert store.latest([A])[A].observed_at == from_us(999)


def test_the_newest_reading_is_the_one_observed_last_not_the_one_that_came_last(store):
    first = Origin("line-1", 1_000_000, "eastron_sdm630@1", "00000001:0")
    store.write(batch([(A, 20, 2.0, 1), (B, 5, 7.0)], [first]))
    store.write(batch([(A, 10, 1.0)]))
    got = store.latest([A, point(99)])
    assert list(got) == [A]
    reading = got[A]
    assert (reading.point, reading.observed_at, reading.value) == (A, from_us(20), 2.0)
    assert (reading.quality, reading.received_at, reading.source) == (Quality.SUSPECT, from_us(1_000_000), "line-1")
    assert set(store.latest()) == {A, B}
    assert sorted(store.points()) == [A, B]


def test_every_sample_knows_where_it_came_from(store):
    origins = [Origin("mqtt demo", 10 + i, f"shelly_em@{i}", f"00000001:{i}") for i in range(3)]
    store.write(batch([(A, 1, 1.0, 0, 0), (A, 2, 1.0, 0, 2), (B, 2, 1.0, 0, 1)], origins))
    store.write(batch([(A, 3, 1.0, 0, 0)], [origins[2]]))
    assert store.origins(A, 1, 4) == [(1, origins[0]), (2, origins[2]), (3, origins[2])]
    assert store.origins(A, 2, 3) == [(2, origins[2])]
    assert store.origins(B, *EVER) == [(2, origins[1])]


def test_a_rollup_is_on_the_grid_since_1970_and_leaves_out_empty_steps(store):
    store.write(
        batch([(A, at, value) for at, value in [(-1, 9.0), (9, 1.0), (10, 2.0), (14, 6.0), (19, 4.0), (35, 5.0)]])
    )
    got = store.rollup(A, -5, 40, 10)
    assert got.start.tolist() == [-10, 0, 10, 30]
    assert got.lowest.tolist() == [9.0, 1.0, 2.0, 5.0]
    assert got.mean.tolist() == [9.0, 1.0, 4.0, 5.0]
    assert got.highest.tolist() == [9.0, 1.0, 6.0, 5.0]
    assert got.count.tolist() == [1, 1, 3, 1]
    assert store.rollup(A, 12, 19, 10).count.tolist() == [1]
    with pytest.raises(ValueError, match="step"):
        store.rollup(A, 0, 10, 0)


def test_ids_may_be_in_any_script_and_say_anything(store):
    odd = [
        Point("市政府", "三号楼/总表", "active_power"),
        Point("s'; DROP TABLE hot; --", 'm"x', "active_power"),
        Point("s", "a,b=c d", "active_power", "l1"),
        Point("s", "a,b=c d", "active_power", "l2"),
        Point("s", "日" * 200, "active_power"),
    ]
    store.write(batch([(p, 1, float(i)) for i, p in enumerate(odd)], [Origin("网关 '1'", 5, "☃@1", "0:0")]))
    assert sorted(store.points()) == sorted(odd)
    for i, p in enumerate(odd):
        assert samples(store.series(p, *EVER)) == [(1, float(i))]
    assert store.latest()[odd[0]].source == "网关 '1'"


def test_extreme_times_and_values_come_back_exactly(store, span):
    ats = [span[0], -1, 0, 1, 2**31 * 1_000_000, span[1]]
    values = [5e-324, -1.7976931348623157e308, 0.1 + 0.2, 1 / 3, 123456789.123456789, float(np.float32(230.1))]
    store.write(batch([(A, at, v) for at, v in zip(ats, values, strict=True)]))
    assert samples(store.series(A, *EVER)) == list(zip(ats, values, strict=True))
    store.maintain(4_200_000_000_000_000)
    assert samples(store.series(A, *EVER)) == list(zip(ats, values, strict=True))


def test_a_time_that_no_calendar_has_is_refused_and_nothing_of_its_batch_stored(store):
    for at in (2**62, -(2**62)):
        with pytest.raises(ValueError, match="year"):
            store.write(batch([(B, 1, 1.0), (A, at, 1.0)]))
    assert store.count() == 0


def test_ten_thousand_points_in_one_batch(store):
    rows = [(point(i), at, i + at / 4) for i in range(10_000) for at in (1, 2)]
    assert (store.write(batch(rows)).outcome == STORED).all()
    assert store.count() == 20_000
    assert len(store.points()) == len(store.latest()) == 10_000
    assert samples(store.series(point(9_999), *EVER)) == [(1, 9999.25), (2, 9999.5)]


# --- state


def test_the_state_is_made_from_the_result_of_its_own_write(store):
    results = []

    def make_state(result):
        results.append(result.outcome.tolist())
        return repr(results).encode()

    store.write(batch([(A, 1, 1.0)]), make_state)
    store.write(batch([(A, 1, 1.0), (A, 2, 1.0)]), make_state)
    assert results == [[STORED], [DUPLICATE, STORED]]
    assert store.state() == repr(results).encode()
    store.write(batch([(A, 3, 1.0)]))
    assert store.state() == repr(results).encode()
    store.write(batch([]), lambda result: bytes(range(256)))
    assert store.state() == bytes(range(256))


def test_if_the_state_cannot_be_made_nothing_is_stored(store):
    store.write(batch([(A, 1, 1.0)]), lambda result: b"before")

    def fail(result):
        raise RuntimeError("no state")

    with pytest.raises(RuntimeError, match="no state"):
        store.write(batch([(A, 2, 1.0), (A, 1, 5.0), (B, 1, 1.0)]), fail)
    assert store.state() == b"before"
    assert samples(store.series(A, *EVER)) == [(1, 1.0)]
    assert store.points() == [A]
    assert store.conflicts(None, *EVER) == []
    assert store.write(batch([(A, 2, 1.0), (A, 1, 5.0), (B, 1, 1.0)])).outcome.tolist() == [STORED, CONFLICT, STORED]
    assert store.count() == 3


def test_everything_is_there_after_closing_and_opening(url):
    with opened(url) as store:
        store.write(batch([(A, 1, 1.0), (A, 2, 2.0), (A, 1, 3.0), (B, 7, 1.0)]), lambda result: b"here")
        before = (store.latest(), store.count(), store.conflicts(None, *EVER), samples(store.series(A, *EVER)))
    with opened(url) as store:
        assert store.state() == b"here"
        assert (store.latest(), store.count(), store.conflicts(None, *EVER), samples(store.series(A, *EVER))) == before
        assert store.write(batch([(A, 1, 1.0), (A, 2, 9.0), (B, 8, 1.0)])).outcome.tolist() == [
            DUPLICATE,
            CONFLICT,
            STORED,
        ]
        assert store.count() == 4


WRITER = """
import random, sys
import numpy as np
from metering.clock import DAY_US
from metering.reading import Origin, Point, ReadingBatch
from storage.opening import open_store

store = open_store(sys.argv[1])
rng = random.Random(int(sys.argv[2]))
points = tuple(Point("s", f"m{i}", "active_power") for i in range(5))
n = store.count()
print(n, flush=True)
i = 0
while True:
    k = rng.randrange(1, 400)
    at = np.arange(n, n + k, dtype=np.int64)
    rows = ReadingBatch(points, (at % 5).astype(np.int32), at * (DAY_US // 300), at / 4, np.zeros(k, np.uint8),
                        np.zeros(k, np.int32), (Origin("w", n, "p@1", f"0:{n}"),))
    n += k
    store.write(rows, lambda result: str(n).encode())
    i += 1
    if i % 7 == 0:
        store.checkpoint()
    if i % 11 == 0:
        store.maintain(int(at[-1]) * (DAY_US // 300))
"""


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_moment_the_state_counts_exactly_the_rows_that_are_there(kind, url, kills):
    if kind == "influxdb3":
        pytest.skip("the local file is the same as with a real server")
    root = str(Path(__file__).parents[2])
    reached = 0
    for attempt in range(kills):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, url, str(attempt)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env=os.environ | {"PYTHONPATH": root},
        )
        assert child.stdout.readline().strip() == str(reached), "the child found another count than we did"
        threading.Event().wait(random.Random(attempt).uniform(0.02, 0.4))  # the moment of the kill
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        with opened(url) as store:
            reached = store.count()
            assert int(store.state() or 0) == reached
            assert sum(len(store.series(Point("s", f"m{i}", "active_power"), *EVER)) for i in range(5)) == reached
    assert reached > 0


def test_readers_see_whole_batches_while_one_writes(store):
    done, wrong = threading.Event(), []

    def read():
        last = 0
        while not done.is_set():
            n = len(store.series(A, *EVER))
            if n % 10 or n < last:
                wrong.append(n)
            last = n
            store.latest([A])
            store.rollup(A, 0, 10**9, 100)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for i in range(60):
            store.write(batch([(A, i * DAY_US + k, 1.0) for k in range(10)]))
            if i % 20 == 10:
                store.maintain((i + 1) * DAY_US)
                store.checkpoint()
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    assert len(store.series(A, *EVER)) == 600


# --- intervals

M = Measure("plant", "meter", "meter-1", "active_energy_import", "kWh")
N = Measure("plant", "building", "hall", "electricity", "kWh")


def intervals(measure, starts, amount=1000, step=HOUR_US // 4):
    start = np.array(starts, np.int64)
    n = len(start)
    return IntervalSeries(
        measure,
        start,
        start + step,
        np.full(n, amount, np.int64),
        np.linspace(0.25, 1, n),
        np.arange(n, dtype=np.int64),
        np.full(n, 3, np.uint8),
    )


def same(a, b):
    return a.measure == b.measure and all(
        np.array_equal(getattr(a, c), getattr(b, c))
        for c in ("start", "end", "amount", "coverage", "estimated", "quality")
    )


def test_intervals_come_back_as_they_were_written(store):
    q = HOUR_US // 4
    mine, other = intervals(M, [0, q, 5 * q], amount=2**53 + 1), intervals(N, [q])
    store.write_intervals("15min", [mine, other], (0, 6 * q))
    got = store.intervals([N, M], "15min", 0, 6 * q)
    assert same(got[0], other)
    assert same(got[1], mine)
    assert [got[1].amount.dtype, got[1].coverage.dtype, got[1].quality.dtype] == [np.int64, np.float64, np.uint8]
    assert store.intervals([M], "15min", q, 5 * q)[0].start.tolist() == [q]
    assert sorted(store.measures()) == sorted([M, N])


def test_what_was_written_replaces_what_the_measure_had_in_the_span(store):
    q = HOUR_US // 4
    store.write_intervals("15min", [intervals(M, [0, q, 2 * q, 3 * q]), intervals(N, [0, q, 2 * q])], (0, 4 * q))
    store.write_intervals("15min", [intervals(M, [2 * q], amount=7)], (q, 3 * q))
    got = store.intervals([M, N], "15min", 0, 4 * q)
    assert list(zip(got[0].start.tolist(), got[0].amount.tolist(), strict=True)) == [
        (0, 1000),
        (2 * q, 7),
        (3 * q, 1000),
    ]
    assert got[1].start.tolist() == [0, q, 2 * q]
    assert sorted(store.measures()) == sorted([M, N])
    store.write_intervals("15min", [intervals(M, [])], (0, 4 * q))
    assert len(store.intervals([M], "15min", 0, 4 * q)[0]) == 0
    assert store.measures() == [N]
    store.write_intervals("day", [intervals(M, [0])], (0, DAY_US))
    assert sorted(store.measures()) == sorted([M, N])


def test_resolutions_are_kept_apart_and_days_may_be_of_any_length(store):
    store.write_intervals("15min", [intervals(M, [0])], (0, DAY_US))
    days = IntervalSeries(
        M,
        np.array([0, 23 * HOUR_US]),
        np.array([23 * HOUR_US, 48 * HOUR_US]),
        *(
            np.array(c, t)
            for c, t in [([5, 6], np.int64), ([1, 0.5], np.float64), ([0, 6], np.int64), ([0, 4], np.uint8)]
        ),
    )
    store.write_intervals("day", [days], (0, 2 * DAY_US))
    assert same(store.intervals([M], "day", *EVER)[0], days)
    assert len(store.intervals([M], "15min", *EVER)[0]) == 1
    with pytest.raises(ValueError, match="resolution"):
        store.intervals([M], "week", 0, 1)


def test_a_measure_without_intervals_gives_an_empty_series(store):
    got = store.intervals([M, N, M], "day", *EVER)
    assert [(len(series), series.measure) for series in got] == [(0, M), (0, N), (0, M)]
    assert store.intervals([], "day", *EVER) == []
    store.write_intervals("day", [], (0, 1))


def test_intervals_outside_the_span_are_refused(store):
    with pytest.raises(ValueError, match="span"):
        store.write_intervals("15min", [intervals(M, [0, DAY_US])], (0, DAY_US))
    assert store.measures() == []


# --- late rows


def test_late_rows_join_what_is_sealed_already(store):
    store.write(batch([(A, day * DAY_US, float(day)) for day in range(0, 100, 2)]))
    store.maintain(120 * DAY_US)
    late = [(A, day * DAY_US, float(day)) for day in range(1, 100, 2)]
    assert (store.write(batch(late)).outcome == STORED).all()
    assert (store.write(batch(late)).outcome == DUPLICATE).all()
    expected = [(day * DAY_US, float(day)) for day in range(100)]
    assert samples(store.series(A, *EVER)) == expected
    store.maintain(120 * DAY_US)
    assert samples(store.series(A, *EVER)) == expected
    assert (store.write(batch(late)).outcome == DUPLICATE).all()
    assert store.count(A) == 100
    assert store.series(A, 50 * DAY_US, 51 * DAY_US, margin=True).at.tolist() == [d * DAY_US for d in (49, 50, 51)]


def test_statistics_tell_rows_and_bytes(store):
    store.write(batch([(A, 1, 1.0), (A, 2, 2.0), (A, 2, 3.0)]))
    got = store.statistics()
    assert (got["rows"], got["points"], got["oldest"], got["newest"], got["conflicts"]) == (2, 1, 1, 2, 1)
    assert got["bytes"] > 0


# --- backup


def test_a_store_with_a_server_of_its_own_says_who_backs_it_up(kind, store, tmp_path):
    if kind == "duckdb":
        pytest.skip("the embedded store has no server")
    with pytest.raises(ExplainedError, match="own means"):
        store.backup(tmp_path / "copy", lambda state: None)


def test_a_backup_is_the_store_of_one_moment_and_writing_goes_on(kind, url, tmp_path):
    if kind != "duckdb":
        pytest.skip("its own server backs it up")
    target = tmp_path / "copy" / "meterhall.duckdb"
    target.parent.mkdir()
    seen = []
    with opened(url) as store:
        store.write(batch([(A, 5, 1.0), (A, 6, 2.0)]), lambda result: b"state 1")
        late = threading.Thread(target=lambda: store.write(batch([(A, 7, 3.0)]), lambda result: b"state 2"))

        def meanwhile(state):
            late.start()
            seen.append((state, store.count()))

        store.backup(target, meanwhile)
        late.join()
        assert seen == [(b"state 1", 2)]
        assert samples(store.series(A, *EVER)) == [(5, 1.0), (6, 2.0), (7, 3.0)]
        store.write(batch([(A, 8, 4.0)]))
    with opened(duckdb_url(target)) as copy:
        assert samples(copy.series(A, *EVER)) == [(5, 1.0), (6, 2.0)]
        assert (copy.state(), copy.findings) == (b"state 1", [])


def test_no_other_process_can_open_the_store_after_a_backup(kind, url, tmp_path):
    code = "import sys; from storage.opening import open_store; open_store(sys.argv[1])"
    with opened(url) as store:
        store.write(batch([(A, 5, 1.0)]))
        if kind == "duckdb":
            store.backup(tmp_path / "copy.duckdb", lambda state: None)
        done = subprocess.run(
            [sys.executable, "-c", code, url],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[2],
        )
    assert done.returncode != 0
    assert "another process" in done.stderr


# --- retention


def test_old_readings_are_forgotten_and_counted_and_intervals_stay(kind, url, tmp_path):
    measure = Measure("plant", "meter", "meter-1", "active_energy_import", "kWh")
    days = [day * DAY_US for day in range(400)]
    with opened(url) as store:
        for part in (0, 200):
            store.write(batch([(A, at, 1.0 + at) for at in days[part : part + 200]] + [(B, days[part], 7.0)]))
            store.maintain(days[part + 100])
        store.write(batch([(A, days[1], -1.0), (A, days[399], -1.0)]))
        store.write_intervals("day", [whole_days(measure, 0, 400)], (0, 400 * DAY_US))
        if kind != "duckdb":
            with pytest.raises(ExplainedError, match="retention"):
                store.forget(days[100])
            return
        assert store.forget(days[300], [B]) == 2
        assert (store.count(A), store.count(B)) == (400, 0)
        assert store.forget(days[300]) == 300
        assert store.forget(days[300]) == 0
    with opened(url) as store:  # as it was left, and as memory had it
        assert store.points() == [A]
        assert store.series(A, *EVER).at.tolist() == days[300:]
        assert (store.count(), store.statistics()["forgotten"]) == (100, 302)
        assert [c.at for c in store.conflicts(None, *EVER)] == [days[399]] * 2
        store.write_intervals("day", [whole_days(measure, 320, 340, amount=9)], (0, 400 * DAY_US))
        (found,) = store.intervals([measure], "day", *EVER)
        kept = dict(zip((found.start // DAY_US).tolist(), found.amount.tolist(), strict=True))
        assert kept == {day: 9 if day >= 331 else 1 for day in range(340)}, "frozen up to 31 days after what is gone"
        store.maintain(days[399])
        assert store.series(A, *EVER).at.tolist() == days[300:]
        assert store.latest()[A].value == -1.0


def whole_days(measure, first, last, amount=1):
    """Day intervals of one amount."""
    start = np.arange(first, last, dtype=np.int64) * DAY_US
    n = len(start)
    quality = np.zeros(n, np.uint8)
    return IntervalSeries(
        measure, start, start + DAY_US, np.full(n, amount, np.int64), np.ones(n), np.zeros(n, np.int64), quality
    )
