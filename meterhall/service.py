"""Runs Meterhall as a service of systemd: the unit, as a user without rights of its own, and what to type."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

from devices.settings import Settings
from metering.explain import ExplainedError
from storage.files import OS_FILES

UNITS = Path("/etc/systemd/system")
NAME = "meterhall.service"
USER = "meterhall"
WATCHDOG_S = 60
HEAD = "# Written by `meterhall service install`."

UNIT = """{head}
[Unit]
Description=Meterhall: telemetry of buildings and vehicles
After=network-online.target mosquitto.service
Wants=network-online.target

[Service]
Type=notify
User={user}
Group={user}
ExecStart={program} run --config {config}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2
# A wrong configuration (exit code 2) is not tried again and again.
RestartPreventExitStatus=2
WatchdogSec={watchdog}
TimeoutStartSec=300
TimeoutStopSec=60
LimitNOFILE=8192
UMask=0077
# It reads everything it needs, and writes into these folders alone.
ProtectSystem=strict
ProtectHome=read-only
{writable}
PrivateTmp=true
{devices}
NoNewPrivileges=true
CapabilityBoundingSet=
AmbientCapabilities=
ProtectKernelTunables=true
ProtectKernelModules=true
ProtectKernelLogs=true
ProtectControlGroups=true
ProtectClock=true
ProtectHostname=true
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
LockPersonality=true
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged

[Install]
WantedBy=multi-user.target
"""


def unit_of(settings: Settings, user: str = USER) -> str:
    """The unit for a configuration.

    Raises
    ------
    ExplainedError
        If the user is root, or a path cannot stand in a unit.
    """
    if user == "root" or not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", user):
        raise ExplainedError("--user", f'is "{user}"', "name a system user that is not root, such as meterhall")
    writable = {settings.data}
    if settings.log.file:
        writable.add(Path(settings.log.file).resolve().parent)
    serial = sorted(
        meter.connection.removeprefix("modbus-rtu://").partition("?")[0]
        for meter in settings.installation.meters
        if meter.connection.startswith("modbus-rtu://")
    )
    devices = "\n".join(["DevicePolicy=closed", *(f"DeviceAllow={_quoted(path)} rw" for path in dict.fromkeys(serial))])
    return UNIT.format(
        head=HEAD,
        user=user,
        program=_quoted(program()),
        config=_quoted(settings.folder.resolve()),
        watchdog=WATCHDOG_S,
        writable="\n".join(f"ReadWritePaths={_quoted(path)}" for path in sorted(writable)),
        devices=devices + ("\nSupplementaryGroups=dialout" if serial else "\nPrivateDevices=true"),
    )


def program() -> Path:
    """The meterhall that is running now."""
    beside = Path(sys.executable).parent / "meterhall"
    found = beside if beside.exists() else Path(shutil.which("meterhall") or beside)
    return found.absolute()


def _quoted(path: Path | str) -> str:
    """A path for a unit: specifiers and quotes as systemd reads them."""
    text = str(path)
    if any(ord(c) < 32 for c in text):
        raise ExplainedError(text, "has characters that no unit can hold", "use a folder of another name")
    text = text.replace("\\", "\\\\").replace("%", "%%").replace('"', '\\"')
    return f'"{text}"' if re.search(r"[\s\"\'\\]", text) else text


def install(settings: Settings, folder: Path = UNITS, user: str = USER) -> Path:
    """Write the unit; returns where it is.

    Raises
    ------
    ExplainedError
        If the folder cannot be written.
    """
    text, path = unit_of(settings, user), folder / NAME
    try:
        OS_FILES.make_folder(settings.data)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
    except OSError as error:
        raise ExplainedError(
            str(path), f"cannot be written: {error.strerror}", "run it with sudo, or take what --dry-run prints"
        ) from None
    return path


def uninstall(folder: Path = UNITS) -> Path:
    """Remove the unit that `install` wrote; data and configuration stay.

    Raises
    ------
    ExplainedError
        If there is none, somebody else wrote it, or it cannot be removed.
    """
    path = folder / NAME
    try:
        if not path.read_text(encoding="utf-8").startswith(HEAD):
            raise ExplainedError(str(path), "was not written by Meterhall", "remove it yourself")
        path.unlink()
    except OSError as error:
        raise ExplainedError(str(path), f"cannot be removed: {error.strerror}", "run it with sudo") from None
    return path


def commands(settings: Settings, user: str = USER) -> list[str]:
    """What to type after the unit is written."""
    data, folder = shlex.quote(str(settings.data)), shlex.quote(str(settings.folder.resolve()))
    return [
        f"id {user} >/dev/null 2>&1 || sudo useradd --system --no-create-home --shell /usr/sbin/nologin {user}",
        f"sudo chown -R {user}: {data}",
        f"sudo -u {user} {shlex.quote(str(program()))} check {folder}   # can that user read it?",
        "sudo systemctl daemon-reload",
        f"sudo systemctl enable --now {NAME}",
        f"journalctl -u {NAME} -f",
    ]


def removal_commands() -> list[str]:
    """What to type before the unit is removed."""
    return [f"sudo systemctl disable --now {NAME}", "sudo systemctl daemon-reload"]
