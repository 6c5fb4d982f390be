"""A broker for the demo: Mosquitto where it is installed, else the one that iotcore brings; on loopback only.

For production use docs/mosquitto.conf as the broker's configuration.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from metering.explain import ExplainedError

START_S = 10.0
STOP_S = 5.0
QUEUE_BYTES = 256 << 20  # what may wait for a collector that is away
MESSAGE_BYTES = 1 << 20
IN_FLIGHT = 5000  # as our receive maximum


@dataclass(frozen=True)
class Broker:
    """A broker that runs as a child process.

    Attributes
    ----------
    name : for people, such as "Mosquitto" or "iotcore (built in)"
    pid : its process
    """

    name: str
    port: int
    pid: int
    stop: Callable[[], None]  # ends it, by its process id; harmless when it has ended already


def start_broker(
    folder: Path,
    port: int,
    *,
    users: Mapping[str, str] | None = None,
    mosquitto: str | None = None,
) -> Broker:
    """Start a broker on 127.0.0.1, and return when it listens.

    Parameters
    ----------
    folder : where its configuration, its log and what it keeps lie
    users : user names and passwords; None lets everybody in, which loopback alone makes acceptable
    mosquitto : path of Mosquitto; None looks for it, "" takes the built-in broker

    Raises
    ------
    ExplainedError
        If the port is in use, or the broker does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _end_leftover(folder)
    if _listens(port):
        raise ExplainedError(f"127.0.0.1:{port}", "is in use", "stop what listens there, or choose another port")
    program = find_mosquitto() if mosquitto is None else mosquitto
    return _start_mosquitto(program, folder, port, users) if program else _start_built_in(folder, port, users)


def find_mosquitto() -> str:
    """The path of Mosquitto, "" if it is not installed. Debian keeps it where ordinary users do not look."""
    return (
        shutil.which("mosquitto")
        or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")
        or ""
    )


def mosquitto_config(folder: Path, port: int, *, password_file: Path | None = None) -> str:
    """A mosquitto.conf for loopback: nothing queued is lost by a restart, and nothing grows without bound."""
    lines = [
        f"listener {port} 127.0.0.1",
        f"allow_anonymous {'true' if password_file is None else 'false'}",
        *([] if password_file is None else [f"password_file {password_file}"]),
        "persistence true",
        f"persistence_location {folder.resolve()}/",
        "autosave_interval 5",
        "persistent_client_expiration 14d",
        f"max_inflight_messages {IN_FLIGHT}",
        "max_queued_messages 0",
        f"max_queued_bytes {QUEUE_BYTES}",
        f"message_size_limit {MESSAGE_BYTES}",
        "set_tcp_nodelay true",
        "log_type error",
        "log_type warning",
    ]
    if os.getuid() == 0:  # else it would give up root, and with it this folder
        lines.append("user root")
    return "\n".join(lines) + "\n"


def _start_mosquitto(program: str, folder: Path, port: int, users: Mapping[str, str] | None) -> Broker:
    password_file = None
    if users:
        password_file = folder.resolve() / "passwords"
        password_file.unlink(missing_ok=True)
        password_file.touch(mode=0o600)
        password_file.write_text("".join(f"{name}:{password}\n" for name, password in users.items()), encoding="utf-8")
        subprocess.run([str(_tool("mosquitto_passwd")), "-U", str(password_file)], check=True, capture_output=True)
    config = folder.resolve() / "mosquitto.conf"
    config.write_text(mosquitto_config(folder, port, password_file=password_file), encoding="utf-8")
    with (folder / "mosquitto.log").open("wb") as output:
        # a group of its own: Ctrl-C must reach the collector first, and the broker last
        process = subprocess.Popen(
            [program, "-c", str(config)], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    pid_file = folder / "mosquitto.pid"
    pid_file.write_text(str(process.pid), encoding="utf-8")

    def stop() -> None:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_S)
        pid_file.unlink(missing_ok=True)

    deadline = time.monotonic() + START_S
    while not _listens(port):
        if process.poll() is not None or time.monotonic() > deadline:
            stop()
            said = (folder / "mosquitto.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise ExplainedError("Mosquitto", f"did not start: {' '.join(said) or 'it said nothing'}", f"see {folder}")
        time.sleep(0.02)
    return Broker("Mosquitto", port, process.pid, stop)


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ExplainedError(name, "is not installed", "install Mosquitto, or start the broker without users")
    return found


def _start_built_in(folder: Path, port: int, users: Mapping[str, str] | None) -> Broker:
    try:
        import iotcore
    except ImportError as error:
        raise ExplainedError(
            "broker", f"there is none: {error}", "install Mosquitto: sudo apt-get install mosquitto"
        ) from None
    config = folder.resolve() / "rumqttd.toml"
    config.write_text(_built_in_config(port, users), encoding="utf-8")
    broker = iotcore.Broker(config_path=str(config))
    try:
        broker.start(timeout=START_S)
    except (OSError, RuntimeError) as error:
        raise ExplainedError("the built-in broker", f"did not start: {error}", "install Mosquitto instead") from None
    process = broker._process
    return Broker("iotcore (built in)", port, process.pid if process else 0, broker.stop)


def _built_in_config(port: int, users: Mapping[str, str] | None) -> str:
    """rumqttd speaks MQTT 5 or 3.1.1 on a listener, not both; receiver and simulators speak MQTT 5."""
    lines = [
        "id = 0",
        "[router]",
        "id = 0",
        "max_connections = 1000",
        f"max_outgoing_packet_count = {IN_FLIGHT}",
        "max_segment_size = 104857600",
        "max_segment_count = 10",
        "[v5.1]",
        'name = "loopback"',
        f'listen = "127.0.0.1:{port}"',
        "next_connection_delay_ms = 1",
        "[v5.1.connections]",
        "connection_timeout_ms = 60000",
        f"max_payload_size = {MESSAGE_BYTES}",
        "max_inflight_count = 1000",
        "dynamic_filters = true",
    ]
    if users:
        import json

        lines.append("[v5.1.connections.auth]")
        lines += [f"{json.dumps(name)} = {json.dumps(password)}" for name, password in users.items()]
    return "\n".join(lines) + "\n"


def _end_leftover(folder: Path) -> None:
    """End the Mosquitto that a run which was killed left in this folder, and no other."""
    pid_file = folder / "mosquitto.pid"
    config = os.fsencode(folder.resolve() / "mosquitto.conf")

    def is_ours(pid: int) -> bool:
        try:
            return config in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False

    with contextlib.suppress(OSError, ValueError):
        pid = int(pid_file.read_text(encoding="utf-8"))
        if is_ours(pid):
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_S
            while is_ours(pid) and time.monotonic() < deadline:
                time.sleep(0.02)
    pid_file.unlink(missing_ok=True)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False
