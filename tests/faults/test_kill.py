"""kill -9 of the running collector under load, with a real broker and a ledger of its own."""

import pytest

from faults.kill import kill_loop
from faults.untimed import without_time
from faults.upkeep import backup_under_load

pytestmark = [pytest.mark.slow, pytest.mark.broker]


def test_twenty_kills_under_load_lose_double_and_invent_nothing_and_both_books_balance(tmp_path):
    row = kill_loop(tmp_path, kills=20, seed=3, launch=["--small"])
    assert row.count == 20
    assert (row.lost, row.doubled, row.invented) == (0, 0, 0), row.missed
    assert [words for words in row.missed if "ready after" not in words] == []
    assert row.notes["acknowledged"] > 1000
    assert row.notes["killed at"].get("before ready", 0) <= row.count / 2, "most kills hit a process at work"


def test_a_message_without_a_time_that_is_delivered_again_is_no_second_reading(tmp_path):
    row = without_time(tmp_path, kills=2, seed=3)
    assert row.passed, row.missed
    assert row.notes["delivered again by the broker"] > 0


def test_a_restored_copy_of_a_running_product_has_equal_books_and_sums(tmp_path):
    row = backup_under_load(tmp_path, times=1, seed=3)
    assert row.passed, row.missed
