"""Without the system's time zone data the results are the same: the package tzdata has them."""

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import tempfile, json
from pathlib import Path
from zoneinfo import TZPATH, available_timezones
from meterhall.node import open_node
from tests.filled import configure, contents, fill
with open_node(configure(Path(tempfile.mkdtemp()))) as node:
    fill(node)
    found = contents(node)
found["edges"] = [node.deriver.installation.timezone_of("main")]
from analytics.edges import local_edges
found["days"] = {
    zone: [int(edge) for edge in local_edges(zone, 1_743_000_000_000_000, 1_763_000_000_000_000, "day")]
    for zone in ("Asia/Shanghai", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Africa/Casablanca")
}
print(json.dumps([list(TZPATH), len(available_timezones()) > 400, found]))
"""


def results(**environment):
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    import json

    return json.loads(done.stdout)


def test_an_empty_or_missing_time_zone_folder_changes_no_result(tmp_path):
    _, complete, with_system = results()
    assert complete
    for path in ("", str(tmp_path)):
        searched, complete, without = results(PYTHONTZPATH=path)
        assert searched == ([path] if path else [])
        assert complete, "configuration check knows every zone"
        assert without == with_system
