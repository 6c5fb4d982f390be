"""The grid of poll times, and the breaker: pure, so the clock is a number."""

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.modbus.patience import LINE_SHARE, LONGEST_REST_S, Breaker, Grid


def test_polls_keep_to_the_grid_however_late_each_one_is():
    grid = Grid(10.0, 100.0)
    at = []
    for now in (100.3, 110.9, 120.0, 139.0, 141.0):
        missed = grid.take(now)
        at.append((missed, grid.next))
    assert at == [(0, 110.0), (0, 120.0), (0, 130.0), (0, 140.0), (0, 150.0)]


def test_after_a_stall_the_missed_slots_are_counted_and_not_made_up_for():
    grid = Grid(10.0, 100.0)
    assert grid.take(157.0) == 5
    assert grid.next == 160.0


@settings(max_examples=100)
@given(period=st.floats(0.1, 3600), late=st.lists(st.floats(0, 1e5), max_size=20))
def test_every_slot_is_either_taken_or_missed(period, late):
    grid = Grid(period, 0.0)
    taken = missed = 0
    for delay in late:
        now = grid.next + delay
        missed += grid.take(now)
        taken += 1
        assert grid.next > now - 1e-6 * max(1.0, now)
    assert abs(grid.next - (taken + missed) * period) < 1e-6 * max(1.0, grid.next)


def test_a_breaker_opens_after_three_failures_and_closes_at_the_first_answer():
    breaker = Breaker()
    for now in (0.0, 10.0):
        breaker.failed(now, 0.5)
        assert breaker.state == "closed" and breaker.may_ask(now)
    breaker.failed(20.0, 0.5)
    assert breaker.state == "open" and not breaker.may_ask(20.1)
    assert breaker.may_ask(breaker.until) and breaker.state == "probing"
    breaker.answered()
    assert breaker.state == "closed" and breaker.failures == 0


def test_probes_become_rarer_up_to_a_minute():
    breaker, now, rests = Breaker(), 0.0, []
    for _ in range(12):
        breaker.failed(now, 0.01)
        if breaker.state == "open":
            rests.append(breaker.until - now)
            now = breaker.until
            assert breaker.may_ask(now)
    assert rests[:6] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    assert rests[-1] == LONGEST_REST_S


def test_a_dead_unit_takes_at_most_a_twentieth_of_the_lines_time():
    for timeout in (0.5, 1.0, 3.0):
        breaker, now, wasted = Breaker(), 0.0, 0.0
        start = None
        while now < 3600.0:
            if breaker.may_ask(now):
                now += timeout
                breaker.failed(now, timeout)
                if start is not None:
                    wasted += timeout
                elif breaker.state == "open":
                    start = now
            else:
                now = breaker.until
        assert start is not None
        assert wasted / (now - start) <= LINE_SHARE


def test_when_the_gateway_is_back_a_resting_unit_is_probed_at_once():
    breaker = Breaker()
    for _ in range(3):
        breaker.failed(0.0, 1.0)
    assert not breaker.may_ask(1.0)
    breaker.hurry(1.0)
    assert breaker.may_ask(1.0)
