"""The page's words: both languages whole, one term an idea, Chinese set as Chinese."""

import re
import string
from pathlib import Path

import pytest

from api.page.wording import LANGUAGES, pick_language, words
from metering.quantity import QUANTITIES, Carrier, Quality

PAGE = Path(__file__).parents[2] / "api" / "page"
EN, ZH = words("en").texts, words("zh").texts
# One idea, one term: what is said, and what is not said for it.
GLOSSARY_ZH = {
    "表计": ("仪表", "计量表", "电表读数"), "采集": ("收集",), "读数": ("度数", "数值读取"), "建筑": ("楼宇", "大楼"),
    "互感器变比": ("CT比",), "缓冲队列": ("假脱机",), "占比": ("份额",), "平常": ("通常水平", "惯常"),
    "报文": ("消息体",), "隔离区": ("检疫",),
}  # fmt: skip
GLOSSARY_EN = {
    "reading": ("measurement", "datapoint"), "counter": ("totaliser", "index value"), "consumption": ("usage",),
    "unit": ("slave",), "usual": ("baseline",), "sub-meter": ("submeter",),
}  # fmt: skip


# There the field's own word is told: auditors look for it.
OF_BASELINES = ("fit.", "finding.", "try.", "because.", "why_kind.", "incidents.still_learning", "savings.", "saving.")


def placeholders(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_have_the_same_keys():
    assert set(EN) == set(ZH)


@pytest.mark.parametrize("key", sorted(EN))
def test_a_text_has_the_same_placeholders_in_both_languages(key):
    assert placeholders(EN[key]) == placeholders(ZH[key])


def test_chinese_is_set_as_chinese():
    for key, text in ZH.items():
        plain = re.sub(r"\{\w+\}", "字", text)
        assert not re.search(r"[\u4e00-\u9fff][,;:!?]", plain), f"{key}: half-width punctuation after a character"
        assert not re.search(r"\s[度%]", text), f"{key}: a space before 度 or %"
        if key not in ("dated.rescale", "dated.swap", "books.equation"):
            assert not re.search(r"[\u4e00-\u9fff] +[\u4e00-\u9fff]", plain), f"{key}: a space between characters"


def test_every_idea_has_one_term():
    for glossary, texts in ((GLOSSARY_ZH, ZH), (GLOSSARY_EN, EN)):
        for term, others in glossary.items():
            assert any(term in text.lower() for text in texts.values()), f"{term} is not used"
            for key, text in texts.items():
                if term == "usual" and key.startswith(OF_BASELINES):
                    continue
                assert not any(other.lower() in text.lower() for other in others), f"{key}: say {term}"


def test_every_text_that_is_asked_for_exists():
    source = "".join(path.read_text() for path in [*PAGE.glob("*.py"), *PAGE.glob("templates/*.html")])
    scripts = "".join(path.read_text() for path in PAGE.glob("static/*.js"))
    asked = set(re.findall(r"(?:\bt|words)\(\s*[\"']([a-z_0-9.]+)[\"']", source))
    for key in asked:
        if key.endswith((".", "_")):
            assert any(known.startswith(key) for known in EN), f"{key}… has no text"
            continue
        assert key in EN or f"{key}.other" in EN, f"{key} has no text"
    for key in re.findall(r"say\(\"([a-z_]+)\"", scripts):
        assert f"js.{key}" in EN, f"js.{key} has no text"


def test_every_quantity_carrier_and_quality_has_a_name():
    assert all(f"quantity.{name}" in EN for name in QUANTITIES)
    assert all(f"carrier.{carrier}" in EN for carrier in Carrier)
    assert all(f"quality_word.{int(quality)}" in EN for quality in Quality)


def test_one_thing_needs_you_and_two_things_need_you():
    assert words("en")("today.needs", n=1) == "1 thing needs you."
    assert words("en")("today.needs", n=2) == "2 things need you."


@pytest.mark.parametrize(
    ("asked", "cookie", "accept", "expected"),
    [
        ("zh", "en", "en", "zh"), (None, "zh", "en", "zh"), (None, None, "de, zh-CN;q=0.8, en;q=0.5", "zh"),
        (None, None, "en-GB,en;q=0.9,zh;q=0.8", "en"), (None, None, None, "en"), ("xx", "yy", "q=;;,", "en"),
        (None, None, "zh;q=0", "en"),
    ],
)  # fmt: skip
def test_the_language_is_the_address_then_the_cookie_then_the_browsers_wish(asked, cookie, accept, expected):
    assert pick_language(asked, cookie, accept) == expected
    assert expected in LANGUAGES
