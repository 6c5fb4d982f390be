"""Payload bombs: what a broken or hostile device may send, through the real decoders and over the wire.

A decoder gives values or raises Rejected; nothing else may come out of it, no value that is not finite or outside
its quantity's range, and it may not work long.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho

from devices.decoded import Decoder, Rejected
from devices.payload.decoding import compile_payload
from devices.payload.profile import load_mqtt_profile, mqtt_profiles
from faults.observer import memory_mb
from faults.product import SITE
from faults.report import Row
from faults.rig import Rig
from faults.values import device_id
from metering.clock import now_us
from metering.quantity import QUANTITIES

MOST_BYTES = 256 << 10
LONGEST_S = 0.25  # of processor time, for one payload


def corpus() -> list[bytes]:
    """The classics."""
    deep, wide = 100_000, 50_000
    return [
        b"", b" ", b"\0", b"\xff\xfe", b"{", b"}", b"[",
        b"nul", b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-0",
        b'"', b'""', b"{}", b"[]", b"[[]]", b"0" * 5000, b"1" * 5000, b"-" * 5000, b"1e" + b"9" * 400,
        b"[" * deep, b"[" * deep + b"]" * deep, b'{"a":' * deep, b'{"a":' * 500 + b"1" + b"}" * 500,
        b"{" + b",".join(b'"k%d":%d' % (i, i) for i in range(wide // 4)) + b"}",
        b'{"w":1,"w":2,"w":3}', b'{"ts":1e999,"w":1}', b'{"ts":-1,"w":1}', b'{"ts":1767225600000,"w":1}',
        b'{"ts":99999999999999999999999999,"w":1}', b'{"w":NaN}', b'{"w":Infinity}', b'{"w":1e400}', b'{"w":-1e400}',
        b'{"w":"1"}', b'{"w":[1]}', b'{"w":{"w":1}}', b'{"w":null}', b'{"w":true}', b'{"w":' + b"9" * 5000 + b"}",
        b'{"w":1' + b"0" * 310 + b"}", b'{"w":"\xed\xa0\x80"}', b'{"w":"\\ud800"}', b'{"\\u0000":1}', b'{"w":1}x',
        b"\xef\xbb\xbf{\"w\":1}", '{"w":1}'.encode("utf-16"), gzip.compress(b"0" * 10_000_000), bytes(200_000),
        b'{"w":"' + b"a" * 200_000 + b'"}', b'{"' + b"k" * 200_000 + b'":1}', b"[" + b"1," * wide + b"1]",
        b'{"ts":"2026-02-30T00:00:00Z","w":1}', b'{"ts":"0000-00-00T00:00:00Z","w":1}', 
        b'{"ts":"' + b"9" * 5000 + b'"}',
        b'{"ts":{"Year":99,"Month":99},"w":1}', b"<xml/>", b"\x0a\x05\x08\x01\x10\x02", b"1,5", b"1.5.5", b"0x10",
        b"1_000",
        "١٢٣".encode(), "１２".encode(), b"--1", b"+1", b"1e", b"e1", b".", b"-.", b"\t1\n",
    ]  # fmt: skip


def generated(rng: random.Random, seeds: list[bytes]) -> Iterator[bytes]:
    """Payloads without end: good ones hurt, and random documents."""
    while True:
        draw = rng.random()
        if draw < 0.6:
            yield _hurt(rng, rng.choice(seeds))
        elif draw < 0.9:
            yield json.dumps(_document(rng, 0)).encode("utf-8", "surrogatepass")
        else:
            yield rng.randbytes(rng.randrange(300))


def _hurt(rng: random.Random, good: bytes) -> bytes:
    data = bytearray(good)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                data[at:at] = rng.choice(
                    (b"1e999", b"NaN", b'"', b"{", b"[", b"-", b"9" * 400, b"\\ud800", b"\xff", b"null")
                )
            case 1:
                del data[at : at + rng.randint(1, 20)]
            case 2 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 3:
                data[at:at] = data[: rng.randrange(len(data) + 1)]
            case 4:
                del data[at:]
            case _:
                data += good
    return bytes(data)


def _document(rng: random.Random, depth: int) -> object:
    scalars = (
        0,
        -1,
        1.5,
        1e308,
        -1e308,
        10**25,
        True,
        None,
        "",
        "1",
        "nan",
        "1,5",
        "\ud800",
        "2026-01-05T07:15:00Z",
        1767225600,
    )
    if depth > 5 or rng.random() < 0.4:
        return rng.choice(scalars)
    if rng.random() < 0.3:
        return [_document(rng, depth + 1) for _ in range(rng.randrange(5))]
    keys = ("ts", "w", "kwh", "v", "a", "hz", "ENERGY", "Total", "Time", "value", "data", "soc", "params", "em:0", "x")
    return {rng.choice(keys): _document(rng, depth + 1) for _ in range(rng.randrange(6))}


def all_decoders() -> list[tuple[str, Decoder]]:
    """A decoder of each topic of each shipped MQTT profile."""
    found: list[tuple[str, Decoder]] = []
    for name, path in mqtt_profiles().items():
        for topic, decoder in compile_payload(
            load_mqtt_profile(path), "base", timezone="Europe/Berlin", position=True, max_bytes=MOST_BYTES
        ).items():
            found.append((f"{name} {topic}", decoder))
    return found


def good_payloads() -> list[bytes]:
    """Well-formed payloads of many formats: the golden cases, where they are at hand."""
    root = Path(__file__).resolve().parent.parent / "tests" / "golden"
    found = [path.read_bytes() for path in sorted(root.rglob("*.json"))] + [
        path.read_bytes() for path in sorted(root.rglob("payload*"))
    ]
    found = [each for each in found if 0 < len(each) < 20_000]
    return [*found, b'{"ts":1767225600,"kwh":1.5,"w":2.5,"v":230.0,"a":0.5}', b"12.5", b'"1 284,55"']


def bombs_in_process(*, count: int, seed: int) -> Row:
    """So many payloads, each through one of the decoders, drawn by seed; the corpus through all of them."""
    row = Row("payload bombs, in-process", "payloads")
    rng, decoders, now = random.Random(seed), all_decoders(), now_us()
    outcomes: Counter[str] = Counter()
    classics = corpus()
    for payload in classics:
        for name, decoder in decoders:
            _try(payload, name, decoder, now, row, outcomes)
    tracemalloc.start()
    stream = generated(rng, good_payloads())
    while row.count < count:
        name, decoder = rng.choice(decoders)
        _try(next(stream), name, decoder, now, row, outcomes)
        if row.count % 20_000 == 0:
            row.notes[f"python memory after {row.count} [MB]"] = round(tracemalloc.get_traced_memory()[0] / 1e6, 1)
    tracemalloc.stop()
    row.notes["outcomes"] = dict(outcomes.most_common())
    row.notes["decoders"] = len(decoders)
    return row


def _try(payload: bytes, name: str, decoder: Decoder, now: int, row: Row, outcomes: Counter[str]) -> None:
    row.count += 1
    began = time.thread_time()
    try:
        values, _, rejected = decoder.decode(payload, now, False)
    except Rejected as refusal:
        outcomes[refusal.reason] += 1
    except Exception as error:
        row.missed.append(f"{name}: {type(error).__name__}: {str(error)[:80]} on {payload[:60]!r}")
        return
    else:
        outcomes["decoded" if values else "nothing in it"] += 1
        for slot, at, value, _ in values:
            of = QUANTITIES[decoder.slots[slot][0]]
            if not (math.isfinite(value) and of.lowest <= value <= of.highest and isinstance(at, int)):
                row.invented += 1
                row.missed.append(f"{name}: {value!r} as {of.name} from {payload[:60]!r}")
        outcomes.update(f"value {reason}" for reason, _ in rejected)
    seconds = time.thread_time() - began
    if seconds > row.notes.get("longest [s of processor time]", 0.0):
        row.notes["longest [s of processor time]"] = round(seconds, 4)
        row.expect(
            seconds <= LONGEST_S,
            f"{name}: {seconds:.2f} s of processor time for {payload[:40]!r} ({len(payload)} bytes)",
        )


def bombs_over_the_wire(folder: Path, *, count: int, seed: int) -> Row:
    """The same through the broker, beside devices that behave: those lose nothing, and the bombs are put aside."""
    row = Row("payload bombs, over the wire", "payloads")
    rng = random.Random(seed)
    with Rig(folder, seed=seed, devices=60) as rig:
        rig.product.start().wait_live()
        rig.product.wait_connected()
        rig.publish("--rate", 200, devices=50)
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="bomber", protocol=paho.MQTTv5)
        client.max_inflight_messages_set(500)
        client.connect("127.0.0.1", rig.broker.port)
        client.loop_start()
        stream = generated(rng, [b'{"w":NaN,"ts":"x"}'])  # never a good one: what they say must not count as a reading
        sent = []
        classics = corpus()
        while row.count < count:
            payload = classics[row.count] if row.count < len(classics) else next(stream)
            if row.count % 500 == 499:
                payload = bytes(MOST_BYTES + rng.randrange(500_000))
            sent.append(client.publish(f"{SITE}/{device_id(50 + row.count % 10)}", payload, qos=1))
            row.count += 1
            if row.count % 200 == 0:
                sent[-1].wait_for_publish(30)
                row.expect(rig.product.alive(5.0), "the API did not answer")
        for each in sent:
            each.wait_for_publish(60)
        client.disconnect()
        client.loop_stop()
        row.expect(rig.end_publishers() == 0, "the publisher did not get all its acknowledgements")
        rig.product.wait_drained(rig.ledger.messages + row.count, 120)
        assert rig.product.process is not None
        row.notes["memory [MB]"] = round(memory_mb(rig.product.process.pid))
        rig.product.stop()
        verdict = rig.examine()
    row.lost, row.doubled = verdict.lost, verdict.doubled
    row.missed += [words for words in verdict.unbalanced if "other values" not in words]  # bombs may hold values too
    row.notes |= {"quarantine": verdict.quarantine, "values that were in the bombs": verdict.invented}
    row.notes["findings"] = verdict.findings
    return row
