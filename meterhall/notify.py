"""Tells systemd how we do: ready, alive, stopping. A few lines on its socket (sd_notify(3)); silent without one."""

from __future__ import annotations

import contextlib
import logging
import os
import socket

log = logging.getLogger("meterhall")


def notify(state: str) -> bool:
    """Send a state such as `READY=1`; False where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)) as sock:
            sock.sendto(state.encode(), address)
    except OSError as error:
        log.warning("systemd cannot be told %s: %s", state, error)
        return False
    return True


def watchdog_period_s() -> float | None:
    """How often systemd wants to hear of us, None if it does not; half of what it allows."""
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not usec.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 2e6
