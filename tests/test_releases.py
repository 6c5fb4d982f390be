"""Data folders of every released version open, with the books and sums they had; newer ones are refused, untouched."""

import hashlib
import json
import re
import tarfile
from pathlib import Path

import pytest

from collector.decoders import profile_protocols
from devices.catalog import load_settings
from meterhall.node import open_node
from metering.explain import ExplainedError
from storage.formats import FILE, KNOWN, encode
from tests.filled import configure, contents, drain, fill

ROOT = Path(__file__).parent.parent
RELEASES = sorted((Path(__file__).parent / "fixtures" / "releases").glob("*/data.tar.gz"))


@pytest.fixture(params=RELEASES, ids=lambda path: path.parent.name)
def release(request, tmp_path):
    """A released version's folder, unpacked: its settings, and what it must hold."""
    with tarfile.open(request.param) as tar:
        tar.extractall(tmp_path, filter="data")
    expected = json.loads((request.param.parent / "expected.json").read_text(encoding="utf-8"))
    return load_settings(tmp_path, profile_ids=profile_protocols), expected


def known_to(version_wrote, now):
    """What the older version knew to tell, of what is found now."""
    if isinstance(version_wrote, dict):
        return {key: known_to(value, now[key]) for key, value in version_wrote.items()}
    return now


def as_json(found):
    return json.loads(json.dumps(found))


def test_a_release_opens_with_its_books_sums_and_events(release):
    settings, expected = release
    with open_node(settings) as node:
        assert node.findings == ()
        assert known_to(expected["at_start"], as_json(contents(node))) == expected["at_start"]
        drain(node)
        assert known_to(expected["when_stored"], as_json(contents(node))) == expected["when_stored"]


def test_a_release_goes_on_collecting_and_opens_again(release):
    settings, expected = release
    with open_node(settings) as node:
        drain(node)
        fill(node)
        found = contents(node)
        assert found["readings"] >= expected["when_stored"]["readings"]
    with open_node(settings) as node:
        assert contents(node) == found


def test_every_version_in_the_changelog_left_a_fixture():
    released = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released
    assert {path.parent.name for path in RELEASES} >= set(released)


@pytest.mark.parametrize("part", KNOWN)
def test_a_folder_of_a_newer_version_is_refused_with_the_mend_and_left_untouched(part, tmp_path):
    settings = configure(tmp_path)
    with open_node(settings) as node:
        fill(node, days=1)
    (settings.data / FILE).write_bytes(encode({**KNOWN, part: KNOWN[part] + 1}))
    before = fingerprint(settings.data)
    with pytest.raises(ExplainedError, match=f"its {part} has format.*run the newer Meterhall"), open_node(settings):
        pass
    assert fingerprint(settings.data) == before


def fingerprint(folder):
    """Names, contents, modes and times of everything in a folder."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(folder.rglob("*"))
    }
