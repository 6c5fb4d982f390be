"""docker-compose.yml and what goes with it, read as a program reads it: no container engine is needed."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from meterhall.brokercheck import check_broker
from meterhall.stack.__main__ import app
from meterhall.stack.influx import READERS
from meterhall.stack.vault import OWNERS
from tests.influx import find

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
ONCE = {"setup", "prepare"}
EXAMPLE = dict(
    line.split("=", 1) for line in (ROOT / ".env.example").read_text().splitlines() if line and not line.startswith("#")
)
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::-([^}]*))?\}")


def texts(value):
    """Every text in a piece of the file."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        return [text for each in value for text in texts(each)]
    return [value] if isinstance(value, str) else []


def mounts(service):
    """{target: (source, mode)} of a service's volumes, with the defaults of variables."""
    found = {}
    for volume in SERVICES[service]["volumes"]:
        source, target, *mode = VARIABLE.sub(lambda match: match.group(2) or "", volume).split(":")
        found[target] = (source, mode[0] if mode else "rw")
    return found


def test_it_has_the_services_and_no_name_of_its_own():
    assert set(SERVICES) == {*ONCE, "mosquitto", "influxdb", "grafana", "server", "simulators"}
    assert "name" not in COMPOSE and "version" not in COMPOSE


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_is_pinned_bounded_and_has_no_more_rights_than_it_needs(name):
    service = SERVICES[name]
    version = service["image"].rpartition(":")[2]
    assert re.match(r"\d+\.\d+\.\d+(-\w+)?$", version), service["image"]
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    allowed = {"setup": {"CHOWN", "DAC_OVERRIDE"}, "prepare": {"CHOWN", "SETUID", "SETGID"}}.get(name, set())
    assert set(service.get("cap_add", [])) == allowed
    assert service["mem_limit"] and service["cpus"] and service["pids_limit"] and service["logging"]["options"]
    assert "privileged" not in service and service.get("network_mode", "none") == "none"
    uid, gid = (int(number) for number in service["user"].split(":"))
    assert (uid, gid) == ((0, 0) if name in ONCE else tuple(OWNERS[name]))


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONCE))
def test_a_service_that_lasts_is_watched_and_started_again(name):
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    check = service["healthcheck"]
    assert check["test"][0] == "CMD" and check["interval"] and check["timeout"] and check["retries"]
    assert [target for target, (source, mode) in mounts(name).items() if mode == "rw" and "/" not in source]


@pytest.mark.parametrize("name", sorted(ONCE))
def test_what_runs_once_is_not_started_again(name):
    assert SERVICES[name]["restart"] == "no"


def test_ports_are_published_on_loopback_unless_somebody_says_otherwise():
    published = {name: port for name, service in SERVICES.items() for port in service.get("ports", [])}
    assert set(published) == {"mosquitto", "grafana", "server"}
    for port in published.values():
        assert port.startswith("${BIND:-127.0.0.1}:")
    assert EXAMPLE["BIND"] == "127.0.0.1"


def test_every_variable_has_a_default_and_stands_in_the_example():
    used = {match for text in texts(COMPOSE) for match in VARIABLE.findall(text)}
    for name, default in used:
        assert name in EXAMPLE, name
        assert name == "COMPOSE_PROFILES" or default == EXAMPLE[name], name
    assert EXAMPLE["COMPOSE_PROFILES"] == "demo" and SERVICES["simulators"]["profiles"] == ["demo"]
    assert [name for name in SERVICES if "profiles" in SERVICES[name]] == ["simulators"]
    assert set(EXAMPLE) == {name for name, _ in used} | {"COMPOSE_PROJECT_NAME"}


def test_no_secret_stands_in_the_file_and_each_is_read_from_the_readers_own_folder():
    for name, service in SERVICES.items():
        for key, value in (service.get("environment") or {}).items():
            if re.search(r"PASSWORD|TOKEN|SECRET", key) and key != "METERHALL_SECRETS":
                assert key.endswith("_FILE") and value.startswith(f"/run/meterhall/{name}/"), key
        target = mounts(name)["/run/meterhall"]
        assert target == ("secrets", "rw" if name in ONCE else "ro")
        own = service.get("environment", {}).get("METERHALL_SECRETS")
        assert own in (None, f"/run/meterhall/{'server' if name == 'prepare' else name}")


def test_grafana_lets_nobody_in_without_a_name_and_reads_in_its_own_way():
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == environment["GF_USERS_ALLOW_SIGN_UP"] == "false"
    assert environment["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/meterhall/grafana/grafana-password"
    assert READERS["grafana"] == ("read",)
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].replace("${GRAFANA_LANGUAGE:-en}", "zh")
    places = mounts("grafana")
    for path in (home, home.replace("/zh/", "/en/")):
        source, target = next((s, t) for t, (s, _) in places.items() if path.startswith(t) and s.startswith("./"))
        assert (ROOT / source / path.removeprefix(target).lstrip("/")).is_file()
    providers = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/meterhall.yaml").read_text())["providers"]
    for provider in providers:
        assert provider["options"]["path"].startswith("/var/lib/grafana/dashboards/meterhall/")


def test_grafanas_data_source_differs_from_the_shipped_one_in_its_token_alone():
    shipped = yaml.safe_load((ROOT / "grafana/provisioning/datasources/meterhall.yaml").read_text())
    ours = yaml.safe_load((ROOT / "docker/grafana-datasource.yaml").read_text())
    secret = ours["datasources"][0]["secureJsonData"]
    assert secret == {"httpHeaderValue1": "Token ${GF_INFLUX_TOKEN}"}
    secret["httpHeaderValue1"] = "Token ${INFLUX_TOKEN}"
    assert ours == shipped
    environment = SERVICES["grafana"]["environment"]
    assert {"INFLUX_URL", "INFLUX_BUCKET", "GF_INFLUX_TOKEN__FILE"} <= set(environment)


def test_files_that_are_mounted_are_there_and_volumes_are_named():
    for name in SERVICES:
        for source, _ in mounts(name).values():
            assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], source


def test_services_wait_for_what_they_need():
    def needs(name):
        return {other: how["condition"] for other, how in SERVICES[name].get("depends_on", {}).items()}

    assert needs("setup") == {}
    for name in ("mosquitto", "influxdb"):
        assert needs(name) == {"setup": "service_completed_successfully"}
    assert needs("prepare")["influxdb"] == "service_healthy"
    for name in ("grafana", "server"):
        assert needs(name)["prepare"] == "service_completed_successfully"


def test_commands_are_ones_that_exist():
    known = {command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands}
    for service in SERVICES.values():
        if service.get("entrypoint") == ["python", "-m", "meterhall.stack"]:
            assert service["command"][0] in known
        check = service.get("healthcheck", {}).get("test", [])
        if "meterhall.stack" in check:
            assert check[check.index("meterhall.stack") + 1] in known


def test_the_broker_is_as_hard_as_the_shipped_one():
    def settings(path):
        lines = (line.split("#")[0].split(None, 1) for line in (ROOT / path).read_text().splitlines())
        return {line[0]: line[1].strip() for line in lines if line}

    ours, shipped = settings("docker/mosquitto.conf"), settings("docs/mosquitto.conf")
    own = {"listener", "persistence_location", "password_file", "acl_file", "log_dest"}
    tls = {"cafile", "certfile", "keyfile", "tls_version"}  # inside the project's own network; published on loopback
    assert {key: ours[key] for key in ours if key not in own} == {
        key: shipped[key] for key in shipped if key not in own | tls
    }
    broken = [remark for remark in check_broker(ROOT / "docker/mosquitto.conf") if remark.state == "broken"]
    assert [re.sub(r".*(without TLS).*", r"\1", remark.what) for remark in broken] == ["without TLS"]


def test_the_image_is_built_in_two_stages_runs_as_nobody_special_and_holds_no_data():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    stages = [line for line in lines if line.startswith("FROM ")]
    assert len(stages) == 2 and all(re.search(r"python:\d+\.\d+\.\d+-slim", line) for line in stages)
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["10001:10001"]
    for name in ("server", "simulators"):
        assert f"{name}:{OWNERS[name].uid}" in (ROOT / "Dockerfile").read_text()
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert ignored[0] == "*", "nothing goes in that is not named"
    named = {line[1:] for line in ignored if line.startswith("!")}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(packages["packages"]) <= named and all((ROOT / name).exists() for name in named)
    assert not {".env", "data", "tests", ".git"} & named


@pytest.mark.slow
def test_docker_compose_reads_it(tmp_path):
    program = find("docker-compose", "docker-compose")
    for profiles in ("demo", ""):
        example = (ROOT / ".env.example").read_text().replace("COMPOSE_PROFILES=demo", f"COMPOSE_PROFILES={profiles}")
        (tmp_path / "env").write_text(example)
        command = [program, "-f", str(ROOT / "docker-compose.yml"), "--env-file", str(tmp_path / "env"), "config"]
        environment = {name: value for name, value in os.environ.items() if name not in EXAMPLE}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        services = yaml.safe_load(done.stdout)["services"]
        assert set(services) == set(SERVICES)  # this version lists those of every profile
        assert services["setup"]["environment"]["COMPOSE_PROFILES"] == profiles
        assert services["server"]["ports"] == ["127.0.0.1:8420:8420/tcp"]
