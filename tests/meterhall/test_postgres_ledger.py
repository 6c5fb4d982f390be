"""A whole node whose ledger is on a real PostgreSQL, from the configuration to the command line."""

import pytest
from typer.testing import CliRunner

from devices.catalog import ConfigurationError
from meterhall.backup import make_backup, read_manifest
from meterhall.cli import app
from meterhall.doctor import examine
from meterhall.node import open_node
from tests.filled import configure, contents, fill
from tests.postgres import PASSWORD, Postgres


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    try:
        yield server.start()
    finally:
        server.remove()


def with_ledger(folder, url, password=PASSWORD):
    folder.mkdir(exist_ok=True)
    (folder / "ledger.password").write_text(password + "\n")
    (folder / "ledger.password").chmod(0o600)
    return configure(folder, more=f'[ledger]\nurl = "{url}"\npassword_file = "ledger.password"\n')


@pytest.mark.slow
def test_a_node_keeps_its_ledger_there_and_a_backup_says_what_is_not_in_it(postgres, tmp_path):
    with open_node(configure(tmp_path / "file")) as node:
        fill(node)
        expected = contents(node)
    settings = with_ledger(tmp_path / "postgres", postgres.new_database())
    with open_node(settings) as node:
        fill(node)
        assert contents(node) == expected
        make_backup(node, tmp_path / "backup")
    assert not (settings.data / "ledger.sqlite").exists()
    assert "ledger.sqlite" not in read_manifest(tmp_path / "backup")["sha256"]
    with open_node(settings) as node:
        assert contents(node) == expected


@pytest.mark.slow
def test_the_ledger_moves_by_command_and_the_doctor_sees_it(postgres, tmp_path):
    url = postgres.new_database()
    folder = tmp_path / "site"
    with open_node(configure(folder)) as node:
        fill(node)
        expected = contents(node)
        events = len(node.ledger.events())
    with_ledger(folder, "")
    done = CliRunner().invoke(app, ["migrate", url, "--config", str(folder)])
    assert done.exit_code == 0 and f"{events} events" in done.output and PASSWORD not in done.output
    settings = with_ledger(folder, url)
    remarks = [each for each in examine(folder) if each.subject == "ledger"]
    assert [each.state for each in remarks] == ["ok"], remarks
    with open_node(settings) as node:
        assert contents(node) == expected
    again = CliRunner().invoke(app, ["migrate", url, "--config", str(folder)])
    assert again.exit_code == 2 and "is the ledger that is configured" in again.output
    with_ledger(folder, url, "a-wrong-one")
    (remark,) = [each for each in examine(folder) if each.subject == "ledger"]
    assert remark.state == "broken" and "a-wrong-one" not in str(remark)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('url = "postgresql://me:canary@db/x"', "holds a password"),
        ('url = "mysql://db/x"', 'write "postgresql://user@host:5432/database"'),
        ('url = "postgresql://db"', 'write "postgresql://user@host:5432/database"'),
        ('password = "canary"', "put it into password_file"),
        ('password_env = "NO_SUCH_VARIABLE"', "not set or empty"),
        ('urll = ""', 'did you mean "url"'),
    ],
)
def test_a_mistake_in_the_configuration_keeps_its_line_and_not_the_secret(tmp_path, lines, words):
    with pytest.raises(ConfigurationError) as told:
        configure(tmp_path, more=f"[ledger]\n{lines}\n")
    assert words in str(told.value) and "canary" not in str(told.value)
    assert "meterhall.toml:7" in str(told.value)
