"""CPU of Modbus polling: 500 devices of 100 registers, each read once a second. `python -m benchmarks.bench_modbus`

The devices answer from another process. Printed as JSON: CPU-seconds of this process, which hold on a noisy machine.
The records go to a sink that only counts; spool and store have benchmarks of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import platform
import statistics
import struct
import time
from multiprocessing.connection import Connection as Pipe

from collector.modbus.connection import tcp_connector
from collector.modbus.frames import Request
from collector.modbus.line import ModbusLine, ModbusUnit
from devices.blocks import plan_blocks
from devices.codec import BlockDecoder
from devices.registers import DeviceProfile, RegisterSpec
from simulators.modbus_server import crc16

REGISTERS = 100


class _Device(asyncio.Protocol):
    """The cheapest device there can be: 100 registers, whatever is asked."""

    rtu = False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        if self.rtu:
            for i in range(0, len(data), 8):
                unit, function, _, count = struct.unpack_from(">BBHH", data, i)
                self.transport.write(_rtu_reply(unit, function, count))
            return
        for i in range(0, len(data), 12):
            transaction, _, _, unit, function, _, count = struct.unpack_from(">HHHBBHH", data, i)
            head = struct.pack(">HHHBBB", transaction, 0, 3 + 2 * count, unit, function, 2 * count)
            self.transport.write(head + b"\x43\x67" * count)


_REPLIES: dict[tuple[int, int, int], bytes] = {}


def _rtu_reply(unit: int, function: int, count: int) -> bytes:
    key = unit, function, count
    if key not in _REPLIES:
        frame = bytes([unit, function, 2 * count]) + b"\x43\x67" * count
        _REPLIES[key] = frame + crc16(frame)
    return _REPLIES[key]


def _serve(pipe: Pipe, rtu: bool) -> None:
    async def main() -> None:
        _Device.rtu = rtu
        server = await asyncio.get_running_loop().create_server(_Device, "127.0.0.1", 0, backlog=1024)
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        server.close()

    asyncio.run(main())


def a_profile() -> DeviceProfile:
    """50 floats in 100 registers."""
    names = ["active_power", "voltage", "current", "frequency", "reactive_power", "apparent_power"]
    units = {"active_power": "W", "voltage": "V", "current": "A", "frequency": "Hz", "reactive_power": "var"}
    phases = ["total", "l1", "l2", "l3", "n"] * 2
    registers = [
        RegisterSpec(names[i % 6], phases[i // 6], "holding", 2 * i, "f32", unit=units.get(names[i % 6], "VA"), words=2)
        for i in range(REGISTERS // 2)
    ]
    return DeviceProfile("bench", 1, "-", "-", "-", "-", tuple(registers))


async def polled(port: int, devices: int, seconds: float, rtu: bool) -> dict[str, object]:
    """`devices` lines of one unit each at 1 s, as the collector runs them."""
    profile = a_profile()
    blocks = tuple(plan_blocks(profile))
    decoder = BlockDecoder(profile, blocks[0])
    records = 0
    lags: list[float] = []

    async def deliver(batch) -> None:
        nonlocal records
        records += len(batch)

    scheme = "modbus-rtu-tcp" if rtu else "modbus-tcp"
    lines = [
        ModbusLine(f"l{i}", f"{scheme}://127.0.0.1:{port}", [ModbusUnit(f"m{i}", 1, profile, blocks, 1.0)], deliver)
        for i in range(devices)
    ]
    tasks = [asyncio.create_task(line.run()) for line in lines]
    await asyncio.sleep(3.0)  # every line is connected
    before, cpu, wall = records, time.process_time(), time.monotonic()
    while time.monotonic() - wall < seconds:
        asked = time.monotonic()
        await asyncio.sleep(0.05)
        lags.append(time.monotonic() - asked - 0.05)
    cpu, wall, reads = time.process_time() - cpu, time.monotonic() - wall, records - before
    missed = sum(unit.errors.get("missed slot", 0) for line in lines for unit in line.health().units)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    payload = b"\x43\x67" * REGISTERS
    began = time.process_time()
    for _ in range(2000):
        decoder.decode(payload, 1, False)
    return {
        "devices": devices,
        "framing": "rtu" if rtu else "tcp",
        "reads_per_s": round(reads / wall, 1),
        "cpu_us_per_read": round(cpu / max(1, reads) * 1e6, 1),
        "percent_of_a_core": round(cpu / wall * 100, 2),
        "missed_slots": missed,
        "loop_lag_p99_ms": round(statistics.quantiles(lags, n=100)[98] * 1000, 1),
        "decode_50_values_us": round((time.process_time() - began) / 2000 * 1e6, 1),
    }


async def one_connection(port: int, reads: int, rtu: bool) -> dict[str, object]:
    """Our framing alone, one request after another on one connection."""
    connection = await tcp_connector("127.0.0.1", port, rtu=rtu, timeout_s=3.0)()
    request = Request.read(1, "holding", 0, REGISTERS)
    cpu = time.process_time()
    for _ in range(reads):
        await connection.read(request, 1.0)
    cpu = time.process_time() - cpu
    connection.close()
    return {"reads": reads, "framing": "rtu" if rtu else "tcp", "cpu_us_per_read": round(cpu / reads * 1e6, 1)}


async def through_pymodbus(port: int, reads: int) -> dict[str, object]:
    """The same with pymodbus, for comparison."""
    from pymodbus.client import AsyncModbusTcpClient

    client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=1, retries=0)
    await client.connect()
    cpu = time.process_time()
    for _ in range(reads):
        reply = await client.read_holding_registers(0, count=REGISTERS, device_id=1)
        struct.pack(f">{len(reply.registers)}H", *reply.registers)
    cpu = time.process_time() - cpu
    client.close()
    return {"reads": reads, "framing": "tcp", "cpu_us_per_read": round(cpu / reads * 1e6, 1)}


def measure(devices: int = 500, seconds: float = 10.0, reads: int = 5000) -> dict[str, object]:
    """All figures, with the machine they were taken on."""
    figures: dict[str, object] = {
        "benchmark": "modbus",
        "machine": f"{platform.machine()}, {multiprocessing.cpu_count()} cores",
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "registers_per_read": REGISTERS,
    }
    context = multiprocessing.get_context("spawn")
    for rtu in (False, True):
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, rtu), daemon=True)
        process.start()
        port = ours.recv()
        name = "rtu" if rtu else "tcp"
        figures[f"lines_{name}"] = asyncio.run(polled(port, devices, seconds, rtu))
        figures[f"framing_{name}"] = asyncio.run(one_connection(port, reads, rtu))
        if not rtu:
            figures["pymodbus_tcp"] = asyncio.run(through_pymodbus(port, reads))
        ours.send("stop")
        process.join(5)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--reads", type=int, default=5000)
    options = parser.parse_args()
    print(json.dumps(measure(options.devices, options.seconds, options.reads), indent=1))
