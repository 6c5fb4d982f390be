"""Colours from the shared design tokens, `api/page/tokens.toml`: those for a dark ground, as Grafana has it."""

from __future__ import annotations

import tomllib
from pathlib import Path

_DARK = tomllib.loads((Path(__file__).parent.parent / "api/page/tokens.toml").read_text("utf-8"))["dark"]
CARRIER: dict[str, str] = _DARK["carrier"]
STATE: dict[str, str] = _DARK["state"]
INK, QUIET, LINE, ACCENT = (_DARK[name] for name in ("ink", "quiet", "line", "accent"))
