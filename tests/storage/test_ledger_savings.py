"""Projects, adjustments and their baselines in the ledger: rows are only ever added."""

from dataclasses import replace

import pytest

from metering.explain import Finding
from metering.reading import Measure
from metering.site import Name
from storage.ledger.savings import AdjustmentRow, ModelRow, ProjectRow, in_force

HALL = Measure("plant", "building", "hall", "electricity", "kWh")
LAMPS = ProjectRow(
    "lamps",
    Name("New lamps", "新灯"),
    "C",
    (HALL,),
    0,
    100,
    100,
    110,
    None,
    Name("LED", "更换 LED"),
    "energy office",
    1,
)


@pytest.fixture
def tables(ledger):
    return ledger.savings


def test_a_mended_project_is_a_new_row_and_the_last_one_counts(tables):
    first = tables.put_project(LAMPS)
    assert first == replace(LAMPS, row=first.row) and first.row > 0
    other = tables.put_project(replace(LAMPS, id="pumps"))
    mended = tables.put_project(replace(LAMPS, reporting_end=200, at=2))
    assert tables.projects() == [mended, other] and tables.project("lamps") == mended
    assert tables.project_rows("lamps") == [first, mended] and tables.project("nothing") is None


def test_an_adjustment_is_corrected_by_a_row_that_names_it_and_taken_back_by_zero(tables):
    first = tables.put_adjustment(AdjustmentRow("lamps", 110, 120, 30.0, "night shift", "energy office", 3))
    second = tables.put_adjustment(AdjustmentRow("lamps", 130, 140, -5.0, "closed", "energy office", 4))
    mended = tables.put_adjustment(replace(first, amount=20.0, corrects=first.row, row=0))
    rows = tables.adjustments("lamps")
    assert rows == [first, second, mended] and in_force(rows) == [second, mended]
    tables.put_adjustment(replace(second, amount=0.0, corrects=second.row, row=0))
    assert in_force(tables.adjustments("lamps")) == [mended]


def test_the_newest_baseline_counts_and_its_model_comes_back_to_the_bit(tables):
    quality = {"cvrmse": 0.1234567890123456, "guideline14": "pass"}
    row = ModelRow("lamps", 1, "hourly", 5, "3-abc", quality, (Finding("baseline.gaps", "warning", "some", {"n": 1}),))
    assert tables.model("lamps") is None
    tables.put_model(row, {"kind": "none"})
    kept = tables.put_model(replace(row, fitted_at=6), {"kind": "hourly", "weights": [0.1, 1 / 3]})
    assert tables.model("lamps") == kept and kept.quality == quality
    assert tables.body(kept.row) == {"kind": "hourly", "weights": [0.1, 1 / 3]}
