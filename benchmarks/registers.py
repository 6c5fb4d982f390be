"""Modbus devices in a process of their own, each at its own address: `python -m benchmarks.registers PORT COUNT`.

Each answers at once with 100 registers: 50 floats that change from second to second.
"""

from __future__ import annotations

import asyncio
import struct
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.rig import SETTINGS, SITE

REGISTERS = 100
QUANTITIES = (
    ("active_power", "W"),
    ("voltage", "V"),
    ("current", "A"),
    ("frequency", "Hz"),
    ("reactive_power", "var"),
    ("apparent_power", "VA"),
    ("active_energy_import", "kWh"),
    ("active_energy_export", "kWh"),
    ("reactive_energy_import", "kvarh"),
    ("reactive_energy_export", "kvarh"),
)
PHASES = ("total", "l1", "l2", "l3", "n")


def address_of(device: int) -> str:
    """The loopback address of a device."""
    return f"127.0.{1 + device // 200}.{1 + device % 200}"


def write_modbus_config(folder: Path, port: int, devices: int) -> None:
    """A site of Modbus meters, each at an address of its own, read each second."""
    (folder / "profiles").mkdir(parents=True)
    registers = [
        f'[[register]]\nquantity = "{QUANTITIES[i % 10][0]}"\nphase = "{PHASES[i // 10]}"\naddress = {2 * i}\n'
        f'unit = "{QUANTITIES[i % 10][1]}"\n'
        for i in range(REGISTERS // 2)
    ]
    (folder / "profiles" / "bench.toml").write_text(
        'id = "bench"\nversion = 1\nmanufacturer = "-"\nmodel = "-"\nprotocol = "modbus"\nsource = "the benchmark"\n'
        'confidence = "-"\ndefaults = { table = "holding", type = "f32" }\n' + "".join(registers),
        encoding="utf-8",
    )
    (folder / "meterhall.toml").write_text(SETTINGS, encoding="utf-8")
    rows = [SITE, '[[building]]\nid = "b"\nname = "Building"\nuse = "office"\nfloor_area = 4000\n']
    rows += [
        f'[[meter]]\nid = "meter-{i:03d}"\nname = "Meter {i}"\nbuilding = "b"\ncarrier = "electricity"\n'
        f'profile = "bench"\nconnection = "modbus-tcp://{address_of(i)}:{port}"\nunit_id = 1\npoll_s = 1\n'
        for i in range(devices)
    ]
    (folder / "site.toml").write_text("".join(rows), encoding="utf-8")
    (folder / "factors.toml").write_text("", encoding="utf-8")


class _Device(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for i in range(0, len(data), 12):
            transaction, _, _, unit, function, _, count = struct.unpack_from(">HHHBBHH", data, i)
            head = struct.pack(">HHHBBB", transaction, 0, 3 + 2 * count, unit, function, 2 * count)
            values = struct.pack(">f", 100 + time.time() % 10_000 / 100) * (count // 2)
            self.transport.write(head + values)  # type: ignore[attr-defined]


def start_registers(port: int, devices: int) -> subprocess.Popen[bytes]:
    """The devices, in a process of their own; returns when they listen."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.registers", str(port), str(devices)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


async def _serve(port: int, devices: int) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(_Device, address_of(i), port) for i in range(devices)]
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
