"""The house's own rules."""

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "metering": set(),
    "devices": {"metering"},
    "storage": {"metering"},
    "analytics": {"metering"},
    "collector": {"metering", "devices", "storage"},
    "simulators": {"metering", "devices"},
    "api": {"metering", "devices", "storage", "analytics"},
    "grafana": {"metering"},  # dashboards as code, for development; reads api/page/tokens.toml as data
    # meterhall (command line, composition) may import all of them; nobody imports meterhall
}
PACKAGES = {*MAY_IMPORT, "meterhall"}
# Libraries that do I/O, and the only modules that may import them.
ONE_HOME = {
    "pymodbus": {"collector", "simulators"},
    "aiomqtt": {"simulators"},
    "mqtt5": {"collector"},
    "duckdb": {"storage"},
    "sqlalchemy": {"storage"},
    "alembic": {"storage"},
    "fastapi": {"api"},
    "argon2": {"api"},
    "iotcore": {"meterhall"},
    "zstandard": {"storage"},
    "grafana_client": {"meterhall"},
    "grafana_foundation_sdk": {"grafana"},
}
ANALYTICS_MAY = {
    "__future__", "abc", "bisect", "collections", "dataclasses", "datetime", "enum", "functools", "itertools",
    "math", "re", "typing", "zoneinfo", "numpy", "metering", "analytics",
}  # fmt: skip


def imports(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            yield from ((path, node.lineno, name.split(".")[0]) for name in names)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_inward(package):
    for path, line, top in imports(package):
        assert top not in PACKAGES or top in MAY_IMPORT[package] | {package}, (
            f"{path}:{line} imports {top}; {package} may import {sorted(MAY_IMPORT[package])}: "
            "move the shared part inward, or pass it in"
        )


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_each_library_for_io_has_one_home(package):
    for path, line, top in imports(package):
        assert top not in ONE_HOME or package in ONE_HOME[top], (
            f"{path}:{line} imports {top}, which lives in {sorted(ONE_HOME[top])}"
        )


def test_analytics_does_no_io():
    for path, line, top in imports("analytics"):
        assert top in ANALYTICS_MAY, f"{path}:{line} imports {top}; analytics gets data and now as arguments"


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_each_package_is_the_one_in_this_repository(package):
    found = importlib.util.find_spec(package)
    assert found
    assert found.origin == str(ROOT / package / "__init__.py")
    assert (ROOT / package / "__init__.py").read_text().strip() == "", "a package's __init__.py is empty"


def test_the_glossary_is_the_vocabulary():
    from meterhall.glossary import text

    assert (ROOT / "docs/glossary.md").read_text() == text(), "python -m meterhall.glossary > docs/glossary.md"


def test_each_version_of_the_changelog_is_a_release_that_left_a_data_folder():
    import re
    import tomllib

    versions = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == versions[0]
    for version in versions:
        assert list((ROOT / "tests/fixtures/releases").glob(f"{version}*")), f"no data folder of release {version}"
