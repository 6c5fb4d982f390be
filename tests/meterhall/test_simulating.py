"""A city from the command line: a configuration of its size, with its history, which the product then opens."""

import pytest

from meterhall.configuring import read_settings
from meterhall.node import open_node
from meterhall.simulating import fill, make_city
from metering.clock import QUARTER_US
from metering.explain import ExplainedError

WHERE = {"broker": "mqtt://127.0.0.1:1883", "first_port": 15_020}


def test_a_city_is_written_with_a_value_of_each_meter_a_quarter_hour_and_its_books_balance(tmp_path):
    make_city(tmp_path / "city", buildings=2, days=3, **WHERE)
    settings = read_settings(tmp_path / "city")
    stored = fill(settings, days=3)
    with open_node(settings) as node:
        total = node.books.snapshot()["total"]
        assert total["readings"]["stored"] == stored == node.store.count()
        assert node.books.balance() == []
        meters = {meter.id: meter for meter in settings.installation.meters}
        assert len(meters) == 20
        counters = [point for point in node.store.points() if point.meter in meters]
        assert {point.meter for point in counters} == set(meters)
        assert all("power" not in point.quantity for point in counters)
        for point in counters:
            series = node.store.series(point, 0, 2**62)
            assert len(series) == 3 * 96
            assert (series.at % QUARTER_US == 0).all()
        assert node.store.measures(), "its consumption is there, too"


def test_a_folder_that_has_a_configuration_is_not_written_over(tmp_path):
    (tmp_path / "site.toml").write_text("mine", encoding="utf-8")
    with pytest.raises(ExplainedError, match="there already"):
        make_city(tmp_path, buildings=1, days=1, **WHERE)
    assert (tmp_path / "site.toml").read_text(encoding="utf-8") == "mine"
