"""Torn files: each file of a data folder cut, zero-tailed, bit-flipped, emptied or deleted, as power cuts and disks do.

A small folder is built once, as kill -9 leaves it: readings of which the spool is rid, readings that are in the
checkpointed file, in its write-ahead log, and messages that only the spool holds. Each trial damages a copy by
seed, opens it, lets it drain, and compares: it starts by itself, nothing is invented, nothing is gone but what
stood in the damaged bytes and nowhere else, what is gone is reported, and the books balance.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
import random
import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from collector import decoders
from collector.decoders import profile_protocols
from devices.catalog import load_settings
from devices.settings import Settings
from faults.oracle import rows_in
from faults.product import BROKER, SITE, Product, write_configuration
from faults.report import Row
from faults.values import QUANTITIES, SECOND_US, device_id, device_number, payload_of, values_of
from meterhall.node import Node, open_node
from storage.duckdb.store import DuckDBStore
from storage.frame import FIRST, Frame
from storage.record import Position, Record, Wire
from storage.spool import Spool

DEVICES = 3
GROUP = 12  # messages
STAGES = {"released": 14, "checkpointed": 6, "logged": 6, "spooled": 6}  # groups
T0 = 1_767_225_600
HOW = ("cut", "zero tail", "flip", "emptied", "deleted")
Message = tuple[int, int]


class Frames(NamedTuple):
    """Where a commit group stands in its segment."""

    start: int
    end: int
    messages: tuple[Message, ...]


@dataclass
class Image:
    """The folder that is copied and damaged, and what is in it."""

    settings: Settings
    folder: Path
    stages: dict[str, list[Message]] = field(default_factory=dict)
    frames: dict[str, list[Frames]] = field(default_factory=dict)  # by segment file
    files: dict[str, int] = field(default_factory=dict)  # name in the folder -> bytes

    @property
    def messages(self) -> set[Message]:
        """Every message that is kept somewhere."""
        return {message for stage in self.stages.values() for message in stage}

    @property
    def in_spool(self) -> set[Message]:
        """Those that the spool still holds."""
        return {message for frames in self.frames.values() for frame in frames for message in frame.messages}


@contextlib.contextmanager
def small_segments(segment_bytes: int = 1500, recent_us: int = 0) -> Iterator[None]:
    """Segments of a few groups, let go as soon as they are done with."""
    from storage import spool

    real, recent = Spool.open.__func__, spool.RECENT_US  # type: ignore[attr-defined]
    Spool.open = classmethod(  # type: ignore[assignment, method-assign]
        lambda cls, folder, **options: real(cls, folder, **{**options, "segment_bytes": segment_bytes})
    )
    spool.RECENT_US = recent_us
    try:
        yield
    finally:
        Spool.open, spool.RECENT_US = classmethod(real), recent  # type: ignore[assignment, method-assign]


def records_of(messages: list[Message]) -> list[Record]:
    """A commit group."""
    stamp = (T0 + 86_400) * SECOND_US
    return [
        Record(Wire.MQTT, BROKER, f"{SITE}/{device_id(k)}", payload_of(k, n, T0), stamp + n, 0, n % 65_535 + 1)
        for k, n in messages
    ]


def build(folder: Path) -> Image:
    """The image."""
    write_configuration(folder / "site", port=1, broker="mqtt://127.0.0.1:1", devices=DEVICES)
    settings = load_settings(folder / "site", profile_ids=profile_protocols)
    image = Image(settings, folder / "image")
    number = 0
    with small_segments(), open_node(settings) as node:
        for stage, groups in STAGES.items():
            image.stages[stage] = []
            for _ in range(groups):
                messages = [(i % DEVICES, number + i) for i in range(GROUP)]
                number += GROUP
                node.spool.append([*records_of(messages), Record(Wire.MQTT, BROKER, "x", b"?", 1, 0, 0)])
                image.stages[stage] += messages
            if stage != "spooled":
                drain(node)
                node.deriver.run_once((T0 + 86_400) * SECOND_US)
            if stage in ("released", "checkpointed"):
                node.store.checkpoint()
            if stage == "released":
                node.spool.release(node.pipeline.position)
        shutil.copytree(settings.data, image.folder)
    spool = image.folder / "spool"
    image.frames = {path.name: _frames(path) for path in sorted(spool.glob("*.spool"))}
    image.files = {
        str(path.relative_to(image.folder)): path.stat().st_size
        for path in sorted(image.folder.rglob("*"))
        if path.is_file()
    }
    return image


def drain(node: Node) -> None:
    """Store everything that the spool holds."""
    while node.pipeline.run_once():
        pass


def _frames(path: Path) -> list[Frames]:
    """The groups of a segment, found by opening a copy of its folder."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "spool"
        shutil.copytree(path.parent, copy)
        spool = Spool.open(copy)
        found, number = [], int(path.stem)
        for segment in spool._segments:
            if segment.number != number:
                continue
            for item in segment.stretch(spool._files, FIRST, segment.end):
                assert isinstance(item, Frame)
                records = next(iter(spool.read(Position(number, item.start))))[1]
                found.append(
                    Frames(item.start, item.end, tuple((int(r.key[-5:]), _number(r)) for r in records if r.key != "x"))
                )
        spool.close()
    return found


def _number(record: Record) -> int:
    return int(record.payload.partition(b":")[2].partition(b",")[0]) - T0


class Damage(NamedTuple):
    """What is done to which file: bytes from `start` to `end` are not what they were."""

    file: str
    how: str
    start: int
    end: int
    bit: int = 0


def draw(image: Image, seed: int) -> Damage:
    """The damage of one trial."""
    rng = random.Random(seed)
    kind = rng.choice(("spool", "spool", "store", "store", "other"))
    names = [
        name
        for name in image.files
        if (name.endswith(".spool")) == (kind == "spool") and (".duckdb" in name) == (kind == "store")
    ]
    name = rng.choice(names)
    size = image.files[name]
    how = rng.choice(HOW)
    at = rng.randrange(size) if size else 0
    if name.endswith(".duckdb") and how == "flip" and rng.random() < 0.5:
        at = rng.randrange(min(size, 12 << 10))  # the headers
    if how == "flip":
        return Damage(name, how, at, at + 1, rng.randrange(8))
    if how == "zero tail":
        return Damage(name, how, at, size + rng.randrange(5000))
    return Damage(name, how, at if how == "cut" else 0, size)


def apply(folder: Path, damage: Damage) -> None:
    """Hurt the file."""
    path = folder / damage.file
    data = bytearray(path.read_bytes())
    if damage.how == "deleted":
        path.unlink()
        return
    if damage.how == "flip":
        if data:
            data[damage.start] ^= 1 << damage.bit
    elif damage.how == "zero tail":
        data[damage.start :] = bytes(damage.end - damage.start)
    else:
        del data[damage.start :]
    path.write_bytes(data)


def may_be_gone(image: Image, damage: Damage) -> set[Message]:
    """The messages that stood in the damaged bytes and nowhere else."""
    path = Path(damage.file)
    if path.suffix == ".spool":
        spooled = set(image.stages["spooled"])
        return {
            message
            for frame in image.frames[path.name]
            if frame.end > damage.start and frame.start < damage.end
            for message in frame.messages
            if message in spooled
        }
    if path.name == "meterhall.duckdb":
        return image.messages - image.in_spool
    return set()


def trial(image: Image, seed: int, folder: Path) -> tuple[Damage, dict[str, Any]]:
    """One damage: what came of it; `wrong` holds what must not be."""
    damage = draw(image, seed)
    shutil.copytree(image.folder, folder)
    wrong: list[str] = []
    out: dict[str, Any] = {"wrong": wrong, "gone": 0, "invented": 0, "doubled": 0}
    try:
        apply(folder, damage)
        began = time.monotonic()
        with small_segments(), open_node(replace(image.settings, data=folder)) as node:
            drain(node)
            out["seconds"] = time.monotonic() - began
            stored = _stored(node, out, shown=seed % 8 == 0)
            gone = image.messages - stored
            out["gone"] = len(gone)
            beyond = gone - may_be_gone(image, damage)
            out["lost"] = len(beyond)
            told = [*node.findings, *map(str, node.spool.damage), *getattr(node.store, "findings", ())]
            if gone and not told and not node.spool.torn_tails:
                wrong.append(f"{len(gone)} messages are gone and nobody says so")
            if beyond:
                wrong.append(f"{len(beyond)} messages are gone that stood elsewhere too: {sorted(beyond)[:3]}")
            wrong += node.books.balance(node.spool.pending(node.pipeline.position))
    except Exception as error:
        wrong.append(f"{type(error).__name__}: {error}"[:300])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return damage, out


def _stored(node: Node, out: dict[str, Any], *, shown: bool) -> set[Message]:
    """The messages all of whose values are stored; strange ones are counted.

    Rows are read straight from the file; with `shown` also as the store shows them, which must be the same.
    """
    assert isinstance(node.store, DuckDBStore)
    with node.store._connections.reading() as con:
        device, q, at, value, strange = rows_in(con, SITE)
    n = at // SECOND_US - T0
    wrong = at % SECOND_US != 0
    for number in range(len(QUANTITIES)):
        of = q == number
        wrong[of] |= values_of(device[of], number, n[of]) != value[of]
    out["invented"] += strange + int(wrong.sum())
    found = np.stack((device, q, n), axis=1)[~wrong]
    unique = np.unique(found, axis=0)
    out["doubled"] += len(found) - len(unique)
    if shown:
        _compare_shown(node, unique, out)
    messages, counts = np.unique(unique[:, [0, 2]], axis=0, return_counts=True)
    return {(k, number) for k, number in messages[counts == len(QUANTITIES)].tolist()}


def _compare_shown(node: Node, unique: np.ndarray, out: dict[str, Any]) -> None:
    """The store must show what its file holds."""
    rows = 0
    for point in node.store.points():
        series = node.store.series(point, 0, 1 << 62)
        k, q, n = device_number(point.meter), QUANTITIES.index(point.quantity), series.at // SECOND_US - T0
        rows += len(n)
        if not np.array_equal(values_of(np.full(len(n), k), q, n), series.value):
            out["wrong"].append(f"the store shows other values of {point} than its file holds")
    if rows != len(unique):
        out["wrong"].append(f"the store shows {rows} rows, and its file holds {len(unique)}")


def _work(arguments: tuple[Image, int, int, Path]) -> list[tuple[Damage, dict[str, Any]]]:
    image, first, last, folder = arguments
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    if not hasattr(decoders.mqtt_profiles, "cache_info"):  # the profiles do not change from trial to trial
        decoders.mqtt_profiles = functools.cache(decoders.mqtt_profiles)
    return [trial(image, seed, folder / f"trial-{seed}") for seed in range(first, last)]


def torn_in_process(folder: Path, *, trials: int, seed: int, workers: int = 1) -> Row:
    """Many trials, in a few processes."""
    row = Row("torn files, in-process", "files")
    image = build(folder)
    step = 25
    first = seed * 1_000_000
    jobs = [(image, at, min(at + step, first + trials), folder) for at in range(first, first + trials, step)]
    by_file: Counter[str] = Counter()
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for results in pool.imap_unordered(_work, jobs):
            for damage, out in results:
                row.count += 1
                by_file[Path(damage.file).suffix or Path(damage.file).name] += 1
                row.lost += out.get("lost", 0)
                row.invented += out["invented"]
                row.doubled += out["doubled"]
                if "seconds" in out:
                    row.recovered(out["seconds"])
                row.missed += [f"{damage.file} {damage.how} at {damage.start}: {words}" for words in out["wrong"]]
                row.notes["messages gone in the damaged bytes"] = (
                    row.notes.get("messages gone in the damaged bytes", 0) + out["gone"] - out.get("lost", 0)
                )
    row.notes |= {"damaged": dict(by_file), "seed": seed}
    row.notes["failures"] = len(row.missed)
    return row


def torn_real(folder: Path, *, trials: int, seed: int) -> Row:
    """The same damages, and the process itself: it has to start, answer, store what it can, and end in good order."""
    row = Row("torn files, real process", "files")
    image = build(folder)
    for number in range(trials):
        damage = draw(image, seed * 1_000_000 + 500_000 + number)
        product = Product(folder / f"real-{number}")
        write_configuration(product.folder, port=product.port, broker="mqtt://127.0.0.1:1", devices=DEVICES)
        shutil.copytree(image.folder, product.data)
        apply(product.data, damage)
        where = f"{damage.file} {damage.how} at {damage.start}"
        row.count += 1
        try:
            with product:
                product.start()
                product.wait_live()
                row.recovered(product.ready_s)
                product.wait_drained(timeout_s=60)
                ready = product.json("/health/ready")
                row.expect(ready is not None, f"{where}: ready does not answer")
                code = product.stop(60)
                row.expect(code == 0, f"{where}: ended with {code}")
            said = product.log
            out: dict[str, Any] = {"wrong": row.missed, "invented": 0, "doubled": 0}
            with open_node(replace(image.settings, data=product.data)) as node:
                stored = _stored(node, out, shown=True)
                row.missed += [
                    f"{where}: {words}" for words in node.books.balance(node.spool.pending(node.pipeline.position))
                ]
            row.invented += out["invented"]
            row.doubled += out["doubled"]
            gone = image.messages - stored
            beyond = gone - may_be_gone(image, damage)
            row.lost += len(beyond)
            if beyond:
                row.missed.append(f"{where}: {len(beyond)} messages are gone that stood elsewhere too")
            if gone and not any(
                word in said for word in ("damaged", "is gone", "is missing", "cannot be read", "lost")
            ):
                torn = damage.file.endswith(".spool") and damage.how in ("cut", "zero tail")
                row.expect(torn, f"{where}: {len(gone)} messages are gone and nobody says so")
        except Exception as error:
            row.missed.append(f"{where}: {type(error).__name__}: {str(error)[-300:]}")
        shutil.rmtree(product.folder, ignore_errors=True)
    return row
