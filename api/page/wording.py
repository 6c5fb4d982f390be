"""The page's words, in two languages, from `locale/*.toml`."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "locale"
LANGUAGES = ("en", "zh")


def flatten(table: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested tables as dotted keys."""
    out: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            out |= flatten(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = value
    return out


class Words:
    """The sentences of one language."""

    def __init__(self, language: str, texts: dict[str, str]) -> None:
        self.language = language
        self.texts = texts

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key with its placeholders filled; with `n`, its `.one` or `.other` form.

        Raises
        ------
        KeyError
            If there is no such key.
        """
        if key not in self.texts and "n" in values:
            key += ".one" if values["n"] in (1, "1") else ".other"
        return self.texts[key].format(**values)

    def has(self, key: str) -> bool:
        """Whether there is a text of that key."""
        return key in self.texts

    def joined(self, parts: list[str]) -> str:
        """Parts as an enumeration: "a, b and c", "a、b、c"."""
        if self.language == "zh" or len(parts) < 2:
            return "、".join(parts)
        return ", ".join(parts[:-1]) + " and " + parts[-1]

    def sentence(self, parts: list[str]) -> str:
        """Sentences in a row: with a space in English, without one in Chinese."""
        return ("" if self.language == "zh" else " ").join(part for part in parts if part)


@cache
def words(language: str) -> Words:
    """The words of a language, read once."""
    return Words(language, flatten(tomllib.loads((HERE / f"{language}.toml").read_text(encoding="utf-8"))))


def pick_language(asked: str | None, cookie: str | None, accept: str | None) -> str:
    """The language by URL, else cookie, else the browser's wish, else English."""
    for wish in (asked, cookie):
        if wish in LANGUAGES:
            return wish
    ranked: list[tuple[float, str]] = []
    for part in (accept or "").split(","):
        name, _, rest = part.strip().partition(";")
        try:
            weight = float(rest.partition("q=")[2] or 1)
        except ValueError:
            weight = 0.0
        if weight > 0 and name[:2].lower() in LANGUAGES:
            ranked.append((-weight, name[:2].lower()))
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else "en"
