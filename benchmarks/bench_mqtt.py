"""MQTT: CPU of draining a broker's queue into batches, and of decoding each kind of payload.

Run: python -m benchmarks.bench_mqtt [--quick]
Messages are 120 bytes of JSON with 4 values and a time, from 1,000 topics, QoS 1, through a real Mosquitto.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import shutil
import socket
import tempfile
import time
from pathlib import Path

import mqtt5

from collector.mqtt.paho_source import PahoSource
from collector.mqtt.receiver import MqttReceiver
from collector.mqtt.source import BrokerConfig
from devices.payload.decoding import compile_payload
from devices.payload.profile import load_mqtt_profile, mqtt_profiles
from meterhall.broker import find_mosquitto, start_broker

NOW = 1_790_000_000_000_000
OWN = """id = "bench"
protocol = "mqtt"
source = "this benchmark"
[[topic]]
topic = "{base}"
time = { path = "ts", format = "%s" }
""" + "".join(
    f'[[field]]\npath = "{path}"\nquantity = "{quantity}"\nunit = "{unit}"\n'
    for path, quantity, unit in (
        ("power", "active_power", "W"),
        ("energy", "active_energy_import", "kWh"),
        ("voltage", "voltage", "V"),
        ("current", "current", "A"),
    )
)
SHELLY = (
    b'{"src":"shellypro3em-a0b1c2d3e4f5","dst":"shellypro3em-a0b1c2d3e4f5/events","method":"NotifyStatus","params":'
    b'{"ts":1789999703.62,"em:0":{"id":0,"a_current":3.61,"a_voltage":231.8,"a_act_power":812.4,"n_current":null,'
    b'"total_act_power":2310.7}}}'
)


def payloads(count, stamp="ms"):
    rng, out = random.Random(1), []
    for i in range(count):
        at = NOW // 1000 - 60_000 + i % 50_000
        text = time.strftime('"%Y-%m-%dT%H:%M:%SZ"', time.gmtime(at / 1000)) if stamp == "rfc3339" else str(at)
        out.append(
            f'{{"id":"m{i % 1000:04d}","ts":{text},"power":{rng.gauss(1200, 300):.1f},"energy":{i * 0.01:.3f},'
            f'"voltage":{rng.gauss(230, 2):.1f},"current":{abs(rng.gauss(5, 2)):.3f},"status":"normal 1"}}'.encode()
        )
    return out


def decode(name, decoder, messages):
    best = float("inf")
    for _ in range(5):
        cpu = time.process_time()
        for payload in messages:
            decoder.decode(payload, NOW, False)
        best = min(best, time.process_time() - cpu)
    size = sum(map(len, messages)) / len(messages)
    print(f"  {name:<42}{best / len(messages) * 1e6:6.2f} us a message of {size:.0f} bytes")


def decoding(folder):
    print("decode, CPU (best of 5):")
    for stamp, form in (("ms", "unix_ms"), ("rfc3339", "rfc3339")):
        path = folder / "bench.toml"
        path.write_text(OWN % form)
        made = compile_payload(load_mqtt_profile(path), "b", timezone="Asia/Shanghai", position=False)
        decode(f"flat JSON, 4 values, time {form}", made["b"], payloads(20_000, stamp))
    shipped = mqtt_profiles()
    for name, topic, payload in (
        ("shelly_gen2_em", "b/events/rpc", SHELLY),
        ("ovms_v3", "b/metric/v/p/odometer", b"48211.3"),
        ("tasmota", "b/SENSOR", b'{"Time":"2026-09-21T21:10:03","ENERGY":{"Total":812.437,"Power":143,"Voltage":231}}'),
    ):
        made = compile_payload(load_mqtt_profile(shipped[name]), "b", timezone="Asia/Shanghai", position=False)
        decode(name, made[topic], [payload] * 20_000)


def fill(port, messages, window=2000):
    """Publish at QoS 1, with a window of unanswered messages."""
    with socket.create_connection(("127.0.0.1", port)) as wire:
        wire.sendall(mqtt5.ConnectPacket("filler", clean_start=True, keep_alive=600).write())
        assert wire.recv(1000)[0] == 0x20
        for first in range(0, len(messages), window):
            some = messages[first : first + window]
            wire.sendall(
                b"".join(
                    mqtt5.PublishPacket(
                        f"city/building-{i % 100:02d}/meter-{i % 1000:04d}/telemetry",
                        payload,
                        qos=mqtt5.QoS.AT_LEAST_ONCE,
                        packet_id=i + 1,
                    ).write()
                    for i, payload in enumerate(some)
                )
            )
            answered = 0
            while answered < 4 * len(some):
                answered += len(wire.recv(65_536))


async def drain(make, port, messages, **settings):
    """(CPU seconds, wall seconds) of taking a queue of messages, each acknowledged as soon as it came."""
    config = BrokerConfig("b", f"mqtt://127.0.0.1:{port}", f"c-{make.__name__}", topics=("city/#",), **settings)
    count, repeated, deliveries, done = 0, 0, 0, asyncio.Event()

    def deliver(some):
        nonlocal count, repeated, deliveries
        repeats = sum(message.dup for message in some)
        repeated += repeats
        count += len(some) - repeats
        deliveries += 1
        source.ack(some[0].generation, [message.packet_id for message in some])
        if count >= len(messages):
            done.set()

    source = make(config, deliver)
    task = asyncio.create_task(source.run())
    while source.health().state != "ok":
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.to_thread(fill, port, messages)
    source = make(config, deliver)
    cpu, wall = time.process_time(), time.perf_counter()
    task = asyncio.create_task(source.run())
    await done.wait()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert count == len(messages), f"{count} came of {len(messages)}"
    print(
        f"  {make.__name__:<20}{cpu / len(messages) * 1e5:6.2f} CPU-s per 100,000 messages, "
        f"{len(messages) / wall:,.0f}/s, {count / deliveries:.0f} messages a delivery, {repeated} repeated, "
        f"{source.health().connects} connection"
    )


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="fewer messages")
    count = 50_000 if options.parse_args().quick else 200_000
    folder = Path(tempfile.mkdtemp(prefix="bench-mqtt-"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    try:
        decoding(folder)
        if not find_mosquitto():
            print("Mosquitto is not installed: no receiving (sudo apt-get install mosquitto)")
            return
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        broker = start_broker(folder / "broker", port)
        try:
            print(f"draining a queue of {count:,} at Mosquitto, acknowledged at once, nothing kept:")
            asyncio.run(drain(MqttReceiver, port, payloads(count)))
            asyncio.run(drain(PahoSource, port, payloads(count // 10)))
        finally:
            broker.stop()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
