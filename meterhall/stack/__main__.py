"""What docker-compose.yml runs beside the product itself: one-shot services, health checks, simulators."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import typer

from meterhall.stack.vault import OWNERS, Vault
from metering.explain import ExplainedError

app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
SECRETS, CONFIG = Path("/run/meterhall"), Path("/etc/meterhall")


def _environment(name: str, otherwise: str = "") -> str:
    return os.environ.get(name, otherwise)


def _vault() -> Vault:
    return Vault(Path(_environment("METERHALL_VAULT", str(SECRETS))))


def _config() -> Path:
    return Path(_environment("METERHALL_CONFIG", str(CONFIG)))


def _is_demo() -> bool:
    return "demo" in _environment("COMPOSE_PROFILES").split(",")


@app.command()
def secrets() -> None:
    """Make secrets and a configuration, where there are none."""
    from meterhall.stack.secrets import set_up, tell_password

    vault = _vault()
    for words in set_up(vault, _config(), demo=_is_demo()):
        typer.echo(words)
    tell_password(vault, typer.echo)


@app.command()
def mqtt_user(name: str) -> None:
    """An account at the broker for a device or gateway; its password is printed once. Then: kill -s HUP mosquitto."""
    from meterhall.stack.secrets import add_broker_user

    typer.echo(add_broker_user(_vault(), name))


@app.command()
def prepare() -> None:
    """Prepare InfluxDB, and make the key by which the simulators send their history."""
    from meterhall.stack.influx import prepare_influx
    from storage.influx.address import parse_address

    vault = _vault()
    token, _ = vault.keep("influx-admin-token")
    url = f"influxdb://{_environment('METERHALL_INFLUXDB', 'influxdb:8086')}/meterhall?org=meterhall"
    for words in prepare_influx(vault, parse_address(url, {"INFLUX_TOKEN": token})):
        typer.echo(words)
    reader = "simulators"
    if _is_demo() and not vault.has(reader, "server-key"):
        key, _ = vault.keep(f"server-key-{reader}", lambda: _new_key(reader))
        vault.give(reader, "server-key", key)
        typer.echo(f"Meterhall: a key of {reader}'s own, to send readings")


def _new_key(reader: str) -> str:
    """A key, made as the server's user: the ledger is the server's own."""
    owner = OWNERS["server"]
    as_server = {"user": owner.uid, "group": owner.gid, "extra_groups": []} if os.geteuid() == 0 else {}
    environment = {**os.environ, "LOGNAME": "setup"}  # as the audit log names who it was
    arguments = ["keys", "add", reader, "--scope", "write:ingest", "--config", str(_config())]
    done = subprocess.run(
        [sys.executable, "-m", "meterhall", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        **as_server,
    )  # type: ignore[call-overload]
    if done.returncode:
        raise ExplainedError(
            "the server's key", f"cannot be made: {done.stderr.strip().splitlines()[-1]}", "look at its data volume"
        )
    return str(done.stdout).strip().splitlines()[-1]


@app.command()
def simulate() -> None:
    """Send the simulated town's history once, then answer as its meters and vehicles."""
    from meterhall.configuring import read_or_exit
    from meterhall.simulating import simulate_until_stopped
    from meterhall.stack.demo import send_history
    from simulators.config import open_bureau

    data = Path(_environment("METERHALL_DATA"))
    settings = read_or_exit(_config())
    truth = data / "truth.json"
    key = (Path(_environment("METERHALL_SECRETS")) / "server-key").read_text(encoding="ascii").strip()
    send_history(
        open_bureau(settings.folder, truth),
        url=_environment("METERHALL_SERVER", "http://server:8420"),
        key=key,
        days=int(_environment("DEMO_DAYS", "35")),
        done=data / "history.done",
        tell=lambda words: typer.echo(words),
    )
    raise typer.Exit(simulate_until_stopped(settings, truth=truth))


@app.command()
def healthy(url: str) -> None:
    """Does something answer there with success? For health checks: exit code 0 or 1."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=4) as answer:
            raise typer.Exit(0 if answer.status < 400 else 1)
    except OSError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


@app.command()
def listening(port: int) -> None:
    """Does something listen at a port of this host's own name? For health checks."""
    with socket.create_connection((_environment("METERHALL_SIMULATORS", "127.0.0.1"), port), timeout=4):
        pass


def main() -> int:
    """Run a command; mistakes are said in words."""
    try:
        app()
    except (ExplainedError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
