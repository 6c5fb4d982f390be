"""Write the data folder that a release leaves behind: later versions must open it.

    python -m tests.make_release_fixture            # tests/fixtures/releases/<this version>/

Run it once for each version in CHANGELOG.md, with that version's code, before it is released; commit the result and
never write it again. `data.tar.gz` holds the configuration and the data folder (readings sealed and hot, a
conflict, duplicates, quarantine, events, intervals, messages waiting in the spool), `expected.json` what must be
found in it: before and after what waits is stored.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

from meterhall.node import open_node
from tests.filled import configure, contents, drain, fill, leave_waiting

FOLDER = Path(__file__).parent / "fixtures" / "releases"
MOST_BYTES = 300 << 10


def make(target: Path) -> None:
    """Write `data.tar.gz` and `expected.json` of this version into a folder."""
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary) / "plant"
        with open_node(configure(top)) as node:
            fill(node)
            leave_waiting(node)
            expected = {"at_start": contents(node)}
        packed = pack(top)
        with open_node(configure(top)) as node:
            drain(node)
            expected["when_stored"] = contents(node)
    if len(packed) > MOST_BYTES:
        sys.exit(f"the fixture has {len(packed):,} bytes; make it smaller than {MOST_BYTES:,}")
    target.mkdir(parents=True, exist_ok=True)
    (target / "data.tar.gz").write_bytes(packed)
    (target / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{target}: {len(packed):,} bytes")


def pack(top: Path) -> bytes:
    """A folder as tar.gz, without this machine's names and without secrets."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=9) as tar:
        for path in sorted(top.rglob("*")):
            if path.name == "admin.token":
                continue
            entry = tar.gettarinfo(path, arcname=str(path.relative_to(top)))
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            with path.open("rb") if path.is_file() else io.BytesIO() as file:
                tar.addfile(entry, file if path.is_file() else None)
    return out.getvalue()


if __name__ == "__main__":
    make(FOLDER / version("meterhall"))
