"""`analytics` by itself, as docs/analytics.md shows it."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
BLOCK = """
import importlib.abc, sys
class Only(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        top = name.split(".")[0]
        standard = top in sys.stdlib_module_names or top.startswith("_sysconfigdata")
        if not standard and top not in {"numpy", "analytics", "metering"}:
            raise ImportError(f"{name} is not there")
sys.meta_path.insert(0, Only())
"""


def test_the_example_runs_where_there_is_nothing_but_numpy():
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "analytics.md").read_text(), re.S)[1]
    done = subprocess.run([sys.executable, "-c", BLOCK + code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1
    assert "explain it" in lines[0]
    assert 1100 < float(re.search(r"([\d.]+) kWh, ", lines[0])[1]) < 1800  # 12 kW for 120 h, said to be 1,440 kWh
