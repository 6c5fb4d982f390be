"""From configuration to decoders: which raw record is decoded by what, into which points."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from collector import ingest
from collector.pipeline import DecoderKey, Named
from collector.points import PointTable
from devices.blocks import Block, block_key, plan_blocks
from devices.codec import BlockDecoder
from devices.payload.decoding import Learned, compile_payload
from devices.payload.profile import PayloadProfile, load_mqtt_profile, mqtt_profiles
from devices.registers import DeviceProfile, modbus_profile, modbus_profiles
from devices.settings import Settings
from metering.reading import Point
from metering.site import IMPORTED, Device, Vehicle
from storage.record import Wire

OWN_PROFILES = "profiles"  # folder of own profiles inside the configuration folder


@dataclass
class Decoders:
    """Everything that is needed to read what configured devices say."""

    points: PointTable = field(default_factory=PointTable)
    named: dict[DecoderKey, Named] = field(default_factory=dict)
    blocks: dict[str, tuple[DeviceProfile, list[Block]]] = field(default_factory=dict)  # by meter id
    topics: dict[str, list[str]] = field(default_factory=dict)  # by broker id
    rollovers: dict[Point, float] = field(default_factory=dict)  # declared counter widths [the quantity's unit]
    device_of: dict[DecoderKey, str] = field(default_factory=dict)


def broker_and_topic(connection: str) -> tuple[str, str]:
    """Broker id and base topic of `mqtt://<broker id>/<base topic>`."""
    broker, _, topic = connection.removeprefix("mqtt://").partition("/")
    return broker, topic


def build_decoders(settings: Settings) -> Decoders:
    """A decoder for each Modbus block and MQTT topic of every configured device, and for ingest batches.

    Raises
    ------
    ExplainedError
        If two devices would be fed by the same topic or register block, or a profile has a mistake.
    """
    out = Decoders()
    folder = settings.folder / OWN_PROFILES
    mqtt = mqtt_profiles(folder)
    read = cache(load_mqtt_profile)  # a thousand devices of one kind share its profile
    learned: dict[str, Learned] = {}
    for device in settings.installation.devices():
        if device.connection.startswith("mqtt://"):
            shared = learned.setdefault(device.profile, {})
            _add_mqtt(out, device, read(mqtt[device.profile]), shared, settings)
        elif not device.connection.startswith(IMPORTED):
            _add_modbus(out, device, modbus_profile(device.profile, folder))
    out.named[Wire.INGEST, "", ingest.KEY] = Named(ingest.BatchDecoder(out.points), 0)
    return out


def _add(out: Decoders, key: DecoderKey, device: Device, named: Named) -> None:
    other = out.device_of.get(key)
    if other is not None:
        from metering.explain import ExplainedError

        raise ExplainedError(
            f'"{device.id}".connection',
            f"is what {other} reads already ({key[2]})",
            "give each device a source of its own",
        )
    out.named[key] = named
    out.device_of[key] = device.id


def _add_mqtt(out: Decoders, device: Device, profile: PayloadProfile, learned: Learned, settings: Settings) -> None:
    broker, base = broker_and_topic(device.connection)
    decoders = compile_payload(
        profile,
        base,
        timezone=settings.installation.timezone_of(device.id),
        position=isinstance(device, Vehicle) and device.position,
        max_bytes=settings.limits.payload_bytes,
        learned=learned,
    )
    first = None
    for topic, decoder in decoders.items():
        if first is None:
            first = out.points.add_all([Point(device.site, device.id, *slot) for slot in decoder.slots])
        _add(out, (Wire.MQTT, broker, topic), device, Named(decoder, first))
        if not decoder.idle:  # a topic of positions that are not wanted is known, but not asked for
            out.topics.setdefault(broker, []).append(topic)


def _add_modbus(out: Decoders, device: Device, profile: DeviceProfile) -> None:
    blocks = plan_blocks(profile)
    out.blocks[device.id] = profile, blocks
    for block in blocks:
        decoder = BlockDecoder(profile, block)
        points = [Point(device.site, device.id, *slot) for slot in decoder.slots]
        named = Named(decoder, out.points.add_all(points))
        _add(out, (Wire.MODBUS, device.connection, block_key(device.id, block)), device, named)
        for point, register in zip(points, block.registers, strict=True):
            if register.rollover is not None:
                out.rollovers[point] = register.rollover


def profile_protocols(folder: Path) -> dict[str, str]:
    """Id and protocol of every known profile: the product's own and those in `folder`; each is read and checked.

    Raises
    ------
    ExplainedError
        If a profile in the folder has a mistake.
    """
    known = dict.fromkeys(modbus_profiles(folder), "modbus")
    for name, path in mqtt_profiles(folder).items():
        known[name] = "mqtt"
        if path.parent == folder:
            load_mqtt_profile(path)
    for name, path in modbus_profiles(folder).items():
        if path.parent == folder:
            modbus_profile(name, folder)
    return known


def list_known_profiles() -> list[dict[str, Any]]:
    """Each shipped profile: id, protocol, manufacturer, model, source."""
    rows = []
    known = modbus_profiles()
    for name in known:
        if name.rpartition(".")[0] not in known:  # a device's numbered inputs are one model
            rows.append(_row(name, "modbus", modbus_profile(name)))
    rows += [_row(name, "mqtt", load_mqtt_profile(path)) for name, path in mqtt_profiles().items()]
    return sorted(rows, key=lambda row: row["id"])


def _row(name: str, protocol: str, profile: Any) -> dict[str, Any]:
    return {
        "id": name,
        "protocol": protocol,
        "manufacturer": profile.manufacturer,
        "model": profile.model,
        "source": profile.source,
    }
