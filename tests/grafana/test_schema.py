"""The dashboards against Grafana's published types, of the oldest and of a new version: npm's @grafana/schema."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from grafana.build import FOLDER
from tests.influx import find

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
OLDEST, NEWER = "10.4.0", "11.6.0"
TYPESCRIPT = "5.9.3"
FILES = sorted(FOLDER.glob("*/*.json"))
OPTIONS = {
    "stat": "stat", "table": "table", "timeseries": "timeseries", "heatmap": "heatmap", "geomap": "geomap",
    "status-history": "statushistory",
}  # fmt: skip


@pytest.fixture(scope="module", params=[OLDEST, NEWER])
def types(request, tmp_path_factory):
    """A folder with TypeScript and one version of the types."""
    npm = find("npm", "npm")
    folder = tmp_path_factory.mktemp("types")
    (folder / "package.json").write_text('{"private": true}')
    packages = [f"@grafana/schema@{request.param}", f"typescript@{TYPESCRIPT}"]
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    shutil.copy(HERE / "schema.ts", folder / "schema.ts")
    return folder


def raw(folder):
    """Where the types of a version are."""
    found = next((folder / "node_modules/@grafana/schema/dist").rglob("dashboard_types.gen.d.ts"))
    return found.parent.parent.parent


def program(folder, boards):
    """A program that is right if the dashboards are; a key that the types do not know is an error, too.

    The target of an annotation is left out: the types know only that of Grafana's own annotations.
    """
    root = "./" + str(raw(folder).relative_to(folder))
    lines = [
        'import type { Widen } from "./schema";',
        f'import type {{ Dashboard }} from "{root}/dashboard/x/dashboard_types.gen";',
    ]
    for kind in sorted(set(OPTIONS.values())):
        (file,) = (raw(folder) / "composable" / kind / "panelcfg/x").glob("*.gen.d.ts")
        module = str(file.relative_to(folder)).removesuffix(".d.ts")
        lines.append(f'import type {{ Options as {kind} }} from "./{module}";')
    for i, board in enumerate(boards):
        for annotation in board["annotations"]["list"]:
            del annotation["target"]
        lines.append(f"export const board{i}: Widen<Dashboard> = {json.dumps(board, ensure_ascii=False)};")
        for j, panel in enumerate(board["panels"]):
            options = json.dumps(panel["options"], ensure_ascii=False)
            lines.append(f"export const options{i}_{j}: Widen<Partial<{OPTIONS[panel['type']]}>> = {options};")
    return "\n".join(lines)


def check(folder, text):
    """TypeScript's complaints."""
    (folder / "boards.ts").write_text(text, "utf-8")
    command = ["node_modules/.bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "--moduleResolution", "bundler",
               "--module", "esnext", "--target", "es2022", "boards.ts"]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    return [line for line in done.stdout.splitlines() if "error TS" in line]


def test_the_dashboards_are_what_the_types_say(types):
    boards = [json.loads(path.read_text("utf-8")) for path in FILES if path.parent.name == "en"]
    assert check(types, program(types, boards)) == []


def test_a_wrong_one_is_found(types):
    board = json.loads((FOLDER / "en/overview.json").read_text("utf-8"))
    board["panels"][0]["gridPos"]["h"] = "eleven"
    board["panels"][1]["options"]["colorMode"] = "valeu"
    complaints = " ".join(check(types, program(types, [board])))
    assert "'string' is not assignable to type 'number'" in complaints
    assert "valeu" in complaints
    board = json.loads((FOLDER / "en/overview.json").read_text("utf-8"))
    board["titel"] = "misspelt"
    assert "titel" in " ".join(check(types, program(types, [board])))
