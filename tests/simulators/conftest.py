"""The demo's bureau, built once: the story is told on 2026-11-24 15:00 local time."""

import os
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from metering.clock import to_us
from simulators.config import load_bureau
from simulators.world import build

FOLDER = Path(__file__).parents[2] / "simulators" / "bureau"
STORY_AT = to_us(datetime(2026, 11, 24, 7, 0, tzinfo=UTC))
LINES = ("MAIN", "OFFICE", "HALL", "SCHOOL", "CANTEEN", "DEPOT")


@pytest.fixture(scope="session")
def folder():
    names = {f"LINE_{line}": str(5020 + i) for i, line in enumerate(LINES)} | {
        "DEMO_BROKER": "1883",
        "DEMO_DATA": "data",
    }
    before = dict(os.environ)
    os.environ.update(names)
    yield FOLDER
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def bureau(folder):
    return load_bureau(folder, story_at=STORY_AT)


@pytest.fixture(scope="session")
def young(bureau):
    """The bureau with counters that began lately: its world is quickly worked out."""
    return replace(bureau, anchor=date(2026, 10, 20))


@pytest.fixture(scope="session")
def world(bureau):
    return build(bureau, STORY_AT)
