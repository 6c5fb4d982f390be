"""What a Modbus address in the configuration means."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from collector.modbus.connection import Connect, tcp_connector
from collector.modbus.serial import serial_connector
from metering.explain import ExplainedError

CONNECT_S = 3.0  # time-out of connecting


def connector(url: str, timeout_s: float) -> Connect:
    """What opens connections to an address.

    Raises
    ------
    ExplainedError
        If the address cannot be understood.
    """
    parts = urlsplit(url)
    where = f'connection "{url}"'
    if parts.scheme in ("modbus-tcp", "modbus-rtu-tcp"):
        if not parts.hostname:
            raise ExplainedError(where, "names no host", f"write {parts.scheme}://host:502")
        return tcp_connector(
            parts.hostname, parts.port or 502, rtu=parts.scheme == "modbus-rtu-tcp", timeout_s=CONNECT_S
        )
    if parts.scheme == "modbus-rtu":
        options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        baud, parity = options.pop("baud", "9600"), options.pop("parity", "N").upper()
        stopbits = options.pop("stopbits", "1")
        if options or not baud.isdigit() or parity not in ("N", "E", "O") or stopbits not in ("1", "2"):
            raise ExplainedError(
                where, f'has the options "{parts.query}"', "use baud=9600, parity=N, E or O, stopbits=1 or 2"
            )
        return serial_connector(parts.path, baud=int(baud), parity=parity, stopbits=int(stopbits), timeout_s=timeout_s)
    raise ExplainedError(where, f'begins with "{parts.scheme}"', "use modbus-tcp, modbus-rtu-tcp or modbus-rtu")
