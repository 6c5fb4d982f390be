"""kill -9 of the running collector under load, with a real broker and a ledger of its own."""

import pytest

from faults.kill import kill_loop

pytestmark = [pytest.mark.slow, pytest.mark.broker]


def test_twenty_kills_under_load_lose_double_and_invent_nothing_and_both_books_balance(tmp_path):
    row = kill_loop(tmp_path, kills=20, seed=3, launch=["--small"])
    assert row.count == 20
    assert (row.lost, row.doubled, row.invented) == (0, 0, 0), row.missed
    assert [words for words in row.missed if "ready after" not in words] == []
    assert row.notes["acknowledged"] > 1000
    assert row.notes["killed at"].get("before ready", 0) <= row.count / 2, "most kills hit a process at work"
