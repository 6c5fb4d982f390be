import re

import pytest

from api.page.tokens import TARGET, load_tokens, stylesheet

TOKENS = load_tokens()


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_the_style_sheet_is_the_one_the_tokens_make():
    assert TARGET.read_text() == stylesheet(TOKENS), "run: python -m api.page.tokens"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_readable_on_every_ground(theme):
    colours = TOKENS[theme]
    for ground in ("canvas", "card", "wash"):
        for text in ("ink", "quiet", "accent"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (theme, text, ground)
        for name, colour in colours["state"].items():
            assert contrast(colour, colours[ground]) >= 4.5, (theme, name, ground)


@pytest.mark.parametrize(("theme", "least"), [("light", 2.95), ("dark", 4.0)])
def test_carriers_stand_out_from_the_card(theme, least):
    for name, colour in TOKENS[theme]["carrier"].items():
        assert contrast(colour, TOKENS[theme]["card"]) >= least, (theme, name)


def test_no_colour_is_written_outside_the_tokens():
    css = (TARGET.parent / "page.css").read_text()
    screen = css.split("@media print")[0]
    assert not re.findall(r"#[0-9A-Fa-f]{3,8}\b", screen)
