"""A city is configuration like any other, and is worked out site by site."""

from collections import Counter

import pytest

from metering.clock import DAY_US, HOUR_US
from metering.explain import ExplainedError
from simulators.city import write_city
from simulators.config import load_bureau
from simulators.history import history

from .conftest import STORY_AT


def test_a_city_has_the_size_asked_for(tmp_path):
    write_city(tmp_path)
    installation = load_bureau(tmp_path, story_at=STORY_AT).installation
    assert (len(installation.buildings), len(installation.meters), len(installation.vehicles)) == (300, 3000, 300)
    units = Counter((m.connection, m.unit_id) for m in installation.meters if m.unit_id is not None)
    assert set(units.values()) == {1}


def test_a_small_city_has_a_history_of_every_site(tmp_path):
    write_city(tmp_path, buildings=7, meters=60, vehicles=4, anchor="2026-10-01")
    bureau = load_bureau(tmp_path, story_at=STORY_AT)
    batches = list(history(bureau, STORY_AT - 5 * DAY_US, STORY_AT))
    assert [{point.site for point in batch.points} for batch in batches] == [{"s000"}, {"s001"}]
    meters = {point.meter for batch in batches for point in batch.points}
    assert meters == {device.id for device in bureau.installation.devices()}
    assert all(len(batch) > 5 * DAY_US // HOUR_US * len(batch.points) for batch in batches)


def test_more_meters_than_buildings_can_hold_are_refused(tmp_path):
    with pytest.raises(ExplainedError, match="at most"):
        write_city(tmp_path, buildings=5, meters=100)
