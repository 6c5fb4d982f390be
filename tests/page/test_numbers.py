import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.page.numbers import LADDERS, UNIT_TEXT, UNKNOWN, count, exact, percent, share, typeset

TABLE = json.loads((Path(__file__).parent / "numbers.json").read_text())
THIN = "\u202f"


@pytest.mark.parametrize(("value", "unit", "text", "unit_text"), TABLE)
def test_a_number_is_set_as_the_table_says(value, unit, text, unit_text):
    assert typeset(value, unit) == (text, unit_text)


@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([*LADDERS, *UNIT_TEXT, "km"]))
@settings(max_examples=200, deadline=None)
def test_whatever_the_value_the_text_is_a_number_a_person_can_read(value, unit):
    text, _ = typeset(value, unit)
    assert "nan" not in text.lower() and "inf" not in text.lower() and "e" not in text
    if not math.isfinite(value) or abs(value) >= 1e18:
        assert text == UNKNOWN


@given(st.floats(min_value=0.0005, max_value=1e8), st.sampled_from(["kWh", "W", "m3"]))
@settings(max_examples=200, deadline=None)
def test_what_is_read_is_within_half_a_last_digit_of_what_is_meant(value, unit):
    text, unit_text = typeset(value, unit)
    factor = next((f for name, f in LADDERS.get(unit, ()) if name == unit_text), 1.0)
    read = float(text.replace(",", "")) * factor if "<" not in text else 0.0005
    assert read == pytest.approx(value, rel=0.006, abs=0.0006)


def test_a_share_is_never_rounded_up_to_the_whole():
    assert share(0.99996, "en") == f"99.9{THIN}%"
    assert share(1.0, "zh") == "100%"
    assert share(0.8234, "zh") == "82%"
    assert share(None, "en") == UNKNOWN


def test_per_cent_has_a_space_before_it_in_english_and_none_in_chinese():
    assert percent(-0.083, "en") == f"8{THIN}%"
    assert percent(0.083, "zh") == "8%"
    assert percent(0.001, "en") == f"<1{THIN}%"
    assert percent(float("nan"), "en") == UNKNOWN


def test_counts_and_readings_keep_every_digit():
    assert count(321070) == "321,070"
    assert exact(9473357.4) == "9,473,357.4"
    assert exact(-0.00001) == "0"
    assert exact(-12.5) == "−12.5"
