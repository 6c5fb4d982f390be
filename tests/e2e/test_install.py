"""Installed for good, upgraded in place, uninstalled: the data folder stays as it is."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def make(tmp_path):
    """`make TARGET PREFIX=...` in a copy of the checkout, as a newcomer has it."""
    copy = tmp_path / "checkout"
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    prefix = tmp_path / "prefix"

    def run(target, code=0):
        done = subprocess.run(
            ["make", "--no-print-directory", target, f"PREFIX={prefix}", f"PYTHON={sys.executable}"],
            cwd=copy,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    run.prefix, run.checkout = prefix, copy
    return run


def test_install_upgrade_in_place_and_uninstall(make, tmp_path):
    assert make("install").startswith("meterhall ")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}

    def meterhall(*arguments, code=0):
        done = subprocess.run(
            [make.prefix / "bin" / "meterhall", *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    site = tmp_path / "my-site"
    meterhall("init", site)
    assert meterhall("check", site).startswith("Valid: ")
    assert "eastron_sdm630" in meterhall("profiles")
    (tmp_path / "history.csv").write_text("time,kwh\n2020-01-01T00:00:00,1.5\n2020-01-01T01:00:00,2.5\n")
    how = ["--config", site, "--meter", "main-incomer", "--column", "kwh=active_energy_import:kWh", "--json"]
    assert json.loads(meterhall("import", "history.csv", *how))["stored"] == 2

    shutil.rmtree(make.checkout / "build", ignore_errors=True)
    toml = make.checkout / "pyproject.toml"
    toml.write_text(toml.read_text().replace('version = "0.1.0"', 'version = "0.1.1"'))
    assert make("install") == "meterhall 0.1.1\n", "the same command upgrades in place"
    assert json.loads(meterhall("import", "history.csv", *how))["duplicate"] == 2, "the data is as it was"
    meterhall("backup", tmp_path / "copy", "--config", site)

    make("uninstall")
    assert [path for path in make.prefix.rglob("*") if path.is_file()] == []
    assert (site / "data" / "meterhall.duckdb").exists(), "data folders stay"
    make("uninstall")
