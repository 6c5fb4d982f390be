"""The harness fails on products that are wrong on purpose."""

import pytest

from faults.toys import TOYS
from faults.wrong import EXPECTED, caught


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize("toy", sorted(EXPECTED))
def test_a_wrong_toy_is_caught(tmp_path, toy):
    row = caught(tmp_path, toy, seed=1)
    assert getattr(row, EXPECTED[toy]) > 0
    assert row.verdict == "FAIL"


def test_each_toy_has_something_it_must_be_caught_at():
    assert set(EXPECTED) == set(TOYS)
