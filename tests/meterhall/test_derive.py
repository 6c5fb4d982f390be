"""The derivation job: whatever comes in, and in whatever order, the intervals are those of one whole computation."""

import threading
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterhall.derive import Deriver, few, merge
from metering.clock import DAY_US, HOUR_US, MINUTE_US, QUARTER_US, to_us
from metering.quantity import Carrier
from metering.reading import IntervalSeries, Measure, Origin, Point, ReadingBatch, Series
from metering.site import Building, Fact, Installation, Meter, Name, Site, Vehicle
from storage.opening import open_store

T0 = to_us(datetime(2026, 3, 28, tzinfo=UTC))
IN, OUT = "active_energy_import", "active_energy_export"


class Memory:
    """Readings and intervals in dictionaries: the store's contract in its simplest form."""

    def __init__(self):
        self.rows: dict[Point, dict[int, float]] = {}
        self.derived: dict[tuple[str, Measure], dict[int, tuple]] = {}
        self.reads = 0

    def put(self, point, at, value):
        self.rows.setdefault(point, {}).update(zip((int(a) for a in at), (float(v) for v in value), strict=True))

    def points(self):
        return list(self.rows)

    def series(self, point, start, end, *, margin=False):
        self.reads += 1
        at = np.array(sorted(self.rows.get(point, ())), np.int64)
        lo, hi = np.searchsorted(at, [start, end])
        at = at[max(lo - margin, 0) : hi + margin]
        value = np.array([self.rows[point][int(a)] for a in at], float)
        return Series(point, at, value, np.zeros(len(at), np.uint8))

    def write_intervals(self, resolution, series, span):
        for one in series:
            rows = self.derived.setdefault((resolution, one.measure), {})
            for start in [s for s in rows if span[0] <= s < span[1]]:
                del rows[start]
            for i in range(len(one)):
                assert span[0] <= one.start[i] < span[1]
                rows[int(one.start[i])] = (
                    int(one.end[i]),
                    int(one.amount[i]),
                    float(one.coverage[i]),
                    int(one.estimated[i]),
                    int(one.quality[i]),
                )

    def intervals(self, measures, resolution, start, end):
        out = []
        for measure in measures:
            rows = self.derived.get((resolution, measure), {})
            starts = sorted(s for s in rows if start <= s < end)
            columns = list(zip(*(rows[s] for s in starts), strict=True)) or [[], [], [], [], []]
            kinds = (np.int64, np.int64, float, np.int64, np.uint8)
            end_, amount, coverage, estimated, quality = (np.array(c, k) for c, k in zip(columns, kinds, strict=True))
            out.append(IntervalSeries(measure, np.array(starts, np.int64), end_, amount, coverage, estimated, quality))
        return out

    def measures(self):
        return [measure for _, measure in self.derived]

    def table(self):
        return {key: dict(sorted(rows.items())) for key, rows in self.derived.items() if rows}


def meter(id, building="hall", parent="", role="load", carrier=Carrier.ELECTRICITY, **more):
    more.setdefault("cadence_s", 900.0)
    return Meter(id, "plant", building, Name(id), carrier, role, "p", "mqtt://b/t", parent=parent, **more)


def installation(*meters, zone="Europe/Berlin", vehicles=()):
    return Installation(
        (Site("plant", Name("Plant"), zone),), (Building("hall", "plant", Name("H")),), meters, vehicles
    )


def point(meter_id, quantity=IN):
    return Point("plant", meter_id, quantity)


INCREMENTS = st.lists(
    st.sampled_from([0.0, 0.05, 0.4, 1.0, 1.0, 1.0, 2.0, 2.0, -0.1, -300.0, 300.0]), min_size=30, max_size=140
)


@settings(max_examples=18, deadline=None)
@given(
    INCREMENTS,
    st.sampled_from(["Europe/Berlin", "Asia/Shanghai", "Africa/Monrovia"]),
    st.sampled_from([900.0, None]),
    st.integers(0, 2**31),
    st.booleans(),
    st.booleans(),
)
def test_any_order_of_arrival_gives_the_same_bytes_as_one_rebuild(increments, zone, cadence, seed, facts, rated):
    random = np.random.default_rng(seed)
    t0 = to_us(datetime(1971, 12, 30, tzinfo=UTC)) if zone == "Africa/Monrovia" else T0
    spacing = random.choice([QUARTER_US, QUARTER_US, 5 * MINUTE_US, 3 * HOUR_US], len(increments))
    at = t0 + np.cumsum(spacing + random.integers(0, MINUTE_US, len(increments)))
    value = np.abs(500 + np.cumsum(increments))
    dated = ()
    if facts:
        half = int(at[len(at) // 2])
        dated = (Fact("ratio", half + 7, 40.0), Fact("sign", int(at[len(at) // 3]) + 5, -1.0))
        dated += (Fact("swap", half - HOUR_US, quantity=IN, last=float(value[len(at) // 2]), first=3.0),)
    world = installation(
        meter("main", "", role="grid", cadence_s=cadence, facts=dated, rated_power_w=4000.0 if rated else None),
        meter("sub", parent="main"),
        meter("pv", "hall", "sub", role="generation"),
        zone=zone,
    )
    rows = [(point("main"), int(a), v) for a, v in zip(at, value, strict=True)]
    rows += [(point("main", OUT), int(a) + 3, v * 2) for a, v in zip(at[::2], value[::2], strict=True)]
    rows += [(point("sub"), int(a) + 9, v / 2) for a, v in zip(at[5:], np.cumsum(np.abs(increments))[5:], strict=True)]
    rows += [(point("pv", OUT), int(a) + 11, v / 3) for a, v in zip(at, np.cumsum(np.abs(increments)), strict=True)]

    whole = Memory()
    for p, a, v in rows:
        whole.put(p, [a], [v])
    Deriver(world, whole).rebuild()

    live = Memory()
    deriver = Deriver(world, live)
    order = np.arange(len(rows))
    late = random.random(len(rows)) < 0.2
    order = np.concatenate([order[~late], random.permutation(order[late])])
    for chunk in np.array_split(order, 12):
        for i in chunk:
            p, a, v = rows[i]
            live.put(p, [a], [v])
            deriver.touch(p, a, a)
        if random.random() < 0.2:
            saved, deriver = deriver.pending(), Deriver(world, live)
            deriver.restore(saved)
        deriver.run_once(0)
    assert live.table() == whole.table()


def test_on_the_embedded_store_late_data_gives_the_bytes_of_one_rebuild_too(tmp_path):
    world = installation(meter("main", "", role="grid"), meter("sub", parent="main"), zone="Asia/Shanghai")
    at = T0 + np.arange(10 * 96) * QUARTER_US
    value = {"main": np.cumsum(np.full(len(at), 0.37)), "sub": np.cumsum(np.full(len(at), 0.11))}
    random = np.random.default_rng(4)
    tables = []
    for name, parts in (("whole", [np.arange(len(at))]), ("late", np.array_split(random.permutation(len(at)), 5))):
        store = open_store(f"duckdb:///{tmp_path / name}.duckdb")
        deriver = Deriver(world, store)
        for rows in parts:
            rows = np.sort(rows)
            for one in ("main", "sub"):
                zeros = np.zeros(len(rows), np.int32)
                flags, origins = np.zeros(len(rows), np.uint8), (Origin("t", T0, "", ""),)
                store.write(ReadingBatch((point(one),), zeros, at[rows], value[one][rows], flags, zeros, origins))
                for a in at[rows]:
                    deriver.touch(point(one), int(a), int(a))
            deriver.run_once(0)
        found = {r: store.intervals(sorted(store.measures()), r, 0, 2 * T0) for r in ("15min", "day")}
        tables.append(
            [
                (r, s.measure, *(column.tobytes() for column in (s.start, s.end, s.amount, s.coverage, s.estimated)))
                for r, rows in found.items()
                for s in rows
            ]
        )
        store.close()
    assert len(tables[0]) == 8 and tables[0] == tables[1]


def test_quarters_and_days_add_up_and_the_day_of_the_clock_change_has_23_hours():
    store, world = Memory(), installation(meter("main", "", role="grid"))
    at = T0 + np.arange(4 * 96) * QUARTER_US
    store.put(point("main"), at, np.cumsum(np.full(len(at), 0.3)))
    Deriver(world, store).rebuild()
    m = Measure("plant", "meter", "main", IN, "kWh")
    quarters, days = (store.intervals([m], r, 0, 2**60)[0] for r in ("15min", "day"))
    assert quarters.amount.sum() == days.amount.sum() == round(0.3 * (len(at) - 1) * 1000)
    assert (days.end - days.start).tolist()[:3] == [24 * HOUR_US, 23 * HOUR_US, 24 * HOUR_US]
    site = Measure("plant", "site", "plant", "electricity", "kWh")
    assert store.intervals([site], "day", 0, 2**60)[0].amount.tolist() == days.amount.tolist()


def test_a_live_reading_recomputes_its_neighbourhood_and_not_the_history():
    store, world = Memory(), installation(meter("main", "", role="grid"))
    at = T0 + np.arange(20 * 96) * QUARTER_US
    store.put(point("main"), at, np.cumsum(np.full(len(at), 0.3)))
    deriver = Deriver(world, store)
    deriver.rebuild()
    store.put(point("main"), [at[-1] + QUARTER_US], [1000.0])
    deriver.touch(point("main"), int(at[-1]) + QUARTER_US, int(at[-1]) + QUARTER_US)
    store.reads = 0
    assert deriver.run_once(0) < 60
    assert store.reads == 1
    assert deriver.run_once(0) == 0


def test_a_corrected_ct_ratio_changes_the_derived_data_from_its_date_and_no_reading():
    store = Memory()
    at = T0 + np.arange(4 * 96) * QUARTER_US
    store.put(point("main"), at, np.arange(len(at)))
    before = installation(meter("main", "", role="grid", facts=(Fact("ratio", 0, 20.0),)))
    deriver = Deriver(before, store)
    deriver.rebuild()
    raw = dict(store.rows[point("main")])
    facts = (Fact("ratio", 0, 20.0), Fact("ratio", T0 + DAY_US, 40.0))
    deriver.reload(installation(meter("main", "", role="grid", facts=facts)))
    deriver.run_once(0)
    site = Measure("plant", "site", "plant", "electricity", "kWh")
    amounts = store.intervals([site], "15min", T0, T0 + 2 * DAY_US)[0].amount
    assert set(amounts[:96]) == {20_000} and set(amounts[96:]) == {40_000}
    assert store.rows[point("main")] == raw


def test_a_sign_fact_takes_the_other_counter_from_its_date():
    store = Memory()
    at = T0 + np.arange(2 * 96) * QUARTER_US
    store.put(point("main"), at, np.arange(len(at)) * 1.0)
    store.put(point("main", OUT), at, np.arange(len(at)) * 3.0)
    world = installation(meter("main", "", role="grid", facts=(Fact("sign", T0 + DAY_US, -1.0),)))
    Deriver(world, store).rebuild()
    m = Measure("plant", "meter", "main", IN, "kWh")
    amounts = store.intervals([m], "15min", 0, 2**60)[0].amount
    assert set(amounts[:96]) == {1000} and set(amounts[96:]) == {3000}


def test_a_vehicles_counters_are_derived_too_and_gauges_are_not():
    store = Memory()
    car = Vehicle("car", "plant", Name("Car"), "electric", "p", "mqtt://b/t")
    store.put(point("car", "odometer"), T0 + np.arange(20) * MINUTE_US, np.arange(20))
    store.put(point("car", "speed"), T0 + np.arange(20) * MINUTE_US, np.arange(20))
    Deriver(installation(vehicles=(car,)), store).rebuild()
    assert {m.name for m in store.measures()} == {"odometer"}


def test_a_run_that_fails_leaves_everything_pending():
    store, world = Memory(), installation(meter("main", "", role="grid"))
    store.put(point("main"), T0 + np.arange(9) * QUARTER_US, np.arange(9))
    deriver = Deriver(world, store)
    deriver.touch(point("main"), T0, T0 + 8 * QUARTER_US)
    write, store.write_intervals = store.write_intervals, None
    with pytest.raises(TypeError):
        deriver.run_once(0)
    assert deriver.pending() == [(str(point("main")), T0, T0 + 8 * QUARTER_US)]
    store.write_intervals = write
    assert deriver.run_once(0) > 0
    assert deriver.pending() == []


def test_touches_from_many_threads_are_all_kept():
    deriver = Deriver(installation(meter("main")), Memory())

    def touch(first):
        for i in range(first, 4000, 4):
            deriver.touch(point("main"), T0 + i * QUARTER_US, T0 + i * QUARTER_US)

    threads = [threading.Thread(target=touch, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = deriver.pending()
    assert min(row[1] for row in rows) == T0 and max(row[2] for row in rows) == T0 + 3999 * QUARTER_US


def test_what_was_decided_about_a_counter_can_be_asked_for():
    store, world = Memory(), installation(meter("main", "", role="grid"))
    store.put(point("main"), T0 + np.arange(9) * QUARTER_US, [500, 501, 502, 0, 1, 2, 3, 4, 5])
    deriver = Deriver(world, store)
    deriver.rebuild()
    assert [finding.code for _, finding in deriver.findings()] == ["counter.reset"]
    deriver.rebuild()
    assert len(deriver.findings()) == 1


def test_ranges_that_touch_become_one():
    assert merge([(5, 6), (0, 2), (1, 3), (6, 8)]) == [(0, 3), (5, 8)]


def test_many_scattered_touches_become_few_reads():
    scattered = [(T0 + k * DAY_US, T0 + k * DAY_US + HOUR_US) for k in range(300)]
    assert len(few(scattered)) <= 8
    assert few(scattered)[0][0] == T0 and few(scattered)[-1][1] == scattered[-1][1]
    assert few([(0, 1), (DAY_US, DAY_US + 1)]) == [(0, 1), (DAY_US, DAY_US + 1)]
