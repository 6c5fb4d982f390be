"""Writes the dashboards: `python -m grafana.build`. One source for both languages; needs grafana-foundation-sdk."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.boards import building, collector, heatmap, meter, overview, vehicles, water
from grafana.frame import LANGUAGES

FOLDER = Path(__file__).parent / "dashboards"
BOARDS = {
    "overview": overview,
    "building": building,
    "meter": meter,
    "heatmap": heatmap,
    "water": water,
    "vehicles": vehicles,
    "collector": collector,
}


def dashboards() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each dashboard's file and its classic JSON."""
    for language in LANGUAGES:
        for name, module in BOARDS.items():
            built = module.board(language)
            yield FOLDER / language / f"{name}.json", _shown(json.loads(json.dumps(built, cls=JSONEncoder)))


# What the SDK writes of its own accord: for another kind of variable, or for Grafanas that are newer than 10.4.
IDLE: dict[str, Any] = {
    "auto": False,
    "auto_min": "10s",
    "auto_count": 30,
    "allowCustomValue": True,
    "placement": "inControlsMenu",
    "percentChangeColorMode": "standard",
    "selectionMode": "x",
    "perPage": 20,
}


def _shown(value: Any) -> Any:
    """Without what says nothing, and without the wish to tuck links and annotations away into a menu."""
    if isinstance(value, dict):
        return {key: _shown(each) for key, each in value.items() if key not in IDLE or IDLE[key] != each}
    return [_shown(each) for each in value] if isinstance(value, list) else value


def text_of(document: dict[str, Any]) -> str:
    """As it is committed."""
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def main() -> int:
    """Write all of them."""
    for path, document in dashboards():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text_of(document), encoding="utf-8")
        print(path.relative_to(FOLDER.parent.parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
