"""`meterhall grafana push`, against a stand-in built from Grafana's documentation: see `tests.grafana.standin`."""

import json

import pytest
from typer.testing import CliRunner

from meterhall.cli import app
from meterhall.pushing import data_source, push
from metering.explain import ExplainedError
from storage.influx.address import Address, parse_address
from tests.filled import configure
from tests.grafana.standin import TOKEN, Grafana

ADDRESS = Address("influx", 8086, "meterhall", token="read-and-write")
BOARDS = 14


@pytest.fixture
def grafana():
    it = Grafana()
    yield it
    it.stop()


def states(grafana, source=None, **options):
    """What a push did, by state."""
    out = {}
    for step in push(grafana.url, TOKEN, source or data_source(ADDRESS, token="read"), **options):
        out[step.state] = out.get(step.state, 0) + 1
    return out


def test_everything_is_made_once_and_then_left_alone(grafana):
    assert states(grafana) == {"made": 1 + 2 + BOARDS}
    assert len(grafana.boards) == BOARDS
    assert {board["meta"]["folderUid"] for board in grafana.boards.values()} == {"meterhall-en", "meterhall-zh"}
    source = grafana.sources["meterhall-influxdb"]
    assert source["url"] == "http://influx:8086"
    assert source["jsonData"]["dbName"] == "meterhall"
    before = list(grafana.changes)
    assert states(grafana) == {"present": 1 + 2 + BOARDS}
    assert grafana.changes == before


def test_a_dry_run_changes_nothing_and_says_the_same(grafana):
    assert states(grafana, dry_run=True) == {"made": 1 + 2 + BOARDS}
    assert grafana.changes == []


def test_what_was_changed_is_put_back_and_the_rest_left_alone(grafana):
    states(grafana)
    grafana.boards["meterhall-water-en"]["dashboard"]["title"] = "Mine"
    grafana.boards["meterhall-water-zh"]["meta"]["folderUid"] = "elsewhere"
    grafana.sources["meterhall-influxdb"]["url"] = "http://old:8086"
    grafana.sources["meterhall-influxdb"]["jsonData"]["tlsSkipVerify"] = True
    assert states(grafana) == {"changed": 3, "present": 2 + BOARDS - 2}
    assert grafana.boards["meterhall-water-en"]["dashboard"]["title"] == "Water"
    assert grafana.sources["meterhall-influxdb"]["jsonData"]["tlsSkipVerify"] is True


def test_what_was_provisioned_from_files_is_left_and_said(grafana):
    states(grafana)
    grafana.boards["meterhall-water-en"]["meta"]["provisioned"] = True
    grafana.sources["meterhall-influxdb"] |= {"readOnly": True, "url": "http://other:8086"}
    steps = [step for step in push(grafana.url, TOKEN, data_source(ADDRESS)) if step.state == "left"]
    assert [step.what.split(",")[0] for step in steps] == ["the data source Meterhall", "the dashboard Water (en)"]
    assert all("provisioned" in step.reason for step in steps)


def test_a_new_token_is_written_when_asked(grafana):
    states(grafana)
    assert states(grafana, again=True) == {"changed": 1, "present": 2 + BOARDS}


def test_only_the_languages_asked_for(grafana):
    assert states(grafana, languages=("zh",)) == {"made": 1 + 1 + BOARDS // 2}


def test_a_source_names_the_secret_of_its_version_alone():
    two = data_source(ADDRESS, url="http://inside:8086")
    assert (two["url"], two["secureJsonData"]) == ("http://inside:8086", {"httpHeaderValue1": "Token read-and-write"})
    one = data_source(Address("h", 8086, "d", user="reader", password="pw"))
    assert (one["user"], one["secureJsonData"]) == ("reader", {"password": "pw"})
    assert "httpHeaderName1" not in one["jsonData"]
    assert "secureJsonData" not in data_source(Address("h", 8086, "d"))
    assert data_source(ADDRESS, user="u", password="p")["secureJsonData"] == {"password": "p"}


@pytest.mark.parametrize(
    ("url", "credential", "said"),
    [
        ("{url}", "wrong", "does not let us in"),
        ("http://127.0.0.1:9", TOKEN, "cannot be reached"),
        ("ftp://x", TOKEN, "is no address"),
        ("http://admin:secret@127.0.0.1:3000", TOKEN, "no secret in it"),
    ],
)
def test_what_is_wrong_is_said_with_the_mend(grafana, url, credential, said):
    with pytest.raises(ExplainedError, match=said) as error:
        list(push(url.format(url=grafana.url), credential, data_source(ADDRESS)))
    assert "secret@" not in str(error.value)


def test_a_fault_of_grafana_is_said(grafana):
    grafana.broken = 500
    with pytest.raises(ExplainedError, match="refuses: Server Error 500"):
        list(push(grafana.url, TOKEN, data_source(ADDRESS)))


def test_a_user_and_password_will_do(grafana):
    assert len(list(push(grafana.url, ("admin", "secret"), data_source(ADDRESS)))) == 1 + 2 + BOARDS


def test_the_command_says_what_it_does_and_no_secret(grafana, tmp_path, monkeypatch):
    configure(tmp_path, more='[store]\nurl = "influxdb://influx:8086/meterhall"\n')
    monkeypatch.setenv("METERHALL_INFLUX_TOKEN", "very-secret")
    (tmp_path / "token").write_text(TOKEN + "\n")
    command = [
        "grafana",
        "push",
        "--config",
        str(tmp_path),
        "--url",
        grafana.url,
        "--token-file",
        str(tmp_path / "token"),
    ]
    dry = CliRunner().invoke(app, [*command, "--dry-run"])
    assert (dry.exit_code, grafana.changes) == (0, [])
    assert "made     the dashboard Overview (en)" in dry.output
    done = CliRunner().invoke(app, [*command, "--json"])
    assert {row["state"] for row in json.loads(done.output)} == {"made"}
    assert "very-secret" not in dry.output + done.output
    assert TOKEN not in dry.output + done.output
    assert CliRunner().invoke(app, [*command, "--language", "fr"]).exit_code == 2
    monkeypatch.delenv("GRAFANA_TOKEN", raising=False)
    assert "--token-file" in CliRunner().invoke(app, command[:6]).output


def test_the_provisioned_source_is_the_one_that_dashboards_want():
    from importlib.resources import files

    text = files("grafana").joinpath("provisioning/datasources/meterhall.yaml").read_text("utf-8")
    assert "uid: meterhall-influxdb" in text
    assert "version: InfluxQL" in text
    assert parse_address("influxdb://h/d").database == "d"
