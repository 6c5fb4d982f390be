"""Rejected payloads are listed, looked at and tried again, beside a running server and in a stopped folder."""

import json

import pytest
from typer.testing import CliRunner

from meterhall import rejected as module
from meterhall.cli import app
from meterhall.node import FolderInUse, open_node
from tests.filled import FIRST, POWER, configure, drain, message

STRANGER = """
[[meter]]
id = "stranger"
name = "New"
carrier = "electricity"
profile = "plain_json"
connection = "mqtt://b/plant/stranger"
"""


def run(folder, *arguments, code=0):
    done = CliRunner().invoke(app, [*arguments, "--config", str(folder)])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def folder(tmp_path):
    """Three payloads of a meter that is not configured yet, one that is no JSON."""
    with open_node(configure(tmp_path)) as node:
        some = [message(FIRST + i * 1_000_000, 10.0 + i, topic="plant/stranger") for i in range(3)]
        node.spool.append([*some, some[0]._replace(key="plant/main", payload=b"\x1b[2J\xff")])
        drain(node)
    return tmp_path


def test_they_are_listed_newest_first_and_filtered(folder):
    lines = run(folder, "quarantine", "list").splitlines()
    assert [line.split()[0] for line in lines] == ["4", "3", "2", "1"]
    rows = json.loads(run(folder, "quarantine", "list", "--reason", "unknown_device", "--limit", "2", "--json"))["rows"]
    assert [row["id"] for row in rows] == [3, 2]
    assert run(folder, "quarantine", "list", "--source", "nobody").strip() == "nothing is in quarantine"


def test_one_is_shown_with_its_payload_and_no_control_characters(folder):
    shown = run(folder, "quarantine", "show", "4")
    assert "\\x1b[2J\\xff" in shown
    assert "\x1b" not in shown
    assert json.loads(run(folder, "quarantine", "show", "4", "--json"))["hex"] == "1b5b324aff"
    assert "does not exist" in run(folder, "quarantine", "show", "99", code=1)


@pytest.mark.slow
def test_a_filter_is_tried_again_once_the_meter_is_configured(folder):
    (folder / "site.toml").write_text((folder / "site.toml").read_text() + STRANGER)
    said = json.loads(run(folder, "quarantine", "replay", "--reason", "unknown_device", "--json"))
    assert said == {"asked": 3, "taken": 3, "decoded": 3, "rejected_again": 0}
    from meterhall.configuring import read_settings

    with open_node(read_settings(folder)) as node:
        stored = node.store.series(POWER._replace(meter="stranger"), 0, 2**60)
        assert stored.value.tolist() == [10.0, 11.0, 12.0]
        assert stored.at.tolist() == [FIRST + i * 1_000_000 for i in range(3)], "with the time they had"
    again = json.loads(run(folder, "quarantine", "replay", "--reason", "unknown_device", "--json"))
    assert again["asked"] == 0, "what was tried again is not tried a third time by a filter"


def test_one_and_all_can_be_tried_again_and_are_rejected_again_with_a_reason(folder):
    assert json.loads(run(folder, "quarantine", "replay", "4", "99", "--json")) == {
        "asked": 2,
        "taken": 1,
        "decoded": 0,
        "rejected_again": 1,
    }
    assert "4 of 4 were put into the spool again" in run(folder, "quarantine", "replay", "--all")
    rows = json.loads(run(folder, "quarantine", "list", "--json"))["rows"]
    assert [row["replayed"] for row in rows].count(False) == 4, "the new entries of the second try"


def test_what_is_to_be_tried_again_must_be_said(folder):
    assert "--all" in run(folder, "quarantine", "replay", code=2)
    run(folder, "quarantine", "replay", "1", "--all", code=2)


def test_beside_a_running_server_the_same_is_asked_over_its_api(folder, monkeypatch):
    """Its answers are those of the real routes, over the folder's own quarantine."""
    from fastapi.testclient import TestClient

    from api.app import create_app
    from api.live import LiveFeed
    from api.services import Services

    settings = configure(folder)
    with open_node(settings) as node:
        taken = []

        class Collector:
            def replay(self, ids):
                taken.extend(ids)
                return len(ids)

        services = Services(
            settings.installation, node.store, node.ledger, node.quarantine, Collector(), LiveFeed(), node.admin_token,
            settings.data, FIRST,
        )  # fmt: skip
        client = TestClient(create_app(services), base_url="http://127.0.0.1")

        def ask(settings, method, path, body=None):
            headers = {"authorization": f"Bearer {node.admin_token}"}
            reply = client.request(method, path, json=body, headers=headers)
            assert reply.status_code == 200, reply.text
            return reply.json()

        def in_use(settings):
            raise FolderInUse("data", "is in use", "")

        monkeypatch.setattr(module, "ask", ask)
        monkeypatch.setattr(module, "open_node", in_use)
        monkeypatch.setattr(module, "PAGE", 2)
        assert [line.split()[0] for line in run(folder, "quarantine", "list").splitlines()] == ["4", "3", "2", "1"]
        assert "\\x1b[2J" in run(folder, "quarantine", "show", "4")
        assert json.loads(run(folder, "quarantine", "replay", "--all", "--json")) == {"asked": 4, "taken": 4}
        assert taken == [1, 2, 3, 4]
