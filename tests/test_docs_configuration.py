"""Configuration that stands in documents is read by the product, and refused by nothing."""

import re
from pathlib import Path

import pytest

from devices.catalog import load_settings
from storage.influx.address import parse_address
from storage.ledger.engines import parse_url

ROOT = Path(__file__).parent.parent
BLOCKS = [
    pytest.param(block, id=f"{path.stem}-{number}")
    for path in sorted((ROOT / "docs").glob("*.md"))
    if path.stem in ("scaling", "postgresql", "docker")
    for number, block in enumerate(re.findall(r"```toml\n(.+?)```", path.read_text(), re.S), 1)
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_piece_of_meterhall_toml_is_valid(block, tmp_path):
    for name in re.findall(r'^\w+_file = "([^"/]+)"', block, re.M):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o600)
    (tmp_path / "meterhall.toml").write_text(block)
    (tmp_path / "site.toml").write_text('[[site]]\nid = "s"\nname = "S"\ntimezone = "UTC"\n')
    settings = load_settings(tmp_path)
    if settings.store_url:
        assert parse_address(re.sub(r"&?token_file=[^&]+", "", settings.store_url), {}).database == "meterhall"
    if settings.ledger_url:
        assert parse_url(settings.ledger_url).database


def test_the_capacity_tables_follow_from_the_figures():
    from benchmarks.capacity import FIGURES, SCALING, read_figures, with_tables

    text = SCALING.read_text("utf-8")
    assert with_tables(text, read_figures(FIGURES.read_text("utf-8"))) == text, "python -m benchmarks.capacity"


@pytest.mark.parametrize(
    ("value", "words"), [(36_336.4, "36,000"), (0.00137, "0.0014"), (7.45, "7.5"), (45.2, "45"), (0.0995, "0.10")]
)
def test_figures_have_two_digits(value, words):
    from benchmarks.capacity import short

    assert short(value) == words
