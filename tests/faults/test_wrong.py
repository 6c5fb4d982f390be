"""The harness fails on products that are wrong on purpose."""

import pytest

from faults.report import Row
from faults.toys import TOYS
from faults.wrong import EXPECTED, caught


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize("toy", sorted(EXPECTED))
def test_a_wrong_toy_is_caught(tmp_path, toy):
    row = caught(tmp_path, toy, seed=1)
    assert getattr(row, EXPECTED[toy]) > 0
    assert row.passed
    assert row.verdict.startswith("caught")


def test_a_toy_that_is_not_caught_fails_the_run():
    row = Row("toy", caught_at="lost", doubled=3)
    assert (row.passed, row.verdict) == (False, "NOT CAUGHT")
    row.lost = 1
    assert (row.passed, row.verdict) == (True, "caught (lost)")


def test_each_toy_has_something_it_must_be_caught_at():
    assert set(EXPECTED) == set(TOYS)
