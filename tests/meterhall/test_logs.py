"""The log rotates, can be read by a program, and never holds a secret; nor does anything else that is printed."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from devices.settings import LogSettings, Secret
from meterhall.logs import set_up_logging
from metering.explain import ExplainedError
from tests.conftest import free_port, wait_until
from tests.filled import configure

pytestmark = pytest.mark.slow

CANARY = "canary-Zx81-do-not-print"


@pytest.fixture(autouse=True)
def logging_as_before():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers, root.level = handlers, level


def test_files_rotate_and_as_many_are_kept_as_are_wanted(tmp_path):
    path = tmp_path / "logs" / "meterhall.log"
    set_up_logging(LogSettings(file=str(path), max_mb=1, keep=2))
    for _ in range(5 * 1100):
        logging.getLogger("meterhall").info("x" * 1000)
    sizes = {each.name: each.stat().st_size for each in path.parent.iterdir()}
    assert sorted(sizes) == ["meterhall.log", "meterhall.log.1", "meterhall.log.2"]
    assert max(sizes.values()) <= 1 << 20
    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}


def test_each_line_is_a_json_document_where_that_is_wanted(tmp_path):
    path = tmp_path / "meterhall.log"
    set_up_logging(LogSettings(file=str(path), format="json", level="warning"))
    log = logging.getLogger("meterhall.intake")
    log.info("not at this level")
    log.warning("first\nsecond line, 总表")
    try:
        raise ValueError("a fault")
    except ValueError:
        log.exception("it failed")
    first, second = map(json.loads, path.read_text("utf-8").splitlines())
    assert (first["level"], first["logger"], first["message"]) == (
        "warning",
        "meterhall.intake",
        "first\nsecond line, 总表",
    )
    assert "ValueError: a fault" in second["trace"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_secret_is_hidden_wherever_it_stands(tmp_path, form):
    path = tmp_path / "meterhall.log"
    set_up_logging(LogSettings(file=str(path), format=form), [CANARY, ""])
    log = logging.getLogger("meterhall")
    log.warning("connecting as %s", CANARY)
    log.warning(f"mqtt://user:{CANARY}@host and {Secret(CANARY)}")
    try:
        raise OSError(f"refused {CANARY}")
    except OSError:
        log.exception("it failed")
    text = path.read_text()
    assert CANARY not in text
    assert "connecting as ***" in text


def test_a_log_that_cannot_be_written_is_said_with_the_mend(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ExplainedError, match=r"mend \[log\] file"):
        set_up_logging(LogSettings(file=str(tmp_path / "file" / "meterhall.log")))


@pytest.fixture
def secret_folder(tmp_path):
    """A configuration whose broker has a password, and logs everything."""
    port = free_port()
    (tmp_path / "broker.password").write_text(CANARY)
    (tmp_path / "broker.password").chmod(0o600)
    more = 'username = "u"\npassword_file = "broker.password"\n[log]\nlevel = "debug"\nfile = "meterhall.log"\n'
    configure(tmp_path, port=port, more=more)
    return tmp_path, port


def test_no_command_no_route_and_no_log_line_holds_a_secret(secret_folder):
    folder, port = secret_folder
    command = [sys.executable, "-m", "meterhall"]
    server = subprocess.Popen(
        [*command, "run", "--config", folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said = []

    def get(path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
                return reply.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            return error.read().decode("utf-8", "replace")
        except OSError:
            return None

    try:
        wait_until(lambda: get("/health/live"), 30)
        wait_until(lambda: "nobody listens" in (get("/api/v1/lines") or ""), 30)
        paths = [path for path, methods in json.loads(get("/openapi.json"))["paths"].items() if "get" in methods]
        assert len(paths) > 25
        for path in [*paths, "/", "/collector", "/vehicles", "/metrics"]:
            if not path.endswith("/live") or path.startswith("/health"):
                said.append(get(re.sub(r"{.*?}", "main", path)) or "")
        token = (folder / "data" / "admin.token").read_text().strip()
        for arguments in (["check", folder], ["check", folder, "--json"], ["doctor", "--config", folder, "--json"],
                          ["quarantine", "list", "--config", folder],
                          ["backup", folder / "copy", "--config", folder, "--json"]):  # fmt: skip
            done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False)
            said.append(done.stdout + done.stderr)
    finally:
        server.send_signal(signal.SIGTERM)
        said.append(server.communicate(timeout=30)[0])
    said += [path.read_text("utf-8", "replace") for path in [folder / "meterhall.log", *folder.glob("copy/**/*.toml")]]
    text = "\n".join(said)
    assert "meterhall.mqtt" in text, "the log is there"
    assert CANARY not in text
    assert token not in text
    held = [path for path in (folder / "copy").rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert held == [], "nor does a backup hold it"


@pytest.mark.parametrize(
    "line",
    [
        f'password = "{CANARY}"',
        f'password = ["{CANARY}"]',
        f'url = "mqtt://u:{CANARY}@h:1"',
        f'url = "tcp://u:{CANARY}@h:1"',
        f'url = "mqtt://{CANARY}@h:port"',
        f'password_env = "{CANARY[:6]}"\npassword = "{CANARY}"',
    ],
)
def test_a_mistake_about_a_secret_does_not_show_it(tmp_path, line):
    configure(tmp_path)
    url = "" if line.startswith("url") else 'url = "mqtt://h:1"\n'
    (tmp_path / "meterhall.toml").write_text(f'[[broker]]\nid = "b"\n{url}{line}\n')
    command = [sys.executable, "-m", "meterhall", "check", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 2, done.stdout
    assert CANARY not in done.stdout + done.stderr
    assert json.loads(done.stdout)["problems"]
