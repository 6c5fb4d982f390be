"""Retention: what the configuration does not keep is deleted, counted and told of; intervals stay."""

import logging

import pytest

from api.disk import disk_of
from devices.catalog import ConfigurationError
from meterhall.forgetting import forget_what_is_old
from meterhall.node import open_node
from metering.clock import DAY_US
from metering.reading import Point
from tests.filled import FIRST, MAIN, POWER, batch_record, configure, contents, drain, fill

pytestmark = pytest.mark.slow

AT, SPEED = Point("plant", "car", "latitude"), Point("plant", "car", "odometer")


def test_everything_is_kept_by_default(tmp_path):
    with open_node(configure(tmp_path)) as node:
        fill(node)
        before = contents(node)
        assert forget_what_is_old(node, FIRST + 9000 * DAY_US) == 0
        assert contents(node) == before


def test_positions_go_after_ninety_days_and_nothing_else(tmp_path):
    with open_node(configure(tmp_path)) as node:
        some = [(point, FIRST + day * DAY_US, 40.0 + day) for point in (AT, SPEED) for day in range(100)]
        node.spool.append([batch_record(some, FIRST + 100 * DAY_US)])
        drain(node)
        assert forget_what_is_old(node, FIRST + 100 * DAY_US) == 10
        assert (node.store.count(AT), node.store.count(SPEED)) == (90, 100)


def test_raw_readings_go_after_the_days_that_are_set_and_intervals_stay(tmp_path, caplog):
    with open_node(configure(tmp_path, more="[retention]\nraw_days = 92\n")) as node:
        fill(node, days=5)
        before = contents(node)
        late = FIRST + 94 * DAY_US
        with caplog.at_level(logging.INFO):
            gone = forget_what_is_old(node, late)
        after = contents(node)
        assert gone == 2 * 2 * 96 == before["readings"] - after["readings"]
        assert f"{gone:,} readings of before 2026-09-03 are deleted" in caplog.text
        assert after["intervals"] == before["intervals"]
        assert after["books"] == before["books"], "they tell what came in, not what is kept"
        assert disk_of(tmp_path, node.store.statistics()).forgotten == gone
        node.deriver.rebuild()
        assert contents(node)["intervals"] == before["intervals"], "deriving anew does not take them away"
        node.spool.append([batch_record([(MAIN, FIRST + 1, 5.0), (POWER, FIRST + 1, 5.0)], late)])
        drain(node)
        node.deriver.run_once(late)
        assert contents(node)["intervals"] == before["intervals"], "nor does a reading that comes late"


def test_days_that_are_too_few_are_refused_with_the_mend(tmp_path):
    with pytest.raises(ConfigurationError, match=r"raw_days: is 30; keep 92 days or more, or 0 for ever"):
        configure(tmp_path, more="[retention]\nraw_days = 30\n")
