"""The first one-shot service of docker-compose.yml: secrets and a configuration, before anything else runs."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from pathlib import Path

from meterhall.stack.configuration import write_configuration
from meterhall.stack.vault import Vault, broker_line
from metering.explain import ExplainedError

USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
OURS = ("server", "simulators")  # who opens the configuration, and with it the broker's password
BROKER_USERS = {"server": "meterhall", "simulators": "simulators"}


def set_up(vault: Vault, configuration: Path, *, demo: bool) -> list[str]:
    """Make what is missing; returns what there is to say. Done again, it changes nothing and says nothing."""
    said = write_configuration(configuration, demo=demo)
    for reader, name in (
        ("influxdb", "influx-admin-password"),
        ("influxdb", "influx-admin-token"),
        ("grafana", "grafana-password"),
    ):
        vault.give(reader, name, vault.keep(name)[0])
    for user in ("meterhall", "simulators") if demo else ("meterhall",):
        _broker_user(vault, user)
    for reader in OURS:
        user = BROKER_USERS[reader]
        if demo or user == "meterhall":
            vault.give(reader, "mqtt-password", vault.keep(f"mqtt-{user}")[0])
    return said


def tell_password(vault: Vault, tell: Callable[[str], None]) -> None:
    """Tell Grafana's first password, once in the life of the volume."""
    if not vault.has("setup", "told"):
        tell(f"Grafana: user admin, password {vault.keep('grafana-password')[0]}  (printed once; change it there)")
        vault.keep("told", lambda: "")


def add_broker_user(vault: Vault, user: str) -> str:
    """An account of a device or gateway at the broker; returns its password, which is kept nowhere.

    Raises
    ------
    ExplainedError
        If the name cannot be one, or is ours.
    """
    if not USER.fullmatch(user) or user in BROKER_USERS.values():
        raise ExplainedError(f'the user "{user}"', "cannot be added", "use letters, digits, dots and dashes")
    password = secrets.token_hex(16)
    _put_broker_line(vault, user, password)
    return password


def _broker_user(vault: Vault, user: str) -> None:
    password, _ = vault.keep(f"mqtt-{user}")
    lines, _ = vault.keep("mosquitto-passwords", lambda: "")
    if not any(line.startswith(f"{user}:") for line in lines.splitlines()) or not vault.has("mosquitto", "passwords"):
        _put_broker_line(vault, user, password)


def _put_broker_line(vault: Vault, user: str, password: str) -> None:
    lines, _ = vault.keep("mosquitto-passwords", lambda: "")
    kept = [line for line in lines.splitlines() if line and not line.startswith(f"{user}:")]
    text = "\n".join([*kept, broker_line(user, password)]) + "\n"
    vault.give("mosquitto", "passwords", text, anew=True)  # first: cut short here, all of it is done once more
    vault.replace("mosquitto-passwords", text)
