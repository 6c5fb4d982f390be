"""Series that are broken on purpose: none fails, and a refusal has a reason."""

import pytest

from benchmarks.analytics.broken import BREAKS, run


@pytest.mark.slow
def test_no_broken_series_fails_and_a_refusal_has_a_reason():
    tried, refused, failed = run(len(BREAKS))
    assert failed == []
    assert 0 < refused < tried / 2


@pytest.mark.slow
def test_none_of_two_hundred_broken_series_fails():
    assert run(200)[2] == []
