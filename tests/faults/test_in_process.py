"""The layers of the harness that need no process of their own, with small counts."""

import numpy as np
import pytest

from faults import disks, order, payloads, torn
from faults.values import payload_of


def test_whatever_a_device_sends_is_decoded_or_rejected():
    row = payloads.bombs_in_process(count=len(payloads.corpus()) * len(payloads.all_decoders()) + 1000, seed=5)
    assert row.passed, row.missed


@pytest.mark.slow
def test_damage_anywhere_in_the_data_folder_takes_nothing_else_away_and_invents_nothing(tmp_path):
    row = torn.torn_in_process(tmp_path, trials=150, seed=7, workers=2)
    assert row.count == 150
    assert row.passed, row.missed


@pytest.mark.slow
def test_each_file_call_may_fail_and_what_was_acknowledged_is_there_once(tmp_path):
    row = disks.calls_in_process(tmp_path)
    assert row.count > 300
    assert row.passed, row.missed


@pytest.mark.slow
def test_any_order_of_arrival_gives_the_sums_of_the_sorted_run(tmp_path):
    row = order.any_order(tmp_path, count=100_000, seed=3, points=20)
    assert row.passed, row.missed
    assert row.notes["shuffled"]["duplicate"] > 25_000
    assert row.notes["shuffled"]["conflict"] > 500


def test_the_shuffle_keeps_the_order_among_values_of_one_point_and_time():
    rng = np.random.default_rng(1)
    readings = order.sorted_run(5000, 10, rng)
    mixed = order.shuffled(readings, rng)
    assert len(mixed) > len(readings)
    first = {}
    for row in zip(mixed.point.tolist(), mixed.at.tolist(), mixed.value.tolist(), strict=True):
        values = first.setdefault(row[:2], [])
        if row[2] not in values:
            values.append(row[2])
    expected = {}
    for row in zip(readings.point.tolist(), readings.at.tolist(), readings.value.tolist(), strict=True):
        expected.setdefault(row[:2], []).append(row[2])
    assert first == expected


def test_the_image_holds_messages_at_every_stage(tmp_path):
    image = torn.build(tmp_path)
    assert image.messages - image.in_spool, "some are in the store alone"
    assert set(image.stages["spooled"]) <= image.in_spool
    assert {"meterhall.duckdb", "meterhall.duckdb.wal", "quarantine.sqlite", "ledger.sqlite"} <= set(image.files)
    assert payload_of(1, 2, torn.T0).startswith(b'{"ts":')
