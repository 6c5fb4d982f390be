"""`PEERS=1`: install the peers into an environment of its own, run them, write `peers.json`.

PEERS=1 python -m benchmarks.analytics
PEERS_HOME    where the environment goes (1.2 GB), by default ~/.cache/meterhall-peers
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

# opendsm 1.2.7 allows a multimethod in which scikit-fda cannot be imported
REQUIRED = ("opendsm==1.2.7", "multimethod<2", "lightgbm>=4.6,<5")
RESULTS = Path(__file__).parent / "peers.json"
ROOT = Path(__file__).parent.parent.parent


def run() -> None:
    """Run the peers on the real series and keep what they reached."""
    home = Path(os.environ.get("PEERS_HOME", Path.home() / ".cache" / "meterhall-peers"))
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *REQUIRED], check=True)
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}
    inside = Path(__file__).parent / "peers_inside.py"
    done = subprocess.run(
        [str(python), str(inside), str(ROOT)], check=True, stdout=subprocess.PIPE, env={**os.environ, **threads}
    )
    RESULTS.write_text(json.dumps(json.loads(done.stdout), indent=1) + "\n")


def results() -> dict | None:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else None
