"""Cells of a CSV that spreadsheets cannot take for formulas."""

from __future__ import annotations

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def text_cell(text: str) -> str:
    """A text, quoted; one that would begin a formula gets an apostrophe before it. Numbers need none of this."""
    if text.startswith(FORMULA) or text.strip().startswith(FORMULA):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"'
