"""Writes `static/tokens.css` from `tokens.toml`: `python -m api.page.tokens`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SOURCE = HERE / "tokens.toml"
TARGET = HERE / "static" / "tokens.css"


def load_tokens() -> dict[str, Any]:
    """The tokens as written in `tokens.toml`."""
    return tomllib.loads(SOURCE.read_text(encoding="utf-8"))


def colours(theme: dict[str, Any]) -> list[str]:
    """The custom properties of one theme."""
    lines = []
    for name, value in theme.items():
        if isinstance(value, dict):
            lines += [f"--{inner}: {colour};" for inner, colour in value.items()]
        else:
            lines.append(f"--{name}: {value};")
    return lines


def stylesheet(tokens: dict[str, Any]) -> str:
    """The style sheet of custom properties: light, dark by the reader's system, dark by choice."""
    type_, shape = tokens["type"], tokens["shape"]
    shared = [
        *(f"--type-{name}: {size / 16:g}rem;" for name, size in type_["sizes"].items()),
        *(f"--space-{step}: {size / 16:g}rem;" for step, size in tokens["space"].items()),
        *(f"--weight-{name}: {weight};" for name, weight in type_["weights"].items()),
        f"--leading: {type_['line_height']['en']};",
        f"--leading-zh: {type_['line_height']['zh']};",
        f"--family: {type_['family']};",
        f"--mono: {type_['mono']};",
        f"--radius: {shape['radius']}px;",
        f"--page: {shape['page'] / 16:g}rem;",
        f"--bar: {shape['bar_height'] / 16:g}rem;",
    ]

    def rule(selector: str, lines: list[str], pad: str = "") -> str:
        body = "\n".join(f"{pad}  {line}" for line in lines)
        return f"{pad}{selector} {{\n{body}\n{pad}}}\n"

    dark = ["color-scheme: dark;", *colours(tokens["dark"])]
    return (
        "/* Written by `python -m api.page.tokens` from tokens.toml; edit that. */\n"
        + rule(":root", ["color-scheme: light;", *colours(tokens["light"]), *shared])
        + "@media (prefers-color-scheme: dark) {\n"
        + rule(':root:not([data-theme="light"])', dark, "  ")
        + "}\n"
        + rule(':root[data-theme="dark"]', dark)
    )


if __name__ == "__main__":
    TARGET.write_text(stylesheet(load_tokens()), encoding="utf-8")
