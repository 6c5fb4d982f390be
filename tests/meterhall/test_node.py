"""The data folder of one machine, opened."""

import pytest

from collector.decoders import profile_protocols
from devices.catalog import load_settings
from meterhall.node import open_node


@pytest.fixture
def configured(tmp_path):
    (tmp_path / "meterhall.toml").write_text("")
    (tmp_path / "site.toml").write_text('[[site]]\nid = "s"\nname = "S"\ntimezone = "UTC"\n')
    return load_settings(tmp_path, profile_ids=profile_protocols)


def test_the_token_is_made_once_and_for_the_owner_alone(configured):
    with open_node(configured) as node:
        token = node.admin_token
        assert node.findings == ()
    path = configured.data / "admin.token"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == token + "\n"
    with open_node(configured) as node:
        assert node.admin_token == token


@pytest.mark.parametrize("damage", [b"", b"short", b"\xb3" * 44, bytes(44)])
def test_a_damaged_token_is_made_anew_and_told_of(configured, damage):
    with open_node(configured) as node:
        old = node.admin_token
    (configured.data / "admin.token").write_bytes(damage)
    with open_node(configured) as node:
        assert len(node.admin_token) > 40
        assert node.admin_token != old
        assert "admin.token" in node.findings[0]
